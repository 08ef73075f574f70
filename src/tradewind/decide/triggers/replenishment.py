"""What a customer buys again and again is about to be used up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tradewind.decide.triggers.base import DAY, MOST_ITEMS, Episode, Signal, State, Trigger
from tradewind.params import Number, Rule


@dataclass(frozen=True)
class Replenishment(Trigger):
    """Fires ``lead_days`` before the customer's own mean interval between purchases of an item has passed since the last one.

    An item bought once counts only with ``days``, the interval to expect (0: it does not count). Items that are due together
    fire together; the next purchase of an item begins its next episode.
    """

    lead_days: float = 2.0
    days: float = 0.0

    RULES: ClassVar[Mapping[str, Rule]] = {"lead_days": Number(0, 366), "days": Number(0, 3_660)}
    hears: ClassVar[frozenset[str]] = frozenset({"purchase"})

    def heard(self, state: State, signal: Signal) -> State:
        if signal.item is None:
            return state
        items = dict(state["items"]) if state else {}
        times, first, last, _ = items.pop(signal.item, (0, signal.at, None, False))
        items[signal.item] = (times + (signal.at != last), first, signal.at, False)  # lines of one order are one purchase
        return {"items": dict(list(items.items())[-MOST_ITEMS:])}

    def due(self, state: State) -> int | None:
        return min((at for at in map(self._due, state["items"].values()) if at is not None), default=None) if state else None

    def fire(self, state: State) -> Episode:
        assert state is not None
        now = self.due(state)
        ready = sorted(item for item, known in state["items"].items() if self._due(known) == now)
        items = {item: (*known[:3], known[3] or item in ready) for item, known in state["items"].items()}
        start = min(state["items"][item][2] for item in ready)
        return Episode(start, ready, {"items": items}, key="|".join(ready))

    def _due(self, known: tuple[int, int, int, bool]) -> int | None:
        times, first, last, over = known
        interval = (last - first) / (times - 1) if times > 1 else self.days * DAY
        if over or interval <= 0:
            return None
        return max(int(last + interval - self.lead_days * DAY), last)


PLUGIN = Replenishment
