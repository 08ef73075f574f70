"""What is bought in a window: own orders, regular re-orders, orders that messages cause; coupons used; returns."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.simulate import rng
from tradewind.simulate.chances import DELAY, LAG, Averages, Chances, chances
from tradewind.simulate.contacts import Contacts, Past, tiredness
from tradewind.simulate.people import People
from tradewind.simulate.window import Flow, Window, repeats

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

OWN, REGULAR, CAUSED = range(3)
ATTRIBUTED = 72.0  # hours after a click in which the shop's own tracking credits an own order to the message
_BEFORE, _OPEN, _CLICK, _BUY, _WHEN, _ITEM1, _ITEM2, _BASKET, _BACK1, _BACK2, _LEAVE, _COMPLAIN = range(12)


@dataclass(frozen=True)
class Orders:
    """One row per order; money in minor units, ``x`` in hours from the start of the window, sorted by origin, row and time."""

    row: Ints  # of the chunk
    x: Floats
    origin: Ints
    kept: Bools  # False: would have been, but messages annoyed the customer
    item: Ints
    pieces: Ints
    extra: Ints
    contact: Ints  # whose click it is credited to, -1 none
    off: tuple[Ints, Ints]  # discount on the main and the accessory line
    back: tuple[Bools, Bools]  # line is returned
    luck: Ints  # a number of its own for everything decorative


@dataclass(frozen=True)
class Answers:
    """What the recipients did, per contact."""

    opened: Bools
    clicked: Bools
    left: Bools
    complained: Bools
    delay: Floats  # hours until it was opened, below LAG


def draw(people: People, window: Window, contacts: Contacts, *, past: Past, seed: int, effects: float) -> tuple[Orders, Answers]:
    """Draw all orders of one chunk in a window and the answers to its ``contacts`` (which are all of this chunk).

    A customer's own orders use the same luck whoever is contacted: the potential outcomes are coupled.
    """
    luck = rng.stream(seed, rng.ORGANIC, int(window.start.timestamp()), people.first)
    own = _own(people, window, luck)
    loyal = luck.random(len(own.row))
    law = law_of(people, window, contacts, past=past, effects=effects)
    answers, caused = _answers(people, window, contacts, law, seed)
    if len(contacts):
        own = _influence(window, contacts, law, own, loyal, answers.clicked, caused)
    return _stack(own, caused), answers


def _own(people: People, window: Window, luck: np.random.Generator) -> Orders:
    """Orders that nobody caused: the Poisson flow, an accessory bought some days later, and regular re-orders."""
    shelf = window.shelf
    row, x = Flow(people, window, people.order).draw(luck)
    item = shelf.draw(people, row, (luck.random(len(row)), luck.random(len(row))))
    follow = shelf.catalogue.extras[item, 0]
    later = x + luck.uniform(24, 144, len(row))
    more = (luck.random(len(row)) < 0.12) & (follow >= 0) & shelf.open[follow] & (later < window.hours)
    again_row, again_x, again_item = repeats(people, window)
    rows = np.concatenate([row, row[more], again_row])
    items = np.concatenate([item, follow[more], again_item])
    origin = np.repeat([OWN, REGULAR], [len(row), len(rows) - len(row)])
    basket = shelf.baskets.pick(items, luck.random(len(rows)))
    pieces, extra = shelf.basket(items, basket)
    back = _returned(people, window, rows, (items, extra), (luck.random(len(rows)), luck.random(len(rows))))
    nothing = np.zeros(len(rows), dtype=np.int64)
    return Orders(
        row=rows,
        x=np.concatenate([x, later[more], again_x]),
        origin=origin,
        kept=np.ones(len(rows), dtype=bool),
        item=items,
        pieces=pieces,
        extra=extra,
        contact=nothing - 1,
        off=(nothing, nothing),
        back=back,
        luck=luck.integers(0, 2**40, len(rows)),
    )


def _returned(people: People, window: Window, row: Ints, lines: tuple[Ints, Ints], luck: tuple[Floats, Floats]) -> tuple[Bools, Bools]:
    share = window.shelf.catalogue.returned
    first = luck[0] < share[lines[0]] * people.returns[row]
    return first, (lines[1] >= 0) & (luck[1] < share[lines[1]] * people.returns[row])


def _answers(people: People, window: Window, contacts: Contacts, law: Chances, seed: int) -> tuple[Answers, Orders]:
    """Draw opens, clicks and caused orders: luck by (customer, number of the message), whoever else is contacted."""
    shelf = window.shelf
    when, turn = int(window.start.timestamp()), contacts.ordinal()

    def u(what: int) -> Floats:
        return rng.uniforms(seed, when, contacts.customer, turn, what)

    opened = u(_OPEN) < law.open
    clicked = opened & (u(_CLICK) * law.open < law.click)
    bought = np.flatnonzero(clicked & (u(_BUY) < law.buy))
    row = law.row[bought]
    own_choice = shelf.draw(people, row, (u(_ITEM1)[bought], u(_ITEM2)[bought]))
    item = np.where(contacts.item[bought] >= 0, contacts.item[bought], own_choice)
    pieces, extra = shelf.basket(item, shelf.baskets.pick(item, u(_BASKET)[bought]))
    delay = -DELAY * np.log1p(-u(_WHEN)[bought] * law.reach[bought])
    main, side = shelf.worth(shelf.catalogue.price, item, pieces, extra)
    off = _off(contacts, bought, main, side)
    caused = Orders(
        row=row,
        x=contacts.x[bought] + LAG + delay,
        origin=np.full(len(row), CAUSED),
        kept=np.ones(len(row), dtype=bool),
        item=item,
        pieces=pieces,
        extra=extra,
        contact=bought,
        off=off,
        back=_returned(people, window, row, (item, extra), (u(_BACK1)[bought], u(_BACK2)[bought])),
        luck=(u(_BEFORE)[bought] * 2**40).astype(np.int64),
    )
    delay = np.minimum(LAG, np.maximum(window.hours - contacts.x, 0)) * u(_BEFORE) ** 2 * 0.9
    return Answers(opened, clicked, u(_LEAVE) < law.leave, u(_COMPLAIN) < law.complain, delay), caused


def law_of(people: People, window: Window, contacts: Contacts, *, past: Past, effects: float, averages: Averages | None = None) -> Chances:
    """The probabilities of the chunk's ``contacts`` given every earlier contact in ``past``."""
    local = Past(past.customer - people.first, past.hour - 24.0 * window.day)
    now = Past(contacts.customer - people.first, contacts.x)
    tired = tiredness(local, now, people.rest * 24.0)
    averages = averages or Averages(people, window.shelf, contacts)
    return chances(people, window, contacts, tired=tired, effects=effects, averages=averages)


def _off(contacts: Contacts, which: Ints, main: Ints, side: Ints) -> tuple[Ints, Ints]:
    """Discount on both lines of baskets that use the deal of contacts ``which``."""
    first, second = np.zeros(len(which), dtype=np.int64), np.zeros(len(which), dtype=np.int64)
    for number, deal in enumerate(contacts.deals):
        mine = contacts.deal[which] == number
        first[mine], second[mine] = deal.take(main[mine], side[mine])
    return first, second


def _influence(window: Window, contacts: Contacts, law: Chances, own: Orders, loyal: Floats, clicked: Bools, caused: Orders) -> Orders:
    """Apply messages to own orders: annoyance removes some, a clicked coupon is used by the first one that qualifies.

    A coupon is open until the customer's next message, and only if the caused order did not use it. ``loyal``: luck per order.
    """
    span = window.hours + 1.0
    last = np.searchsorted(law.row * span + contacts.x, own.row * span + own.x, side="left") - 1
    movable = (last >= 0) & (law.row[last] == own.row) & (own.origin == OWN)
    sent, end = contacts.ordinal() + 1, contacts.until(window.hours)
    kept = ~movable | (loyal < (1 - law.annoyed[last]) ** sent[last])
    inside = movable & kept & clicked[last] & (own.x > contacts.x[last] + LAG) & (own.x < end[last])
    credit = np.full(len(own.row), -1, dtype=np.int64)
    near = np.flatnonzero(inside & (own.x < contacts.x[last] + LAG + ATTRIBUTED))
    near = near[np.unique(last[near], return_index=True)[1]]
    credit[near] = last[near]
    unused = np.ones(len(contacts), dtype=bool)
    unused[caused.contact[caused.off[0] + caused.off[1] > 0]] = False
    might = np.flatnonzero(inside & unused[last])
    main, side = window.shelf.worth(window.shelf.catalogue.price, own.item[might], own.pieces[might], own.extra[might])
    one, two = _off(contacts, last[might], main, side)
    fits = np.flatnonzero(one + two > 0)
    fits = fits[np.unique(last[might[fits]], return_index=True)[1]]
    used = might[fits]
    off = (np.zeros(len(own.row), dtype=np.int64), np.zeros(len(own.row), dtype=np.int64))
    off[0][used], off[1][used] = one[fits], two[fits]
    credit[used] = last[used]
    return replace(own, kept=kept, contact=credit, off=off)


def _stack(own: Orders, caused: Orders) -> Orders:
    pairs = {"off": (own.off, caused.off), "back": (own.back, caused.back)}
    columns: dict[str, Any] = {
        field.name: np.concatenate([getattr(own, field.name), getattr(caused, field.name)])
        for field in fields(Orders)
        if field.name not in pairs
    }
    for name, (first, second) in pairs.items():
        columns[name] = tuple(np.concatenate(both) for both in zip(first, second, strict=True))
    return Orders(**columns)
