"""An item at its list price: the recommendation itself is the offer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from tradewind.decide.offers.base import OfferKind, Terms
from tradewind.params import Rule


class Product(OfferKind):
    """Takes nothing off; no terms of its own."""

    name = "product"
    rules: ClassVar[Mapping[str, Rule]] = {}
    incentive = False
    whole = False

    def discounts(self, amounts: np.ndarray, terms: Terms) -> np.ndarray:  # noqa: ARG002 - the contract's signature
        return np.zeros_like(amounts, dtype=np.int64)


PLUGIN = Product
