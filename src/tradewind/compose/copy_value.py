"""What a way of wording would have earned, from the log of another: off-policy value with a doubly robust score, or a refusal.

The action is the whole wording; its propensity is the logged product over roles, and that of the policy to be judged is the product of
its own probabilities over what fitted then (:func:`likelihood`). ``stats.offpolicy`` does the rest. What is predicted for a message
without looking at its words is its segment's click rate on its channel among the other half of the log (cross-fitted). Where too
few messages speak for the policy there is no interval.

When not to use: to compare policies that say much the same; their difference is better measured by a test. Nor for a policy that was
learned from the very log that judges it: it is then judged too kindly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tradewind.compose.base import Chooser
from tradewind.compose.policy import CopyPolicy
from tradewind.compose.sent import Sent
from tradewind.errors import InputError
from tradewind.stats.offpolicy import Judged, Match, judge
from tradewind.stats.support import Needs
from tradewind.types import Estimate

Values = NDArray[np.float64]
SUPPORT = 200.0  # effective sample size below which no interval is given
ANY = Needs(0.0, 1.0, np.inf)  # the value is shown in any case; whether it has an interval is judged here


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
    clicked = np.array([float(row.clicked) for row in kept])
    guess = guesses(kept, clicked)
    found = judge(Match(clicked, mine / propensity, guess, guess), "dr", level=level, needs=ANY, name="clicks per message")
    assert isinstance(found, Judged)
    if found.support.effective < support:
        needed = f"{support:,.0f} needed"
        why = f"too little support for an interval ({found.support}; {needed}): the log hardly ever says what this policy would say"
        return replace(found.estimate, low=None, high=None, note=why)
    return found.estimate


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
