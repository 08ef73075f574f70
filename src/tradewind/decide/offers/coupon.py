"""Money off at redemption: ``percent`` or ``fixed`` (minor units), from a ``threshold``, at most ``cap``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from tradewind.decide.offers.base import FROM, MONEY, OfferKind, Terms, one_of_two, percent_off
from tradewind.errors import InputError
from tradewind.params import Number, Rule


class Coupon(OfferKind):
    """A coupon over the offer's items, or over the whole basket when the offer names none.

    Terms: exactly one of ``percent`` (more than 0, at most 100) and ``fixed`` (whole minor units, at least 1);
    optional ``threshold`` and ``cap`` in whole minor units. Percentages round half up.
    """

    name = "coupon"
    rules: ClassVar[Mapping[str, Rule]] = {"percent": Number(0, 100), "fixed": MONEY, "threshold": FROM, "cap": MONEY}

    def check(self, terms: Terms) -> None:
        super().check(terms)
        one_of_two(self.name, terms)
        if "fixed" in terms and terms.get("threshold", terms["fixed"]) < terms["fixed"]:
            raise InputError(
                f'Offer kind "coupon": threshold {terms["threshold"]} is below the fixed discount {terms["fixed"]}, '
                "so a basket would cost nothing. Raise the threshold to at least the discount."
            )

        if "fixed" in terms and terms.get("cap", terms["fixed"]) < terms["fixed"]:
            raise InputError(
                f'Offer kind "coupon": cap {terms["cap"]} contradicts the fixed discount {terms["fixed"]}. '
                "Leave the cap out, or lower fixed."
            )

    def discounts(self, amounts: np.ndarray, terms: Terms) -> np.ndarray:
        amounts = np.asarray(amounts, dtype=np.int64)
        off = percent_off(amounts, terms["percent"]) if "percent" in terms else np.full_like(amounts, int(terms["fixed"]))
        off = np.minimum(np.minimum(off, int(terms.get("cap", 10**12))), amounts)
        return np.where(amounts >= self.threshold(terms), off, 0)


PLUGIN = Coupon
