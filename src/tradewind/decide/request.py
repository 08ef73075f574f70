"""What ``decide`` is asked: everything it may know, in one value. It reads nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

import pyarrow as pa

from tradewind.decide.unread import forgotten
from tradewind.errors import InputError, SchemaError
from tradewind.params import Number, check
from tradewind.types import Offer, utc

if TYPE_CHECKING:
    from tradewind.decide.value import ValueModel


@dataclass(frozen=True)
class Limits:
    """Rules that hold for every offer.

    Hours are local to the customer. Nothing is sent from ``quiet_from`` to ``quiet_until``; ``default_hour`` is
    used while the best hour of a customer is known with less than ``hour_confidence`` (0-1). At most
    ``messages_30d`` messages reach a customer in thirty days, and at least ``gap_hours`` lie between two. A customer whose
    ``risk`` (a column of the profile, 0-1) reaches the limit gets nothing that is worth money.
    """

    messages_30d: int = 8
    gap_hours: float = 24.0
    quiet_from: int = 22
    quiet_until: int = 8
    default_hour: int = 10
    hour_confidence: float = 0.6
    risk: float = 0.9

    def check(self) -> None:
        """Raise :class:`InputError` for limits that contradict themselves."""
        hour = Number(0, 23, whole=True)
        rules = {"messages_30d": Number(0, whole=True), "gap_hours": Number(0), "hour_confidence": Number(0, 1), "risk": Number(0, 1)}
        check("Limits", vars(self), {**rules, "quiet_from": hour, "quiet_until": hour, "default_hour": hour})
        if self.quiet(self.default_hour):
            raise InputError(
                f"Limits: default_hour {self.default_hour} lies in the quiet hours {self.quiet_from}-{self.quiet_until}. "
                "Choose an hour outside."
            )

    def quiet(self, hour: int) -> bool:
        """Whether nothing may be sent in the local ``hour`` (0-23)."""
        if self.quiet_from <= self.quiet_until:
            return self.quiet_from <= hour < self.quiet_until
        return hour >= self.quiet_from or hour < self.quiet_until


@dataclass(frozen=True)
class Exposure:
    """Of those who are expected to get something, at least the share ``floors[name]`` (0-1) has ``name`` in the profile's ``column``."""

    column: str
    floors: Mapping[str, float]

    def check(self) -> None:
        """Raise :class:`InputError` for floors that contradict themselves."""
        check("Exposure", self.floors, {name: Number(0, 1) for name in self.floors})
        if sum(self.floors.values()) > 1:
            raise InputError(f"Exposure: the floors add up to {sum(self.floors.values()):.2f}; shares of one whole cannot. Lower some.")


@dataclass(frozen=True)
class Caps:
    """Limits beside the budget; ``decide/caps.py`` prices them.

    ``channels``: messages that a channel carries in a day (UTC). ``offers``: minor units that an offer may cost, discounts and
    contacts. ``stock``: pieces of an item that there are at most, whatever its column ``stock`` says.
    """

    channels: Mapping[str, int] = field(default_factory=dict)
    offers: Mapping[str, int] = field(default_factory=dict)
    stock: Mapping[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.channels or self.offers or self.stock)

    def check(self, *, budget: int) -> None:
        """Raise :class:`InputError` for caps that are no numbers, or that contradict the budget."""
        for what in ("channels", "offers", "stock"):
            told = {f"{what}.{name}": most for name, most in getattr(self, what).items()}
            check("limits", told, {name: Number(0, 10**15, whole=True) for name in told})
        if budget == 0 and (paid := sorted(name for name, most in self.offers.items() if most)):
            raise InputError(
                f"limits: offers.{paid[0]} may cost {self.offers[paid[0]]} minor units, but the budget is 0. "
                "Give a budget, or leave that limit out."
            )


@dataclass(frozen=True)
class Request:
    """The input of :func:`tradewind.decide.policy.decide`.

    Tables: ``profiles`` one row per customer (``learn/profiles.py``; a column ``household`` is the unit of
    randomisation where present); ``items`` as ``schema.ITEMS``; ``shortlist`` (customer, item, score, optional
    source and reasons as JSON) from a recommender; ``allowed`` (customer, channel, optional bool ``granted``) the
    channels with consent. ``channels`` maps a channel to the cost of one contact in whole minor units. ``budget`` is
    in minor units; plans that name the same ``budget_id`` share it, without one the plan has its own.
    ``margin`` (share of price) is assumed for items without a cost. ``impersonal`` customers switched
    personalisation off: they are decided by the averages of the shop, and the request itself forgets what it was told of them
    (``decide/unread.py``). ``reserve_z``: how many standard deviations of
    redemption cost are reserved on top of the expectation. ``floor`` is the least propensity of a candidate; it is lowered to
    where it costs the share ``explore`` of the budget and forgoes that share of the profit.
    ``blocked`` customers, as those of a profile column ``blocked``,
    ``risk`` or ``ring``, get nothing that is worth money. ``held`` (customer, offer): offers that customers hold already,
    for the stacking groups. ``items`` may have a column ``stock_ends``: when an item is expected to be sold out.
    ``promised``: what open decisions hold of ``item:SKU``, ``offer:ID`` and other limits (``commit.promised``), taken off them.
    Of the messages so far (``learn/answers.py``), ``redeemed``: share of those with an offer that led to its redemption, by offer;
    ``extra_orders``: orders that a message led to beyond those that would have come anyway, by offer; ``heard``: share of the messages
    of a channel that were clicked over that of all, by channel.
    """

    as_of: datetime
    profiles: pa.Table
    offers: Sequence[Offer]
    items: pa.Table
    allowed: pa.Table
    channels: Mapping[str, int]
    budget: int
    currency: str
    salt: str
    seed: int
    shortlist: pa.Table | None = None
    holdout: float = 0.1
    floor: float = 0.01
    explore: float = 0.1
    model: ValueModel | None = None
    limits: Limits = field(default_factory=Limits)
    window_days: int = 28
    margin: float | None = None
    zone: str = "UTC"
    budget_id: str | None = None
    impersonal: frozenset[str] = frozenset()
    blocked: frozenset[str] = frozenset()
    held: pa.Table | None = None
    promised: Mapping[str, int] = field(default_factory=dict)
    redeemed: Mapping[str, float] = field(default_factory=dict)
    extra_orders: Mapping[str, float] = field(default_factory=dict)
    heard: Mapping[str, float] = field(default_factory=dict)
    exposure: Exposure | None = None
    caps: Caps = field(default_factory=Caps)
    size: int = 10
    reserve_z: float = 1.64

    def __post_init__(self) -> None:
        if self.impersonal:
            for name, table in forgotten(self.profiles, self.shortlist, self.impersonal).items():
                object.__setattr__(self, name, table)

    def check(self) -> None:
        """Raise an :class:`InputError` that says what is wrong with the request."""
        utc(self.as_of, what="as_of")
        whole = Number(0, 10**15, whole=True)
        check(
            "decide",
            vars(self),
            {
                "budget": whole,
                "holdout": Number(0, 0.9),
                "size": Number(2, 10, whole=True),
                "window_days": Number(1, 366, whole=True),
                "reserve_z": Number(0, 10),
                "explore": Number(0, 1),
                "seed": Number(-(2**62), 2**62, whole=True),
            },
        )
        check("decide", {"floor": self.floor}, {"floor": Number(1e-6, 1 / (self.size + 1))})
        costs = {f"cost of channel {name}": cost for name, cost in self.channels.items()}
        check("decide", costs, dict.fromkeys(costs, whole))
        check(
            "decide", shares := {f"redeemed of {name}": share for name, share in self.redeemed.items()}, dict.fromkeys(shares, Number(0, 1))
        )
        counted = {f"extra_orders of {name}": value for name, value in self.extra_orders.items()}
        counted |= {f"heard of {name}": value for name, value in self.heard.items()}
        check("decide", counted, dict.fromkeys(counted, Number(0)))
        if self.margin is not None:
            check("decide", {"margin": self.margin}, {"margin": Number(0, 1)})
        self.limits.check()
        self.caps.check(budget=self.budget)
        if self.exposure is not None:
            self.exposure.check()
        for name, table, needed in (
            ("profiles", self.profiles, ("customer",)),
            ("items", self.items, ("item", "price", "cost", "stock")),
            ("shortlist", self.shortlist, ("customer", "item", "score")),
            ("allowed", self.allowed, ("customer", "channel")),
            ("held", self.held, ("customer", "offer")),
        ):
            for column in needed:
                if table is not None and column not in table.column_names:
                    raise SchemaError(f'decide: table {name} needs the column "{column}". Got: {", ".join(table.column_names)}.')
        seen: set[str] = set()
        for offer in self.offers:
            if offer.offer in seen or "|" in offer.offer:
                raise InputError(f'decide: offer id "{offer.offer}" must be unique and hold no "|".')
            seen.add(offer.offer)
