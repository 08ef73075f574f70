"""Did the plan earn, or only pull orders forward? The same comparison, week by week, beyond the window."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from tradewind.engine.home import Home
from tradewind.measure import money, plots
from tradewind.measure.profit import Sample
from tradewind.measure.report import number
from tradewind.measure.report import units as minor_units
from tradewind.params import Number, check
from tradewind.stats import randomised, sequential
from tradewind.stats.experiment import cuped
from tradewind.stats.means import quantile
from tradewind.types import Estimate, Section

Floats = NDArray[np.float64]


def longer_section(home: Home, found: Sample, *, days: float, as_of: datetime, currency: str) -> Section:
    """Incremental margin per week, in the window and for ``days`` days after it, and what is left of it in all.

    Intention to treat: whatever later plans did to either arm is part of it. Weeks that the log has not seen are left out.
    """
    check("measure", {"longer": days}, {"longer": Number(1, 3650)})
    seen = money.seen_until(home.tables)
    end = min(found.end + timedelta(days=days), as_of, *([seen + timedelta(microseconds=1)] if seen else []))
    after = (end - found.end) / timedelta(days=7)
    arm = found.treated[found.acted]
    if after < 1 or min(arm.sum(), (~arm).sum()) < randomised.LEAST:
        return Section("After the window", ("Less than a week after the window has been seen; collect more and measure again.",))
    weeks = weekly(home, found, end=end, currency=currency)
    before, scale = found.before[found.acted], float(arm.sum())
    inside = math.ceil((found.end - found.start) / timedelta(days=7))

    def effect(values: Floats, name: str) -> Estimate:
        adjusted = cuped(values, before)
        each = randomised.difference(adjusted[arm], adjusted[~arm], name=name, unit="minor")
        assert each.low is not None
        assert each.high is not None
        return Estimate(name, each.value * scale, each.low * scale, each.high * scale, each.level, each.n, "minor")

    each = [effect(weeks[:, at], f"week {at + 1}{'' if at < inside else ', after the window'}") for at in range(weeks.shape[1])]
    during, later = effect(weeks[:, :inside].sum(axis=1), "margin in the window"), effect(weeks[:, inside:].sum(axis=1), "margin after it")
    whole = effect(weeks.sum(axis=1), "margin in all")
    share = _given_back(during, later)
    pictures = (_picture(weeks, arm, before, currency),) if min(arm.sum(), (~arm).sum()) >= sequential.FEW else ()
    return Section("After the window", (_verdict(later, currency), *share), (during, later, whole, *each), (), pictures)


def weekly(home: Home, found: Sample, *, end: datetime, currency: str) -> Floats:
    """Margin of each acting decision's customer by whole week since the plan, minor units [n, weeks]; a week cut off is left out."""
    table = money.daily_margin(home.tables, start=found.start, end=end, currency=currency, margin=home.settings.margin)
    count = math.floor((end - found.start) / timedelta(days=7))
    place = {customer: at for at, customer in enumerate(found.customer[found.acted])}
    values = np.zeros((len(place), count))
    for customer, day, value in zip(*(table[name].to_pylist() for name in ("customer", "day", "margin")), strict=True):
        if customer in place and 0 <= day < 7 * count:
            values[place[customer], int(day) // 7] += value
    return values


def _verdict(later: Estimate, currency: str) -> str:
    assert later.low is not None
    assert later.high is not None
    said = number(later.value, "minor", currency=currency)
    if later.high < 0:
        return f"After the window the treated brought in less than the holdout ({said}): the plan pulled orders forward."
    if later.low > 0:
        return f"After the window the treated still brought in more than the holdout ({said}): the effect lasts."
    return f"After the window nothing was shown in either direction ({said}, zero is inside): no sign of orders pulled forward."


def _given_back(during: Estimate, later: Estimate) -> tuple[str, ...]:
    """How much of the window's gain was given back, where there is a gain and a loss to speak of."""
    if during.value <= 0 or later.value >= 0:
        return ()
    return (f"By the best guesses, {min(9.99, -later.value / during.value):.0%} of what the window gained was given back.",)


def _picture(weeks: Floats, arm: NDArray[np.bool_], before: Floats, currency: str) -> str:
    running, curve = np.cumsum(weeks, axis=1), np.zeros((3, weeks.shape[1]))
    reach = quantile(1 - 0.05 / weeks.shape[1], math.inf)
    for at in range(weeks.shape[1]):
        adjusted = cuped(running[:, at], before)
        a, b = adjusted[arm], adjusted[~arm]
        value, half = a.mean() - b.mean(), reach * math.sqrt(a.var(ddof=1) / a.size + b.var(ddof=1) / b.size)
        curve[:, at] = (value, value - half, value + half)
    curve *= arm.sum() / minor_units(currency)
    days = 7.0 * np.arange(1, weeks.shape[1] + 1)
    return plots.band(days, curve[0], curve[1], curve[2], title="Incremental margin, added up week by week", unit=currency)
