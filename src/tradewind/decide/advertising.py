"""Bids and campaign budgets by the same price of money: bid = value / price, and campaigns share a total at one marginal value.

What one more unit of money earns elsewhere is its price (``stats.allocate``, paced by ``pacing``). An impression is worth its value
over that price. In a second-price auction that is the bid; in a first-price auction it is shaded. A shop bids itself only in its own
slots (``slots``); outside, platforms bid for it, and get values and audiences (``audiences``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tradewind.errors import InputError
from tradewind.learn.response import centred_isotonic
from tradewind.stats.allocate import cost_curve

_LANDSCAPE = 1_000  # quantiles of the rivals' bids that a first-price bid is chosen from


def second_price(chance: np.ndarray, value: np.ndarray, *, price: float, target_cpa: float | None = None) -> np.ndarray:
    """Bids for impressions in a second-price auction: what a conversion is worth, at most ``target_cpa``, times its chance.

    Truthful bids are best there (Vickrey 1961). Each bid is at most ``target_cpa`` * ``chance``, so the expected cost per conversion
    stays within the target whatever the market does.

    Parameters
    ----------
    chance
        (impressions,) probability of a conversion, 0-1, calibrated.
    value
        (impressions,) or one number: value of a conversion, minor units.
    price
        Price of money, positive: 1 where money is not scarce.
    target_cpa
        Minor units per conversion.

    Raises
    ------
    InputError
        A chance outside 0-1, a value that is not a number, a price that is not positive, a negative target.
    """
    chance, value = np.asarray(chance, dtype=np.float64), np.asarray(value, dtype=np.float64)
    if not ((chance >= 0) & (chance <= 1)).all() or not np.isfinite(value).all():
        raise InputError("bids: chances must be 0-1 and values finite numbers. Calibrate the response model first.")
    if not 0 < price < np.inf:
        raise InputError(f"bids: the price of money must be positive; got {price}. It is 1 where money is not scarce.")
    if target_cpa is not None and not target_cpa >= 0:
        raise InputError(f"bids: target_cpa must be 0 or more minor units; got {target_cpa}.")
    worth = np.maximum(value, 0.0) / price
    return np.asarray(chance * (worth if target_cpa is None else np.minimum(worth, target_cpa)))


def first_price(worth: np.ndarray, rivals: np.ndarray) -> np.ndarray:
    """Bids for a first-price auction: the bid ``b`` of greatest ``(worth - b) * P(highest rival <= b)``, never above ``worth``.

    Parameters
    ----------
    worth
        (impressions,) what each is worth, in money: the bid of :func:`second_price`.
    rivals
        Highest rival bids seen in past auctions of this kind, any number; ties are won.

    Raises
    ------
    InputError
        No rival bid was seen, or one is negative or not a number.

    When not to use: where rivals answer to our bids; the past then says too little.
    """
    worth, rivals = np.asarray(worth, dtype=np.float64), np.asarray(rivals, dtype=np.float64)
    if not rivals.size or not (np.isfinite(rivals) & (rivals >= 0)).all():
        raise InputError(
            "bids: give highest rival bids of past auctions, 0 or more, to shade a first-price bid. Where none is known, bid low."
        )
    levels = np.unique(np.quantile(rivals, np.linspace(0, 1, _LANDSCAPE), method="higher") if rivals.size > _LANDSCAPE else rivals)
    won = np.searchsorted(np.sort(rivals), levels, side="right") / rivals.size
    gain = (worth[:, None] - levels) * won
    best = gain.argmax(axis=1)
    return np.where(gain[np.arange(len(worth)), best] > 0, levels[best], 0.0)


@dataclass(frozen=True)
class Split:
    """``spend`` per campaign in whole minor units, ``value`` expected in all, ``price``: what the last unit of money earns."""

    spend: Mapping[str, int]
    value: float
    price: float


def split(curves: Mapping[str, tuple[ArrayLike, ArrayLike]], total: int, *, least: float = 0.0) -> Split:
    """Divide ``total`` minor units between campaigns so that the last unit earns the same in each.

    A campaign's curve is (spend, value) at some levels of spend; (0, 0) is added. Only its concave hull counts: between two points of it a
    campaign can take turns. Money that would earn less than ``least`` per unit stays unspent: 1 when values are margin in minor units.

    Raises
    ------
    InputError
        No campaign, a curve whose two parts differ in length, a spend that is negative, or a number that is not finite.

    >>> split({"a": ([100, 200], [300, 400]), "b": ([100, 200], [200, 380])}, 300).spend
    {'a': 100, 'b': 200}
    """
    if not curves or total < 0 or not least >= 0:
        raise InputError(f"split: give campaigns, a total and a least return of 0 or more; got {len(curves)}, {total} and {least}.")
    points = {name: (np.asarray(spend, dtype=np.float64), np.asarray(value, dtype=np.float64)) for name, (spend, value) in curves.items()}
    for name, (spend, value) in points.items():
        if spend.shape != value.shape or spend.ndim != 1 or not (np.isfinite(spend) & np.isfinite(value) & (spend >= 0)).all():
            raise InputError(f'split: the curve of "{name}" must be two lists of one length, spend 0 or more, all finite numbers.')
    width = max(len(spend) for spend, _ in points.values())
    costs, values = np.zeros((len(points), width)), np.full((len(points), width), -np.inf)
    for row, (spend, value) in enumerate(points.values()):
        costs[row, : len(spend)], values[row, : len(value)] = spend, value
    curve = cost_curve(values, costs)
    worth_it = int(np.searchsorted(-curve.price, -least, side="right"))  # steps that earn at least ``least``
    fits = min(int(np.searchsorted(curve.spend, total, side="right")), worth_it)
    chosen = np.array(curve.start)
    chosen[curve.row[:fits]] = curve.column[:fits]
    line = np.arange(len(points))
    spends = np.where(chosen >= 0, costs[line, chosen] if width else 0.0, 0.0)
    earned, price = float(curve.value[fits - 1]) if fits else curve.free, least
    if fits < worth_it:  # the next step fits in part: one campaign lies between two points of its curve
        left, price = total - float(spends.sum()), float(curve.price[fits])
        spends[curve.row[fits]] += left
        earned += price * left
    return Split(dict(zip(points, np.floor(spends + 1e-6).astype(int).tolist(), strict=True)), earned, price)


@dataclass(frozen=True)
class Calibration:
    """Predicted conversion values made true on average: ``points`` (n, 2) of prediction and realised mean, both rising."""

    points: np.ndarray

    def __call__(self, predicted: np.ndarray) -> np.ndarray:
        """Realised mean at each prediction; flat beyond the first and the last point."""
        return np.asarray(np.interp(predicted, self.points[:, 0], self.points[:, 1]))


def calibrate(predicted: np.ndarray, realised: np.ndarray) -> Calibration:
    """Centred isotonic regression (Oron and Flournoy 2017) of realised values on predicted ones, from held-out conversions.

    Platforms bid what they are told that a conversion is worth, so a value that is twice too high buys customers at twice the price.

    Raises
    ------
    InputError
        Fewer than two conversions, lengths that differ, or a number that is not finite.
    """
    predicted, realised = np.asarray(predicted, dtype=np.float64), np.asarray(realised, dtype=np.float64)
    if predicted.shape != realised.shape or predicted.ndim != 1 or len(predicted) < 2:
        raise InputError(f"calibrate: give two lists of one length, two conversions or more; got {predicted.shape} and {realised.shape}.")
    if not (np.isfinite(predicted) & np.isfinite(realised)).all():
        raise InputError("calibrate: values must be finite numbers. Leave out conversions whose value is not known yet.")
    return Calibration(centred_isotonic(predicted, realised))
