"""A customer who used to buy has not bought for long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tradewind.decide.triggers.base import DAY, Episode, Signal, State, Trigger
from tradewind.params import Number, Rule


@dataclass(frozen=True)
class WinBack(Trigger):
    """Fires ``days`` after the last purchase, once per silence; the next purchase begins a new one."""

    days: float = 90.0

    RULES: ClassVar[Mapping[str, Rule]] = {"days": Number(0.01, 3_660)}
    hears: ClassVar[frozenset[str]] = frozenset({"purchase"})
    until_purchase: ClassVar[bool] = True

    def heard(self, state: State, signal: Signal) -> State:  # noqa: ARG002  every purchase begins anew
        return {"last": signal.at, "over": False}

    def due(self, state: State) -> int | None:
        return None if state is None or state["over"] else int(state["last"] + self.days * DAY)

    def fire(self, state: State) -> Episode:
        assert state is not None
        return Episode(state["last"], (), {**state, "over": True})


PLUGIN = WinBack
