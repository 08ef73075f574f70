"""What another policy would have earned, from a log whose propensities are known - or a refusal where the log cannot say.

Every estimator here is one formula over n decisions with reward r, importance weight w = policy / propensity of what was
chosen, a prediction q of what was chosen and its mean v under the policy (both made without the decision's own reward):

    value = mean(plain) + mean(top) / mean(bottom)

    ips      plain = w r                       snips   top = w r, bottom = w
    clipped  plain = min(w, limit) r           dm      plain = v
    dr       plain = v + w (r - q)             sndr    plain = v, top = w (r - q), bottom = w
    switch   plain = v + w 1{w <= limit} (r - q)
    shrunk   plain = v + limit w / (w^2 + limit) (r - q)

so that one influence function, ``plain - mean + (top - ratio * bottom) / mean(bottom)``, and one bootstrap serve them all.
``clipped``, ``switch`` and ``shrunk`` trade bias for variance; their limit is chosen by the estimated mean squared error unless given.

Sources: D. Horvitz and D. Thompson 1952 (ips); A. Swaminathan and T. Joachims, NeurIPS 2015 (snips); M. Dudik, J. Langford, L. Li,
ICML 2011 (dr); Y.-X. Wang, A. Agarwal, M. Dudik, ICML 2017 (switch); Y. Su et al., ICML 2020 (shrunk); A. Maurer and
M. Pontil, COLT 2009 (empirical Bernstein); P. Hall, JRSS B 54 (1992) (skewness).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tradewind.errors import InputError, unknown
from tradewind.stats import skewed
from tradewind.stats.support import Needs, Support, foreseen_of, support_of
from tradewind.types import Estimate

Values = NDArray[np.float64]

METHODS = ("ips", "clipped", "snips", "dm", "dr", "sndr", "switch", "shrunk")
INTERVALS = ("asymptotic", "bootstrap", "bernstein")
_MODEL = frozenset({"dm", "dr", "sndr", "switch", "shrunk"})  # need predictions
_LIMITED = frozenset({"clipped", "switch", "shrunk"})
_RATIO = frozenset({"snips", "sndr"})


@dataclass(frozen=True)
class Judged:
    """A value with its interval; ``each`` [n] is the influence of every decision, for paired differences and clusters."""

    method: str
    estimate: Estimate
    support: Support
    limit: float | None = None  # of the weights, where the method has one
    each: Values = field(repr=False, compare=False, default_factory=lambda: np.empty(0))


@dataclass(frozen=True)
class Refused:
    """No number, and why."""

    method: str
    why: tuple[str, ...]
    support: Support

    def __str__(self) -> str:
        return (
            f"No value by {self.method}: {'; '.join(self.why)}. Log more decisions, raise the floor, or judge a policy nearer to the log."
        )


@dataclass(frozen=True)
class Match:
    """n logged decisions as another policy sees them; ``taken`` and ``expected`` are q and v of the module, or None."""

    reward: Values
    weight: Values
    taken: Values | None = None
    expected: Values | None = None
    uncovered: float | None = None
    foreseen: float | None = None

    @classmethod
    def of(cls, policy: ArrayLike, arm: ArrayLike, reward: ArrayLike, propensity: ArrayLike, predicted: ArrayLike | None = None) -> Match:
        """Match a ``policy`` [n, arms] (or [1, arms]) with a log.

        Parameters
        ----------
        arm, reward
            What was chosen, integers [n], and what followed, [n].
        propensity
            Of what was chosen, [n]; or of every arm, [n, arms], which also tells what the log could not choose.
        predicted
            Reward predicted for every arm without the decision's own reward, [n, arms] (``reward_model.cross_fitted``).

        Raises
        ------
        InputError
            Shapes differ, numbers are not finite, a policy does not sum to one, or a chosen arm has no propensity above 0.
        """
        a, r = np.asarray(arm), np.asarray(reward, dtype=np.float64)
        pi, chance = (np.asarray(each, dtype=np.float64) for each in (policy, propensity))
        _check_log(pi, a, r, chance)
        pi = np.broadcast_to(pi, (len(a), pi.shape[1]))
        rows = np.arange(len(a))
        uncovered, foreseen = (None, None) if chance.ndim == 1 else foreseen_of(pi, chance)
        given = chance if chance.ndim == 1 else chance[rows, a]
        if faults := int((~((given > 0) & (given <= 1))).sum()):
            raise InputError(f"Match.of: {faults} choices have no propensity in (0, 1]. Log every choice's probability.")
        if predicted is None:
            return cls(r, pi[rows, a] / given, uncovered=uncovered, foreseen=foreseen)
        q = np.asarray(predicted, dtype=np.float64)
        if q.shape != pi.shape or not np.isfinite(q).all():
            raise InputError(f"Match.of: predicted must hold a finite number for each decision and arm, {pi.shape}; got {q.shape}.")
        return cls(r, pi[rows, a] / given, q[rows, a], (pi * q).sum(axis=1), uncovered, foreseen)

    def __post_init__(self) -> None:
        for name in ("reward", "weight", "taken", "expected"):
            each = getattr(self, name)
            if each is not None and (each.shape != self.reward.shape or each.ndim != 1 or not np.isfinite(each).all()):
                raise InputError(
                    f"Match: {name} must be one finite number for each of {len(self.reward)} decisions; got shape {each.shape}."
                )
        if len(self.reward) < 2:
            raise InputError(f"Match: needs at least two decisions; got {len(self.reward)}.")
        if (self.taken is None) != (self.expected is None):
            raise InputError("Match: taken and expected come together: predictions of what was chosen, and their mean under the policy.")

    @property
    def support(self) -> Support:
        """The diagnostics of the weights."""
        return support_of(self.weight, self.uncovered, self.foreseen)


def judge(
    match: Match,
    method: str = "dr",
    *,
    interval: str = "asymptotic",
    level: float = 0.95,
    limit: float | None = None,
    needs: Needs | None = None,
    heaviest: float | None = None,
    span: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
    name: str = "value",
) -> Judged | Refused:
    """The policy's mean reward per decision by ``method``, with a two-sided interval at ``level`` - or the reasons why not.

    Parameters
    ----------
    interval
        ``"asymptotic"``: the influence function's, Student's t with the degrees of freedom that its kurtosis leaves, skewness taken out;
        ``"bootstrap"``: percentiles over 1,000 resamplings; ``"bernstein"``: holds at any sample size, wide.
    limit
        Of the weights, for ``clipped``, ``switch`` and ``shrunk``; chosen by estimated mean squared error when left out.
    needs
        What the log must offer; ``Needs(0, 1, inf)`` refuses nothing.
    heaviest, span
        For ``"bernstein"``: the largest weight that could ever occur (1 / floor), and the range of rewards and predictions.

    Raises
    ------
    InputError
        A name is not known, or what the method or the interval needs was not given.

    When not to use: units that influence each other; ``dm`` to decide anything (its interval would know nothing of the
    model's error, so it has none).
    """
    _check_asked(match, method, interval, level, limit, heaviest)
    support = match.support
    why = () if method == "dm" else support.faults(needs or Needs())
    if why:
        return Refused(method, why, support)
    if method in _LIMITED:
        limit = _tuned(match, method) if limit is None else limit
    parts = _parts(match, method, limit)
    value, each = _influence(*parts)
    note = str(support) + (f"; weights limited at {limit:,.4g}, which biases" if method in _LIMITED else "")
    if method == "dm":
        told = Estimate(name, value, None, None, level, len(each), note="no interval: it would know nothing of the model's error")
        return Judged(method, told, support, None, each)
    low, high = {
        "asymptotic": lambda: skewed.around(value, each, level),
        "bootstrap": lambda: _bootstrap(parts, level, seed),
        "bernstein": lambda: _bernstein(value, each, level, _range(match, method, limit, heaviest, span)),
    }[interval]()
    return Judged(
        method, Estimate(name, value, low, high, level, len(each), note=note), support, limit if method in _LIMITED else None, each
    )


def gain(
    new: Match, base: Match, method: str = "dr", *, level: float = 0.95, needs: Needs | None = None, name: str = "gain"
) -> Judged | Refused:
    """Value of one policy minus that of another on the same log: the paired interval, which is much narrower than two values apart.

    Source: O. Jeunen and A. Ustimenko, "Delta-OPE", RecSys 2024. Raises InputError when the logs differ.
    """
    if new.reward.shape != base.reward.shape or not np.array_equal(new.reward, base.reward):
        raise InputError("gain: both policies must be matched with the same log, decision by decision.")
    one, two = (judge(each, method, level=level, needs=needs) for each in (new, base))
    for found in (one, two):
        if isinstance(found, Refused):
            return found
    assert isinstance(one, Judged)
    assert isinstance(two, Judged)
    value, each = one.estimate.value - two.estimate.value, one.each - two.each
    low, high = (None, None) if method == "dm" else skewed.around(value, each, level)
    return Judged(method, Estimate(name, value, low, high, level, len(each), note=str(one.support)), one.support, None, each)


def averaged(
    scores: Values, weight: Values, *, method: str, level: float = 0.95, needs: Needs | None = None, name: str = "value"
) -> Judged | Refused:
    """The mean of ready ``scores`` [n], one for each decision, whose support the ``weight`` [n] tells: for estimators of other modules."""
    support = support_of(weight, None)
    if why := support.faults(needs or Needs()):
        return Refused(method, why, support)
    value = float(scores.mean())
    low, high = skewed.around(value, scores - value, level)
    return Judged(method, Estimate(name, value, low, high, level, len(scores), note=str(support)), support, None, scores - value)


def every(match: Match, **more: Any) -> Mapping[str, Judged | Refused]:
    """All methods that the match has the predictions for, by name; ``more`` goes to :func:`judge`."""
    return {name: judge(match, name, **more) for name in METHODS if match.taken is not None or name not in _MODEL}


def _parts(match: Match, method: str, limit: float | None) -> tuple[Values, Values, Values]:
    """plain, top and bottom of the module's formula, each [n]."""
    r, w = match.reward, match.weight
    zero, one = np.zeros_like(r), np.ones_like(r)
    if method not in _MODEL:
        return (zero, w * r, w) if method == "snips" else (_limited(w, method, limit) * r, zero, one)
    assert match.taken is not None
    assert match.expected is not None
    rest = r - match.taken
    if method == "dm":
        return match.expected, zero, one
    if method == "sndr":
        return match.expected, w * rest, w
    return match.expected + _limited(w, method, limit) * rest, zero, one


def _limited(w: Values, method: str, limit: float | None) -> Values:
    if method not in _LIMITED:
        return w
    assert limit is not None
    if method == "clipped":
        return np.minimum(w, limit)
    return np.where(w <= limit, w, 0.0) if method == "switch" else np.asarray(limit * w / (w**2 + limit))


def _tuned(match: Match, method: str) -> float:
    """The limit with the least estimated squared error: variance of the mean, plus what is left out, squared, or its noise if larger."""
    w, n = match.weight, len(match.weight)
    top = float(w.max())
    grid = np.unique(np.append(np.quantile(w[w > 0], np.linspace(0.5, 1.0, 26)), top)) if top > 0 else np.array([1.0])
    rest = match.reward if method == "clipped" or match.taken is None else match.reward - match.taken
    best, least = float(grid[-1]), np.inf
    if method == "shrunk":  # its limit is in squares of weights; the last one leaves them nearly as they are
        grid = np.append(10 * grid**2, 1e4 * top**2)
    for limit in grid.tolist():
        lost = (w - _limited(w, method, limit)) * rest
        plain = _parts(match, method, limit)[0]
        error = float(plain.var(ddof=1)) / n + max(float(lost.mean()) ** 2, float(lost.var(ddof=1)) / n)
        if error < least:
            best, least = limit, error
    return best


def _influence(plain: Values, top: Values, bottom: Values) -> tuple[float, Values]:
    middle = float(bottom.mean())
    if middle == 0:
        raise InputError("judge: no logged choice is one that the policy would make; nothing can be said of it.")
    ratio = float(top.mean()) / middle
    value = float(plain.mean()) + ratio
    return value, plain - plain.mean() + (top - ratio * bottom) / middle


def _bootstrap(parts: tuple[Values, Values, Values], level: float, seed: int, draws: int = 1000) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    columns, n = np.column_stack(parts), len(parts[0])
    share, step = np.full(n, 1 / n), max(1, 4_000_000 // n)
    sums = np.concatenate([rng.multinomial(n, share, size=min(step, draws - start)) @ columns for start in range(0, draws, step)]) / n
    drawn = sums[:, 0] + np.divide(sums[:, 1], sums[:, 2], out=np.full(draws, np.nan), where=sums[:, 2] != 0)
    low, high = np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _bernstein(value: float, each: Values, level: float, reach: float) -> tuple[float, float]:
    n, log = len(each), float(np.log(4 / (1 - level)))
    half = (2 * float(each.var(ddof=1)) * log / n) ** 0.5 + 7 * reach * log / (3 * (n - 1))
    return value - half, value + half


def _range(match: Match, method: str, limit: float | None, heaviest: float | None, span: tuple[float, float]) -> float:
    """Width of the range of one decision's score."""
    most = {"clipped": limit, "switch": limit, "shrunk": None if limit is None else limit**0.5 / 2}.get(method, heaviest)
    assert most is not None
    low, high = span
    inside = [match.reward] if match.taken is None else [match.reward, match.taken]
    if any(each.min() < low or each.max() > high for each in inside):
        raise InputError(f"judge: rewards or predictions lie outside of span {span}. Give the range that they can have.")
    width = high - low
    return most * max(high, 0.0) - most * min(low, 0.0) if method not in _MODEL else width + 2 * most * width


def _check_log(pi: Values, arm: NDArray[Any], reward: Values, chance: Values) -> None:
    if arm.ndim != 1 or reward.shape != arm.shape or pi.ndim != 2 or len(pi) not in (1, len(arm)):
        raise InputError(
            f"Match.of: policy [n, arms], arm [n] and reward [n] must be of one log; got {pi.shape}, {arm.shape}, {reward.shape}."
        )
    if chance.shape not in (arm.shape, (len(arm), pi.shape[1])):
        raise InputError(
            f"Match.of: propensity must be [n] or [n, arms]; got {chance.shape} for {len(arm)} decisions and {pi.shape[1]} arms."
        )
    if not np.issubdtype(arm.dtype, np.integer) or (len(arm) and (arm.min() < 0 or arm.max() >= pi.shape[1])):
        raise InputError(f"Match.of: arms are integers from 0 to {pi.shape[1] - 1}.")
    if not (pi >= 0).all() or not np.allclose(pi.sum(axis=1), 1.0, atol=1e-6):
        raise InputError("Match.of: a policy's probabilities must be 0 or more and sum to one in every row.")


def _check_asked(match: Match, method: str, interval: str, level: float, limit: float | None, heaviest: float | None) -> None:
    if method not in METHODS:
        raise unknown("off-policy estimator", method, METHODS)
    if interval not in INTERVALS:
        raise unknown("interval", interval, INTERVALS)
    if not 0.5 <= level < 1:
        raise InputError(f"judge: level must be from 0.5 to below 1; got {level}.")
    if method in _MODEL and match.taken is None:
        raise InputError(f"judge: {method} needs predictions. Give Match.of predicted=cross_fitted(...), or use ips or snips.")
    if limit is not None and (method not in _LIMITED or not limit > 0):
        raise InputError(f"judge: limit is for {', '.join(sorted(_LIMITED))} and above 0; got {limit} for {method}.")
    if interval == "bernstein":
        if method in _RATIO:
            raise InputError(f"judge: {method} is a ratio, for which empirical Bernstein gives no bound. Use ips, clipped or dr.")
        if heaviest is None and method not in _LIMITED:
            raise InputError("judge: bernstein needs heaviest, the largest weight that could occur (1 / floor of the log).")
        if heaviest is not None and match.weight.max() > heaviest * (1 + 1e-9):
            raise InputError(f"judge: heaviest is {heaviest:g}, but a weight of {match.weight.max():g} occurs.")
