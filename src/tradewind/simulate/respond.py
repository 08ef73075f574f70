"""The environment: what all customers do in a window, answers to delivered messages included."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradewind import schema
from tradewind.errors import InputError, did_you_mean
from tradewind.simulate import behaviour, deals, history, rng, wording
from tradewind.simulate import orders as buying
from tradewind.simulate.contacts import Contacts
from tradewind.simulate.events import Log
from tradewind.simulate.people import CHANNELS
from tradewind.simulate.window import Window
from tradewind.simulate.world import World

# What ``respond`` and ``true_profit`` take: one delivered message per row.
CONTACTS = pa.schema(
    [
        pa.field("decision_id", pa.string(), nullable=False),
        pa.field("customer", pa.string(), nullable=False),
        pa.field("offer", pa.string()),
        pa.field("item", pa.string()),  # null: the message names none
        pa.field("channel", pa.string(), nullable=False),
        pa.field("send_at", schema.TIME, nullable=False),
        pa.field("offer_kind", pa.string(), nullable=False),
        pa.field("terms", pa.string()),  # JSON object
    ],
    metadata={"tradewind.table": "contacts of a simulated window"},
)


def respond(world: World, contacts: pa.Table, *, start: datetime, days: int, seed: int, browse: bool = True) -> pa.Table:
    """Draw the behaviour of all customers in ``days`` days from ``start`` as rows of ``schema.EVENTS``, in order of time.

    ``contacts`` (columns of ``CONTACTS``, and ``copy`` where the words are told: :mod:`tradewind.simulate.wording`) are messages that
    were really delivered. A customer who gets none behaves byte for byte as without ``contacts``. Events that came through a message
    carry its ``decision_id``; a purchase does where it used the coupon, was caused, or was the first one within 72 hours of a click
    (which is not the same as being caused).
    ``browse=False`` leaves out sessions without an order. All rows say ``source="simulated"``.

    Raises
    ------
    InputError
        A contact names an unknown customer, item, channel or kind of offer, or lies outside the window.
    """
    tables = list(respond_by_chunk(world, contacts, start=start, days=days, seed=seed, browse=browse))
    table = pa.concat_tables(tables)
    if len(tables) > 1:
        table = table.sort_by([("at", "ascending"), ("id", "ascending")])
    return table.combine_chunks()


def respond_by_chunk(world: World, contacts: pa.Table, *, start: datetime, days: int, seed: int, browse: bool = True) -> Iterator[pa.Table]:
    """As :func:`respond`, one table per chunk of customers: bounded memory for large worlds."""
    window = world.window(start, days)
    delivered = read_contacts(world, contacts, window)
    for chunk in world.chunks:
        people = world.people(chunk)
        mine = delivered.part(people.first, len(people))
        log = Log(people, window, prefix=f"r{seed}-{int(window.start.timestamp()) // 3600}-{chunk}", horizon=window.hours)
        if browse:
            behaviour.browsing(log, rng.stream(seed, rng.BROWSE, int(window.start.timestamp()), people.first))
        past = history.before(world, chunk, window.day)
        bought, done = buying.draw(people, window, mine, past=past, seed=seed, effects=world.effects)
        behaviour.orders(log, bought)
        behaviour.answers(log, mine, done, sent=False)
        yield log.table(mine)


def read_contacts(world: World, table: pa.Table, window: Window) -> Contacts:
    """Check delivered messages and turn them into arrays, sorted by customer and time."""
    words, wordings = wording.parse(table["copy"]) if "copy" in table.column_names else (None, ())
    table = schema.conform(table.select([name for name in CONTACTS.names if name in table.column_names]), CONTACTS)
    customer = numbers(world, table["customer"])
    x = _hours(table["send_at"], window)
    channel = _index(table["channel"], CHANNELS, "channel")
    item = _index(table["item"], world.catalogue.ids(), "item")
    pairs = list(zip(table["offer_kind"].to_pylist(), table["terms"].to_pylist(), strict=True))
    kinds = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
    order = np.lexsort((np.arange(len(x)), x, customer))
    return Contacts(
        source=order,
        customer=customer[order],
        x=x[order],
        channel=channel[order],
        item=item[order],
        deal=np.array([kinds[pair] for pair in pairs], dtype=np.int64)[order],
        deals=tuple(deals.parse(kind, terms) for kind, terms in kinds),
        decision=table["decision_id"].to_pylist(),
        offer=table["offer"].to_pylist(),
        words=None if words is None else words[order],
        wordings=wordings,
        copy=world.copy,
    )


def numbers(world: World, ids: pa.ChunkedArray) -> NDArray[np.int64]:
    """Numbers of customers from their ids.

    Raises
    ------
    InputError
        An id is not one of this world's.
    """
    texts = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    shape = pc.match_substring_regex(texts, r"^C\d{7,8}$")
    if len(texts) and not pc.all(shape, min_count=0).as_py():
        raise InputError(f'"{texts.filter(pc.invert(shape))[0]}" is no customer of this simulated shop; its customers are C0000000 and on.')
    found = pc.cast(pc.utf8_slice_codeunits(texts, 1), pa.int64()).to_numpy(zero_copy_only=False)
    if len(found) and found.max() >= world.customers:
        raise InputError(f"Customer C{found.max():07d} does not exist: this world has {world.customers:,} customers.")
    return np.asarray(found, dtype=np.int64)


def _hours(send_at: pa.ChunkedArray, window: Window) -> NDArray[np.float64]:
    moments = pc.cast(send_at, pa.int64()).to_numpy()
    x = (moments - int(window.start.timestamp()) * 1_000_000 - window.start.microsecond) / 3.6e9
    outside = (x < 0) | (x >= window.hours)
    if outside.any():
        end = window.start + timedelta(days=window.days)
        at = datetime.fromtimestamp(int(moments[outside][0]) / 1e6, tz=UTC)
        raise InputError(
            f"{int(outside.sum())} contacts lie outside the window {window.start.isoformat()} to {end.isoformat()}; "
            f"the first is at {at.isoformat()}. Pass the window in which they were sent, or leave them out."
        )
    return np.asarray(x, dtype=np.float64)


def _index(values: pa.ChunkedArray, known: tuple[str, ...] | list[str], what: str) -> NDArray[np.int64]:
    found = pc.index_in(values, value_set=pa.array(known))
    bad = pc.and_(pc.is_null(found), pc.is_valid(values))
    if pc.any(bad, min_count=0).as_py():
        name = values.filter(bad)[0].as_py()
        raise InputError(f'There is no {what} "{name}" in this simulated shop.{did_you_mean(name, known)}')
    return np.asarray(pc.fill_null(found, -1).to_numpy(), dtype=np.int64)
