"""Who shops here: latent tastes, rates, responses and habits, drawn chunk by chunk so that no chunk needs another."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradewind.simulate import rng
from tradewind.simulate.catalogue import Catalogue
from tradewind.simulate.season import ZONES

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CHUNK = 8192  # customers per chunk
CHANNELS = ("email", "sms", "push", "inapp")
LOCALES = ("zh-CN", "en")

# One column per archetype. Shares and per-day rates; "pull" is the chance to buy after a click that no discount explains,
# "slope" what a discount can add, "lure" how much more a discount is clicked, "annoyed" the share of own orders lost per message.
NAMES = ("regular", "persuadable", "sure", "hunter", "sleeping", "ring", "bot")
_LAW = {
    "share": (0.27, 0.38, 0.11, 0.11, 0.09, 0.03, 0.01),
    "visit": (0.08, 0.17, 0.12, 0.11, 0.07, 0.05, 0.06),
    "order": (0.010, 0.008, 0.045, 0.032, 0.030, 0.030, 0.0),
    "open": (0.42, 0.92, 0.62, 0.75, 0.22, 0.85, 0.9),
    "click": (0.26, 0.85, 0.50, 0.36, 0.10, 0.55, 0.9),
    "pull": (0.10, 0.55, 0.02, 0.01, 0.0, 0.0, 0.0),
    "slope": (0.05, 0.30, 0.02, 0.08, 0.0, 0.0, 0.0),
    "lure": (0.3, 0.15, 0.9, 1.2, 0.2, 0.7, 0.0),
    "annoyed": (0.01, 0.01, 0.0, 0.0, 0.5, 0.0, 0.0),
    "leave": (0.006, 0.003, 0.004, 0.003, 0.03, 0.0, 0.0),
    "returns": (1.0, 1.0, 0.7, 1.5, 1.0, 3.0, 1.0),
}


@dataclass(frozen=True)
class People:
    """One chunk of n customers; row r is customer ``first + r``. Days count from the start of the history."""

    first: int
    kind: Ints  # index into NAMES
    locale: Ints
    zone: Ints
    signup: Floats
    churn: Floats  # day after which hardly anything happens
    fade: Floats  # days in which activity settles down after signing up
    settle: Floats  # share of the first activity that stays
    visit: Floats  # browsing sessions per day at full activity
    order: Floats  # orders per day at full activity
    taste: Floats  # (n, leaves), rows sum to one
    tier: Ints
    style: Ints
    peak: Ints  # best local hour
    open: Floats  # (n, 4) by channel
    click: Floats
    pull: Floats
    slope: Floats
    lure: Floats
    annoyed: Floats
    leave: Floats
    returns: Floats
    tire: Floats  # how strongly one recent contact lowers the next answer
    rest: Floats  # days in which that fades by e
    reach: Bools  # (n, 4) a contact point is known
    consent: Bools  # (n, 4)
    device: Ints
    house: Ints  # shipping address
    repeat_item: Ints  # a consumable bought regularly, -1 none
    repeat_days: Floats
    repeat_phase: Floats

    def __len__(self) -> int:
        return len(self.kind)

    @cached_property
    def tastes(self) -> rng.Choice:
        """Draws leaf categories."""
        return rng.Choice(self.taste)

    @cached_property
    def ids(self) -> pa.Array:
        """Customer ids; they say nothing about the customer."""
        return pa.array([f"C{number:07d}" for number in range(self.first, self.first + len(self))])

    @cached_property
    def contexts(self) -> pa.Array:
        """JSON context of a customer's events, then that of a customer's orders (device and address)."""
        devices = [f'"device": "D{number:07d}"' for number in self.device]
        orders = [f'{{{device}, "ship_to": "A{house:07d}"}}' for device, house in zip(devices, self.house, strict=True)]
        return pa.array([f"{{{device}}}" for device in devices] + orders)


def make(seed: int, chunk: int, *, count: int, days: int, catalogue: Catalogue) -> People:
    """Draw chunk number ``chunk`` of ``count`` customers; a pure function of its arguments."""
    draw = rng.stream(seed, rng.PEOPLE, chunk)
    kind = draw.choice(len(NAMES), count, p=_LAW["share"])
    law = {name: np.array(values)[kind] for name, values in _LAW.items()}

    def around(name: str, spread: float) -> Floats:
        return np.asarray(law[name] * np.exp(draw.normal(-(spread**2) / 2, spread, count)))

    english = draw.random(count) < 0.2
    zone = np.where(
        english,
        draw.choice(len(ZONES), count, p=[0.15, 0.0, 0.2, 0.3, 0.15, 0.1, 0.1]),
        draw.choice(len(ZONES), count, p=[0.86, 0.06, 0.05, 0.03, 0.0, 0.0, 0.0]),
    )
    early = draw.random(count) < 0.65
    signup = np.where(early, -draw.uniform(1, 400, count), draw.uniform(0, max(days - 1, 1), count))
    device, house = _rings(draw, kind, chunk * CHUNK)
    taste = draw.gamma(0.35, 1.0, (count, catalogue.leaves)) + 1e-4
    taste /= taste.sum(axis=1, keepdims=True)
    consumable = np.flatnonzero(catalogue.repeat > 0)
    repeat_item = np.where(draw.random(count) < 0.12, draw.choice(consumable, count), -1)
    repeat_item[(kind >= NAMES.index("ring"))] = -1
    habit = draw.gamma(2.0, 1.0, (count, len(CHANNELS)))
    pull_mix = draw.beta(2, 2, count)  # who needs no discount cares less about one
    reach = draw.random((count, len(CHANNELS))) < [0.9, 0.8, 0.6, 1.0]
    days_between = np.where(repeat_item >= 0, catalogue.repeat[repeat_item] * np.exp(draw.normal(0, 0.15, count)), 1.0)
    return People(
        first=chunk * CHUNK,
        kind=kind,
        locale=english.astype(np.int64),
        zone=zone,
        signup=signup,
        churn=signup + draw.exponential(900, count),
        fade=draw.uniform(15, 60, count),
        settle=draw.uniform(0.45, 0.9, count),
        visit=around("visit", 0.4),
        order=around("order", 0.35),
        taste=taste,
        tier=draw.choice(3, count, p=[0.4, 0.4, 0.2]),
        style=draw.integers(0, 4, count),
        peak=draw.choice([8, 12, 13, 19, 20, 21, 22], count),
        open=np.clip(law["open"][:, None] * (0.35 + 0.75 * habit / habit.max(axis=1, keepdims=True)), 0.02, 0.9),
        click=np.clip(around("click", 0.2), 0.01, 0.95),
        pull=law["pull"] * (0.2 + 1.6 * pull_mix),
        slope=law["slope"] * (2.0 - 2.0 * pull_mix),
        lure=law["lure"],
        annoyed=law["annoyed"],
        leave=law["leave"],
        returns=law["returns"],
        tire=draw.uniform(0.15, 0.6, count),
        rest=draw.uniform(4, 12, count),
        reach=reach,
        consent=reach & (draw.random((count, len(CHANNELS))) < [0.85, 0.7, 0.75, 0.95]),
        device=device,
        house=house,
        repeat_item=repeat_item,
        repeat_days=np.maximum(days_between, 7.0),
        repeat_phase=draw.random(count),
    )


def alive(people: People, day: Floats) -> Floats:
    """Activity as a share of full activity at each of D days, float64[n, D]: 0 before signing up, little after churn."""
    age = day[None, :] - people.signup[:, None]
    level = people.settle[:, None] + (1 - people.settle[:, None]) * np.exp(-np.maximum(age, 0) / people.fade[:, None])
    level = np.where(day[None, :] >= people.churn[:, None], 0.04, level)
    return np.asarray(np.where(age >= 0, level, 0.0))


def _rings(draw: np.random.Generator, kind: Ints, first: int) -> tuple[Ints, Ints]:
    """Number devices and shipping addresses: everybody has an own one, except accounts of a ring (3-8) that share both."""
    device = first + np.arange(len(kind))
    house = device.copy()
    members = np.flatnonzero(kind == NAMES.index("ring"))
    done = 0
    while done < len(members):
        ring = members[done : done + int(draw.integers(3, 9))]
        device[ring] = device[ring[0]]
        house[ring] = house[ring[0]]
        done += len(ring)
    pairs = np.flatnonzero(draw.random(len(kind) // 2) < 0.06) * 2  # honest households share an address, not a device
    pairs = pairs[~np.isin(pairs, members) & ~np.isin(pairs + 1, members)]
    house[pairs + 1] = house[pairs]
    return device, house


def latents(people: People) -> dict[str, Any]:
    """The hidden truth per customer as plain columns, for ``truth/`` only."""
    return {
        "archetype": [NAMES[number] for number in people.kind],
        "visit_rate": people.visit,
        "order_rate": people.order,
        "pull": people.pull,
        "slope": people.slope,
        "annoyed": people.annoyed,
        "tier": people.tier,
        "style": people.style,
        "churn_day": people.churn,
    }
