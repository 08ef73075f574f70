"""Analyse an experiment from one pass of the table engine: effects with always-valid and fixed-horizon intervals, and what to believe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tradewind.errors import InputError, unknown
from tradewind.measure.rows import NAMELESS, Fault, Prepared, prepare, weighed
from tradewind.measure.tally import Expr, Run, Stratum, Tally, quantiles, tally
from tradewind.measure.trial import Metric, Trial
from tradewind.measure.validity import Check, check_all
from tradewind.stats import quantiles as ordered
from tradewind.stats import sequential
from tradewind.stats.experiment import proportion_difference
from tradewind.stats.means import Comparison, compare, relative
from tradewind.stats.moments import Moments
from tradewind.stats.multiple import benjamini_hochberg
from tradewind.types import Estimate

BETTER, WORSE, UNKNOWN, FEW = "better", "worse", "cannot tell yet", "too few units"
SAFE, HARMED = "safe", "harmed"


@dataclass(frozen=True)
class Effect:
    """One metric of one arm against the control. ``q`` is the always-valid p-value, adjusted over all metrics and arms."""

    metric: Metric
    arm: str
    means: tuple[float, float]  # treated, control; adjusted where there are covariates or strata
    fixed: Estimate
    always: Estimate | None = None  # None: too few units, or a quantile
    relative: Estimate | None = None
    p: float | None = None
    p_always: float | None = None
    q: float | None = None
    explained: float = 0.0
    verdict: str = UNKNOWN
    share: bool = False  # the metric is a share of units

    @property
    def value_known(self) -> bool:
        """Whether there is a best guess other than 0."""
        return self.fixed.value != 0


@dataclass(frozen=True)
class Analysis:
    """Everything that was found: effects, checks, and what was left out."""

    trial: Trial
    tally: Tally
    prepared: Prepared
    effects: tuple[Effect, ...]
    checks: tuple[Check, ...]
    thin: int  # units in strata that one of the arms hardly has

    @property
    def broken(self) -> bool:
        """Whether something forbids to believe the comparison."""
        return any(check.level == "FAIL" for check in self.checks) or any(fault.broken for fault in self.prepared.faults)


def analyse(table: Expr, run: Run, trial: Trial) -> Analysis:
    """Compare every arm of a table with the control, on every metric.

    ``run`` runs an Ibis expression and returns Arrow, so the table may live in DuckDB or in Spark. Means, shares and ratios come from one
    aggregation; rows of a unit, quantiles and checks of time and homes need one more query each.

    Raises
    ------
    InputError, NotFound
        A column or an arm does not exist, or an arm has fewer than two complete units.
    """
    trial = trial.checked()
    prepared = weighed(prepare(table, run, trial), trial)
    pairs = [(a, b) for metric in trial.metrics for a in trial.needed(metric) for b in trial.needed(metric)]
    found = tally(prepared.units, run, arm=trial.arm, pairs=pairs, strata=trial.strata)
    if found.nameless:
        nameless = Fault("arm", found.nameless, f"{found.nameless:,} {NAMELESS.format(trial.arm)}")
        prepared = replace(prepared, faults=(*prepared.faults, nameless))
    if trial.control not in found.arms:
        raise unknown("arm", trial.control, found.arms)
    if len(found.arms) < 2:
        raise InputError(f'experiment: column "{trial.arm}" holds one arm only, "{trial.control}"; there is nothing to compare it with.')
    effects, thin = [], 0
    for arm in found.arms:
        if arm == trial.control or not found.count(arm):
            continue
        strata, lost = _strata(found, arm, trial.control)
        thin += lost
        effects += [
            _quantile(prepared.units, run, trial, found, metric, arm)
            if metric.share is not None
            else _mean(trial, found, metric, arm, strata)
            for metric in trial.metrics
        ]
    checks = check_all(prepared.units, run, trial, found)
    return Analysis(trial, found, prepared, _judged(effects), checks, thin)


def _strata(found: Tally, arm: str, control: str) -> tuple[list[Stratum], int]:
    """Strata with at least two units in both arms, and how many units of the two are in the others."""
    kept, lost = [], 0
    for stratum in found.strata:
        sizes = [int(found.groups[name, stratum]["n"]) if (name, stratum) in found.groups else 0 for name in (arm, control)]
        if min(sizes) >= 2:
            kept.append(stratum)
        else:
            lost += sum(sizes)
    if not kept:
        raise InputError(
            f'experiment: arms "{arm}" and "{control}" have no two complete units each in any stratum. Collect more, or merge strata.'
        )
    return kept, lost


def _mean(trial: Trial, found: Tally, metric: Metric, arm: str, strata: Sequence[Stratum]) -> Effect:
    names, shape = trial.needed(metric), trial.form(metric)
    treat, control = (found.moments(name, names, strata) for name in (arm, trial.control))
    compared = compare(treat, control, shape)
    share = shape.bottom is None and all(_binary(part, shape.top) for part in (*treat, *control))
    name, unit = f"{metric.name}: {arm} minus {trial.control}", "share" if share else ""
    fixed = compared.estimate(name, level=trial.level, unit=unit)
    if share and not shape.covariates and len(strata) == 1:
        counted = [(round(side[0].mean[shape.top] * side[0].n), side[0].n) for side in (treat, control)]
        fixed = proportion_difference(counted[0], counted[1], name=name, level=trial.level)
    effect = Effect(
        metric,
        arm,
        (compared.treat.mean, compared.control.mean),
        fixed,
        relative=_relative(compared, name, trial.level),
        p=compared.p,
        explained=compared.explained,
        share=share,
        verdict=FEW,
    )
    if min(compared.treat.n, compared.control.n) < sequential.FEW:
        return effect
    look = (compared.value, compared.error, compared.n)
    always = sequential.confidence_sequence(*look, name, tuned=trial.tuned, level=trial.level, unit=unit)
    p = sequential.p_value(*look, tuned=trial.tuned, level=trial.level)
    return replace(effect, always=always, p_always=p, verdict=UNKNOWN)


def _binary(part: Moments, column: int) -> bool:
    """Whether values look like 0 and 1: then the sum of squares is the sum."""
    mean = float(part.mean[column])
    return 0 <= mean <= 1 and abs(float(part.cov[column, column]) * (part.n - 1) / part.n - mean * (1 - mean)) < 1e-9


def _relative(compared: Comparison, name: str, level: float) -> Estimate | None:
    if compared.control.mean == 0:
        return None
    positive = min(compared.treat.mean, compared.control.mean) > 0
    return relative(compared, f"{name}, relative", level=level, method="log" if positive else "fieller")


def _quantile(units: Expr, run: Run, trial: Trial, found: Tally, metric: Metric, arm: str) -> Effect:
    assert metric.share is not None
    counts = {name: found.count(name) for name in (arm, trial.control)}
    sides = quantiles(units, run, arm=trial.arm, column=metric.top, share=metric.share, counts=counts, level=trial.level)
    (a, a_low, a_high, one), (b, b_low, b_high, other) = sides[arm], sides[trial.control]
    name = f"{metric.name}: {arm} minus {trial.control}"
    fixed = ordered.difference(
        (a, a_low, a_high), (b, b_low, b_high), name, n=sum(counts.values()), level=trial.level, enough=one and other
    )
    return Effect(metric, arm, (a, b), fixed)


def _judged(effects: Sequence[Effect]) -> tuple[Effect, ...]:
    """Adjust the always-valid p-values over all metrics that are no guard rails, and say what may be said."""
    asked = [i for i, effect in enumerate(effects) if effect.p_always is not None and effect.metric.guard is None]
    adjusted = dict(zip(asked, benjamini_hochberg([effects[i].p_always or 0.0 for i in asked]), strict=True))
    return tuple(replace(effect, q=adjusted.get(i), verdict=_verdict(effect, adjusted.get(i))) for i, effect in enumerate(effects))


def _verdict(effect: Effect, q: float | None) -> str:
    if effect.verdict == FEW:
        return FEW
    shown = effect.always or effect.fixed
    assert shown.low is not None
    assert shown.high is not None
    low, high = (-shown.high, -shown.low) if effect.metric.lower_is_better else (shown.low, shown.high)
    if effect.metric.guard is not None:
        limit = -effect.metric.guard * abs(effect.means[1])
        return SAFE if low > limit else HARMED if high < limit else UNKNOWN
    if q is not None and q > 1 - shown.level:
        return UNKNOWN
    return BETTER if low > 0 else WORSE if high < 0 else UNKNOWN
