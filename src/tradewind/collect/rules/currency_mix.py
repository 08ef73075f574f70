"""Amounts in another currency than the shop's: they cannot be added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tradewind.collect.rules.base import CHOICES, Flaw, QualityRule, View
from tradewind.collect.sources.base import literal
from tradewind.params import Rule


class CurrencyMix(QualityRule):
    """Quarantined by default, because no rate of exchange is known here: convert them and replay."""

    name: ClassVar[str] = "currency_mix"
    tables: ClassVar[tuple[str, ...]] = ("events", "items")
    defaults: ClassVar[Mapping[str, Any]] = {"action": "quarantine"}
    options: ClassVar[Mapping[str, Rule]] = {"action": CHOICES}

    def flaws(self, view: View) -> Sequence[Flaw]:
        """Rows whose currency is not the shop's."""
        if view.currency is None or not view.has("currency"):
            return ()
        reason = f"is not the shop's currency {view.currency}"
        return [Flaw("currency_mix currency", f"currency <> {literal(view.currency)}", self.set["action"], reason, "currency")]


PLUGIN = CurrencyMix
