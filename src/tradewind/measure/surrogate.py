"""What a plan brings after its window, before that is over: the surrogate index, learned on the shop's own history.

Section by section the report says that it is a forecast, what it rests on, and how the same forecast would have done on history.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradewind.engine.home import Home
from tradewind.measure import money
from tradewind.measure.profit import HISTORY_DAYS, Sample
from tradewind.measure.report import number
from tradewind.params import Number, check
from tradewind.stats import randomised
from tradewind.stats.experiment import cuped
from tradewind.stats.surrogate import Index, effect, fit
from tradewind.types import Estimate, Section, utc

Floats = NDArray[np.float64]
TITLE = "Foreseen after the window"
STRETCHES = 4  # of history at most
CAVEAT = (
    "A forecast, not a measurement. It holds if the plan changes what follows only through what is seen in its window (margin, orders, "
    "visits), and if that goes on as it did in history. A message that pulls orders forward breaks this: then the figure is too high, "
    "and nothing in the window shows it. Measure again when the time has passed (--longer)."
)


def foreseen_section(home: Home, found: Sample, days: float, *, currency: str) -> Section:
    """Margin in the ``days`` days after the window that the plan will have brought, by the surrogate index, in totals.

    The index is learned on up to four stretches of history, each as long as window and ``days`` together, the last one ending where
    the plan begins; its intervals know of the noise in both samples and not of a broken assumption.
    """
    check("measure", {"foresee": days}, {"foresee": Number(1, 3650)})
    arm = found.treated[found.acted]
    if not found.matured:
        return Section(TITLE, (f"The window runs until {found.end:%Y-%m-%d}; what follows is foreseen when it is over.",))
    if min(arm.sum(), (~arm).sum()) < randomised.LEAST:
        return Section(TITLE, (f"Too few to say anything: {randomised.LEAST} in each arm are needed.",))
    window, horizon = found.end - found.start, timedelta(days=days)
    stretches = _stretches(home, found.start, window, horizon)
    if not stretches:
        need = (window + horizon + window).days
        return Section(TITLE, (f"The log is too short to learn from: it must begin {need} days or more before the plan.",))
    rows = [_history(home, at, window, horizon, currency) for at in stretches]
    index = fit(*(np.concatenate(part) for part in zip(*rows, strict=True)))
    columns = _columns(home, found.customer[found.acted], found.start, window, currency)
    columns = np.column_stack([cuped(column, found.before[found.acted]) for column in columns.T])
    each = effect(index, columns[arm], columns[~arm], name=f"margin in the {days:g} days after the window, foreseen", unit="minor")
    count = int(arm.sum())
    assert each.low is not None
    assert each.high is not None
    total = Estimate(each.name, each.value * count, each.low * count, each.high * count, each.level, each.n, "minor", each.note)
    learned = (
        f"Learned on {index.n:,} customer stretches of history ({len(rows)} of them, the last ending {found.start:%Y-%m-%d}); the columns "
        f"explain {max(0.0, index.explained):.0%} of what followed."
    )
    return Section(TITLE, (CAVEAT, learned, _checked(rows, stretches, currency)), (total,))


def _stretches(home: Home, start: datetime, window: timedelta, horizon: timedelta) -> list[datetime]:
    """Beginnings of the stretches, the latest first; each has a window's length of log before it."""
    events = home.tables.events()
    first = home.tables.to_arrow(events.aggregate(at=events.at.min()))["at"][0].as_py()
    if first is None:
        return []
    found = [start - window - horizon - at * window for at in range(STRETCHES)]
    return [at for at in found if at - window >= utc(first)]


def _history(home: Home, at: datetime, window: timedelta, horizon: timedelta, currency: str) -> tuple[Floats, Floats, NDArray[Any]]:
    """Columns, what followed, and who, for everybody whom the shop knew at ``at``."""
    events = home.tables.events(as_of=at)
    known = home.tables.to_arrow(events.filter(events.customer.notnull()).select("customer").distinct())
    who = np.array(sorted(known["customer"].to_pylist()), dtype=object)
    later = money.customer_money(home.tables, start=at + window, end=at + window + horizon, currency=currency, margin=home.settings.margin)
    return _columns(home, who, at, window, currency), _of(who, later, "margin"), who


def _columns(home: Home, who: NDArray[Any], at: datetime, window: timedelta, currency: str) -> Floats:
    """What is seen of each customer in the window from ``at`` on, and what she was before, [n, 7]."""
    tables, margin = home.tables, home.settings.margin
    spans = ((at, at + window), (at - window, at), (at - timedelta(days=HISTORY_DAYS), at))
    seen, before, long = (money.customer_money(tables, start=start, end=end, currency=currency, margin=margin) for start, end in spans)
    events = tables.events(as_of=at + window)
    views = events.filter(events.at >= at, events.kind == "view", events.customer.notnull())
    visits = tables.to_arrow(views.group_by("customer").aggregate(visits=views.count()))
    earned, orders = _of(who, seen, "margin"), _of(who, seen, "orders")
    return np.column_stack(
        [
            earned,
            np.sign(earned) * np.log1p(np.abs(earned)),
            orders,
            orders > 0,
            np.log1p(_of(who, visits, "visits")),
            _of(who, before, "margin"),
            _of(who, long, "margin"),
        ]
    ).astype(np.float64)


def _of(who: NDArray[Any], table: pa.Table, column: str) -> Floats:
    values = dict(zip(table["customer"].to_pylist(), table[column].to_pylist(), strict=True))
    return np.array([values.get(name, 0) or 0 for name in who], dtype=np.float64)


def _checked(rows: list[tuple[Floats, Floats, NDArray[Any]]], stretches: list[datetime], currency: str) -> str:
    """How an index of the earlier stretches would have foreseen the latest one."""
    if len(rows) < 2:
        return "History is too short to check the forecast on a stretch that it was not learned on."
    earlier: Index = fit(*(np.concatenate(part) for part in zip(*rows[1:], strict=True)))
    said, was = earlier.of(rows[0][0]), rows[0][1]
    told = [number(float(each.mean()), "minor", currency=currency) for each in (said, was)]
    alike = float(np.corrcoef(said, was)[0, 1]) if min(said.std(), was.std()) > 0 else 0.0
    return (
        f"Checked on the stretch from {stretches[0]:%Y-%m-%d}, foreseen from the earlier ones: {told[0]} a customer foreseen, "
        f"{told[1]} followed; correlation {alike:.2f}."
    )
