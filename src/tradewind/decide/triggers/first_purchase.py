"""A customer bought for the first time: welcome, and thank you."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tradewind.decide.triggers.base import HOUR, Episode, Signal, State, Trigger
from tradewind.params import Number, Rule


@dataclass(frozen=True)
class FirstPurchase(Trigger):
    """Fires once in a customer's life, ``wait_hours`` after the first purchase; a refund before that cancels it."""

    wait_hours: float = 24.0

    RULES: ClassVar[Mapping[str, Rule]] = {"wait_hours": Number(0, 24 * 60)}
    hears: ClassVar[frozenset[str]] = frozenset({"purchase", "refund"})

    def heard(self, state: State, signal: Signal) -> State:
        if state is None:
            return {"first": signal.at, "over": False} if signal.kind == "purchase" else None
        return {**state, "over": True} if signal.kind == "refund" else state

    def due(self, state: State) -> int | None:
        return None if state is None or state["over"] else int(state["first"] + self.wait_hours * HOUR)

    def fire(self, state: State) -> Episode:
        assert state is not None
        return Episode(state["first"], (), {**state, "over": True})


PLUGIN = FirstPurchase
