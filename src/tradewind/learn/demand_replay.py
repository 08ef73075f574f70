"""A replay of ordering: what a rule would have delivered and cost on demand that is known, period by period.

Lost sales, periodic review: at the end of every ``review`` periods an order is placed that arrives ``lead`` periods later, before its
sales. All series at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tradewind.errors import InputError
from tradewind.learn._demand_kernels import Floats

Rule = Callable[[int, Floats], Floats]  # period, pieces in stock and on the way [n] -> pieces to order [n]


@dataclass(frozen=True)
class Replay:
    """What happened: shares 0 to 1, costs in the unit of ``under`` and ``over``, pieces."""

    fill: float  # share of the demanded pieces that were sold
    out_of_stock: float  # share of the series' periods in which demand was refused
    cost: float  # of pieces not sold and of pieces held at the end of each period
    cost_per_unit: float  # demanded
    ordered: float
    left: float  # in stock at the end


def replay(demand: Floats, rule: Rule, *, stock: Floats, lead: int, review: int, under: Floats | float, over: Floats | float) -> Replay:
    """Run ``rule`` on ``demand`` [n, T] from ``stock`` [n]; NaN demand is unknown and counts as none.

    ``under``: what a piece that is asked for and not there loses; ``over``: what a piece costs that is held for one period.

    Raises
    ------
    InputError
        ``lead`` is negative or ``review`` not positive, or the rule orders less than nothing.
    """
    if lead < 0 or review < 1:
        raise InputError(f"replay: lead must be 0 or more and review 1 or more; got lead={lead}, review={review}.")
    asked = np.nan_to_num(demand)
    n, periods = asked.shape
    coming = np.zeros((periods + lead + 1, n))
    held = np.array(stock, dtype=np.float64)
    sold = lost = cost = ordered = short = 0.0
    for t in range(periods):
        if t % review == 0:
            more = np.asarray(rule(t, held + coming[t:].sum(axis=0)), dtype=np.float64)
            if (more < 0).any() or not np.isfinite(more).all():
                raise InputError("replay: the rule must order 0 or more pieces.")
            coming[t + lead] += more
            ordered += float(more.sum())
        held = held + coming[t]
        coming[t] = 0.0
        got = np.minimum(held, asked[:, t])
        missed = asked[:, t] - got
        held = held - got
        sold, lost, short = sold + float(got.sum()), lost + float(missed.sum()), short + float((missed > 0).sum())
        cost += float((missed * under).sum() + (held * over).sum())
    total = sold + lost
    return Replay(
        sold / total if total else 1.0, short / max(n * periods, 1), cost, cost / total if total else 0.0, ordered, float(held.sum())
    )
