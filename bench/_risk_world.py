"""A shop with planted rings, stolen cards and bots: the simulated shop, with the identifiers and the crimes that it lacks.

Honest life is made hard to tell from rings on purpose:

- families of 2-5 share an address, two in five also a tablet, three in ten also a card; one in ten claims coupons as eagerly as rings
  do; dorms of 6-12 share an address;
- offices of 20-60 are where two in five of their people's orders go; public devices have 30-80 users each;
- a quarter have a second device, 15 % a second card, one order in twenty goes to a friend (somebody else's address).

Rings (3 % of the accounts, 3-20 each) share small pools: one device for about three accounts, one address for four, one card for
three; one use in five to three is of something of their own. Seven of ten rings opened their accounts within three days, the others
are aged. Every ten days the shop launches a coupon; ring accounts claim 70 % of them, half within an hour of each other, order with
it and return a third. Hunters claim 60 %, everybody else a few.

Bots (1 % of the accounts) view 40-90 pages in a visit and buy nothing; a third look at a page every two seconds, the others every 2-6
seconds by chance.

Stolen cards: an attacker has one device, 2-8 foreign cards, one or two drops, and orders for a few hours; two of five orders go through
an honest account that was taken over, the others through one opened days before; one in five comes from yet another device. The
chargeback is known 5-40 days later.

``truth`` is known to the bench only. Nothing of the product was chosen on another seed than 0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tradewind import schema
from tradewind.simulate import history
from tradewind.simulate.people import NAMES
from tradewind.simulate.world import World
from tradewind.types import micros

START = date(2026, 1, 5)
HOUR, DAY = 3_600_000_000, 86_400_000_000
CLAIMS = {"regular": 0.06, "persuadable": 0.12, "sure": 0.2, "hunter": 0.6, "sleeping": 0.02, "ring": 0.7, "bot": 0.0}
EVERY, OPEN = 10, 7  # days between coupons, days that one can be claimed and used
FILES = ("events", "customers", "rings", "labels", "bots")


@dataclass(frozen=True)
class Planted:
    """``rings`` (customer, ring), ``labels`` (id of an order, known_at) and ``bots`` (customer) are the truth."""

    events: pa.Table
    customers: pa.Table
    rings: pa.Table
    labels: pa.Table
    bots: pa.Table

    def save(self, folder: Path) -> None:
        """Write one Parquet file per table."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            pq.write_table(getattr(self, name), folder / f"{name}.parquet")

    @classmethod
    def load(cls, folder: Path) -> Planted:
        """Read what :meth:`save` wrote, or another shop's files of the same columns."""
        return cls(*(pq.read_table(folder / f"{name}.parquet") for name in FILES))


def make(customers: int, *, days: int, seed: int) -> Planted:
    """Plant a world."""
    world = World.make(customers, seed=seed, start=START, days=days)
    rng = np.random.default_rng([seed, 4711])
    events = pa.concat_tables([table for chunk in world.chunks for table in history.events(world, chunk)])
    people = [world.people(chunk) for chunk in world.chunks]
    kind = np.concatenate([one.kind for one in people])
    signup = micros(world.began) + (np.concatenate([one.signup for one in people]) * DAY).astype(np.int64)
    ring = _rings(rng, kind)
    signup = _gather(rng, ring, signup, world)
    owners = _Owners(rng, kind, ring)
    rows = _rows(events, signup)
    _restless(rng, rows, kind)
    rows += _coupons(rng, rows, owners.keen, kind, ring, signup, world)
    stolen, labels, opened = _stolen(rng, kind, signup, world, owners)
    owners.tell(rng, rows)
    rows += stolen
    rows.sort(key=lambda row: (row["at"], row["id"]))
    return _planted(rows, kind, ring, np.concatenate([signup, opened]), labels)


def _rings(rng: np.random.Generator, kind: np.ndarray) -> np.ndarray:
    """Number of the ring of every account, -1 for none."""
    ring = np.full(len(kind), -1)
    members = rng.permutation(np.flatnonzero(kind == NAMES.index("ring")))
    done = number = 0
    while done < len(members):
        size = int(rng.choice([3, 4, 5, 6, 8, 10, 14, 20], p=[0.15, 0.2, 0.2, 0.15, 0.12, 0.08, 0.06, 0.04]))
        if len(members) - done - size < 3:
            size = len(members) - done
        ring[members[done : done + size]] = number
        done, number = done + size, number + 1
    return ring


def _gather(rng: np.random.Generator, ring: np.ndarray, signup: np.ndarray, world: World) -> np.ndarray:
    """Most rings open all their accounts within three days."""
    signup = signup.copy()
    for number in range(ring.max() + 1):
        if rng.random() < 0.7:
            mine = np.flatnonzero(ring == number)
            begin = micros(world.began) + int(rng.uniform(0, 0.6 * world.days) * DAY)
            signup[mine] = begin + (rng.random(len(mine)) * 3 * DAY).astype(np.int64)
    return signup


class _Owners:
    """Who uses which device, address and card."""

    def __init__(self, rng: np.random.Generator, kind: np.ndarray, ring: np.ndarray) -> None:
        n = len(kind)
        self.ring = ring
        self.device, self.address, self.card = ([f"{letter}{number:06d}" for number in range(n)] for letter in "DAK")
        self.second = [f"D{n + number:06d}" if rng.random() < 0.25 else None for number in range(n)]
        self.other_card = [f"K{n + number:06d}" if rng.random() < 0.15 else None for number in range(n)]
        self.office: list[str | None] = [None] * n
        self.kiosk: list[str | None] = [None] * n
        honest = rng.permutation(np.flatnonzero((ring < 0) & (kind != NAMES.index("bot"))))
        used, self.keen = 0, np.zeros(n, dtype=bool)
        while used < 0.14 * len(honest):  # families and dorms
            dorm = rng.random() < 0.02
            group = honest[used : used + int(rng.integers(6, 13) if dorm else rng.integers(2, 6))]
            used += len(group)
            self.keen[group] = rng.random() < 0.1
            tablet, card = not dorm and rng.random() < 0.4, not dorm and rng.random() < 0.3
            for member in group:
                self.address[member] = self.address[group[0]]
                if tablet:
                    self.second[member] = f"T{group[0]:06d}"
                if card:
                    self.other_card[member] = self.card[group[0]]
        for number in range(max(1, n // 1000)):
            for member in rng.choice(honest, min(len(honest), int(rng.integers(20, 61))), replace=False):
                self.office[member] = f"A-office{number}"
            for member in rng.choice(honest, min(len(honest), int(rng.integers(30, 81))), replace=False):
                self.kiosk[member] = f"D-public{number}"
        self.sizes = np.bincount(ring[ring >= 0]) if (ring >= 0).any() else np.zeros(0, dtype=int)

    def tell(self, rng: np.random.Generator, rows: list[dict]) -> None:
        """Write device, address and card into the context of every row; a session has one device."""
        device_of: dict[tuple[int, str | None], str] = {}
        order_of: dict[tuple[int, str], tuple[str, str]] = {}
        for row in rows:
            who = row["who"]
            if who is None:
                row["context"] = None
                continue
            visit = (who, row["session"] or row["order_id"] or row["id"])
            if visit not in device_of:
                device_of[visit] = self._device(rng, who)
            told = {"device": device_of[visit]}
            if row["order_id"] is not None and row["kind"] in ("purchase", "refund", "redeem", "checkout"):
                order = (who, row["order_id"])
                if order not in order_of:
                    order_of[order] = self._paid(rng, who)
                told["ship_to"], told["card"] = order_of[order]
            row["context"] = json.dumps(told)

    def _device(self, rng: np.random.Generator, who: int) -> str:
        number, luck = self.ring[who], rng.random()
        if number >= 0:
            return f"R{number}-d{rng.integers(-(-self.sizes[number] // 3))}" if luck < 0.8 else self.device[who]
        if self.kiosk[who] is not None and luck < 0.1:
            return str(self.kiosk[who])
        return str(self.second[who]) if self.second[who] is not None and luck > 0.7 else self.device[who]

    def _paid(self, rng: np.random.Generator, who: int) -> tuple[str, str]:
        number, where, how = self.ring[who], rng.random(), rng.random()
        if number >= 0:
            address = f"R{number}-a{rng.integers(-(-self.sizes[number] // 4))}" if where < 0.8 else self.address[who]
            return address, f"R{number}-k{rng.integers(-(-self.sizes[number] // 3))}" if how < 0.67 else self.card[who]
        address = self.address[who]
        if self.office[who] is not None and where < 0.4:
            address = str(self.office[who])
        elif where > 0.95:
            address = self.address[int(rng.integers(len(self.address)))]
        return address, str(self.other_card[who]) if self.other_card[who] is not None and how < 0.5 else self.card[who]


def _rows(events: pa.Table, signup: np.ndarray) -> list[dict]:
    rows = events.drop_columns(["context"]).to_pylist()
    kept = []
    for row in rows:
        row["at"] = micros(row["at"])
        row["who"] = None if row["customer"] is None else int(row["customer"][1:])
        if row["who"] is None or row["at"] >= signup[row["who"]]:
            kept.append(row)
    return kept


def _restless(rng, rows: list[dict], kind: np.ndarray) -> None:
    """Two of three bots are neither as fast nor as regular as the simulated ones: 2-6 seconds a page, each by chance."""
    chosen = {int(one): rng.uniform(1, 3) for one in np.flatnonzero(kind == NAMES.index("bot")) if rng.random() < 0.67}
    first: dict[str, int] = {}
    for row in rows:
        if row["who"] in chosen and row["kind"] == "view":
            begun = first.setdefault(row["session"], row["at"])
            row["at"] = begun + round((row["at"] - begun) * chosen[row["who"]] + rng.uniform(-1, 1) * chosen[row["who"]] * 1_000_000)


def _event(kind: str, name: str, who: int, at: int, **more: object) -> dict:
    row = dict.fromkeys(schema.EVENTS.names)
    return (
        row | {"id": name, "at": at, "kind": kind, "customer": f"C{who:07d}", "who": who, "source": "simulated", "currency": "CNY"} | more
    )


def _coupons(rng, rows, keen, kind, ring, signup, world) -> list[dict]:
    """Claims of the campaigns, their use by the next honest order, and the orders and returns of rings."""
    end = micros(world.began) + world.days * DAY
    orders: dict[int, list[tuple[int, str]]] = {}
    lines: dict[tuple[int, str], list[dict]] = {}
    for row in rows:
        if row["kind"] == "purchase" and row["who"] is not None:
            if (row["who"], row["order_id"]) not in lines:
                orders.setdefault(row["who"], []).append((row["at"], row["order_id"]))
            lines.setdefault((row["who"], row["order_id"]), []).append(row)
    chance = np.array([CLAIMS[name] for name in NAMES])[kind]
    chance[keen] = CLAIMS["ring"]
    burst = {number: rng.random() for number in range(ring.max() + 1)}
    made: list[dict] = []
    for turn, day in enumerate(range(5, world.days - OPEN, EVERY)):
        launch = micros(world.began) + day * DAY
        coupon = f"K{turn}"
        hours = {number: launch + int(rng.uniform(0, 48) * HOUR) for number in burst}
        for who in np.flatnonzero(rng.random(len(kind)) < chance):
            quick = ring[who] >= 0 and rng.random() < 0.5
            at = hours[ring[who]] + int(rng.uniform(0, 1) * HOUR) if quick else launch + int(rng.beta(1, 2.5) * OPEN * DAY)
            if at < signup[who] or at >= end:
                continue
            made.append(_event("coupon", f"k{turn}-{who}", int(who), at, offer=coupon))
            if ring[who] >= 0:
                made += _use(rng, int(who), at, coupon, turn, end)
            else:
                for when, order in orders.get(int(who), []):
                    if at < when < launch + OPEN * DAY and all(line["offer"] is None for line in lines[int(who), order]):
                        for line in lines[int(who), order]:
                            off = round(0.15 * line["value"])
                            line |= {"offer": coupon, "discount": (line["discount"] or 0) + off, "value": line["value"] - off}
                        break
    return made


def _use(rng, who: int, at: int, coupon: str, turn: int, end: int) -> list[dict]:
    """A ring account orders with the coupon within a day, nine times of ten, and returns a third."""
    when = at + int(rng.uniform(0.02, 24) * HOUR)
    if rng.random() > 0.9 or when >= end:
        return []
    order, worth = f"r{turn}-{who}", int(rng.lognormal(9.4, 0.5))
    more = {"order_id": order, "offer": coupon, "item": f"I{rng.integers(80):04d}", "quantity": 1.0}
    made = [_event("purchase", f"{order}-p", who, when, **more, value=round(0.85 * worth), discount=worth - round(0.85 * worth))]
    made += _looks(rng, f"{order}-p", who, when, item=more["item"])
    back = when + int(rng.uniform(24, 120) * HOUR)
    if rng.random() < 0.33 and back < end:
        made.append(_event("refund", f"{order}-b", who, back, order_id=order, item=more["item"], quantity=1.0, value=round(0.85 * worth)))
    return made


def _looks(rng, order: str, who: int, at: int, **more: object) -> list[dict]:
    """Criminals look at what they order as everybody in this world does: a view or two, minutes before."""
    ahead = rng.uniform(0.5, 10, 1 + int(rng.random() < 0.4)) * 60_000_000
    return [_event("view", f"{order}-v{number}", who, at - int(before), **more) for number, before in enumerate(ahead)]


def _stolen(rng, kind, signup, world, owners: _Owners) -> tuple[list[dict], list[tuple[str, int]], list[int]]:
    """Orders with foreign cards, when each is known to be one, and when the attackers' own accounts were opened."""
    rows: list[dict] = []
    opened: list[int] = []
    labels: list[tuple[str, int]] = []
    begin, end, fresh = micros(world.began), micros(world.began) + world.days * DAY, len(kind)
    honest = np.flatnonzero(kind < NAMES.index("ring"))
    for attack in range(max(8, len(kind) // 60)):
        at = begin + int(rng.uniform(2, world.days - 1) * DAY)
        device = f"X{attack}"
        drops = [f"X{attack}-a{number}" for number in range(int(rng.integers(1, 3)))]
        cards = rng.choice(honest, int(rng.integers(2, 9)))
        account = fresh + attack
        opened.append(at - int(rng.exponential(5) * DAY))
        for number, card in enumerate(cards):
            at += int(rng.exponential(1.0) * HOUR)
            old = [one for one in (card, rng.choice(honest)) if signup[one] < at]
            who = int(old[-1]) if old and rng.random() < 0.4 else account
            if at >= end:
                break
            order = f"x{attack}-{number}"
            told = {
                "device": device,
                "ship_to": str(rng.choice(drops)),
                "card": owners.card[card] if rng.random() < 0.3 else f"KX{attack}-{number}",
            }
            if rng.random() < 0.2:  # the attacker hides the device
                told["device"] = f"X{attack}-{number}"
            value = int(rng.lognormal(10.0, 0.7))
            item = f"I{rng.integers(80):04d}"
            more = {"order_id": order, "item": item, "quantity": 1.0, "value": value, "discount": 0, "context": json.dumps(told)}
            rows.append(_event("purchase", f"{order}-p", who, at, **more))
            rows += _looks(rng, f"{order}-p", who, at, item=item, context=json.dumps({"device": told["device"]}))
            labels.append((order, at + int(rng.uniform(5, 40) * DAY)))
    return rows, labels, opened


def _planted(rows: list[dict], kind, ring, signup, labels) -> Planted:
    for row in rows:
        del row["who"]
    columns = {name: [row[name] for row in rows] for name in schema.EVENTS.names}
    columns["at"] = pa.array(columns["at"], pa.int64()).cast(schema.TIME)
    events = schema.conform(pa.table({name: pa.array(columns[name], schema.EVENTS.field(name).type) for name in columns}), schema.EVENTS)
    names = [f"C{number:07d}" for number in range(len(signup))]
    customers = pa.table({"customer": names, "signed_up_at": pa.array(signup, pa.int64()).cast(schema.TIME)})
    members = np.flatnonzero(ring >= 0)
    rings = pa.table({"customer": [names[one] for one in members], "ring": [int(ring[one]) for one in members]})
    known = pa.table({"id": [name for name, _ in labels], "known_at": pa.array([at for _, at in labels], pa.int64()).cast(schema.TIME)})
    bots = pa.table({"customer": [names[one] for one in np.flatnonzero(kind == NAMES.index("bot"))]})
    return Planted(events, customers, rings, known, bots)


def ended(events: pa.Table) -> datetime:
    """The moment after the last event."""
    return max(events["at"].to_pylist()).astimezone(UTC) + timedelta(microseconds=1)
