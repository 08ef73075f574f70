"""Something to read: an article or a guide, with an item of its own or none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from tradewind.decide.offers.base import OfferKind, Terms
from tradewind.params import Rule


class Post(OfferKind):
    """Takes nothing off; the offer's title is what the text names. No terms of its own."""

    name = "post"
    rules: ClassVar[Mapping[str, Rule]] = {}
    incentive = False

    def discounts(self, amounts: np.ndarray, terms: Terms) -> np.ndarray:  # noqa: ARG002 - the contract's signature
        return np.zeros_like(amounts, dtype=np.int64)


PLUGIN = Post
