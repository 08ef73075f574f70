"""The contract of an offer kind. One file per kind; its ``PLUGIN`` is a subclass of :class:`OfferKind`.

Terms are the same for everybody: an offer may be open to some customers only (eligibility), its price never differs
between those who get it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tradewind import plugins
from tradewind.errors import InputError, did_you_mean
from tradewind.params import Number, Rule, check
from tradewind.types import Offer

Terms = Mapping[str, Any]

MONEY = Number(1, 10**12, whole=True)  # minor units of a discount
FROM = Number(0, 10**12, whole=True)  # minor units of a basket
COMMON: Mapping[str, Rule] = {"margin_floor": Number(0, 1), "stock": Number(0, 10**9, whole=True)}  # terms of every kind
STACK = "stack"  # the one term of every kind that is a text


class OfferKind(ABC):
    """What an offer of one kind costs at redemption and what it needs to be valid.

    ``rules`` names the terms of the kind and their allowed values. Terms of every kind: ``margin_floor`` (share of the
    list amount that must remain as margin after the discount, 0-1), ``stock`` (at most so many customers hold the offer
    at once) and ``stack`` (a name: a customer who holds an offer of this group gets no other of it).

    ``incentive``: worth money to whoever gets it, so never for blocked customers and rings. ``cuts``: the discount lowers
    the price of goods. ``whole``: without items of its own it concerns the whole basket. ``channels``: where it can be
    shown; None means everywhere.
    """

    name: ClassVar[str]
    rules: ClassVar[Mapping[str, Rule]]
    incentive: ClassVar[bool] = True
    cuts: ClassVar[bool] = True
    whole: ClassVar[bool] = True
    channels: ClassVar[frozenset[str] | None] = None

    def check(self, terms: Terms) -> None:
        """Raise :class:`InputError` when ``terms`` are not valid for this kind."""
        allowed = {**self.rules, **COMMON}
        for key, value in terms.items():
            if ("price" in key and key not in allowed) or isinstance(value, Mapping | list | tuple):
                raise InputError(
                    f'Offer kind "{self.name}": "{key}" would set a price of its own. An offer has the same terms for everybody and never '
                    "sets list prices. Say in the offer's eligibility who may get it, or make one offer for each level."
                )
            if key == STACK:
                if not isinstance(value, str) or not value:
                    raise InputError(f'Offer kind "{self.name}": stack must be the name of a group, such as "welcome"; got {value!r}.')
            elif key not in allowed:
                raise InputError(
                    f'Offer kind "{self.name}" has no term "{key}".{did_you_mean(key, allowed)} '
                    f"Allowed: {', '.join(sorted([*allowed, STACK]))}."
                )
            else:
                check(f'Offer kind "{self.name}"', {key: value}, {key: allowed[key]})

    @abstractmethod
    def discounts(self, amounts: np.ndarray, terms: Terms) -> np.ndarray:
        """Cost at redemption for baskets of ``amounts``; int64 minor units, same shape, 0 <= discount <= amount."""

    def threshold(self, terms: Terms) -> int:
        """The smallest amount, minor units, at which the offer can be redeemed."""
        return int(terms.get("threshold", 0))

    def pieces(self, terms: Terms) -> int:  # noqa: ARG002 - the contract's signature
        """How many pieces of its items must be bought together."""
        return 1

    def contact(self, terms: Terms) -> int:  # noqa: ARG002 - the contract's signature
        """What showing the offer costs on top of the channel's contact; whole minor units."""
        return 0

    def discount(self, price: int, quantity: int, terms: Terms) -> int:
        """What ``quantity`` pieces at the list ``price`` cost at redemption (minor units each); minor units."""
        return int(self.discounts(np.array([price * quantity], dtype=np.int64), terms)[0])

    def keeps_margin(self, amounts: np.ndarray, costs: np.ndarray, terms: Terms) -> np.ndarray:
        """Whether list ``amounts`` minus ``costs`` of the goods minus the discount stay above the margin floor; bool, same shape."""
        left = amounts - costs - self.discounts(amounts, terms)
        return np.asarray(left >= float(terms.get("margin_floor", 0.0)) * amounts)


def fixed_off(amounts: np.ndarray, off: int, *, threshold: int) -> np.ndarray:
    """``off`` minor units wherever the amount reaches the threshold, never more than the amount; int64."""
    amounts = np.asarray(amounts, dtype=np.int64)
    return np.where(amounts >= threshold, np.minimum(off, amounts), 0)


def percent_off(amounts: np.ndarray, percent: float) -> np.ndarray:
    """``percent`` of the amounts, to hundredths of a percent, rounded half up; int64."""
    points = round(float(percent) * 100)
    return np.asarray((np.asarray(amounts, dtype=np.int64) * points + 5_000) // 10_000)


def one_of_two(kind: str, terms: Terms) -> None:
    """Exactly one of ``percent`` and ``fixed``, and a discount that is one; raises :class:`InputError`."""
    given = [name for name in ("percent", "fixed") if name in terms]
    if len(given) != 1:
        raise InputError(f'Offer kind "{kind}" needs exactly one of "percent" and "fixed"; got {" and ".join(given) or "neither"}.')
    if terms.get("percent") == 0:
        raise InputError(f'Offer kind "{kind}": percent must be more than 0; got 0. An offer without a discount is of kind "product".')


def kind_of(offer: Offer) -> OfferKind:
    """The checked plugin of ``offer``.

    Raises
    ------
    NotFound
        No such kind.
    InputError
        The terms are not valid for the kind; the message names the offer.
    """
    plugin: OfferKind = plugins.load("decide.offers", offer.kind, what="offer kind")()
    try:
        plugin.check(offer.terms)
    except InputError as error:
        raise InputError(f'Offer "{offer.offer}": {error}') from error
    if plugin.pieces(offer.terms) > 1 and offer.items is None:
        raise InputError(f'Offer "{offer.offer}": a {offer.kind} needs items of its own. List them in the table offer_items.')
    if offer.starts_at and offer.ends_at and offer.starts_at >= offer.ends_at:
        raise InputError(f'Offer "{offer.offer}" ends ({offer.ends_at.isoformat()}) before it starts ({offer.starts_at.isoformat()}).')
    return plugin
