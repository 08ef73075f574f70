"""Buy till you die: how often a customer will buy again, whether she is still one, and what an order of hers is worth.

BG/NBD: customers buy at a Gamma-distributed rate and leave after a purchase with a Beta-distributed chance (Fader, Hardie and
Lee 2005, "Counting Your Customers the Easy Way"). Gamma-Gamma: the mean value of a customer's orders, shrunk towards
everybody's by how many there were (Fader and Hardie 2013). Both have four, respectively three parameters, fitted by maximum
likelihood; histories that are equal are counted, not repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import betaln, gammaln, hyp2f1

from tradewind.errors import InputError

Values = NDArray[np.float64]
LEAST, MOST = np.log(1e-4), np.log(1e3)  # a parameter that ends here is not one that the data speak of; beyond, formulas lose digits


@dataclass(frozen=True)
class Histories:
    """Purchase histories of N customers: ``repeats`` orders after the first, days from the first to the last order
    (``recency``), from the first order to now (``age``), and ``worth``, the mean value of the orders after the first
    (0 without any); float64 [N] each, time in any one unit.
    """

    repeats: Values
    recency: Values
    age: Values
    worth: Values

    def __post_init__(self) -> None:
        lengths = {len(self.repeats), len(self.recency), len(self.age), len(self.worth)}
        if len(lengths) != 1:
            raise InputError(f"Histories: the four arrays must be equally long; got {sorted(lengths)}.")
        odd = (self.repeats < 0) | (self.recency < 0) | (self.recency > self.age) | ((self.repeats == 0) & (self.recency > 0))
        if odd.any():
            at = int(np.flatnonzero(odd)[0])
            raise InputError(
                f"Histories: customer {at} has repeats {self.repeats[at]:g}, recency {self.recency[at]:g} and age {self.age[at]:g}. "
                "The last order lies between the first and now, and recency is 0 without a second order."
            )


@dataclass(frozen=True)
class BGNBD:
    """A fitted BG/NBD model: ``r``, ``alpha`` of the rate, ``a``, ``b`` of leaving, ``likelihood`` the log-likelihood reached."""

    r: float
    alpha: float
    a: float
    b: float
    likelihood: float

    @classmethod
    def fit(cls, seen: Histories) -> Self:
        """Maximum likelihood.

        Raises
        ------
        InputError
            Nobody bought twice: then rate and leaving cannot be told apart.
        """
        if not (seen.repeats > 0).any():
            raise InputError("BG/NBD needs customers who bought more than once; there is none. Collect a longer history.")
        rows, counts = np.unique(np.column_stack([seen.repeats, seen.recency, seen.age]), axis=0, return_counts=True)
        x, last, age = rows.T
        scale = max(float(age.mean()), 1e-9)

        def loss(log_parameters: Values) -> float:
            r, alpha, a, b = np.exp(log_parameters)
            return -float(counts @ _log_likelihood(x, last / scale, age / scale, r, alpha, a, b)) / len(seen.repeats)

        best = _least(loss, np.log([0.5, 0.5, 0.7, 2.0]))
        r, alpha, a, b = np.exp(best)
        alpha *= scale
        return cls(float(r), float(alpha), float(a), float(b), float(counts @ _log_likelihood(x, last, age, r, alpha, a, b)))

    def problem(self) -> str:
        """Why these parameters cannot be trusted, or nothing: one of them ended where the data do not speak of it."""
        for name, value in (("r", self.r), ("a", self.a), ("b", self.b)):
            if not 1e-3 < value < 999:
                return f"{name} = {value:.2g}: these customers do not leave or buy as the model assumes"
        return ""

    def alive(self, seen: Histories) -> Values:
        """Chance that each customer has not left, float64 [N]."""
        return np.asarray(1.0 / (1.0 + self._odds_gone(seen)))

    def orders(self, seen: Histories, span: float) -> Values:
        """Expected orders of each customer in the next ``span`` (unit of the histories), float64 [N]."""
        if span <= 0:
            raise InputError(f"BG/NBD: the span must be above 0; got {span:g}.")
        a = self.a if abs(self.a - 1) > 1e-6 else 1 + 1e-6  # the formula has a removable pole at 1
        z = span / (self.alpha + seen.age + span)
        # Euler's transformation of the published form: its parameters do not grow with the number of orders, so nothing overflows.
        rest = np.exp((a - 1) * np.log1p(-z)) * hyp2f1(a + self.b - 1 - self.r, a - 1, a + self.b + seen.repeats - 1, z)
        expected = (a + self.b + seen.repeats - 1) / (a - 1) * (1 - rest)
        return np.asarray(np.maximum(expected, 0.0) / (1.0 + self._odds_gone(seen)))

    def buys(self, seen: Histories, span: float) -> Values:
        """Chance that each customer buys at all in the next ``span``, float64 [N]: she is one, and her rate is not too low."""
        silent = np.exp((self.r + seen.repeats) * (np.log(self.alpha + seen.age) - np.log(self.alpha + seen.age + span)))
        return np.asarray(self.alive(seen) * (1.0 - silent))

    def _odds_gone(self, seen: Histories) -> Values:
        x = seen.repeats
        longer = (self.r + x) * (np.log(self.alpha + seen.age) - np.log(self.alpha + seen.recency))
        odds = np.exp(np.minimum(np.log(self.a) - np.log(self.b + np.maximum(x, 1) - 1) + longer, 700.0))
        return np.where(x > 0, odds, 0.0)

    def to_json(self) -> dict[str, float]:
        """The parameters by name."""
        return asdict(self)


@dataclass(frozen=True)
class GammaGamma:
    """A fitted Gamma-Gamma model of what orders are worth: ``p``, ``q`` and ``v``."""

    p: float
    q: float
    v: float

    @classmethod
    def fit(cls, seen: Histories) -> Self:
        """Maximum likelihood over those who bought again for more than nothing.

        Raises
        ------
        InputError
            Fewer than two such customers.
        """
        some = (seen.repeats > 0) & (seen.worth > 0)
        if some.sum() < 2:
            raise InputError("Gamma-Gamma needs two customers or more who bought again for a value above 0. Collect a longer history.")
        x, worth = seen.repeats[some], seen.worth[some]
        scale = float(worth.mean())
        m = worth / scale

        def loss(log_parameters: Values) -> float:
            p, q, v = np.exp(log_parameters)
            spread = p * x
            terms = gammaln(spread + q) - gammaln(spread) - gammaln(q) + q * np.log(v) + (spread - 1) * np.log(m)
            return -float((terms + spread * np.log(x) - (spread + q) * np.log(v + m * x)).mean())

        p, q, v = np.exp(_least(loss, np.log([2.0, 2.0, 1.0])))
        return cls(float(p), float(q), float(v * scale))

    def problem(self) -> str:
        """Why these parameters cannot be trusted, or nothing."""
        return "" if self.q > 1 else f"q = {self.q:.2g}: the mean value of an order would be infinite"

    def worth(self, seen: Histories) -> Values:
        """Expected mean value of each customer's future orders, float64 [N]; ``q`` must be above 1."""
        x = seen.repeats
        return np.asarray(self.p * (self.v + x * seen.worth) / (self.p * x + self.q - 1))

    def to_json(self) -> dict[str, float]:
        """The parameters by name."""
        return asdict(self)


def _log_likelihood(x: Values, last: Values, age: Values, r: float, alpha: float, a: float, b: float) -> Values:
    start = gammaln(r + x) - gammaln(r) + r * np.log(alpha) + betaln(a, b + x) - betaln(a, b)
    stays = -(r + x) * np.log(alpha + age)
    left = np.where(x > 0, np.log(a) - np.log(b + np.maximum(x, 1) - 1) - (r + x) * np.log(alpha + last), -np.inf)
    return np.asarray(start + np.logaddexp(stays, left))


def _least(loss: Callable[[Values], float], start: Values) -> Values:
    """The logarithms of the parameters with the least loss: L-BFGS, then a simplex that needs no derivative."""
    bounds = [(LEAST, MOST)] * len(start)
    rough = minimize(loss, start, method="L-BFGS-B", bounds=bounds)
    fine = minimize(loss, rough.x, method="Nelder-Mead", bounds=bounds, options={"xatol": 1e-7, "fatol": 1e-12, "maxiter": 2000})
    return np.asarray(fine.x if fine.fun <= rough.fun else rough.x)
