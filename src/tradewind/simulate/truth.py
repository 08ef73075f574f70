"""What contacts are really worth: the exact expectation of what ``respond`` draws, from the same law."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.schema import Kind
from tradewind.simulate import history
from tradewind.simulate.chances import LAG, Averages, Chances
from tradewind.simulate.contacts import Contacts
from tradewind.simulate.orders import law_of
from tradewind.simulate.people import CHANNELS, CHUNK, People
from tradewind.simulate.respond import read_contacts
from tradewind.simulate.window import Flow, Window
from tradewind.simulate.world import World

Floats = NDArray[np.float64]

_COLUMNS = ("profit", "gained", "lost", "given_away", "discount", "cost", "p_open", "p_click", "p_purchase", "p_redeem", "p_unsubscribe")


def true_profit(world: World, contacts: pa.Table, *, start: datetime, days: int, costs: Mapping[str, float] | None = None) -> pa.Table:
    """Return the expected effect of each contact against not sending it, in minor units, exact under the simulated law.

    One row per contact, in its order: ``decision_id``, ``customer``; ``profit`` = ``gained`` (margin of the orders that it
    causes, after their discount) - ``lost`` (margin of own orders that it annoys away) - ``given_away`` (discount on own orders
    that would have been placed anyway) - ``cost`` (of the contact, from ``costs``: channel -> minor units); ``discount`` (expected
    amount taken off, before returns); probabilities of open, click, a caused purchase, a redemption and an unsubscribe. Margins
    count value - cost of goods, returned lines as nothing, inside the window only. Of several contacts to one customer each is
    valued given the earlier ones, so that the sum is the expected profit of the plan against sending nothing.

    Raises
    ------
    InputError
        As :func:`respond`; or ``costs`` names an unknown channel.
    """
    window = world.window(start, days)
    delivered = read_contacts(world, contacts, window)
    price = _prices(costs)
    result = {name: np.zeros(len(delivered)) for name in _COLUMNS}
    for mine, values in _by_chunk(world, window, delivered, price):
        for name in _COLUMNS:
            result[name][mine.source] = values[name]
    head = {"decision_id": contacts["decision_id"], "customer": contacts["customer"]}
    return pa.table(head | {name: pa.array(values) for name, values in result.items()})


def best_action(
    world: World,
    customers: Sequence[str],
    actions: pa.Table,
    *,
    start: datetime,
    days: int,
    costs: Mapping[str, float] | None = None,
) -> pa.Table:
    """Return the expected profit of each single action for each customer, and the best one: what a clairvoyant would do.

    ``actions`` has the columns of a contact except decision_id and customer. Result: ``customer``, ``best`` (row of ``actions``, null
    where nothing is worth more than 0), ``value`` (of the best, minor units, 0 for nothing) and ``values`` (list per action).
    """
    rows, count = len(customers), actions.num_rows
    every = actions.take(np.tile(np.arange(count), rows))
    names = pa.array(customers, pa.string()).take(pa.array(np.repeat(np.arange(rows), count)))
    every = every.append_column("customer", names)
    every = every.append_column("decision_id", pa.array([str(number) for number in range(rows * count)], pa.string()))
    window = world.window(start, days)
    told = read_contacts(world, every, window)
    values = np.zeros(rows * count)
    for number in range(count):  # one action at a time: no message is tired by another that was not sent
        some = np.flatnonzero(told.source % count == number)
        for mine, result in _by_chunk(world, window, _cut(told, some), _prices(costs)):
            values[mine.source] = result["profit"]
    grid = values.reshape(rows, count)
    best = grid.argmax(axis=1) if count else np.zeros(rows, dtype=np.int64)
    value = np.maximum(grid.max(axis=1, initial=0.0), 0.0)
    return pa.table(
        {
            "customer": pa.array(customers, pa.string()),
            "best": pa.array(best, mask=value <= 0),
            "value": pa.array(value),
            "values": pa.FixedSizeListArray.from_arrays(pa.array(values), count) if count else pa.nulls(rows, pa.list_(pa.float64())),
        }
    )


def _by_chunk(world: World, window: Window, delivered: Contacts, price: Floats) -> Iterator[tuple[Contacts, dict[str, Floats]]]:
    for chunk in np.unique(delivered.customer // CHUNK):
        people = world.people(int(chunk))
        mine = delivered.part(people.first, len(people))
        averages = Averages(people, window.shelf, mine)
        past = history.before(world, int(chunk), window.day)
        law = law_of(people, window, mine, past=past, effects=world.effects, averages=averages)
        yield mine, _worth(people, window, mine, law, averages, price)


def _prices(costs: Mapping[str, float] | None) -> Floats:
    for name in costs or {}:
        if name not in CHANNELS:
            raise InputError(f'costs: there is no channel "{name}". Allowed: {", ".join(CHANNELS)}.')
    return np.array([float((costs or {}).get(name, 0.0)) for name in CHANNELS])


def _cut(contacts: Contacts, which: NDArray[np.int64]) -> Contacts:
    names = ("source", "customer", "x", "channel", "item", "deal") + (() if contacts.words is None else ("words",))
    return replace(contacts, **{name: getattr(contacts, name)[which] for name in names})


def _worth(people: People, window: Window, contacts: Contacts, law: Chances, averages: Averages, price: Floats) -> dict[str, Floats]:
    """The expectations of one chunk. Docs: docs/simulation.md, "Truth in closed form"."""
    flow = Flow(people, window, people.order)
    turn = contacts.ordinal()
    loyal = (1 - law.annoyed) ** turn
    lost = loyal * law.annoyed * flow.after(law.row, contacts.x) * averages.own_margin()[law.row]
    gained = law.click * law.buy * (law.gain - law.kept)
    unused = law.click * (1 - law.buy * law.share)
    opens, ends = contacts.x + LAG, np.maximum(contacts.until(window.hours), contacts.x + LAG)
    expected = loyal * (1 - law.annoyed) * (flow.after(law.row, opens) - flow.after(law.row, ends))
    share, off, back = (_own(contacts, averages, law, name) for name in ("share", "off", "back"))
    used = unused * -np.expm1(-expected * share)
    per_use = np.where(share > 0, used / np.maximum(share, 1e-300), 0.0)
    given = per_use * (off - people.returns[law.row] * back)
    cost = price[contacts.channel]
    return {
        "profit": gained - lost - given - cost,
        "gained": gained,
        "lost": lost,
        "given_away": given,
        "discount": law.click * law.buy * law.off + per_use * off,
        "cost": cost,
        "p_open": law.open,
        "p_click": law.click,
        "p_purchase": law.click * law.buy,
        "p_redeem": law.click * law.buy * law.share + used,
        "p_unsubscribe": law.leave,
    }


def _own(contacts: Contacts, averages: Averages, law: Chances, name: str) -> Floats:
    """What the contact's deal takes off the customer's own orders, on average."""
    values = np.zeros(len(contacts))
    for number, cut in enumerate(averages.own_cuts):
        mine = contacts.deal == number
        values[mine] = getattr(cut, name)[law.row[mine]]
    return values


def margin_of(world: World, events: pa.Table) -> pa.Table:
    """Return what really was earned in ``events``: ``customer`` and ``margin`` (minor units, value - cost of goods of purchases, less
    the same of refunds) for each customer who bought. Costs of contacts are not in it.
    """
    money = events.filter(pc.is_in(events["kind"], pa.array([Kind.PURCHASE.value, Kind.REFUND.value])))
    cost = pa.array(world.catalogue.cost).take(pc.index_in(money["item"], pa.array(world.catalogue.ids())))
    sign = pc.if_else(pc.equal(money["kind"], Kind.PURCHASE.value), 1, -1)
    earned = pc.multiply(sign, pc.subtract(money["value"], pc.multiply(cost, pc.cast(money["quantity"], pa.int64()))))
    table = pa.table({"customer": money["customer"], "margin": earned})
    return table.group_by("customer").aggregate([("margin", "sum")]).rename_columns(["customer", "margin"]).sort_by("customer")
