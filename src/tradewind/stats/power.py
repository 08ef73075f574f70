"""Before a start: what difference can be seen with so many units, and how many units a difference needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tradewind.params import Number, check
from tradewind.stats.sequential import widening

_RULES = {
    "sd": Number(1e-300, 1e300),
    "share": Number(1e-6, 1 - 1e-6),
    "explained": Number(0, 1 - 1e-9),
    "level": Number(0.5, 1 - 1e-9),
    "cluster": Number(1, 1e9),
}


@dataclass(frozen=True, slots=True)
class Design:
    """A comparison that is planned: standard deviation ``sd`` of a unit's outcome, ``share`` of units in the control, what
    covariates explain of the variance, the design effect of ``cluster``-wise assignment (1: none), and how it will be read.

    ``always_valid`` plans for a confidence sequence tuned to the planned number of units: looking is free, at the price of
    about 2.4 times the units.
    """

    sd: float
    share: float = 0.5
    explained: float = 0.0
    level: float = 0.95
    cluster: float = 1.0
    always_valid: bool = False

    def error(self, units: float) -> float:
        """Standard error of the difference with ``units`` in both arms together."""
        check("Design", {name: getattr(self, name) for name in _RULES}, _RULES)
        variance = self.sd**2 * (1 - self.explained) * self.cluster
        return math.sqrt(variance / (units * self.share) + variance / (units * (1 - self.share)))

    def power(self, effect: float, units: float) -> float:
        """Probability that the interval leaves out 0 on the side of ``effect`` or the other, after all ``units``."""
        from scipy import stats

        check("power", {"units": units}, {"units": Number(4, 1e15)})
        centre, freedom = effect / self.error(units), self._freedom(units)
        if self.always_valid:
            reach = widening(round(units), tuned=units, level=self.level)
            return float(stats.norm.sf(reach - centre) + stats.norm.cdf(-reach - centre))
        reach = float(stats.t.ppf(0.5 + self.level / 2, freedom))
        found = stats.nct.sf(reach, freedom, centre) + stats.nct.cdf(-reach, freedom, centre)
        return float(found) if math.isfinite(found) else float(stats.norm.sf(reach - abs(centre)))  # nct gives up far out

    def _freedom(self, units: float) -> float:
        one, other = 1 / (units * self.share), 1 / (units * (1 - self.share))
        return (one + other) ** 2 / (one**2 / (units * self.share - 1) + other**2 / (units * (1 - self.share) - 1))

    def smallest_effect(self, units: float, *, power: float = 0.8) -> float:
        """The smallest true difference that is found with probability ``power`` (the minimum detectable effect)."""
        from scipy import optimize

        check("smallest_effect", {"power": power, "units": units}, {"power": Number(0.06, 0.9999), "units": Number(4, 1e15)})
        error = self.error(units)
        return float(optimize.brentq(lambda effect: self.power(effect, units) - power, 0.0, 40 * error, xtol=1e-9 * error))

    def units_needed(self, effect: float, *, power: float = 0.8) -> int:
        """Units in both arms together for a difference of ``effect`` to be found with probability ``power``."""
        from scipy import optimize

        check("units_needed", {"effect": abs(effect), "power": power}, {"effect": Number(1e-300), "power": Number(0.06, 0.9999)})
        least = max(4.0, 2.5 / min(self.share, 1 - self.share))
        if self.power(effect, least) >= power:
            return math.ceil(least)
        most = least
        while self.power(effect, most) < power:
            most *= 4
        return math.ceil(float(optimize.brentq(lambda units: self.power(effect, units) - power, least, most, xtol=0.01)))
