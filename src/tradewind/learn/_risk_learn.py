"""Learn the risk score of a shop from its log and its labels, publish it, and list what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tradewind.errors import InputError, StateError
from tradewind.learn._risk_rule_history import History, history
from tradewind.learn._risk_words import sentence
from tradewind.learn.registry import active, publish
from tradewind.learn.risk import NAME, Risk, ripeness, truth
from tradewind.types import from_micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

Numbers = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Scored:
    """One order or claim, its score 0-100 and what raised it."""

    id: str
    at: datetime
    action: str
    customer: str | None
    amount: int  # minor units
    score: float
    reasons: tuple[str, ...]
    reasons_zh: tuple[str, ...]


@dataclass(frozen=True)
class Learned:
    """What ``risk score`` did: ``way`` is "new", "continued" or "without labels", ``why`` says why not more; the riskiest first."""

    version: str
    way: str
    why: str
    rows: int
    frauds: int
    riskiest: tuple[Scored, ...]


def learn(
    home: Home,
    *,
    as_of: datetime,
    now: datetime,
    labels: pa.Table,
    known_by: datetime,
    delay_days: int = 30,
    go_on: bool = False,
    most: int = 20,
) -> Learned:
    """Learn from what happened before ``as_of`` and make it the active version; list the riskiest whose truth is not known yet.

    With enough fraud known by ``known_by`` among orders that were then older than ``delay_days`` it learns from labels, anew or
    (``go_on``) with more trees on top of the active version; else from what is unusual, and ``why`` says what was missing.

    Raises
    ------
    InputError
        There are too few orders and claims to say what is usual.
    StateError
        ``go_on``, and the active version learned from no labels, or up to the same moment or a later one, or there is none.
    """
    past = history(home, until=as_of)
    known = truth(past.ids, past.at, labels, as_of=known_by, delay_days=delay_days)
    order = past.columns["action"] == "order"
    ripe = ripeness(past.ids, past.at, labels, as_of=known_by, delay_days=delay_days)
    model, way, why = _fitted(past, np.where(order, known, np.nan), ripe, before=_before(home, as_of) if go_on else None)
    card = {"rows": len(past.ids), "frauds": int(np.nansum(known)), "way": way, "why": why}
    version = publish(home, NAME, model.save, as_of=as_of, card=card, now=now)
    open_ = past.part(~np.isfinite(known))
    return Learned(version.version, way, why, len(past.ids), int(np.nansum(known)), riskiest(model, open_, most=most))


def _fitted(past: History, known: Numbers, ripe: Numbers, *, before: Risk | None) -> tuple[Risk, str, str]:
    told = np.isfinite(known)
    rows = past.part(told)
    try:
        if before is not None:
            return before.update(rows.columns, rows.at, known[told], ripe=ripe[told]), "continued", ""
        model = Risk().fit(past.columns, past.at, known, ripe=ripe)
    except InputError as error:
        return Risk().fit(past.columns, past.at), "without labels", str(error)
    return model, "new", ""


def _before(home: Home, as_of: datetime) -> Risk:
    """The active model, which learned from labels of an earlier moment."""
    version = active(home, NAME)
    model = Risk.load(version.path)
    if not model.labelled or version.as_of >= as_of:
        why = "learned without labels" if not model.labelled else f"learned up to {version.as_of.isoformat()}"
        raise StateError(f"The active risk score {why}: there is nothing to go on from. Learn anew, without going on.")
    return model


def riskiest(model: Risk, found: History, *, most: int) -> tuple[Scored, ...]:
    """The orders and claims with the highest scores."""
    if not found.ids:
        return ()
    score = model.score(found.columns)
    best = np.argsort(-score, kind="stable")[:most]
    reasons = model.reasons({name: values[best] for name, values in found.columns.items()})
    return tuple(
        Scored(
            found.ids[one],
            from_micros(int(found.at[one])),
            str(found.columns["action"][one]),
            found.columns["customer"][one],
            int(found.amount[one]),
            float(score[one]),
            tuple(sentence(reason) for reason in told),
            tuple(sentence(reason, "zh-CN") for reason in told),
        )
        for one, told in zip(best.tolist(), reasons, strict=True)
    )
