"""Does a score rank customers by what a treatment changes? Qini and uplift curves of a randomised trial with one treatment.

The definitions are scikit-uplift's, number for number. With customers sorted by falling score, ties in one step, and Y_t(k), N_t(k),
Y_c(k), N_c(k) the outcomes and customers among the first k that were treated and not:

    Qini(k)   = Y_t(k) - Y_c(k) * N_t(k) / N_c(k)
    uplift(k) = (Y_t(k) / N_t(k) - Y_c(k) / N_c(k)) * k

An empty group counts as 0. The coefficient is the area between the curve and the straight line to its end, divided by the same
area of the perfect order. Other libraries normalise otherwise: never compare a Qini coefficient across definitions.
Sources: N. Radcliffe, "Using control groups to target on predicted lift", 2007; P. Gutierrez and J.-Y. Gerardy, "Causal inference
and uplift modelling", PMLR 67 (2017); scikit-uplift 0.5 (the perfect order and the treatment of ties).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tradewind.errors import InputError

Values = NDArray[np.float64]


def qini_curve(outcome: ArrayLike, score: ArrayLike, treated: ArrayLike) -> tuple[Values, Values]:
    """Customers counted from the best score, and Qini(k): two float64 arrays that start at 0, one point per distinct score."""
    count, yt, nt, yc, nc = _sums(*_trial(outcome, score, treated))
    return count, yt - yc * _ratio(nt, nc)


def uplift_curve(outcome: ArrayLike, score: ArrayLike, treated: ArrayLike) -> tuple[Values, Values]:
    """As :func:`qini_curve`, with uplift(k)."""
    count, yt, nt, yc, nc = _sums(*_trial(outcome, score, treated))
    return count, (_ratio(yt, nt) - _ratio(yc, nc)) * count


def qini(outcome: ArrayLike, score: ArrayLike, treated: ArrayLike) -> float:
    """The Qini coefficient of a 0/1 ``outcome``: 0 for a random order, 1 for the perfect one, below 0 for a wrong one.

    All arguments are [n]; ``treated`` is 0 or 1. Draw halves or bootstrap to learn its noise: a few hundredths are often noise.

    When not to use: several treatments, unequal costs (``stats.cost_curve``), or outcomes that are not 0 or 1 (:func:`qini_gain`).

    >>> round(qini([1, 0, 1, 0], [4.0, 3.0, 2.0, 1.0], [1, 0, 0, 1]), 4)
    0.8333
    """
    y, _, t = trial = _trial(outcome, score, treated)
    _binary(y)
    return _coefficient(qini_curve(*trial), qini_curve(y, y * t - y * (1 - t), t))


def uplift_auc(outcome: ArrayLike, score: ArrayLike, treated: ArrayLike) -> float:
    """The same coefficient of the uplift curve (0/1 ``outcome``)."""
    y, _, t = trial = _trial(outcome, score, treated)
    _binary(y)
    crowded = (y * (1 - t)).sum() > ((1 - y) * t).sum()
    return _coefficient(uplift_curve(*trial), uplift_curve(y, 2 * (y == t) + (y if crowded else t), t))


def qini_gain(outcome: ArrayLike, score: ArrayLike, treated: ArrayLike) -> float:
    """Outcome per treated customer that the order earns over a random one, averaged over all depths; any outcome, its unit.

    The area between Qini curve and straight line divided by customers and treated customers; not normalised, so that it
    is defined for money, where no perfect order is known.
    """
    trial = _trial(outcome, score, treated)
    count, curve = qini_curve(*trial)
    return (_area(count, curve) - float(count[-1] * curve[-1]) / 2) / float(count[-1] * trial[2].sum())


def uplift_at(outcome: ArrayLike, score: ArrayLike, treated: ArrayLike, *, share: float) -> float:
    """Mean outcome of treated minus untreated among the best ``share`` (0-1) of the customers by score."""
    y, s, t = _trial(outcome, score, treated)
    if not 0 < share <= 1:
        raise InputError(f"uplift_at: share must be above 0 and at most 1; got {share}.")
    first = np.argsort(-s, kind="stable")[: max(1, int(len(s) * share))]
    y, t = y[first], t[first]
    if t.sum() in (0, len(t)):
        raise InputError(f"uplift_at: the best {share:g} of the customers hold only one group; take a larger share.")
    return float(y[t == 1].mean() - y[t == 0].mean())


def _trial(outcome: ArrayLike, score: ArrayLike, treated: ArrayLike) -> tuple[Values, Values, Values]:
    y, s, t = (np.asarray(each, dtype=np.float64) for each in (outcome, score, treated))
    if y.ndim != 1 or y.shape != s.shape or y.shape != t.shape or not len(y):
        raise InputError(f"uplift: outcome, score and treated must be of one length, [n]; got {y.shape}, {s.shape} and {t.shape}.")
    if not (np.isfinite(y).all() and np.isfinite(s).all()):
        raise InputError("uplift: an outcome or a score is not a finite number. Leave such rows out, and say so.")
    if not np.isin(t, (0.0, 1.0)).all() or t.sum() in (0, len(t)):
        raise InputError("uplift: treated must be 0 or 1 and hold both; a trial without one of the groups measures no difference.")
    return y, s, t


def _binary(y: Values) -> None:
    if not np.isin(y, (0.0, 1.0)).all():
        raise InputError("uplift: the coefficient is defined for outcomes 0 and 1 only. Use qini_gain for money.")


def _sums(y: Values, score: Values, t: Values) -> tuple[Values, Values, Values, Values, Values]:
    """Customers, outcomes and sizes of both groups among the first k, at the last k of each distinct score, from 0."""
    order = np.argsort(-score, kind="stable")
    y, t, score = y[order], t[order], score[order]
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)

    def cumulative(values: Values) -> Values:
        return np.concatenate(([0.0], np.cumsum(values)[last]))

    return cumulative(np.ones(len(y))), cumulative(y * t), cumulative(t), cumulative(y * (1 - t)), cumulative(1 - t)


def _ratio(top: Values, bottom: Values) -> Values:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0)


def _area(x: Values, y: Values) -> float:
    return float(((y[1:] + y[:-1]) * np.diff(x)).sum() / 2)


def _coefficient(actual: tuple[Values, Values], perfect: tuple[Values, Values]) -> float:
    line = float(perfect[0][-1] * perfect[1][-1]) / 2
    best = _area(*perfect) - line
    if best == 0:
        raise InputError("uplift: every order is the same here (the outcome never varies); there is nothing to rank.")
    return (_area(*actual) - line) / best
