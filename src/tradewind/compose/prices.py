"""The reference price of a reduction, from the price history, by the law of the customer's market. Whole minor units only.

``EU``: the lowest price of the 30 days before the reduction was first applied; reductions that follow each other within
30 days are one (Directive 98/6/EC, art. 6a; CJEU C-330/23). ``CN``: the lowest deal price of the 7 days before, else the
last deal before it (SAMR order 56 of 2022, art. 16). ``US``: the price before the reduction, when the goods were offered
at it for 28 of the 90 days before and were sold at it (16 CFR 233.1). A rule gives a reference or one line saying why there is none.

A history is a step function with gaps: a price holds from ``at`` to the next one, and at most ``GAP`` past the last time that
somebody saw it. Where the window has a gap nothing is claimed. Not legal advice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from tradewind.errors import unknown

GAP = timedelta(days=7)  # how long a price counts after it was last seen
MONTH, WEEK, QUARTER = timedelta(days=30), timedelta(days=7), timedelta(days=90)
BASES = ("lowest_prior", "lowest_deal", "last_deal", "former_price")
STOOD = timedelta(days=28)  # US: how long of the quarter the former price must have been asked


@dataclass(frozen=True, slots=True)
class Quote:
    """A list price: asked from ``at``, last seen at ``seen`` (not before ``at``)."""

    at: datetime
    seen: datetime
    amount: int


@dataclass(frozen=True, slots=True)
class Sale:
    """One sold piece: ``paid`` by the customer, and ``asked`` of everybody (what a personal coupon took off is added back)."""

    at: datetime
    paid: int
    asked: int


@dataclass(frozen=True, slots=True)
class History:
    """What is known of one item's prices, in one currency; both in ascending time."""

    currency: str | None
    quotes: tuple[Quote, ...] = ()
    sales: tuple[Sale, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """The price that a reduction may be measured by: ``basis`` names the rule, ``since`` when the reduction began."""

    amount: int
    basis: str  # one of BASES
    since: datetime
    until: datetime  # after it the reduced price has stood for 30 days and is the ordinary one
    days: int = 0  # of the window, where the wording names it


def reference(market: str, history: History, *, price: int, now: datetime) -> Reference | str:
    """Return the reference for the list price ``price`` (minor units) at ``now``, or why none may be claimed.

    Raises
    ------
    NotFound
        There is no rule for ``market``.
    """
    if market not in RULES:
        raise unknown("market for reference prices", market, RULES)
    steps = _steps([quote for quote in history.quotes if quote.at <= now])
    if not steps or steps[-1].amount != price:
        return "the price history does not hold today's price"
    if len(steps) < 2 or steps[-2].amount <= price:
        return "the price was not reduced"
    until = steps[-1].at + MONTH
    if until <= now:
        return "the price has stood for 30 days: it is the ordinary one"
    first = len(steps) - 1
    while first > 1 and steps[first - 2].amount > steps[first - 1].amount and steps[first].at - steps[first - 1].at < MONTH:
        first -= 1
    found = RULES[market](steps, first, history.sales, now)
    if isinstance(found, str):
        return found
    amount, basis, days = found
    return Reference(amount, basis, steps[first].at, until, days) if amount > price else "the price was not dearer before"


_Found = tuple[int, str, int] | str


def _eu(steps: Sequence[Quote], first: int, sales: Sequence[Sale], now: datetime) -> _Found:
    start = steps[first].at
    if not _covered(steps, start - MONTH, now):
        return "the price history has a gap in the 30 days before the reduction, or since"
    asked = [step.amount for step, after in pairwise(steps) if after.at > start - MONTH and step.at < start]
    asked += [sale.asked for sale in sales if start - MONTH <= sale.at < start]
    return min(asked), "lowest_prior", MONTH.days


def _cn(steps: Sequence[Quote], first: int, sales: Sequence[Sale], now: datetime) -> _Found:
    start = steps[first].at
    if not _covered(steps, start - WEEK, now):
        return "the price history has a gap in the 7 days before the promotion, or since"
    before = [sale for sale in sales if sale.at < start]
    if not before:
        return "nothing was sold before the promotion"
    week = [sale.paid for sale in before if sale.at >= start - WEEK]
    return (min(week), "lowest_deal", WEEK.days) if week else (before[-1].paid, "last_deal", 0)


def _us(steps: Sequence[Quote], first: int, sales: Sequence[Sale], now: datetime) -> _Found:
    start, former = steps[first].at, steps[first - 1].amount
    if not _covered(steps, start, now) or not _covered(steps, steps[first - 1].at, start):
        return "the price history has a gap around the reduction"
    stood = timedelta()
    for step, after in pairwise(steps[: first + 1]):
        if step.amount == former:
            end = min(after.at, step.seen + GAP)
            stood += max(end - max(step.at, start - QUARTER), timedelta())
    if stood < STOOD:
        return f"the former price stood for {stood.days} days of the last 90, less than {STOOD.days}"
    if not any(start - QUARTER <= sale.at < start and sale.paid >= former for sale in sales):
        return "nothing was sold at the former price"
    return former, "former_price", 0


RULES: Mapping[str, Callable[[Sequence[Quote], int, Sequence[Sale], datetime], _Found]] = {"EU": _eu, "CN": _cn, "US": _us}


def _steps(quotes: Sequence[Quote]) -> list[Quote]:
    """Join neighbours of one price, unless there is a gap between them."""
    steps: list[Quote] = []
    for quote in quotes:
        last = steps[-1] if steps else None
        if last is not None and last.amount == quote.amount and quote.at <= last.seen + GAP:
            steps[-1] = Quote(last.at, max(last.seen, quote.seen), last.amount)
        else:
            steps.append(quote)
    return steps


def _covered(steps: Sequence[Quote], start: datetime, end: datetime) -> bool:
    """Whether a price is known for every moment of [start, end]: from its start to the next one, at most ``GAP`` after it was seen."""
    reached = start
    for step, after in zip(steps, (*steps[1:], None), strict=True):
        if step.at > reached:
            return False
        known = step.seen + GAP
        reached = max(reached, known if after is None else min(known, after.at))
        if reached > end:
            return True
    return False
