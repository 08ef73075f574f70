"""Off-policy values of actions with parts: ranked lists, and texts put together from components.

A list of k places has one reward per place; the log holds, per place, the propensity of what was shown there given the places
before it, and the other policy's. What may be assumed about people decides how weights combine:

    whole        one weight, the product over all places         anything may influence anything
    cascade      place j: the product over places 1 to j         people read from the top down (reward interaction)
    position     place j: the weight of place j alone            every place is judged by itself

Fewer weights in a product mean less variance and a stronger assumption. With predictions of what follows, ``cascade`` is
doubly robust. A reward for the whole action that is a sum of what its parts bring takes ``additive`` weights, 1 + sum(w_j - 1):
unbiased then when the log chose the parts independently of each other.

Sources: S. Li et al., KDD 2018 (position); J. McInerney et al., KDD 2020 (reward interaction); H. Kiyohara et al., WSDM 2022 (cascade
doubly robust); A. Swaminathan et al., NeurIPS 2017 (additive: the pseudo-inverse estimator, for independent parts);
Y. Saito and T. Joachims, ICML 2022 (marginalised).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tradewind.errors import InputError
from tradewind.stats.offpolicy import Judged, Match, Refused, averaged
from tradewind.stats.support import Needs

Values = NDArray[np.float64]


def whole(reward: ArrayLike, policy: ArrayLike, propensity: ArrayLike, predicted: tuple[ArrayLike, ArrayLike] | None = None) -> Match:
    """One weight for the whole action; ``reward`` [n] or [n, places]; for texts, ``policy`` and ``propensity`` are [n, roles].

    ``predicted``: what was predicted for the action that was taken, and its mean under the policy, [n] each.
    """
    r, w = _weights(reward, policy, propensity)
    taken, expected = (None, None) if predicted is None else (np.asarray(each, dtype=np.float64) for each in predicted)
    return Match(r if r.ndim == 1 else r.sum(axis=1), w.prod(axis=1), taken, expected)


def position(
    reward: ArrayLike, policy: ArrayLike, propensity: ArrayLike, *, level: float = 0.95, needs: Needs | None = None
) -> Judged | Refused:
    """Reward and weights of each place by itself; ``policy`` and ``propensity`` [n, places] are marginal, not given earlier places.

    Each list is one observation, so that the interval knows that places of one list hang together.
    """
    r, w = _by_place(reward, policy, propensity)
    return averaged((w * r).sum(axis=1), np.asarray(w.mean(axis=1)), method="position", level=level, needs=needs)


def cascade(
    reward: ArrayLike,
    policy: ArrayLike,
    propensity: ArrayLike,
    predicted: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    level: float = 0.95,
    needs: Needs | None = None,
) -> Judged | Refused:
    """Rewards of place j weighted by places 1 to j; with predictions, doubly robust.

    Parameters
    ----------
    predicted
        Two arrays [n, places]: what place j and all below it will bring, given what is shown down to j; and the mean of the same
        over what the policy would show at j.
    """
    r, w = _by_place(reward, policy, propensity)
    running = np.cumprod(w, axis=1)
    scores: Values = (running * r).sum(axis=1)
    if predicted is not None:
        q, v = (np.asarray(each, dtype=np.float64) for each in predicted)
        if q.shape != r.shape or v.shape != r.shape:
            raise InputError(f"cascade: predictions must be [n, places], {r.shape}; got {q.shape} and {v.shape}.")
        before = np.column_stack([np.ones(len(r)), running[:, :-1]])
        scores = scores + (before * v - running * q).sum(axis=1)
    return averaged(scores, np.asarray(running[:, -1]), method="cascade", level=level, needs=needs)


def additive(reward: ArrayLike, policy: ArrayLike, propensity: ArrayLike) -> Match:
    """Reward [n] of an action whose parts add up: ``policy`` and ``propensity`` [n, parts] of the parts that were chosen."""
    r, w = _weights(reward, policy, propensity)
    if r.ndim != 1:
        raise InputError(f"additive: reward is one number for each action, [n]; got {r.shape}.")
    return Match(r, 1 + (w - 1).sum(axis=1))


def marginal(policy: ArrayLike, propensity: ArrayLike, arm: ArrayLike, reward: ArrayLike, part: ArrayLike) -> Match:
    """Weights of the part of an action that matters (its channel, its discount), for many actions that share few parts.

    ``policy`` and ``propensity`` are [n, arms], ``part`` integers [arms]. Unbiased when the reward depends on the action through
    its part alone; else it is biased, and much less noisy.
    """
    pi, chance, a, kind = (np.asarray(each) for each in (policy, propensity, arm, part))
    if pi.shape != chance.shape or pi.ndim != 2 or kind.shape != pi.shape[1:] or a.shape != pi.shape[:1]:
        raise InputError(f"marginal: policy and propensity [n, arms], arm [n], part [arms]; got {pi.shape}, {chance.shape}, {a.shape}.")
    member = np.eye(int(kind.max()) + 1)[kind]
    grouped = [each @ member for each in (pi, chance)]
    return Match.of(grouped[0], kind[a], reward, grouped[1])


def _weights(reward: ArrayLike, policy: ArrayLike, propensity: ArrayLike) -> tuple[Values, Values]:
    r, pi, chance = (np.asarray(each, dtype=np.float64) for each in (reward, policy, propensity))
    if pi.ndim != 2 or pi.shape != chance.shape or len(r) != len(pi):
        raise InputError(f"slate: policy and propensity must be [n, parts] and reward of n; got {pi.shape}, {chance.shape}, {r.shape}.")
    if not ((chance > 0) & (chance <= 1)).all() or not ((pi >= 0) & (pi <= 1)).all():
        raise InputError("slate: propensities lie in (0, 1] and a policy's probabilities in [0, 1]. Log the probability of every part.")
    return r, pi / chance


def _by_place(reward: ArrayLike, policy: ArrayLike, propensity: ArrayLike) -> tuple[Values, Values]:
    r, w = _weights(reward, policy, propensity)
    if r.shape != w.shape:
        raise InputError(f"slate: this estimator needs a reward per place, {w.shape}; got {r.shape}.")
    return r, w
