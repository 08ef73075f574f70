"""The past of the shop, week by week and chunk by chunk: what customers did and which messages an earlier tool sent them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import pyarrow as pa

from tradewind.simulate import behaviour, deals, rng, season
from tradewind.simulate import orders as buying
from tradewind.simulate.contacts import Contacts, Past
from tradewind.simulate.events import Log
from tradewind.simulate.people import CHUNK, People
from tradewind.simulate.window import Window
from tradewind.simulate.world import World

MAILED = 0.10  # of the customers with a consent get a message in a week: random offer, item, channel and hour


def events(world: World, chunk: int) -> Iterator[pa.Table]:
    """Yield the events of one chunk of customers, one table of ``schema.EVENTS`` per week of the history."""
    people = world.people(chunk)
    past = Past.empty()
    for week, window in enumerate(world.weeks()):
        contacts = mailing(world, people, window)
        yield _week(world, people, window, contacts, past, f"h{chunk}-{week}")
        past = past.join(Past(contacts.customer, contacts.x + 24 * window.day))


def _week(world: World, people: People, window: Window, contacts: Contacts, past: Past, prefix: str) -> pa.Table:
    horizon = 24.0 * (world.days - window.day)
    log = Log(people, window, prefix=prefix, horizon=horizon)
    behaviour.browsing(log, rng.stream(world.seed, rng.BROWSE, int(window.day), people.first))
    bought, done = buying.draw(people, window, contacts, past=past, seed=world.seed, effects=world.effects)
    behaviour.orders(log, bought)
    behaviour.answers(log, contacts, done, sent=True)
    return log.table(contacts)


def mailing(world: World, people: People, window: Window) -> Contacts:
    """The messages of one week to one chunk: randomised, so that effects can be learned from the history."""
    draw = rng.stream(world.seed, rng.MAILING, int(window.day), people.first)
    chosen = (draw.random(len(people)) < MAILED) & people.consent.any(axis=1) & (people.signup < window.day)
    row = np.flatnonzero(chosen)
    channel = (people.consent[row] * draw.random((len(row), people.consent.shape[1]))).argmax(axis=1)
    standard = deals.standard()
    offer = draw.integers(0, len(standard), len(row))
    liked = window.shelf.draw(people, row, (draw.random(len(row)), draw.random(len(row))))
    any_item = draw.choice(np.flatnonzero(window.shelf.open), len(row))
    item = np.where(draw.random(len(row)) < 0.6, liked, any_item)
    local = draw.integers(8, 22, len(row))
    hour = (local - season.offsets(window.start)[people.zone[row]] - window.start.hour) % 24
    x = 24.0 * draw.integers(0, min(window.days, 4), len(row)) + hour + draw.random(len(row))
    names = people.ids.to_pylist()
    return Contacts(
        source=np.arange(len(row)),
        customer=people.first + row,
        x=x,
        channel=channel,
        item=item,
        deal=offer,
        deals=tuple(deals.parse(entry["kind"], entry["terms"]) for entry in standard),
        decision=[f"past-{names[number]}-{int(window.day)}" for number in row],
        offer=[standard[number]["offer"] for number in offer],
    )


@lru_cache(maxsize=2)
def contacted(world: World, chunk: int) -> Past:
    """Every message of the history to one chunk, without generating anything else."""
    people = world.people(chunk)
    past = Past.empty()
    for window in world.weeks():
        contacts = mailing(world, people, window)
        past = past.join(Past(contacts.customer, contacts.x + 24 * window.day))
    return past


def before(world: World, chunk: int, day: float) -> Past:
    """Every contact of one chunk before ``day``: those of the history and those since."""
    told = contacted(world.fresh(), chunk).join(world.past.part(chunk * CHUNK, CHUNK))
    keep = told.hour < 24 * day
    return Past(told.customer[keep], told.hour[keep])
