"""What a caller asked of the shop, checked before any work is done: names, money, times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from tradewind.errors import InputError, NotFound, StateError, unknown
from tradewind.params import Number, check
from tradewind.schema import Channel
from tradewind.types import money, utc

if TYPE_CHECKING:
    from tradewind.decide.plan import Plan
    from tradewind.engine.home import Home

CHANNEL_COSTS = {"email": 1, "sms": 5, "push": 1, "inapp": 0}  # minor units a contact, unless the caller says otherwise
HOLDOUT = Number(0, 0.9)
SHOWN = 10  # plans that an error lists


def several(value: Sequence[str] | None) -> list[str] | None:
    """A list of names; one text is one name, never its letters."""
    return None if value is None else [value] if isinstance(value, str) else list(value)


def budget(text: str, *, currency: str | None) -> tuple[int, str]:
    """Money for a plan in the shop's currency: minor units and the currency.

    Raises
    ------
    InputError, StateError
        No amount, another currency, or a shop that does not know its currency.
    """
    if currency is None:
        raise StateError(
            'The shop has no currency yet. Collect with currency = "CNY" (or yours) in the mapping file, or write it into tradewind.toml.'
        )
    if not isinstance(text, str):
        raise InputError(f'budget: write an amount and a currency, for example "2000 {currency}"; got {text!r}.')
    if text.strip() in ("", "0"):
        return 0, currency
    amount, got = money(text, what="budget")
    if got != currency:
        raise InputError(f"budget: the shop sells in {currency}; got {got}. Give the budget in {currency}.")
    return amount, currency


def channels(wanted: Sequence[str] | Mapping[str, int] | None) -> dict[str, int]:
    """Channels with the cost of one contact in minor units; all of them, at the usual costs, when nothing is asked."""
    named = wanted if isinstance(wanted, Mapping) else several(wanted) or CHANNEL_COSTS
    for name in named:
        if name not in set(Channel):
            raise unknown("channel", str(name), list(Channel))
    return dict(wanted) if isinstance(wanted, Mapping) else {name: CHANNEL_COSTS[name] for name in named}


def past(as_of: datetime | str, *, now: datetime) -> datetime:
    """A time that is not in the future, in UTC."""
    wanted = utc(as_of, what="as_of")
    if wanted > now:
        raise InputError(
            f"as_of: {wanted:%Y-%m-%d %H:%M} UTC lies in the future; it is {now:%Y-%m-%d %H:%M} UTC. Give a time that has passed, or none."
        )
    return wanted


def cut(home: Home, as_of: datetime | str | None, *, now: datetime) -> datetime:
    """The time before which everything counts: ``as_of``, or just after the last event. Events in the inbox count, too.

    Raises
    ------
    InputError
        ``as_of`` has no zone, lies in the future, or before the first event.
    StateError
        There is no event.
    """
    wanted = None if as_of is None else past(as_of, now=now)
    home.log.compact(now=now)
    first, last = span(home)
    if wanted is None:
        return utc(last) + timedelta(microseconds=1)
    if wanted <= first:
        raise InputError(
            f"as_of: nothing happened before {wanted:%Y-%m-%d %H:%M} UTC; the first event is of {utc(first):%Y-%m-%d %H:%M} UTC. "
            "Give a later time, or none."
        )
    return wanted


def span(home: Home) -> tuple[datetime, datetime]:
    """The times of the first and the last event in the tables; writes nothing. Raises StateError when there is none."""
    events = home.tables.events()
    found = home.tables.to_arrow(events.aggregate(first=events.at.min(), last=events.at.max())).to_pylist()[0]
    if found["last"] is None:
        raise StateError(f"The shop has no events yet. Run: tradewind collect FILES --shop {home.root}")
    return utc(found["first"]), utc(found["last"])


def is_plan(plan: Plan) -> Plan:
    """The plan itself; raises InputError for an id or anything else in its place."""
    from tradewind.decide.plan import Plan

    if not isinstance(plan, Plan):
        raise InputError(f"A plan is needed, as decide returns it; got {plan!r}. Read one with shop.plan(ID).")
    return plan


def one_plan(known: Sequence[str], wanted: str | None, *, home: Home) -> str:
    """The plan that is meant by its id, by the beginning of it, or by nothing (the newest, first in ``known``)."""
    if not known:
        raise StateError(f"The shop has no plan yet. Run: tradewind decide --shop {home.root}")
    if wanted is None:
        return known[0]
    found = [one for one in known if wanted and one.startswith(wanted)]
    if len(found) > 1:
        raise NotFound(f'{len(found)} plans begin with "{wanted}": {", ".join(sorted(found)[:SHOWN])}. Give more of the id.')
    if not found:
        raise unknown("plan", wanted, known[:SHOWN])
    return found[0]


def readable(source: str, mapping: Path | None) -> None:
    """Find the source and its mapping, so that a typing error makes no shop; raises InputError."""
    from tradewind.collect.resolve import plan

    plan(source, mapping)


def whole_run(*, budget_text: str, holdout: float, recommend: str, known: Iterable[str], locale: str | None) -> None:
    """Check what a whole run was asked before its first step, which may take an hour; raises InputError."""
    if budget_text.strip() not in ("", "0"):
        money(budget_text, what="budget")
    check("decide", {"holdout": holdout}, {"holdout": HOLDOUT})
    if recommend not in (names := list(known)):
        raise unknown("recommender", recommend, names)
    if locale is not None:
        from tradewind.compose.locales import LOCALES

        if locale not in LOCALES:
            raise InputError(f'There are no texts in "{locale}". Allowed: {", ".join(LOCALES)}, or none for each customer\'s own.')
