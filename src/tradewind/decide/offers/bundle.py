"""Several pieces of the offer's items bought together cost less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from tradewind.decide.offers.base import MONEY, OfferKind, Terms, one_of_two, percent_off
from tradewind.errors import InputError
from tradewind.params import Number, Rule


class Bundle(OfferKind):
    """Terms: ``pieces`` (at least 2, needed) and exactly one of ``percent`` and ``fixed`` (minor units off the whole bundle).

    The offer names its items; any of them make up the pieces. What is expected is reckoned with pieces of one price.
    """

    name = "bundle"
    rules: ClassVar[Mapping[str, Rule]] = {"pieces": Number(2, 100, whole=True), "percent": Number(0, 100), "fixed": MONEY}

    def check(self, terms: Terms) -> None:
        super().check(terms)
        one_of_two(self.name, terms)
        if "pieces" not in terms:
            raise InputError('Offer kind "bundle" needs "pieces": how many of its items must be bought together, at least 2.')

    def pieces(self, terms: Terms) -> int:
        return int(terms["pieces"])

    def discounts(self, amounts: np.ndarray, terms: Terms) -> np.ndarray:
        amounts = np.asarray(amounts, dtype=np.int64)
        off = percent_off(amounts, terms["percent"]) if "percent" in terms else np.full_like(amounts, int(terms["fixed"]))
        return np.asarray(np.minimum(off, amounts))


PLUGIN = Bundle
