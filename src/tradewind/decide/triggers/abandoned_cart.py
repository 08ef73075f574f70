"""Something was put into the cart, and for a while neither bought nor taken out again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tradewind.decide.triggers.base import HOUR, MOST_ITEMS, Episode, Signal, State, Trigger
from tradewind.params import Number, Rule


@dataclass(frozen=True)
class AbandonedCart(Trigger):
    """Fires ``wait_hours`` after the last change of a cart worth ``at_least`` minor units; a purchase ends the episode.

    The episode begins with the first item. What is put in after the firing begins a new one.
    """

    wait_hours: float = 1.0
    at_least: int = 0

    RULES: ClassVar[Mapping[str, Rule]] = {"wait_hours": Number(0.01, 24 * 60), "at_least": Number(0, 10**12, whole=True)}
    hears: ClassVar[frozenset[str]] = frozenset({"cart", "uncart", "checkout", "purchase"})
    until_purchase: ClassVar[bool] = True

    def heard(self, state: State, signal: Signal) -> State:
        if signal.kind == "purchase":
            return None
        items = dict(state["items"]) if state else {}
        if signal.kind == "cart" and signal.item is not None:
            items.pop(signal.item, None)
            items[signal.item] = signal.value or 0  # the newest comes last
            items = dict(list(items.items())[-MOST_ITEMS:])
        elif signal.kind == "uncart" and signal.item is not None:
            items.pop(signal.item, None)
        if not items:
            return None
        return {"start": state["start"] if state else signal.at, "last": signal.at, "items": items}

    def due(self, state: State) -> int | None:
        if state is None or sum(state["items"].values()) < self.at_least:
            return None
        return int(state["last"] + self.wait_hours * HOUR)

    def fire(self, state: State) -> Episode:
        assert state is not None
        return Episode(state["start"], list(state["items"])[::-1], None)


PLUGIN = AbandonedCart
