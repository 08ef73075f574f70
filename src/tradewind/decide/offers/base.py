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
from tradewind.params import Rule, check
from tradewind.types import Offer

Terms = Mapping[str, Any]


class OfferKind(ABC):
    """What an offer of one kind takes off and what it needs to be valid.

    ``rules`` names the terms of the kind and their allowed values; ``margin_floor`` (share of the list amount that
    must remain as margin after the discount, 0-1) is a term of every kind.
    """

    name: ClassVar[str]
    rules: ClassVar[Mapping[str, Rule]]

    def check(self, terms: Terms) -> None:
        """Raise :class:`InputError` when ``terms`` are not valid for this kind."""
        for key, value in terms.items():
            if key not in self.rules:
                raise InputError(
                    f'Offer kind "{self.name}" has no term "{key}".{did_you_mean(key, self.rules)} '
                    f"Allowed: {', '.join(sorted(self.rules))}."
                )
            check(f'Offer kind "{self.name}"', {key: value}, {key: self.rules[key]})

    @abstractmethod
    def discounts(self, amounts: np.ndarray, terms: Terms) -> np.ndarray:
        """What is taken off baskets of ``amounts`` at redemption; int64 minor units, same shape, 0 <= discount <= amount."""

    def threshold(self, terms: Terms) -> int:
        """The smallest amount, minor units, at which the offer can be redeemed."""
        return int(terms.get("threshold", 0))

    def discount(self, price: int, quantity: int, terms: Terms) -> int:
        """What is taken off ``quantity`` pieces at the list ``price`` (minor units each); minor units."""
        return int(self.discounts(np.array([price * quantity], dtype=np.int64), terms)[0])

    def keeps_margin(self, amounts: np.ndarray, costs: np.ndarray, terms: Terms) -> np.ndarray:
        """Whether list ``amounts`` minus ``costs`` of the goods minus the discount stay above the margin floor; bool, same shape."""
        left = amounts - costs - self.discounts(amounts, terms)
        return np.asarray(left >= float(terms.get("margin_floor", 0.0)) * amounts)


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
    if offer.starts_at and offer.ends_at and offer.starts_at >= offer.ends_at:
        raise InputError(f'Offer "{offer.offer}" ends ({offer.ends_at.isoformat()}) before it starts ({offer.starts_at.isoformat()}).')
    return plugin
