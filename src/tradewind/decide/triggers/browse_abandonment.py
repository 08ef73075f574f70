"""Items were looked at, several times, and then neither put into the cart nor bought."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tradewind.decide.triggers.base import HOUR, MOST_ITEMS, Episode, Signal, State, Trigger
from tradewind.params import Number, Rule


@dataclass(frozen=True)
class BrowseAbandonment(Trigger):
    """Fires ``wait_hours`` after the last of at least ``views`` views of items that lie less than that apart.

    Anything put into the cart or bought ends the episode.
    """

    wait_hours: float = 4.0
    views: int = 2

    RULES: ClassVar[Mapping[str, Rule]] = {"wait_hours": Number(0.01, 24 * 60), "views": Number(1, 1_000, whole=True)}
    hears: ClassVar[frozenset[str]] = frozenset({"view", "cart", "purchase"})
    until_purchase: ClassVar[bool] = True

    def heard(self, state: State, signal: Signal) -> State:
        if signal.kind != "view":
            return None
        if signal.item is None:
            return state
        if state is None or signal.at > state["last"] + self.wait_hours * HOUR:
            return {"start": signal.at, "last": signal.at, "seen": 1, "items": {signal.item: 1}}
        items = dict(state["items"])
        items[signal.item] = items.pop(signal.item, 0) + 1
        return {**state, "last": signal.at, "seen": state["seen"] + 1, "items": dict(list(items.items())[-MOST_ITEMS:])}

    def due(self, state: State) -> int | None:
        if state is None or state["seen"] < self.views:
            return None
        return int(state["last"] + self.wait_hours * HOUR)

    def fire(self, state: State) -> Episode:
        assert state is not None
        often = sorted(state["items"], key=lambda item: (-state["items"][item], item))
        return Episode(state["start"], often, None)


PLUGIN = BrowseAbandonment
