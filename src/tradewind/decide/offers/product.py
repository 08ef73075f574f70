"""An item at its list price: the recommendation itself is the offer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from tradewind.decide.offers.base import OfferKind, Terms
from tradewind.params import Number, Rule


class Product(OfferKind):
    """Takes nothing off. Terms: ``margin_floor`` only."""

    name = "product"
    rules: ClassVar[Mapping[str, Rule]] = {"margin_floor": Number(0, 1)}

    def discounts(self, amounts: np.ndarray, terms: Terms) -> np.ndarray:  # noqa: ARG002 - the contract's signature
        return np.zeros_like(amounts, dtype=np.int64)


PLUGIN = Product
