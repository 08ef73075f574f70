"""The price of an item fell that the customer had looked at, wished for or put into the cart, and did not buy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from tradewind.decide.triggers import _items
from tradewind.decide.triggers.base import Episode, Outside, Signal, State, Trigger
from tradewind.params import Number, Rule

if TYPE_CHECKING:
    from tradewind.engine.home import Home


@dataclass(frozen=True)
class PriceDrop(Trigger):
    """Fires when the list price falls by ``percent`` or more, for whoever showed interest within ``days`` before."""

    percent: float = 10.0
    days: float = 30.0

    RULES: ClassVar[Mapping[str, Rule]] = {"percent": Number(0.1, 100), "days": Number(0.01, 366)}
    hears: ClassVar[frozenset[str]] = frozenset({"price_drop"})
    remembers: ClassVar[bool] = False

    def heard(self, state: State, signal: Signal) -> State:
        return _items.gather(state, signal)

    def due(self, state: State) -> int | None:
        # Just after the moment: everything that changed at it has been heard.
        return None if state is None else int(state["start"]) + 1

    def fire(self, state: State) -> Episode:
        return _items.episode(state)

    def outside(self, home: Home, start: int, end: int) -> Outside:
        fell = [
            one for one in _items.changes(home, "price_drop", start, end) if 100 * (one.before - one.after) >= self.percent * one.before
        ]
        return Outside(_items.interested(home, "price_drop", fell, days=self.days))


PLUGIN = PriceDrop
