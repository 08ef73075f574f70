"""What a way of wording would have earned, from the log of another: off-policy value with a doubly robust score, or a refusal.

The action is the whole wording; its propensity is the logged product over roles, and that of the policy to be judged is the product of
its own probabilities over what fitted then (:func:`likelihood`). ``stats.policy_value`` does the rest, with two arms per message: the
wording that was sent, and "any other". What is predicted for a message without looking at its words is its segment's click rate on its
channel among the other half of the log (cross-fitted). Where too few messages speak for the policy there is no interval.

When not to use: to compare policies that say much the same; their difference is better measured by a test. Nor for a policy that was
learned from the very log that judges it: it is then judged too kindly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tradewind.compose.base import Chooser
from tradewind.compose.policy import CopyPolicy
from tradewind.compose.sent import Sent
from tradewind.errors import InputError
from tradewind.stats import policy_value
from tradewind.types import Estimate

Values = NDArray[np.float64]
SUPPORT = 200.0  # effective sample size below which no interval is given


def copy_value(rows: Sequence[Sent], policy: CopyPolicy | None, *, level: float = 0.95, support: float = SUPPORT) -> Estimate:
    """Clicks per message if ``policy`` (None: uniform choice) had worded the messages of ``rows``, the control left out.

    ``note`` holds the effective sample size; with less than ``support`` there is no interval, and the note says why.

    Raises
    ------
    InputError
        Fewer than two messages were worded by choice.
    """
    kept = [row for row in rows if not row.control]
    if len(kept) < 2:
        raise InputError(
            f"copy_value needs two messages or more with logged probabilities; got {len(kept)}. Send messages and learn again."
        )
    propensity = np.array([row.propensity for row in kept])
    mine = np.array([likelihood(row, _uniform if policy is None else policy.chooser(segment=row.segment, seen=row.seen)) for row in kept])
    weight = mine / propensity
    effective = float(weight.sum() ** 2 / max((weight**2).sum(), 1e-300))
    clicked = np.array([float(row.clicked) for row in kept])
    guess = guesses(kept, clicked)
    arms = policy_value.scores(
        clicked,
        np.ones(len(kept), dtype=np.int64),
        np.column_stack([1 - propensity, propensity]),
        np.column_stack([guess, guess]),
    )
    found = policy_value.value(np.column_stack([1 - mine, mine]), arms, name="clicks per message", level=level)
    note = f"effective sample size {effective:,.0f} of {len(kept):,}, largest weight {weight.max():,.1f}"
    if effective < support:
        why = f"too little support for an interval ({note}; {support:,.0f} needed): the log hardly ever says what this policy would say"
        return Estimate(found.name, found.value, None, None, level, len(kept), note=why)
    return Estimate(found.name, found.value, found.low, found.high, level, len(kept), note=note)


def likelihood(row: Sent, chooser: Chooser | Callable[[str, Sequence[str]], Sequence[float]]) -> float:
    """The probability with which a chooser would have worded a message exactly as it was."""
    chances = chooser if callable(chooser) else chooser.chances
    product = 1.0
    for role, among in row.shares.items():
        names = tuple(among)
        product *= chances(role, names)[names.index(row.chosen[role])]
    return product


def _uniform(_: str, names: Sequence[str]) -> Sequence[float]:
    return [1 / len(names)] * len(names)


def guesses(rows: Sequence[Sent], clicked: Values) -> Values:
    """Click rate of each message's segment and channel in the half of the log that it does not belong to."""
    cell = {key: number for number, key in enumerate(dict.fromkeys((row.segment, row.channel) for row in rows))}
    place = np.array([cell[row.segment, row.channel] for row in rows])
    half = np.arange(len(rows)) % 2
    found = np.empty(len(rows))
    for side in (0, 1):
        other = half != side
        rate = clicked[other].mean()
        hits = np.bincount(place[other], clicked[other], minlength=len(cell))
        tries = np.bincount(place[other], minlength=len(cell))
        found[~other] = ((hits + 20 * rate) / (tries + 20))[place[~other]]
    return found
