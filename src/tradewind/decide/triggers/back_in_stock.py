"""An item is there again that the customer had looked at, wished for or put into the cart, and did not get."""

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
class BackInStock(Trigger):
    """Fires when an item that was sold out has ``pieces`` or more again, for whoever showed interest within ``days`` before."""

    pieces: int = 1
    days: float = 60.0

    RULES: ClassVar[Mapping[str, Rule]] = {"pieces": Number(1, 10**9, whole=True), "days": Number(0.01, 366)}
    hears: ClassVar[frozenset[str]] = frozenset({"back_in_stock"})
    remembers: ClassVar[bool] = False

    def heard(self, state: State, signal: Signal) -> State:
        return _items.gather(state, signal)

    def due(self, state: State) -> int | None:
        return None if state is None else int(state["start"]) + 1  # as for price_drop

    def fire(self, state: State) -> Episode:
        return _items.episode(state)

    def outside(self, home: Home, start: int, end: int) -> Outside:
        back = [one for one in _items.changes(home, "back_in_stock", start, end) if one.after >= self.pieces]
        return Outside(_items.interested(home, "back_in_stock", back, days=self.days))


PLUGIN = BackInStock
