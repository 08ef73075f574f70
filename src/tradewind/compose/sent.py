"""Messages that left, as learning sees them: what could have been said with which probability, what was said, whether it was clicked."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import asinh, exp
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy import select

from tradewind.engine.ledger import outbox
from tradewind.schema import Kind
from tradewind.types import from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

RIPE = timedelta(days=3)  # after which a message that was not clicked counts as not clicked
SPAN = timedelta(days=180)  # of which messages are learned from: what wore off long ago should not count
FADE = timedelta(days=14)  # in which the memory of a component fades by e
PAGE = 5000
LEFT = ("accepted", "unknown")  # states of the outbox in which a customer may have read the message


@dataclass(frozen=True, slots=True)
class Sent:
    """One message.

    ``shares``: role (and "tone") to what fitted, each with the probability of its draw; ``chosen``: role to what was drawn.
    """

    decision_id: str
    customer: str
    at: datetime
    channel: str
    locale: str
    segment: str | None
    shares: Mapping[str, Mapping[str, float]]
    chosen: Mapping[str, str]
    clicked: bool
    control: bool = False  # the fixed template
    seen: Mapping[str, float] = field(default_factory=dict)  # component -> faded number of its earlier messages to this customer

    @property
    def propensity(self) -> float:
        """The probability of exactly this wording, given its arm."""
        product = 1.0
        for role, among in self.shares.items():
            product *= among[self.chosen[role]]
        return product


def shares_of(headers: Mapping[str, str], components: Sequence[str]) -> tuple[dict[str, dict[str, float]], dict[str, str]] | None:
    """Read the logged probabilities of a message and what was drawn; None where they were not logged or do not fit together."""
    try:
        shares = {str(role): {str(k): float(v) for k, v in among.items()} for role, among in json.loads(headers["shares"]).items()}
        tone = headers["tone"]
    except (KeyError, ValueError, AttributeError, TypeError):
        return None
    said = {*components, tone}
    chosen = {role: name for role, among in shares.items() for name in among if name in said}
    if chosen.keys() != shares.keys() or any(not 0 < shares[role][name] <= 1 for role, name in chosen.items()):
        return None
    return shares, chosen


def faded(history: Iterable[tuple[datetime, Sequence[str]]], at: datetime) -> dict[str, float]:
    """Faded number of times that each component of a customer's ``history`` (time, components) was shown before ``at``."""
    seen: Counter[str] = Counter()
    for before, components in history:
        if before < at:
            for name in components:
                seen[name] += exp(-((at - before) / FADE))  # type: ignore[assignment]
    return dict(seen)


def with_history(rows: Sequence[Sent]) -> list[Sent]:
    """The rows in order of time, each with what its customer had seen before."""
    from dataclasses import replace

    told: dict[str, list[tuple[datetime, tuple[str, ...]]]] = {}
    found = []
    for row in sorted(rows, key=lambda r: (r.at, r.decision_id)):
        history = told.setdefault(row.customer, [])
        history[:] = [entry for entry in history if row.at - entry[0] < 4 * FADE]
        found.append(replace(row, seen=faded(history, row.at)))
        history.append((row.at, tuple(row.chosen.values())))
    return found


def read(home: Home, *, as_of: datetime) -> tuple[list[Sent], int]:
    """The messages of the ``SPAN`` that ends ``RIPE`` before ``as_of``, with their clicks; and how many had no probabilities logged.

    A click counts when it came before ``as_of``. Rows come in order of time, each with what its customer had seen before.
    """
    events = home.tables.events(as_of=as_of)
    clicks = events.filter((events.kind == Kind.CLICK.value) & events.decision_id.notnull()).select("decision_id").distinct()
    clicked = set(home.tables.to_arrow(clicks)["decision_id"].to_pylist())
    rows: list[Sent] = []
    silent = 0
    for told in _messages(home, since=as_of - RIPE - SPAN, before=as_of - RIPE):
        logged = shares_of(told["headers"], told["components"])
        if logged is None:
            silent += 1
            continue
        shares, chosen = logged
        headers = told["headers"]
        rows.append(
            Sent(
                told["decision_id"], told["customer"], told["at"], told["channel"], told["locale"], headers.get("segment"), shares, chosen,
                told["decision_id"] in clicked, "control" in headers,
            )
        )  # fmt: skip
    return with_history(rows), silent


def _messages(home: Home, *, since: datetime, before: datetime) -> Iterable[dict[str, Any]]:
    c, last = outbox.c, ""
    while True:
        query = (
            select(c.message_id, c.message, c.send_at)
            .where(c.state.in_(LEFT), c.message.is_not(None), c.send_at >= micros(since), c.send_at < micros(before), c.message_id > last)
            .order_by(c.message_id)
            .limit(PAGE)
        )
        with home.ledger.read() as conn:
            page = conn.execute(query).all()
        for row in page:
            yield {**json.loads(row.message), "at": from_micros(row.send_at)}
        if len(page) < PAGE:
            return
        last = page[-1].message_id


def histories(home: Home, customers: Sequence[str], *, at: datetime) -> dict[str, list[tuple[datetime, tuple[str, ...]]]]:
    """What these customers were told in the ``4 * FADE`` before ``at``: times and components, by customer."""
    c = outbox.c
    query = select(c.customer, c.message, c.send_at).where(
        c.customer.in_(customers), c.state.in_(LEFT), c.message.is_not(None), c.send_at >= micros(at - 4 * FADE), c.send_at < micros(at)
    )
    found: dict[str, list[tuple[datetime, tuple[str, ...]]]] = {}
    with home.ledger.read() as conn:
        for row in conn.execute(query):
            found.setdefault(row.customer, []).append((from_micros(row.send_at), tuple(json.loads(row.message)["components"])))
    return found


def segments(features: pa.Table | None) -> dict[str, str]:
    """The segment of each decision of a plan, from the features that the plan logged; none where it logged no stage."""
    names = [name for name in (features.column_names if features is not None else ()) if name.startswith("x:stage=")]
    if features is None or not names:
        return {}
    ids = features["decision_id"].to_pylist()
    likes = [(share or 0.0) > asinh(LIKES) for share in _column(features, "x:discount_affinity")]  # logged as asinh
    return {
        ids[place]: segment(name.partition("=")[2], deals=likes[place])
        for name in names
        for place, there in enumerate(_column(features, name))
        if there
    }


LIKES = 0.1  # share of lines bought with a discount, shrunk as in the profile, above which a customer is one who likes deals


def segment(stage: str, *, deals: bool) -> str:
    """The code of a segment: the stage of life, and ``+deals`` for who likes discounts. It is no personal field."""
    return f"{stage}+deals" if deals else stage


def _column(features: pa.Table, name: str) -> list[float | None]:
    if name not in features.column_names:
        return [None] * features.num_rows
    found: list[float | None] = features[name].to_pylist()
    return found
