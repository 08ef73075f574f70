"""An item at its list price: the recommendation itself is the offer."""

from __future__ import annotations

import numpy as np

from tradewind.decide.offers.base import OfferKind, Terms
from tradewind.params import Number


class Product(OfferKind):
    """Takes nothing off. Terms: ``margin_floor`` only."""

    name = "product"
    rules = {"margin_floor": Number(0, 1)}

    def discounts(self, amounts: np.ndarray, terms: Terms) -> np.ndarray:
        return np.zeros_like(amounts, dtype=np.int64)


PLUGIN = Product
