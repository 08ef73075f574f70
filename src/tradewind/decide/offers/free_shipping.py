"""The shop pays the shipping of an order, from a ``threshold`` on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from tradewind.decide.offers.base import FROM, MONEY, OfferKind, Terms, fixed_off
from tradewind.errors import InputError
from tradewind.params import Rule


class FreeShipping(OfferKind):
    """Terms: ``shipping``, what an order's shipping costs the shop (whole minor units, needed); optional ``threshold``."""

    name = "free_shipping"
    rules: ClassVar[Mapping[str, Rule]] = {"shipping": MONEY, "threshold": FROM}
    cuts = False

    def check(self, terms: Terms) -> None:
        super().check(terms)
        if "shipping" not in terms:
            raise InputError('Offer kind "free_shipping" needs "shipping": what an order\'s shipping costs the shop, in minor units.')

    def discounts(self, amounts: np.ndarray, terms: Terms) -> np.ndarray:
        return fixed_off(amounts, int(terms["shipping"]), threshold=self.threshold(terms))


PLUGIN = FreeShipping
