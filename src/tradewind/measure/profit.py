"""Incremental profit of a plan against its holdout, by intention to treat.

The policy logs what it *would* have done for the holdout too. Customers for whom it does nothing cannot differ, so the
comparison is made among those for whom it acts (treated) or would have acted (holdout): unbiased, because the holdout is
drawn by a hash that knows nothing of the action, and far less noisy than the comparison of everybody.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from tradewind.measure.faults import faults_of, model_cost
from tradewind.measure.rows import Fault
from tradewind.stats import fieller, randomised, sequential
from tradewind.stats.experiment import cuped, proportion_difference, sample_ratio
from tradewind.stats.means import Shape, compare
from tradewind.stats.moments import Moments
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
    given: Floats | None = None  # every discount of the customer in the window, on whatever offer; None: not known
    redeemed: Floats | None = None  # orders on which the decision's offer was used
    model: float = 0.0  # what language models cost for this plan
    faults: tuple[Fault, ...] = ()

    @property
    def written(self) -> Floats:
        """The models' cost, shared by the decisions that were treated and act."""
        share = self.treated & self.acted
        return np.where(share, self.model / max(1, int(share.sum())), 0.0)

    @property
    def profit(self) -> Floats:
        """Margin minus the costs of contacts and of language models, per decision."""
        return self.margin - self.contact - self.written

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
    used = {(row["customer"], row["offer"]): (row["given"], row["orders"]) for row in given.to_pylist()}
    pairs = [used.get(pair, (0, 0)) for pair in zip(customers, rows["offer"].to_pylist(), strict=True)]
    contact = _contact_costs(home, plan)
    cost, told = model_cost(home, plan, currency=currency)
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
        discount=np.array([amount for amount, _ in pairs], dtype=np.float64),
        revenue=_aligned(customers, after, "revenue"),
        orders=_aligned(customers, after, "orders").astype(np.int64),
        clicked=np.array([d in clicked for d in decisions], dtype=bool),
        before=np.column_stack([_aligned(customers, table, "margin") for table in history]),
        start=start,
        end=end,
        now=as_of,
        foreign=int(sum(after["foreign"].to_pylist())),
        given=_aligned(customers, after, "discount"),
        redeemed=np.array([orders for _, orders in pairs], dtype=np.float64),
        model=cost,
        faults=(*faults_of(home, plan, start=start, end=seen), *told),
    )


@dataclass(frozen=True)
class Units:
    """The sample summed over the unit of randomisation (a customer or a household), acting units only; units in two arms are left out."""

    treated: NDArray[np.bool_]
    profit: Floats
    converted: NDArray[np.bool_]
    before: Floats
    parts: Mapping[str, Floats]  # revenue, margin, discount (all), orders, contact, model, spent (contact, model, the plan's offers)
    assigned: int  # treated units, also those that the plan leaves alone


def units(found: Sample) -> Units:
    """Sum the decisions of each unit; a unit acts when any of its decisions does."""
    _, place = np.unique(found.unit.astype(str), return_inverse=True)
    n = int(place.max()) + 1 if place.size else 0

    def total(values: Any) -> Floats:
        return np.bincount(place, weights=np.asarray(values, dtype=np.float64), minlength=n).astype(np.float64)

    arms, size = total(found.treated), np.bincount(place, minlength=n)
    whole = (arms == 0) | (arms == size)
    acting = (total(found.acted) > 0) & whole
    columns: dict[str, Any] = {
        "revenue": found.revenue,
        "margin": found.margin,
        "orders": found.orders,
        "contact": found.contact,
        "model": found.written,
        "spent": found.contact + found.discount + found.written,
    }
    columns |= {name: values for name, values in (("discount", found.given), ("redeemed", found.redeemed)) if values is not None}
    return Units(
        treated=(arms > 0)[acting],
        profit=total(found.profit)[acting],
        converted=(total(found.orders) > 0)[acting],
        before=np.column_stack([total(found.before[:, column]) for column in range(found.before.shape[1])])[acting],
        parts={name: total(values)[acting] for name, values in columns.items()},
        assigned=int(((arms > 0) & whole).sum()),
    )


def incremental(found: Sample, *, level: float = 0.95) -> tuple[Estimate, ...]:
    """Incremental profit (total and per acted-on unit), conversion, ROI: each against the holdout, with intervals.

    The intervals of money come from redrawing the assignment (:func:`tradewind.stats.randomised.difference`); ROI's is Fieller's, because
    what was spent varies, too. Returns an empty tuple when an arm has fewer than ``randomised.LEAST`` acting units.
    """
    rows = units(found)
    arm, held = rows.treated, ~rows.treated
    if min(arm.sum(), held.sum()) < randomised.LEAST:
        return ()
    name, adjusted = "incremental profit per customer", cuped(rows.profit, rows.before)
    each = randomised.difference(adjusted[arm], adjusted[held], name=name, level=level, unit="minor")
    plain = randomised.difference(rows.profit[arm], rows.profit[held], name=f"{name}, unadjusted", level=level, unit="minor")
    count = int(arm.sum())
    total = _scaled(each, count, "incremental profit")
    lift = proportion_difference(
        (int(rows.converted[arm].sum()), count),
        (int(rows.converted[held].sum()), int(held.sum())),
        name="incremental conversion",
        level=level,
    )
    values = [total, each]
    if min(count, int(held.sum())) >= sequential.FEW:
        pair = Moments.of(adjusted[arm]), Moments.of(adjusted[held])
        compared = compare([pair[0]], [pair[1]], Shape(0))
        values.append(
            sequential.confidence_sequence(
                compared.value, compared.error, compared.n, f"{name}, always valid", tuned=compared.n, level=level, unit="minor"
            )
        )
    assigned = replace(_scaled(total, 1 / rows.assigned, "incremental profit per assigned customer"), note="those left alone included")
    values += [plain, assigned, replace(lift, note="share who bought, minus that of the holdout")]
    values += [each for each in (_return(adjusted, rows, level=level),) if each is not None]
    return tuple(values)


def _return(profit: Floats, rows: Units, *, level: float) -> Estimate | None:
    """Profit for each unit of money spent on contacts, models and the plan's offers, with Fieller's interval; None without a cost."""
    arm, spent = rows.treated, rows.parts["spent"]
    cost = float(spent[arm].mean())
    if cost <= 0:
        return None
    a, b, n = profit[arm], profit[~arm], int(arm.sum())
    value = float(a.mean() - b.mean())
    error = float(a.var(ddof=1) / n + b.var(ddof=1) / b.size)
    shared = float(np.cov(a, spent[arm])[0, 1]) / n
    bound = fieller.ratio(value, cost, error, float(spent[arm].var(ddof=1)) / n, shared, level=level)
    low, high = (None, None) if bound is None else bound
    note = "profit for each unit of money spent (Fieller)" if bound else "what was spent is not clearly above 0: no interval"
    return Estimate("return on marketing cost", value / cost, low, high, level, len(arm), "ratio", note)


def accounts(found: Sample, *, level: float = 0.95) -> tuple[Estimate, ...]:
    """Where the incremental profit comes from, in totals: revenue, margin, discounts, orders, costs; and what offers really moved.

    Margin is revenue minus the cost of goods and discounts are already taken off it, so profit is margin minus contacts and models.
    """
    rows = units(found)
    arm, held = rows.treated, ~rows.treated
    if min(arm.sum(), held.sum()) < randomised.LEAST:
        return ()
    count, values = int(arm.sum()), []
    for name, unit in (("revenue", "minor"), ("margin", "minor"), ("discount", "minor"), ("orders", "count")):
        if name in rows.parts:
            each = randomised.difference(rows.parts[name][arm], rows.parts[name][held], name=name, level=level, unit=unit)
            label = {"discount": "incremental discounts", "orders": "incremental orders"}.get(name, f"incremental {name}")
            values.append(_scaled(each, count, label))
    values.append(Estimate("contact cost", float(rows.parts["contact"][arm].sum()), unit="minor", n=count))
    if found.model:
        values.append(Estimate("model cost", float(rows.parts["model"][arm].sum()), unit="minor", n=count))
    values += [each for each in (_moved(rows, level=level),) if each is not None]
    return tuple(values)


def _moved(rows: Units, *, level: float) -> Estimate | None:
    """Extra orders for each use of the plan's offers: what is missing to 1 was used by people who would have bought anyway."""
    used = rows.parts.get("redeemed")
    arm = rows.treated
    if used is None or used[arm].sum() < 1:
        return None
    a, b, u = rows.parts["orders"][arm], rows.parts["orders"][~arm], used[arm]
    value, uses = float(a.mean() - b.mean()), float(u.mean())
    error = float(a.var(ddof=1) / a.size + b.var(ddof=1) / b.size)
    bound = fieller.ratio(value, uses, error, float(u.var(ddof=1)) / a.size, float(np.cov(a, u)[0, 1]) / a.size, level=level)
    low, high = (None, None) if bound is None else bound
    note = (
        "some offers went to orders that would have come anyway (cannibalisation)"
        if value < uses
        else "orders without the offer count, too"
    )
    return Estimate("extra orders for each offer used", value / uses, low, high, level, len(arm), "ratio", note)


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
    arms: dict[Any, set[bool]] = {}
    for unit, arm in zip(found.unit, found.treated, strict=True):
        arms.setdefault(unit, set()).add(bool(arm))
    treated, held = (sum(seen == {arm} for seen in arms.values()) for arm in (True, False))
    split = sample_ratio([treated, held], [1 - share, share]) if 0 < share < 1 and treated + held else 1.0
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
