"""Money off at redemption: ``percent`` or ``fixed`` (minor units), from a ``threshold``, at most ``cap``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from tradewind.decide.offers.base import OfferKind, Terms
from tradewind.errors import InputError
from tradewind.params import Number, Rule


class Coupon(OfferKind):
    """A coupon over the offer's items, or over the whole basket when the offer names none.

    Terms: exactly one of ``percent`` (more than 0, at most 100) and ``fixed`` (whole minor units, at least 1);
    optional ``threshold`` and ``cap`` in whole minor units, ``margin_floor`` as a share. Percentages round half up.
    """

    name = "coupon"
    rules: ClassVar[Mapping[str, Rule]] = {
        "percent": Number(0, 100),
        "fixed": Number(1, 10**12, whole=True),
        "threshold": Number(0, 10**12, whole=True),
        "cap": Number(1, 10**12, whole=True),
        "margin_floor": Number(0, 1),
    }

    def check(self, terms: Terms) -> None:
        super().check(terms)
        given = [name for name in ("percent", "fixed") if name in terms]
        if len(given) != 1:
            raise InputError(f'Offer kind "coupon" needs exactly one of "percent" and "fixed"; got {" and ".join(given) or "neither"}.')
        if terms.get("percent") == 0:
            raise InputError('Offer kind "coupon": percent must be more than 0; got 0. An offer without a discount is of kind "product".')
        if "fixed" in terms and terms.get("threshold", terms["fixed"]) < terms["fixed"]:
            raise InputError(
                f'Offer kind "coupon": threshold {terms["threshold"]} is below the fixed discount {terms["fixed"]}, '
                "so a basket would cost nothing. Raise the threshold to at least the discount."
            )

    def discounts(self, amounts: np.ndarray, terms: Terms) -> np.ndarray:
        amounts = np.asarray(amounts, dtype=np.int64)
        if "percent" in terms:
            points = round(float(terms["percent"]) * 100)
            off = (amounts * points + 5_000) // 10_000
        else:
            off = np.full_like(amounts, int(terms["fixed"]))
        off = np.minimum(np.minimum(off, int(terms.get("cap", 10**12))), amounts)
        return np.where(amounts >= self.threshold(terms), off, 0)


PLUGIN = Coupon
