"""What an experiment is: arms, metrics, and the columns in which they stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tradewind.errors import InputError
from tradewind.params import Number, check
from tradewind.stats.means import Shape
from tradewind.stats.sequential import TUNED

WEIGHT = "tw_weight"  # the column of inverse propensities
BROKEN = 0.001  # a p-value below this says that the split, or the data, are broken


@dataclass(frozen=True, slots=True)
class Metric:
    """A mean of ``top`` per unit, a ratio of ``top`` to ``bottom``, or a quantile of ``top``.

    ``guard``: the metric is a guard rail; a loss of up to this share of the control's mean is tolerated, more is not. ``covariates``: its
    own, beside those of the whole trial.
    """

    top: str
    bottom: str | None = None
    share: float | None = None  # of a quantile: .5 is the median
    lower_is_better: bool = False
    guard: float | None = None
    covariates: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Metric:
        """Read ``"revenue"``, ``"orders/sessions"``, ``"revenue@0.9"``, each perhaps with covariates: ``"revenue~before+age"``.

        Raises InputError for anything else.
        """
        metric, tilde, sides = text.partition("~")
        found = re.fullmatch(r"([^/@]+)(?:/([^/@]+)|@(0?\.\d+))?", metric.strip())
        covariates = tuple(side.strip() for side in sides.split("+")) if tilde else ()
        if found is None or not all(covariates) or (found[3] and covariates):
            raise InputError(
                f'metric: "{text}" is none. Write a column, a ratio such as orders/sessions, a quantile such as revenue@0.9, '
                "or a metric with what was known before: revenue~revenue_before."
            )
        return cls(found[1].strip(), found[2] and found[2].strip(), float(found[3]) if found[3] else None, covariates=covariates)

    @property
    def name(self) -> str:
        """How people call it, and how it was asked for."""
        metric = f"{self.top}/{self.bottom}" if self.bottom else self.top if self.share is None else f"{self.top}@{self.share:g}"
        return f"{metric}~{'+'.join(self.covariates)}" if self.covariates else metric

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.top,) if self.bottom is None else (self.top, self.bottom)


@dataclass(frozen=True, slots=True)
class Trial:
    """An experiment as it was asked for. Names are columns of the table; ``control`` and the keys of ``shares`` are arms.

    ``unit``: who was assigned; rows of one unit are added up (left out: every row is a unit). ``once``: a unit should have one row;
    exact copies are dropped and units with different rows left out. ``covariates`` were fixed before assignment, each a column or
    a ratio ``a/b``. ``at`` is when the unit was assigned, ``outcome_at`` when the row's outcome happened. ``cluster``: households or
    addresses within which units influence each other. ``propensity``: the logged probability of the arm that the unit got, where it
    was not the same for everybody (a bandit): then every mean is weighed by its inverse. ``tuned``: how many units are planned in
    two arms together; there the always-valid intervals are tightest.
    """

    arm: str
    control: str
    metrics: tuple[Metric, ...]
    unit: str | None = None
    covariates: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()
    shares: Mapping[str, float] = field(default_factory=dict)
    once: bool = False
    at: str | None = None
    outcome_at: str | None = None
    currency: str | None = None
    cluster: str | None = None
    propensity: str | None = None
    level: float = 0.95
    tuned: float = TUNED

    def checked(self) -> Trial:
        """Return itself when every value is allowed; raises InputError that says what is."""
        check("experiment", {"level": self.level, "tuned": self.tuned}, {"level": Number(0.5, 0.9999), "tuned": Number(10, 1e12)})
        if not self.metrics:
            raise InputError("experiment: name at least one metric, for example --metric revenue.")
        names = [metric.name for metric in self.metrics]
        if len(set(names)) < len(names):
            raise InputError(f"experiment: a metric is named twice: {', '.join(sorted({n for n in names if names.count(n) > 1}))}.")
        for metric in self.metrics:
            if metric.guard is not None:
                check("experiment", {"guard": metric.guard}, {"guard": Number(0, 1)})
        if self.once and self.unit is None:
            raise InputError("experiment: --once needs --unit: without it every row is a unit of its own.")
        if self.outcome_at is not None and self.at is None:
            raise InputError("experiment: --outcome-at needs --at, the column that says when the unit was assigned.")
        if self.propensity and any(metric.share is not None for metric in self.metrics):
            raise InputError("experiment: quantiles are not weighed by propensities. Name means and ratios, or leave --propensity out.")
        if self.propensity and self.shares:
            raise InputError("experiment: give --share or --propensity, not both: the propensities say what was asked for.")
        for name, share in self.shares.items():
            check("experiment", {f"share {name}": share}, {f"share {name}": Number(0, 1e9)})
        return self

    def sides(self, metric: Metric | None = None) -> tuple[tuple[str, str | None], ...]:
        """The covariates of a metric, or of all of them, as (top, bottom)."""
        own = [name for each in self.metrics for name in each.covariates] if metric is None else metric.covariates
        pairs = [Metric.read(text) for text in dict.fromkeys((*self.covariates, *own))]
        if any(pair.share is not None for pair in pairs):
            raise InputError("experiment: a covariate is a column or a ratio of two columns, not a quantile.")
        return tuple((pair.top, pair.bottom) for pair in pairs)

    def needed(self, metric: Metric) -> tuple[str, ...]:
        """Columns of which a metric needs all covariances; its own come first."""
        sides = () if metric.share is not None else self.sides(metric)
        weight = (WEIGHT,) if self.propensity else ()
        return tuple(dict.fromkeys((*metric.columns, *(name for pair in sides for name in pair if name), *weight)))

    def form(self, metric: Metric) -> Shape:
        """Where a metric's columns stand among :meth:`needed`. Weighed by propensities, a mean is a ratio to the sum of weights."""
        names, none = self.needed(metric), WEIGHT if self.propensity else None

        def place(top: str, bottom: str | None) -> tuple[int, int | None]:
            under = bottom or none
            return names.index(top), None if under is None else names.index(under)

        top, bottom = place(metric.top, metric.bottom)
        return Shape(top, bottom, tuple(place(*side) for side in self.sides(metric)))

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Columns that are added up within a unit."""
        return tuple(dict.fromkeys(name for metric in self.metrics for name in metric.columns))

    @property
    def facts(self) -> tuple[str, ...]:
        """Numeric columns that are facts of a unit, the same in each of its rows."""
        return tuple(dict.fromkeys(name for pair in self.sides() for name in pair if name))
