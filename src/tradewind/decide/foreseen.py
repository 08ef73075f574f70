"""What demand says about stock: when the pieces of an item are expected to be sold. ``decide`` does not promote what ends before."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING

import numpy as np

from tradewind.errors import StateError
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

NEVER = 2**62  # microseconds: beyond what was forecast


def sold_out(home: Home, stock: Mapping[str, float], *, as_of: datetime) -> dict[str, int]:
    """Item -> microseconds UTC at which its stock is expected to be sold; ``NEVER``: not within the forecast.

    Only items that the shop's demand forecasts. Empty where demand was not learned, learned from what happened after ``as_of``, or its
    forecast is over: then the pace of the last weeks decides (:func:`tradewind.decide.known.with_stock_ends`).
    """
    from tradewind.learn.demand import Demand
    from tradewind.learn.demand_desk import NAME
    from tradewind.learn.registry import active

    try:
        version = active(home, NAME, before=as_of)
    except StateError:
        return {}
    model = Demand.load(version.path)
    panel = model.panel
    assert panel is not None
    starts = [micros(datetime.combine(day.item(), time(), UTC)) for day in model.dates()]
    ends = [*starts[1:], starts[-1] + (starts[-1] - starts[-2] if len(starts) > 1 else 86_400_000_000)]
    begin = micros(as_of)
    left = np.clip((np.array(ends) - begin) / (np.array(ends) - np.array(starts)), 0.0, 1.0)  # of each period
    if not left.any():
        return {}
    totals: dict[str, np.ndarray] = {}
    for item, row in zip(panel.items, model.expected, strict=True):
        totals[item] = totals[item] + row * left if item in totals else row * left  # stores of one item share its stock
    found = {}
    for item, pieces in stock.items():
        if item not in totals:
            continue
        total = np.cumsum(totals[item])
        at = int(np.searchsorted(total, pieces, side="left"))
        if at >= len(total):
            found[item] = NEVER
            continue
        before = total[at - 1] if at else 0.0
        share = (pieces - before) / totals[item][at] if totals[item][at] > 0 else 0.0
        opened = max(starts[at], begin)
        found[item] = int(opened + share * (ends[at] - opened))
    return found
