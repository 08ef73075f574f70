"""Measure a plan: what it earned against its holdout, how sure we are, where the money went, and what to do next."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import numpy as np
from sqlalchemy import func, select

from tradewind.decide.plan import Plan
from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.measure import money, plots
from tradewind.measure.profit import Health, Sample, health, incremental, outcomes, sample, units
from tradewind.measure.report import interval, number
from tradewind.stats.experiment import cuped
from tradewind.types import NOTHING, Estimate, Report, Section

BROKEN_SPLIT = 0.001


def measure(home: Home, plan: Plan, *, as_of: datetime, truth: float | None = None, more: Sequence[Section] = ()) -> Report:
    """Report on a committed plan as of a time; events at or after ``as_of`` are not looked at.

    Parameters
    ----------
    truth
        The true incremental profit in minor units where a simulation knows it; it is printed beside the estimate and
        the report is marked as simulated.
    more
        Sections to append: data quality, models, words.

    Raises
    ------
    StateError
        Order lines without cost and no assumed margin: profit cannot be stated.

    When not to use: a plan without holdout (then nothing causal can be said, and the report says so).
    """
    found = sample(home, plan, as_of=as_of)
    share = float(plan.meta["holdout"])
    checks = health(found, share=share)
    values = incremental(found)
    currency = str(plan.meta["currency"])
    sections = [
        _earned(values, checks, found, truth=truth, currency=currency),
        _certainty(values, checks, share=share),
        _curve(home, found, currency=currency, margin=home.settings.margin),
        _spent(home, plan, found, currency=currency),
        _given(plan),
        *more,
        _next(values, checks, found, currency=currency),
    ]
    simulated = truth is not None or home.settings.simulated
    title = f"What plan {plan.meta['plan_id'][:8]} earned"
    meta = {"plan_id": plan.meta["plan_id"], "currency": currency, "shop": home.settings.name, "as_of": as_of.isoformat()}
    table = outcomes(found, plan_id=str(plan.meta["plan_id"]))
    return Report(title, as_of, [s for s in sections if s is not None], simulated, meta, table)


def _total(values: Sequence[Estimate]) -> Estimate | None:
    return next((e for e in values if e.name == "incremental profit"), None)


def _earned(values: Sequence[Estimate], checks: Health, found: Sample, *, truth: float | None, currency: str) -> Section:
    total = _total(values)
    text = [_verdict(total, checks, currency=currency)]
    if not checks.matured:
        text.append(f"The window runs until {found.end:%Y-%m-%d %H:%M} UTC; seen so far until {found.now:%Y-%m-%d %H:%M}. Not final.")
    shown = list(values)
    if total is not None and truth is not None:
        inside = "inside" if total.covers(truth) else "outside"
        shown.insert(1, Estimate("true incremental profit (simulated)", truth, unit="minor", note=f"{inside} the interval"))
    picture: tuple[str, ...] = ()
    if total is not None:
        picture = (plots.intervals([total], title="Incremental profit", unit=currency, truth=truth, scale=100.0),)
    return Section("What we earned", tuple(text), tuple(shown), (), picture)


def _verdict(total: Estimate | None, checks: Health, *, currency: str) -> str:
    if total is None:
        return "We cannot tell: there is no holdout to compare with, or hardly anybody in it."
    if checks.split < BROKEN_SPLIT or checks.contaminated:
        return "Do not use these figures: the comparison is broken (see below)."
    assert total.low is not None
    assert total.high is not None
    said = f"{number(total.value, 'minor', currency=currency)} (between {interval(total, currency=currency)})"
    if total.low > 0:
        return f"The plan earned more than doing nothing: {said} of profit after discounts and contact costs."
    if total.high < 0:
        return f"The plan lost money against doing nothing: {said}."
    return f"We cannot tell yet whether the plan earned anything: our best guess is {said}, and zero is inside."


def _certainty(values: Sequence[Estimate], checks: Health, *, share: float) -> Section:
    text = [
        (
            f"{checks.treated:,} units could be contacted, {checks.holdout:,} were held out by a hash that nobody can influence "
            f"(asked for: {share:.1%}). Compared are those for whom the plan acts, or would have acted."
        ),
        f"Split check: p = {checks.split:.3g}"
        + (" - the split is broken; find out why first." if checks.split < BROKEN_SPLIT else ", fine."),
    ]
    if checks.contaminated:
        text.append(f"{checks.contaminated} held-out customers got a message. The holdout is contaminated.")
    if checks.foreign:
        text.append(f"{checks.foreign} order lines in another currency were left out of all sums.")
    named = {e.name: e for e in values}
    plain, each = named.get("incremental profit per customer, unadjusted"), named.get("incremental profit per customer")
    if plain is not None and each is not None and plain.high is not None and each.high is not None:
        assert plain.low is not None
        assert each.low is not None
        if plain.high > plain.low:
            saved = 1 - ((each.high - each.low) / (plain.high - plain.low)) ** 2
            text.append(f"What customers bought before explains {max(0.0, saved):.0%} of the noise and was taken out (CUPED).")
    return Section("How sure we are", tuple(text))


def _curve(home: Home, found: Sample, *, currency: str, margin: float | None) -> Section | None:
    """Cumulative incremental profit by day: fixed-horizon intervals, one per day, for looking and not for stopping."""
    last = math.floor((min(found.now, found.end) - found.start).total_seconds() / 86_400)
    rows = units(found)
    if last < 2 or rows.treated.sum() < 2 or (~rows.treated).sum() < 2:
        return None
    table = money.daily_margin(home.tables, start=found.start, end=min(found.now, found.end), currency=currency, margin=margin)
    place = {customer: i for i, customer in enumerate(found.customer)}
    daily = np.zeros((found.customer.size, last + 1))
    for customer, day, value in zip(*(table[name].to_pylist() for name in ("customer", "day", "margin")), strict=True):
        if customer in place and 0 <= day <= last:
            daily[place[customer], day] += value
    keep = found.acted
    arm, before = found.treated[keep], found.before[keep]
    running = np.cumsum(daily[keep], axis=1)[:, :last] - found.contact[keep, None]
    curve = np.zeros((3, last))
    for day in range(last):
        adjusted = cuped(running[:, day], before)
        a, b = adjusted[arm], adjusted[~arm]
        error = math.sqrt(a.var(ddof=1) / a.size + b.var(ddof=1) / b.size)
        value = float(a.mean() - b.mean())
        curve[:, day] = (value, value - 1.96 * error, value + 1.96 * error)
    curve *= arm.sum() / 100
    days = np.arange(1, last + 1, dtype=np.float64)
    picture = plots.band(days, curve[0], curve[1], curve[2], title="Incremental profit day by day", unit=currency)
    return Section(
        "Day by day",
        ("The band is the interval of each day seen alone; looking every day and stopping at the best is not fair.",),
        plots=(picture,),
    )


def _spent(home: Home, plan: Plan, found: Sample, *, currency: str) -> Section:
    plan_id = str(plan.meta["plan_id"])
    with home.ledger.read() as connection:
        states = connection.execute(
            select(books.outbox.c.channel, books.outbox.c.state, func.count())
            .where(books.outbox.c.plan_id == plan_id)
            .group_by(books.outbox.c.channel, books.outbox.c.state)
        ).all()
    treated = found.treated
    contact, discount = float(found.contact[treated].sum()), float(found.discount[treated].sum())
    budget = plan.meta.get("budget")
    values = [
        Estimate("contact cost", contact, unit="minor"),
        Estimate("discounts used on the plan's offers", discount, unit="minor"),
        Estimate("reserved when planned", float(sum(plan.table["reserved"].to_pylist())), unit="minor"),
    ]
    text: tuple[str, ...] = ()
    if budget is not None:
        values.append(Estimate("budget", float(budget), unit="minor"))
        used = (contact + discount) / float(budget) if budget else 0.0
        text = (f"Contact and discounts came to {number(contact + discount, 'minor', currency=currency)}, {used:.0%} of the budget.",)
    rows = tuple({"channel": channel, "state": state, "messages": count} for channel, state, count in sorted(states))
    return Section("Where the money went", text, tuple(values), rows)


def _given(plan: Plan) -> Section:
    table = plan.table
    variants, actions, offers, channels = (table[name].to_pylist() for name in ("variant", "action", "offer", "channel"))
    counts: Counter[tuple[str, str]] = Counter()
    for variant, action, offer, channel in zip(variants, actions, offers, channels, strict=True):
        if variant == "treat":
            counts[(NOTHING, "-") if action == NOTHING else (str(offer), str(channel))] += 1
    why: Counter[str] = Counter()
    for text in table["suppressed"].to_pylist():
        why.update(set(json.loads(text).values()) if text else ())
    rows = tuple({"offer": offer, "channel": channel, "customers": n} for (offer, channel), n in counts.most_common())
    reasons = ", ".join(f"{code} ({n:,})" for code, n in why.most_common(8))
    said = (f"Some actions were ruled out, counted by customers: {reasons}.",) if reasons else ()
    picture = plots.bars(
        {f"{row['offer']} / {row['channel']}": float(str(row["customers"])) for row in rows}, title="Who got what", unit="customers"
    )
    return Section("Who got what", said, (), rows, (picture,))


def _next(values: Sequence[Estimate], checks: Health, found: Sample, *, currency: str) -> Section:
    total = _total(values)
    text: list[str] = []
    if total is None:
        text.append("Plan with a holdout (holdout=0.1 holds out one customer in ten); without it nobody can say what was earned.")
    elif checks.split < BROKEN_SPLIT or checks.contaminated:
        text.append("Find out how units changed arms or were lost before looking at any figure.")
    else:
        assert total.low is not None
        assert total.high is not None
        half = (total.high - total.low) / 2
        if total.low <= 0 <= total.high and total.value > 0:
            factor = (half / total.value) ** 2
            text.append(
                f"If the effect is as large as our best guess, about {factor:,.1f} times as many customers (or as many such plans) "
                "would show it. A larger holdout also helps: half and half is best for knowing, small is best for earning."
            )
        elif total.low > 0:
            text.append("Keep the plan running; lower the holdout when you trust it, and let the next plan learn from these outcomes.")
        else:
            text.append("Do not repeat this plan unchanged: the next one learns from these outcomes and will do less of it.")
        text.append(
            f"The smallest effect that this plan could have shown is about {number(half * 1.43, 'minor', currency=currency)} (80 % power)."
        )
    if not checks.matured:
        text.append(f"Measure again after {found.end:%Y-%m-%d %H:%M} UTC.")
    return Section("What to do next", tuple(text))
