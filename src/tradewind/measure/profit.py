"""Incremental profit of a plan against its holdout, by intention to treat.

The policy logs what it *would* have done for the holdout too. Customers for whom it does nothing cannot differ, so the
comparison is made among those for whom it acts (treated) or would have acted (holdout): unbiased, because the holdout is
drawn by a hash that knows nothing of the action, and far less noisy than the comparison of everybody.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import select

from tradewind import schema
from tradewind.decide.plan import Plan
from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.measure import money
from tradewind.stats.experiment import cuped, mean_difference, proportion_difference, sample_ratio
from tradewind.types import NOTHING, Estimate, utc

Floats = NDArray[np.float64]
GAP = timedelta(days=1)  # a log that ends earlier than this before the window's end has not seen the window
HISTORY_DAYS = 90  # pre-period whose margin explains part of the noise


@dataclass(frozen=True)
class Sample:
    """One row per decision of a plan: who, in which arm, and what followed. Money in minor units."""

    decision: NDArray[np.object_]
    customer: NDArray[np.object_]
    unit: NDArray[np.object_]
    treated: NDArray[np.bool_]
    acted: NDArray[np.bool_]  # the policy acts, or would have acted on the holdout
    sent: NDArray[np.bool_]
    margin: Floats
    contact: Floats
    discount: Floats
    revenue: Floats
    orders: NDArray[np.int64]
    clicked: NDArray[np.bool_]
    before: Floats  # [n, 2]: margin in the window's length before, and in HISTORY_DAYS before
    start: datetime
    end: datetime
    now: datetime
    foreign: int

    @property
    def profit(self) -> Floats:
        """Margin minus contact cost, per decision."""
        return self.margin - self.contact

    @property
    def matured(self) -> bool:
        """Whether the whole outcome window has passed."""
        return self.now >= self.end


def _aligned(keys: NDArray[np.object_], table: pa.Table, column: str, by: str = "customer") -> Floats:
    """Values of ``column`` for ``keys``, 0 where the table has no row."""
    values = dict(zip(table[by].to_pylist(), table[column].to_pylist(), strict=True))
    return np.array([values.get(key, 0) or 0 for key in keys], dtype=np.float64)


def _contact_costs(home: Home, plan: Plan) -> dict[str, float]:
    """Cost of what was handed off per decision; an unknown hand-off counts as sent, because it may have cost money."""
    costs: dict[str, float] = {name: float(cost) for name, cost in plan.meta["channel_costs"].items()}
    table = books.outbox
    with home.ledger.read() as connection:
        rows = connection.execute(
            select(table.c.decision_id, table.c.channel).where(
                table.c.plan_id == plan.meta["plan_id"], table.c.state.in_(["accepted", "unknown"])
            )
        ).all()
    return {decision: costs.get(channel, 0.0) for decision, channel in rows}


def sample(home: Home, plan: Plan, *, as_of: datetime) -> Sample:
    """Join a plan with what followed: the window is [plan's as_of, + window_days), cut at ``as_of`` when that is earlier.

    A log that ends more than a day before that has not seen the rest: then ``now`` is where it ends, and nothing has matured.
    """
    rows = plan.table
    start = utc(plan.meta["as_of"], what="plan as_of")
    end = start + timedelta(days=float(plan.meta["window_days"]))
    last = money.seen_until(home.tables)
    if last is None or last + GAP < min(end, as_of):
        as_of = start if last is None else max(start, last + timedelta(microseconds=1))
    seen = min(end, as_of)
    currency, margin = str(plan.meta["currency"]), home.settings.margin
    customers = np.array(rows["customer"].to_pylist(), dtype=object)
    decisions = np.array(rows["decision_id"].to_pylist(), dtype=object)
    after = money.customer_money(home.tables, start=start, end=seen, currency=currency, margin=margin)
    spans = (end - start, timedelta(days=HISTORY_DAYS))
    history = [money.customer_money(home.tables, start=start - span, end=start, currency=currency, margin=margin) for span in spans]
    given = money.offer_discounts(home.tables, start=start, end=seen, currency=currency)
    used = {(c, o): g for c, o, g in zip(*(given[name].to_pylist() for name in ("customer", "offer", "given")), strict=True)}
    offers = rows["offer"].to_pylist()
    contact = _contact_costs(home, plan)
    clicked = money.clicks(home.tables, start=start, end=seen)
    actions = np.array(rows["action"].to_pylist(), dtype=object)
    modes = np.array(rows["mode"].to_pylist(), dtype=object)
    return Sample(
        decision=decisions,
        customer=customers,
        unit=np.array(rows["unit"].to_pylist(), dtype=object),
        treated=np.array([variant == "treat" for variant in rows["variant"].to_pylist()]),
        acted=(actions != NOTHING) | (modes == "override"),
        sent=np.array([d in contact for d in decisions], dtype=bool),
        margin=_aligned(customers, after, "margin"),
        contact=np.array([contact.get(d, 0.0) for d in decisions], dtype=np.float64),
        discount=np.array([used.get(pair, 0) for pair in zip(customers, offers, strict=True)], dtype=np.float64),
        revenue=_aligned(customers, after, "revenue"),
        orders=_aligned(customers, after, "orders").astype(np.int64),
        clicked=np.array([d in clicked for d in decisions], dtype=bool),
        before=np.column_stack([_aligned(customers, table, "margin") for table in history]),
        start=start,
        end=end,
        now=as_of,
        foreign=int(sum(after["foreign"].to_pylist())),
    )


@dataclass(frozen=True)
class Units:
    """The sample summed over the unit of randomisation (a customer or a household), acting units only."""

    treated: NDArray[np.bool_]
    profit: Floats
    converted: NDArray[np.bool_]
    before: Floats


def units(found: Sample) -> Units:
    """Sum the decisions of each unit; a unit acts when any of its decisions does."""
    _, place = np.unique(found.unit.astype(str), return_inverse=True)
    n = int(place.max()) + 1 if place.size else 0

    def total(values: Any) -> Floats:
        return np.bincount(place, weights=np.asarray(values, dtype=np.float64), minlength=n).astype(np.float64)

    acting = total(found.acted) > 0
    arms = total(found.treated)
    size = np.bincount(place, minlength=n)
    assert ((arms == 0) | (arms == size)).all(), "a unit stands in two arms"
    return Units(
        treated=(arms > 0)[acting],
        profit=total(found.profit)[acting],
        converted=(total(found.orders) > 0)[acting],
        before=np.column_stack([total(found.before[:, column]) for column in range(found.before.shape[1])])[acting],
    )


def incremental(found: Sample, *, level: float = 0.95) -> tuple[Estimate, ...]:
    """Incremental profit (total and per acted-on unit), conversion, ROI: each against the holdout, with intervals.

    Returns an empty tuple when an arm has fewer than two acting units: then nothing can be said.
    """
    rows = units(found)
    arm, held = rows.treated, ~rows.treated
    if arm.sum() < 2 or held.sum() < 2:
        return ()
    adjusted = cuped(rows.profit, rows.before)
    each = mean_difference(adjusted[arm], adjusted[held], name="incremental profit per customer", level=level, unit="minor")
    plain = mean_difference(
        rows.profit[arm], rows.profit[held], name="incremental profit per customer, unadjusted", level=level, unit="minor"
    )
    count = int(arm.sum())
    total = _scaled(each, count, "incremental profit")
    lift = proportion_difference(
        (int(rows.converted[arm].sum()), count),
        (int(rows.converted[held].sum()), int(held.sum())),
        name="incremental conversion",
        level=level,
    )
    cost = float(found.contact[found.treated].sum() + found.discount[found.treated].sum())
    values = [total, each, plain, replace(lift, note="share who bought, minus that of the holdout")]
    if cost > 0:
        values.append(
            replace(
                _scaled(total, 1 / cost, "return on marketing cost"),
                unit="ratio",
                note="profit for each unit of money spent; the cost is taken as given",
            )
        )
    return tuple(values)


def _scaled(value: Estimate, factor: float, name: str) -> Estimate:
    assert value.low is not None
    assert value.high is not None
    return replace(value, name=name, value=value.value * factor, low=value.low * factor, high=value.high * factor)


@dataclass(frozen=True)
class Health:
    """What would forbid to believe the comparison."""

    treated: int
    holdout: int
    split: float  # p-value of the sample-ratio test
    contaminated: int  # holdout decisions with a message: must be 0
    foreign: int  # order lines in another currency, left out
    matured: bool


def health(found: Sample, *, share: float) -> Health:
    """Check the split by units, the holdout's purity, the currency and the maturity of the window."""
    arms = dict(zip(found.unit, found.treated, strict=True))
    treated = sum(arms.values())
    held = len(arms) - treated
    split = sample_ratio([treated, held], [1 - share, share]) if 0 < share < 1 and arms else 1.0
    return Health(treated, held, split, int((found.sent & ~found.treated).sum()), found.foreign, found.matured)


def outcomes(found: Sample, *, plan_id: str) -> pa.Table:
    """The sample as ``schema.OUTCOMES``: what goes back to ``collect`` and becomes training rows of the next policy."""
    n = found.decision.size
    table = pa.table(
        {
            "decision_id": pa.array(found.decision, pa.string()),
            "plan_id": pa.array([plan_id] * n, pa.string()),
            "customer": pa.array(found.customer, pa.string()),
            "at": pa.array([min(found.end, found.now)] * n, schema.TIME),
            "margin": pa.array(np.rint(found.margin).astype(np.int64)),
            "cost": pa.array(np.rint(found.contact + found.discount).astype(np.int64)),
            "orders": pa.array(found.orders),
            "clicked": pa.array(found.clicked),
            "matured": pa.array(np.full(n, found.matured)),
        }
    )
    return schema.conform(table, schema.OUTCOMES)
