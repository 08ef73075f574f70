"""Measure a plan: what it earned against its holdout, how sure we are, where the money went, and what to do next."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import func, select

from tradewind.decide.plan import Plan
from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.measure import money, plots
from tradewind.measure.longer import longer_section
from tradewind.measure.profit import Health, Sample, accounts, health, incremental, outcomes, sample, units
from tradewind.measure.report import Told, number
from tradewind.measure.report import units as minor_units
from tradewind.measure.verdict import further, sentence, verdict
from tradewind.measure.words import names, offer_name, reasons
from tradewind.stats import sequential
from tradewind.stats.experiment import cuped
from tradewind.stats.means import quantile
from tradewind.types import NOTHING, Estimate, Report, Section

BROKEN_SPLIT = 0.001
ANALYST = tuple(f"incremental profit per {name}" for name in ("customer, always valid", "customer, unadjusted", "assigned customer"))


def measure(
    home: Home, plan: Plan, *, as_of: datetime, truth: float | None = None, longer: float = 0, more: Sequence[Section] = ()
) -> Report:
    """Report on a committed plan as of a time; events at or after ``as_of`` are not looked at.

    Parameters
    ----------
    truth
        The true incremental profit in minor units where a simulation knows it; it is printed beside the estimate and
        the report is marked as simulated.
    longer
        Days after the window to look at, too: did the plan only pull orders forward?
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
    total = _total(values)
    said = verdict(total, acted=bool(found.acted.any()), broken=broken(checks, found))
    todo = further(total, said, all_treated=bool(found.treated.all()), wait=None if checks.matured else f"{found.end:%Y-%m-%d %H:%M}")
    sections = [
        _earned(values, checks, found, said=sentence("verdict", said, currency=currency), truth=truth, currency=currency),
        _certainty(values, checks, share=share),
        Section("What to do next", tuple(sentence("next", one, currency=currency) for one in todo)),
        _left_out(found),
        _accounts(found),
        _curve(home, found, currency=currency, margin=home.settings.margin),
        longer_section(home, found, days=longer, as_of=as_of, currency=currency) if longer else None,
        _spent(home, plan, found, currency=currency),
        _given(plan),
        _ruled_out(plan),
        *more,
        _analyst(values),
    ]
    simulated = truth is not None or home.settings.simulated
    title = f"What plan {plan.meta['plan_id'][:8]} earned"
    meta: dict[str, Any] = {"plan_id": plan.meta["plan_id"], "currency": currency, "shop": home.settings.name, "as_of": as_of.isoformat()}
    meta |= {"names": {"zh-CN": names(plan, "zh-CN")}, "window": [f"{each:%Y-%m-%d}" for each in (found.start, found.end)]}
    meta |= {"matured": checks.matured, "verdict": asdict(said), "next": [asdict(one) for one in todo]}
    table = outcomes(found, plan_id=str(plan.meta["plan_id"]))
    return Told(title, as_of, [s for s in sections if s is not None], simulated, meta, table)


def broken(checks: Health, found: Sample) -> bool:
    """Whether something forbids to believe the comparison."""
    return checks.split < BROKEN_SPLIT or bool(checks.contaminated) or any(fault.broken for fault in found.faults)


def _left_out(found: Sample) -> Section | None:
    """What was found wrong in the data, and what the figures therefore do not hold."""
    text = [fault.text for fault in found.faults]
    rows: list[dict[str, object]] = [{"what": fault.code, "count": fault.count} for fault in found.faults]
    if found.foreign:
        text.append(f"{found.foreign:,} order lines in another currency were left out of all sums.")
        rows.append({"what": "foreign_currency", "count": found.foreign})
    return Section("What was left out", tuple(text), (), tuple(rows)) if text else None


def _accounts(found: Sample) -> Section | None:
    values = accounts(found)
    text = (
        "Everything is the difference from the holdout, for all whom the plan acted on. Discounts are already taken off revenue and "
        "margin; profit is margin minus contacts and models."
    )
    return Section("Where it comes from", (text,), values) if values else None


def _total(values: Sequence[Estimate]) -> Estimate | None:
    return next((e for e in values if e.name == "incremental profit"), None)


def _earned(values: Sequence[Estimate], checks: Health, found: Sample, *, said: str, truth: float | None, currency: str) -> Section:
    total = _total(values)
    text = [said]
    if not checks.matured:
        text.append(
            f"Not final: the window runs until {found.end:%Y-%m-%d %H:%M} UTC, the log is seen until {found.now:%Y-%m-%d %H:%M} UTC."
        )
    if total is not None:
        text.append('"Incremental" means: on top of what the same customers would have brought in without a message, read off the holdout.')
    shown = [each for each in values if each.name not in ANALYST]
    if total is not None and truth is not None:
        inside = "inside" if total.covers(truth) else "outside"
        shown.insert(1, Estimate("true incremental profit (simulated)", truth, unit="minor", note=f"{inside} the interval"))
    picture: tuple[str, ...] = ()
    if total is not None and not broken(checks, found):
        truths = {} if truth is None else {total.name: truth}
        picture = (plots.intervals([total], title="Incremental profit", unit=currency, truths=truths, scale=minor_units(currency)),)
    return Section("What we earned", tuple(text), tuple(shown), (), picture)


def _analyst(values: Sequence[Estimate]) -> Section | None:
    """The same effect in other forms, below what a marketer reads."""
    shown = tuple(each for each in values if each.name in ANALYST)
    text = (
        "Always valid holds however often one looks, and is wider. Unadjusted leaves what was bought before in. Per assigned customer "
        "spreads the same total over everybody who was not held out."
    )
    return Section("For the analyst", (text,), shown) if shown else None


def _certainty(values: Sequence[Estimate], checks: Health, *, share: float) -> Section:
    text = [
        (
            f"{checks.treated:,} customers (or households) could be contacted, {checks.holdout:,} were held out by a hash that nobody can "
            f"influence (asked for: {share:.1%}). Compared are those for whom the plan acts, or would have acted."
        ),
        "The groups do not have the sizes that were asked for: the split is broken; find out why first "
        f"(sample-ratio test, p = {checks.split:.3g})."
        if checks.split < BROKEN_SPLIT
        else f"The groups have the sizes that were asked for (sample-ratio test, p = {checks.split:.2g}).",
    ]
    if checks.contaminated:
        text.append(f"{checks.contaminated} held-out customers got a message. The holdout is contaminated.")
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
    """Cumulative incremental profit by day, with a band that holds for all days together (Bonferroni), so one may look every day.

    Without enough units for a normal interval there is none.
    """
    last = math.floor((min(found.now, found.end) - found.start).total_seconds() / 86_400)
    rows = units(found)
    if last < 2 or min(rows.treated.sum(), (~rows.treated).sum()) < sequential.FEW:
        return None
    table = money.daily_margin(home.tables, start=found.start, end=min(found.now, found.end), currency=currency, margin=margin)
    place = {customer: i for i, customer in enumerate(found.customer)}
    daily = np.zeros((found.customer.size, last + 1))
    for customer, day, value in zip(*(table[name].to_pylist() for name in ("customer", "day", "margin")), strict=True):
        if customer in place and 0 <= day <= last:
            daily[place[customer], day] += value
    keep = found.acted
    arm, before = found.treated[keep], found.before[keep]
    reach = quantile(1 - 0.05 / last, math.inf)
    running = np.cumsum(daily[keep], axis=1)[:, :last] - (found.contact + found.written)[keep, None]
    curve = np.zeros((3, last))
    for day in range(last):
        adjusted = cuped(running[:, day], before)
        a, b = adjusted[arm], adjusted[~arm]
        error = math.sqrt(a.var(ddof=1) / a.size + b.var(ddof=1) / b.size)
        value = float(a.mean() - b.mean())
        curve[:, day] = (value, value - reach * error, value + reach * error)
    curve *= arm.sum() / minor_units(currency)
    days = np.arange(1, last + 1, dtype=np.float64)
    picture = plots.band(days, curve[0], curve[1], curve[2], title="Incremental profit day by day", unit=currency)
    return Section(
        "Day by day",
        ("The band holds for all days together with 95 %: look every day, and stop when zero leaves it.",),
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
    waste = interference(plan)
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
        if float(plan.meta.get("price", math.inf)) <= 1 and used < 1:  # money counts once, as nowhere scarce
            text += ("The budget was no limit: nothing else promised more than it costs.",)
    rows = tuple({"channel": channel, "state": state, "messages": count} for channel, state, count in sorted(states))
    if found.model:
        values.insert(1, Estimate("language models", found.model, unit="minor"))
    return Section("Where the money went", (*text, *waste), tuple(values), rows)


def interference(plan: Plan) -> tuple[str, ...]:
    """What the treated share among themselves, or with the holdout, so that one customer's message changes another's outcome."""
    limits, offers = plan.meta.get("limits") or {}, plan.meta.get("offers") or {}
    text = []
    scarce = [name for name, offer in offers.items() if "stock" in (offer.get("terms") or {})]
    if scarce or limits.get("stock"):
        text.append(
            "Some offers or items are in limited stock: what the treated take, the holdout cannot buy, so the plan looks better than it is."
        )
    if plan.meta.get("budget") and (plan.table["mode"].to_numpy(zero_copy_only=False) == "override").any():
        text.append(
            "The budget ran out and some got nothing because others got something. They count as treated: the figures are those of "
            "this plan at this budget, not of a larger one."
        )
    alone = len(set(plan.table["unit"].to_pylist())) == len(set(plan.table["customer"].to_pylist()))
    if alone and plan.meta.get("unit") != "household":
        text.append("No household is known, so people who live together may be in different arms; that blurs the difference.")
    return tuple(text)


def _given(plan: Plan) -> Section:
    table = plan.table
    variants, actions, offers, channels = (table[name].to_pylist() for name in ("variant", "action", "offer", "channel"))
    counts: dict[str, Counter[str]] = {}
    for variant, action, offer, channel in zip(variants, actions, offers, channels, strict=True):
        if variant == "treat":
            name = offer_name(plan, NOTHING if action == NOTHING else offer)
            counts.setdefault(name, Counter())["-" if action == NOTHING else str(channel)] += 1
    used = sorted({channel for found in counts.values() for channel in found} - {"-"})
    ordered = sorted(counts.items(), key=lambda pair: (pair[0] == NOTHING, -pair[1].total()))
    rows = tuple(
        {"offer": name, **{channel: found.get(channel, "") for channel in used}, "customers": found.total()} for name, found in ordered
    )
    picture = plots.bars({name: float(found.total()) for name, found in ordered}, title="Who got what", unit="customers")
    return Section("Who got what", (), (), rows, (picture,) if rows else ())


def _ruled_out(plan: Plan) -> Section | None:
    rows = tuple({"why": why, "customers": count} for why, count in reasons(plan))
    text = "Why something was ruled out for a customer: an offer, an item or a channel. Others may have been left, so most got something."
    return Section("What was ruled out", (text,), (), rows) if rows else None
