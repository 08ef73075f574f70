"""Sessions: how orders, browsing and answers to messages look in a click stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tradewind.schema import Kind
from tradewind.simulate import rng
from tradewind.simulate.contacts import Contacts
from tradewind.simulate.events import Log, review_text, search_text
from tradewind.simulate.orders import Answers, Orders
from tradewind.simulate.people import NAMES, People
from tradewind.simulate.window import Flow, Window

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MINUTE = 1 / 60  # hours
BOT = NAMES.index("bot")
ORDER_SESSION, BROWSE_SESSION, RESEARCH_SESSION = range(3)  # kinds of sessions number in turns


def orders(log: Log, bought: Orders) -> None:
    """Add the sessions of orders, and what follows them before the log's horizon: returns and reviews.

    A return that would come later is booked before the horizon, so that a window holds all the money of its orders.
    """
    number = np.arange(len(bought.row))
    session = {"session": number * 3 + ORDER_SESSION, "live": bought.kept}
    credit = {"contact": bought.contact}
    shelf = log.window.shelf
    price, extra = shelf.catalogue.price, bought.extra
    row, x = bought.row, bought.x
    early = np.maximum(x - 9 * MINUTE, 0)
    step = (x - early) / 9
    worth = shelf.worth(price, bought.item, bought.pieces, extra)
    has = extra >= 0
    _research(log, bought)
    log.add(Kind.VIEW, row, early, session | {"item": bought.item, "value": price[bought.item], "quantity": 1.0})
    log.add(
        Kind.VIEW,
        row[has],
        (early + 2 * step)[has],
        _only(session, has) | {"item": extra[has], "value": price[extra[has]], "quantity": 1.0},
    )
    pieces = bought.pieces.astype(np.float64)
    log.add(Kind.CART, row, early + 4 * step, session | {"item": bought.item, "value": worth[0], "quantity": pieces})
    log.add(
        Kind.CART, row[has], (early + 5 * step)[has], _only(session, has) | {"item": extra[has], "value": worth[1][has], "quantity": 1.0}
    )
    total = worth[0] + worth[1]
    log.add(Kind.CHECKOUT, row, early + 7 * step, session | {"value": total, "order": number})
    off = bought.off[0] + bought.off[1]
    paid = session | credit | {"order": number, "offer": off > 0, "shipped": True}
    lines = ((np.ones(len(row), dtype=bool), bought.item, pieces), (has, extra, np.ones(len(row))))
    for line, (there, item, count) in enumerate(lines):
        values = {"item": item, "quantity": count, "value": worth[line] - bought.off[line], "discount": bought.off[line]}
        log.add(Kind.PURCHASE, row[there], x[there], _only(paid | values, there))
    used = off > 0
    log.add(Kind.REDEEM, row[used], x[used], _only(paid | {"discount": off, "value": total - off}, used))
    _after(log, bought, lines, worth)


def _after(log: Log, bought: Orders, lines: tuple, worth: tuple[Ints, Ints]) -> None:  # type: ignore[type-arg]
    """Returns (whole lines) and reviews of the bought lines."""
    catalogue = log.window.shelf.catalogue
    number = np.arange(len(bought.row))
    room = log.horizon - bought.x
    for line, (there, item, count) in enumerate(lines):
        luck = rng.uniforms(line + 1, bought.luck)
        back = bought.back[line] & there
        when = bought.x + np.minimum(24 + 96 * luck, 0.95 * room)
        columns = {"item": item, "quantity": count, "order": number, "live": bought.kept, "shipped": True}
        log.add(Kind.REFUND, bought.row[back], when[back], _only(columns | {"value": worth[line] - bought.off[line]}, back))
        mood = 4.2 + 0.7 * catalogue.quality[item] + 1.8 * (rng.uniforms(line + 3, bought.luck) - 0.5) - 1.5 * bought.back[line]
        rating = np.clip(np.round(mood), 1, 5).astype(np.int64)
        delay = 72 + 168 * luck
        said = there & (rng.uniforms(line + 5, bought.luck) < 0.12) & (delay < room)
        locale = log.people.locale[bought.row]
        text = review_text(catalogue.leaf[item], locale, rating, bought.luck % 1009, catalogue.leaves)
        columns |= {"text": text, "rating": rating.astype(np.float64), "quantity": np.nan, "shipped": False}
        log.add(Kind.REVIEW, bought.row[said], (bought.x + delay)[said], _only(columns, said))


def _research(log: Log, bought: Orders) -> None:
    """Half of the orders were looked at up to two days earlier: a session that tells what will be bought."""
    luck = rng.uniforms(7, bought.luck)
    seen = np.flatnonzero((luck < 0.5) & (bought.x > 3.0))
    before = np.minimum(bought.x[seen] - 1.0, 48.0) * (0.05 + 1.9 * luck[seen])
    session = seen * 3 + RESEARCH_SESSION
    columns = {"session": session, "item": bought.item[seen], "quantity": 1.0, "live": bought.kept[seen]}
    columns |= {"value": log.window.shelf.catalogue.price[bought.item[seen]]}
    log.add(Kind.VIEW, bought.row[seen], np.maximum(bought.x[seen] - 0.5 - before, 0), columns)


def browsing(log: Log, luck: np.random.Generator) -> None:
    """Add sessions without an order: views that wander to similar items and accessories, searches, wishes, left carts."""
    people, window = log.people, log.window
    row, x = Flow(people, window, people.visit).draw(luck)
    bot = people.kind[row] == BOT
    length = np.minimum(1 + luck.geometric(0.4, len(row)), 12)
    length = np.where(bot, luck.integers(40, 90, len(row)), length)
    pace = np.where(bot, 2 / 3600, luck.uniform(0.5, 2.5, len(row)) * MINUTE)
    session = np.arange(len(row)) * 3 + BROWSE_SESSION
    base = {"session": session, "anonymous": (luck.random(len(row)) < 0.04) & ~bot}
    price = window.shelf.catalogue.price
    item = window.shelf.draw(people, row, (luck.random(len(row)), luck.random(len(row))))
    _searches(log, row, x, item, base, luck)
    alive = np.arange(len(row))
    for step in range(int(length.max(initial=0))):
        alive = alive[length[alive] > step]
        if step:
            item = item.copy()
            item[alive] = _wander(people, window, row[alive], item[alive], luck)
        columns = _only(base, alive) | {"item": item[alive], "value": price[item[alive]], "quantity": 1.0}
        log.add(Kind.VIEW, row[alive], (x + step * pace)[alive], columns)
    end = x + length * pace
    act = np.where(bot, 1.0, luck.random(len(row)))
    for kind, low, high in ((Kind.CART, 0.0, 0.13), (Kind.UNCART, 0.10, 0.13), (Kind.WISH, 0.13, 0.18)):
        some = np.flatnonzero((act >= low) & (act < high))
        later = end + (MINUTE if kind is Kind.UNCART else 0.0)
        log.add(kind, row[some], later[some], _only(base, some) | {"item": item[some], "value": price[item[some]], "quantity": 1.0})


def _searches(log: Log, row: Ints, x: Floats, item: Ints, base: dict, luck: np.random.Generator) -> None:  # type: ignore[type-arg]
    catalogue = log.window.shelf.catalogue
    some = np.flatnonzero(luck.random(len(row)) < 0.2)
    pattern = luck.integers(0, 4, len(some))
    text = search_text(catalogue.leaf[item[some]], log.people.locale[row[some]], pattern)
    log.add(Kind.SEARCH, row[some], x[some] - 0.5 * MINUTE * (x[some] > MINUTE), _only(base, some) | {"text": text})


def _wander(people: People, window: Window, row: Ints, item: Ints, luck: np.random.Generator) -> Ints:
    """The next item of a session: an accessory, something else of the same category, or something new."""
    shelf = window.shelf
    new = shelf.draw(people, row, (luck.random(len(row)), luck.random(len(row))))
    cell = shelf.catalogue.leaf[item] * 12 + people.tier[row] * 4 + people.style[row]
    near = shelf.catalogue.leaf[item] * shelf.catalogue.per_leaf + shelf.choice.pick(cell, luck.random(len(row)))
    slot = luck.choice(3, len(row), p=[0.55, 0.3, 0.15])
    extra = shelf.catalogue.extras[item, slot]
    which = luck.random(len(row))
    extra = np.where((extra >= 0) & shelf.open[extra], extra, near)
    return np.where(which < 0.3, extra, np.where(which < 0.65, near, new))


def answers(log: Log, contacts: Contacts, done: Answers, *, sent: bool) -> None:
    """Add opens, clicks, unsubscribes and complaints; and the hand-off itself where ``sent``."""
    row = contacts.customer - log.people.first
    which = {"contact": np.arange(len(contacts)), "offer": True, "item": contacts.item}
    if sent:
        log.add(Kind.SENT, row, contacts.x, which)
    opened = contacts.x + done.delay
    for kind, yes, later in (
        (Kind.OPEN, done.opened, 0.0),
        (Kind.CLICK, done.clicked, 0.5 * MINUTE),
        (Kind.UNSUBSCRIBE, done.left, 1.0 * MINUTE),
        (Kind.COMPLAINT, done.complained, 1.5 * MINUTE),
    ):
        log.add(kind, row[yes], (opened + later)[yes], _only(which, yes))


def _only(columns: dict, keep: NDArray) -> dict:  # type: ignore[type-arg]
    """Cut the arrays among ``columns`` to the entries ``keep``; single values stay."""
    return {name: value[keep] if isinstance(value, np.ndarray) else value for name, value in columns.items()}
