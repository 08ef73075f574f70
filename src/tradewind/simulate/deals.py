"""What an offer takes off a basket. The same integers price the simulated orders and the closed-form truth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.params import Number, check
from tradewind.simulate.data import words

_RULES = {"percent": Number(0, 100), "fixed": Number(0, whole=True), "threshold": Number(0, whole=True), "cap": Number(0, whole=True)}


@dataclass(frozen=True)
class Deal:
    """One offer's terms: ``percent`` of the basket or ``fixed`` off it, from ``threshold`` upwards, at most ``cap``.

    Money in minor units. A deal of neither percent nor fixed (a product recommendation) takes nothing off.
    """

    percent: float = 0.0
    fixed: int = 0
    threshold: int = 0
    cap: int | None = None

    @property
    def discounts(self) -> bool:
        """Whether it can ever take anything off."""
        return self.percent > 0 or self.fixed > 0

    def take(self, main: NDArray[np.int64], extra: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return what is taken off the main and the extra line of each basket; a basket that is too small gets 0."""
        total = main + extra
        off = (total * round(self.percent * 100) + 5_000) // 10_000 + self.fixed
        off = np.minimum(off, total if self.cap is None else np.minimum(total, self.cap))
        off = np.where(total >= max(self.threshold, 1), off, 0)
        first = off * main // np.maximum(total, 1)
        return first, off - first


def parse(kind: str, terms: str | Mapping[str, Any] | None) -> Deal:
    """Read the terms of an offer of ``kind`` "product" or "coupon" (JSON text or mapping).

    A coupon has ``percent`` (0-100) or ``fixed`` (minor units), and may have ``threshold`` and ``cap`` (minor units); it
    holds for the whole basket. Other terms do not change what a customer does and are ignored.

    Raises
    ------
    InputError
        The kind is neither, the terms are no JSON object, or a coupon takes nothing off.
    """
    if kind not in {"product", "coupon"}:
        raise InputError(f'The simulated shop answers offers of kind "product" and "coupon"; got "{kind}".')
    try:
        values = json.loads(terms) if isinstance(terms, str) and terms else (terms or {})
    except json.JSONDecodeError as error:
        raise InputError(f"The terms of an offer must be a JSON object; got {terms!r}: {error}.") from error
    if not isinstance(values, Mapping):
        raise InputError(f"The terms of an offer must be a JSON object; got {terms!r}.")
    if kind == "product":
        return Deal()
    known = {name: values[name] for name in _RULES if values.get(name) is not None}
    check("coupon terms", known, {name: _RULES[name] for name in known})
    deal = Deal(**known)
    if not deal.discounts:
        raise InputError(f'A coupon needs "percent" or "fixed" in its terms; got {json.dumps(dict(values))}.')
    return deal


def standard() -> list[dict[str, Any]]:
    """The offers of the simulated shop as it would export them (a fresh copy; terms are mappings)."""
    return [dict(offer, terms=dict(offer["terms"])) for offer in words("words")["offers"]]
