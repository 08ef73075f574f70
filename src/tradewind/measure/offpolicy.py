"""What other ways of deciding would have earned on a plan's own log: values per customer, gains over the plan, or a refusal.

Every decision logged all candidates with their propensities, and the holdout is a second draw: really "nothing" happened with
probability ``h + (1 - h) p(nothing)``, really action j with ``(1 - h) p(j)``. Rows that a hard limit changed are left out. Predictions
(for the doubly robust score) are of profit with and without a message from what customers brought in before, cross-fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.decide.plan import Plan
from tradewind.engine.home import Home
from tradewind.errors import InputError
from tradewind.measure.profit import sample
from tradewind.stats.offpolicy import Judged, Match, Refused, gain, judge
from tradewind.stats.reward_model import cross_fitted
from tradewind.types import NOTHING, Report, Section

Values = NDArray[np.float64]
Chooser = Callable[[Sequence[str], Sequence[float], Sequence[float]], Values]  # keys, scores, propensities -> probabilities
OWN = "as the plan decided"


def choosers(plan: Plan) -> Mapping[str, Chooser]:
    """The ways that are compared: the plan's own, nobody, always the best score, and each offer wherever it was a candidate."""
    found: dict[str, Chooser] = {
        OWN: lambda _, __, chances: np.asarray(chances, dtype=np.float64),
        "nothing for everybody": lambda keys, _, __: np.eye(len(keys))[0],
        "always the best score": lambda keys, scores, _: np.eye(len(keys))[int(np.argmax(scores))],
        "any candidate by chance": lambda keys, _, __: np.full(len(keys), 1 / len(keys)),
    }
    offers = sorted({key.partition("|")[0] for keys in plan.table["candidates"].to_pylist() for key in keys if key != NOTHING})
    return found | {f"always {offer}": _always(offer) for offer in offers}


def _always(offer: str) -> Chooser:
    """The best-scored candidate of an offer; nothing where there is none."""

    def choose(keys: Sequence[str], scores: Sequence[float], _: Sequence[float]) -> Values:
        mine = [at for at, key in enumerate(keys) if key.partition("|")[0] == offer]
        return np.asarray(np.eye(len(keys))[max(mine, key=lambda at: scores[at]) if mine else 0])

    return choose


def matches(home: Home, plan: Plan, ways: Mapping[str, Chooser | Plan], *, as_of: datetime, seed: int = 0) -> dict[str, Match]:
    """Every way matched with the plan's log and with the profit that followed each decision, minor units.

    A way is a function of a decision's candidates, or another plan for the same customers at the same moment: that of another
    policy, whose candidates may be others; what this log could never choose of them counts as without support.

    Raises
    ------
    InputError
        Fewer than 50 decisions followed the policy.
    """
    found = sample(home, plan, as_of=as_of)
    followed = np.array([mode == "policy" for mode in plan.table["mode"].to_pylist()])
    if followed.sum() < 50:
        raise InputError(
            f"Plan {plan.plan_id[:8]} has {int(followed.sum())} decisions that followed the policy; 50 are needed to judge others."
        )
    rows = plan.table.select(["customer", "action", "variant", "candidates", "scores", "propensities"]).to_pylist()
    rows = [row for row, kept in zip(rows, followed.tolist(), strict=True) if kept]
    profit, before = found.profit[followed], found.before[followed]
    held = float(plan.meta["holdout"])
    action = [row["action"] if row["variant"] == "treat" else NOTHING for row in rows]
    acted = np.array([name != NOTHING for name in action], dtype=np.int64)
    q = cross_fitted(before, acted, profit, arms=2, seed=seed)
    place = [row["candidates"].index(name) for row, name in zip(rows, action, strict=True)]
    reals = [(1 - held) * np.array(row["propensities"]) + held * np.eye(len(row["propensities"]))[0] for row in rows]
    chance = np.array([real[at] for real, at in zip(reals, place, strict=True)])
    taken = q[np.arange(len(rows)), acted]
    judged = {}
    for name, way in ways.items():
        chances = (
            _of_plan(way, rows) if isinstance(way, Plan) else [way(row["candidates"], row["scores"], row["propensities"]) for row in rows]
        )
        mine = np.array([each[at] for each, at in zip(chances, place, strict=True)])
        idle = np.array([each[0] for each in chances])
        lost = 1 - float(np.mean([each.sum() for each in chances]))
        foreseen = len(rows) / float(np.mean([(each**2 / real).sum() for each, real in zip(chances, reals, strict=True)]))
        judged[name] = Match(profit, mine / chance, taken, idle * q[:, 0] + (1 - idle) * q[:, 1], max(lost, 0.0), foreseen)
    return judged


def _of_plan(other: Plan, rows: Sequence[Mapping[str, Any]]) -> list[Values]:
    """The probabilities that another plan gave the candidates of this one's decisions."""
    known = zip(*(other.table[name].to_pylist() for name in ("customer", "candidates", "propensities")), strict=True)
    told = {customer: dict(zip(keys, chances, strict=True)) for customer, keys, chances in known}
    if missing := [row["customer"] for row in rows if row["customer"] not in told]:
        raise InputError(
            f"off-policy: the other policy decides nothing about {len(missing):,} customers of the plan, such as {missing[0]}."
        )
    return [np.array([told[row["customer"]].get(key, 0.0) for key in row["candidates"]]) for row in rows]


def offpolicy(
    home: Home, plan: Plan, *, as_of: datetime, against: Mapping[str, Plan] | None = None, level: float = 0.95, seed: int = 0
) -> Report:
    """The ways of :func:`choosers` on a committed plan's log, doubly robust; a way that the log cannot speak for has no number.

    ``against``: plans of other policies for the same customers and moment, by name; they need not be committed.

    When not to use: to crown the best of many; several were looked at, and a test on fresh customers decides.
    """
    log = matches(home, plan, {**choosers(plan), **(against or {})}, as_of=as_of, seed=seed)
    rows: list[dict[str, Any]] = []
    refused = []
    for name, match in log.items():
        value, more = judge(match, "sndr", level=level), gain(match, log[OWN], "sndr", level=level)
        row: dict[str, Any] = {"way of deciding": name, "effective": round(min(match.support.effective, match.foreseen or 0.0))}
        if isinstance(value, Refused):
            refused.append(f"{name}: {'; '.join(value.why)}.")
            rows.append(row | {"profit per customer": None, "low": None, "high": None})
            continue
        row |= {"profit per customer": value.estimate.value, "low": value.estimate.low, "high": value.estimate.high}
        if isinstance(more, Judged) and name != OWN:
            row |= {"over the plan": more.estimate.value, "from": more.estimate.low, "to": more.estimate.high}
        rows.append(row)
    text = (
        f"Profit per customer in minor units of {plan.meta['currency']} if the customers of this plan had been decided otherwise, from its "
        f"logged propensities (doubly robust, self-normalised; {level:.0%}). Budgets are not looked at: another way may cost more."
    )
    said = ("No number where the log hardly ever did what would have been done:", *refused) if refused else ()
    if against:
        said = ("A policy whose models learned from what followed this very plan is flattered here.", *said)
    columns = ("way of deciding", "effective", "profit per customer", "low", "high", "over the plan", "from", "to")
    section = Section("Other ways of deciding", (text, *said), (), tuple({name: row.get(name) for name in columns} for row in rows))
    meta = {"plan_id": plan.plan_id, "shop": home.settings.name, "currency": plan.meta["currency"], "as_of": as_of.isoformat()}
    return Report(f"What plan {plan.plan_id[:8]} says of other policies", as_of, [section], home.settings.simulated, meta)
