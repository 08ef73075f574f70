"""Loyalty points for an order, from a ``threshold`` on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from tradewind.decide.offers.base import FROM, OfferKind, Terms, fixed_off
from tradewind.errors import InputError
from tradewind.params import Number, Rule


class Points(OfferKind):
    """Terms: ``points`` an order (whole, needed) and ``worth``, what a point costs the shop in minor units (needed: expiry and
    what is never redeemed are the shop's to know); optional ``threshold``. The cost counts when the points are earned.
    """

    name = "points"
    rules: ClassVar[Mapping[str, Rule]] = {"points": Number(1, 10**9, whole=True), "worth": Number(1e-6, 10**6), "threshold": FROM}
    cuts = False

    def check(self, terms: Terms) -> None:
        super().check(terms)
        if missing := [name for name in ("points", "worth") if name not in terms]:
            raise InputError(f'Offer kind "points" needs {" and ".join(missing)}: how many, and what one costs the shop in minor units.')

    def discounts(self, amounts: np.ndarray, terms: Terms) -> np.ndarray:
        off = int(np.ceil(terms["points"] * float(terms["worth"]) - 1e-9))
        return fixed_off(amounts, off, threshold=self.threshold(terms))


PLUGIN = Points
