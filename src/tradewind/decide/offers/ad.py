"""A paid or reserved placement of an item on the shop's own surface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from tradewind.decide.offers.base import FROM, OfferKind, Terms
from tradewind.params import Rule


class Ad(OfferKind):
    """Shown in the app or shop only, always marked as advertising. Terms: ``impression``, what one showing costs (minor units)."""

    name = "ad"
    rules: ClassVar[Mapping[str, Rule]] = {"impression": FROM}
    incentive = False
    whole = False
    channels = frozenset({"inapp"})

    def contact(self, terms: Terms) -> int:
        return int(terms.get("impression", 0))

    def discounts(self, amounts: np.ndarray, terms: Terms) -> np.ndarray:  # noqa: ARG002 - the contract's signature
        return np.zeros_like(amounts, dtype=np.int64)


PLUGIN = Ad
