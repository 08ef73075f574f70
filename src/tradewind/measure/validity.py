"""May the comparison be believed? The split, what is missing, what differed before the start, when units came, who shares a home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tradewind.errors import InputError, unknown
from tradewind.measure.tally import Expr, Run, Tally
from tradewind.measure.trial import BROKEN, WEIGHT, Trial
from tradewind.stats import sequential
from tradewind.stats.experiment import sample_ratio
from tradewind.stats.means import Shape, compare
from tradewind.stats.moments import pooled

LEAST = 5  # expected units per cell below which a chi-square test says nothing


@dataclass(frozen=True)
class Check:
    """One finding: "PASS", "WARN" (read with care) or "FAIL" (do not believe the comparison)."""

    name: str
    level: str
    text: str
    p: float | None = None


def check_all(units: Expr, run: Run, trial: Trial, found: Tally) -> tuple[Check, ...]:
    """All checks that the columns allow, in the order in which to read them."""
    counts = {arm: found.count(arm) + found.missing.get(arm, 0) for arm in found.arms}
    checks = [logged(found) if trial.propensity else split(counts, trial), missing(found, counts)]
    checks += _before(found, trial)
    if trial.at:
        checks += _calendar(units, run, trial)
    if trial.cluster:
        checks.append(_clusters(units, run, trial))
    return tuple(check for check in checks if check is not None)


def split(counts: Mapping[str, int], trial: Trial) -> Check:
    """Sample-ratio mismatch, once and always valid."""
    for name in trial.shares:
        if name not in counts:
            raise unknown("arm", name, counts)
    shares = [trial.shares.get(arm, 0.0) for arm in counts] if trial.shares else [1.0] * len(counts)
    unasked = [arm for arm, share in zip(counts, shares, strict=True) if share == 0 and counts[arm]]
    if unasked:
        raise InputError(f"experiment: no share was given for arm {', '.join(unasked)}. Name the share of every arm, or of none.")
    whole, n = sum(shares), sum(counts.values())
    if min(n * share / whole for share in shares if share) < LEAST:
        return Check("split", "WARN", "Too few units to say whether the arms have the sizes that were asked for.")
    p = sample_ratio(list(counts.values()), shares)
    always = sequential.sample_ratio(list(counts.values()), shares)
    sizes = ", ".join(f"{arm} {count:,}" for arm, count in counts.items())
    tested = f"sample-ratio test, p = {p:.2g}; at every look, p = {always:.2g}"
    if min(p, always) < BROKEN:
        return Check("split", "FAIL", f"The arms do not have the sizes that were asked for ({sizes}; {tested}). Find out why first.", p)
    return Check("split", "PASS", f"The arms have the sizes that were asked for ({sizes}; {tested}).", p)


def logged(found: Tally) -> Check:
    """Whether the logged propensities fit the arms that were given: in each arm the weights must add up to all units."""
    from scipy import stats

    n, worst, said = sum(found.count(arm) for arm in found.arms), 1.0, []
    for arm in found.arms:
        sides = [part for part in found.moments(arm, [WEIGHT], found.strata) if part.n]
        if sides:
            whole = pooled(sides)
            total, squares = whole.n * whole.mean[0], (whole.n - 1) * whole.cov[0, 0] + whole.n * whole.mean[0] ** 2
            error = max(squares - total, 1e-12) ** 0.5
            worst = min(worst, float(2 * stats.norm.sf(abs(total - n) / error)))
            said.append(f"{arm} {total / n:.2f}")
    text = f"mean weights {', '.join(said)}, expected 1; p = {worst:.2g}"
    if worst < BROKEN:
        return Check("propensities", "FAIL", f"The logged propensities do not fit the arms that were given ({text}).", worst)
    return Check("propensities", "PASS", f"The logged propensities fit the arms that were given ({text}).", worst)


def missing(found: Tally, counts: Mapping[str, int]) -> Check | None:
    """Units left out because a value is missing; an unequal loss breaks the randomisation."""
    lost = sum(found.missing.values())
    if not lost:
        return None
    said = ", ".join(f"{arm} {found.missing.get(arm, 0):,}" for arm in counts)
    text = f"{lost:,} units have a value that is missing or not finite and were left out ({said})."
    table = np.array([[found.missing.get(arm, 0), found.count(arm)] for arm in counts if counts[arm]])
    p = contingency(table)
    if p is not None and p < BROKEN:
        return Check(
            "missing", "FAIL", f"{text} The arms lose different shares (p = {p:.2g}), so those who are left cannot be compared.", p
        )
    return Check("missing", "WARN", text, p)


def contingency(table: np.ndarray) -> float | None:
    """P-value that rows and columns of counts are independent; None where a cell expects too few."""
    from scipy import stats

    table = table[:, table.sum(axis=0) > 0]
    if table.shape[0] < 2 or table.shape[1] < 2:
        return None
    result = stats.chi2_contingency(table, correction=False)
    return float(result.pvalue) if result.expected_freq.min() >= LEAST else None


def _before(found: Tally, trial: Trial) -> list[Check]:
    """Covariates were fixed before assignment, so they may not differ by arm."""
    checks = []
    for top, bottom in trial.sides():
        under = bottom or (WEIGHT if trial.propensity else None)
        names = (top,) if under is None else (top, under)
        sides = {
            arm: [pooled(part for part in found.moments(arm, names, found.strata) if part.n)] for arm in found.arms if found.count(arm)
        }
        shape, label = Shape(0, None if under is None else 1), top if bottom is None else f"{top}/{bottom}"
        for arm, side in sides.items():
            if arm == trial.control or trial.control not in sides or min(side[0].n, sides[trial.control][0].n) < 2:
                continue
            p = compare(side, sides[trial.control], shape).p
            if p < BROKEN:
                text = f"{label} differed between {arm} and {trial.control} before the start (p = {p:.2g}): the assignment was not random."
                checks.append(Check("balance", "FAIL", text, p))
    if trial.sides() and not checks:
        checks.append(Check("balance", "PASS", "What is known from before the start does not differ between the arms."))
    return checks


def _calendar(units: Expr, run: Run, trial: Trial) -> list[Check]:
    """Arms must fill evenly over days and hours; else a season or a time of day is mistaken for an effect."""
    assert trial.at is not None
    at = units[trial.at].cast("timestamp")
    grouped = units.filter(at.notnull()).group_by(arm=units[trial.arm].cast("string"), day=at.date(), hour=at.hour())
    rows = run(grouped.aggregate(n=lambda t: t.count())).to_pylist()
    checks = []
    for name, key in (("day", "day"), ("hour of the day", "hour")):
        p = contingency(_crossed([(row["arm"], row[key], row["n"]) for row in rows]))
        if p is not None and p < BROKEN:
            text = f"The arms were filled unevenly by {name} (p = {p:.2g}): what differs between {name}s looks like an effect."
            checks.append(Check("calendar", "WARN", text, p))
    return checks or [Check("calendar", "PASS", "The arms were filled evenly over the days and the hours of the day.")]


def _crossed(cells: Sequence[tuple[str, object, int]]) -> np.ndarray:
    """Counts by arm and value; values that are too rare to test are put together."""
    arms, values = sorted({arm for arm, _, _ in cells}), sorted({str(value) for _, value, _ in cells})
    table = np.zeros((len(arms), len(values)))
    for arm, value, n in cells:
        table[arms.index(arm), values.index(str(value))] += n
    small = table.sum(axis=0) < 2 * LEAST * len(arms)
    return np.column_stack([table[:, ~small], table[:, small].sum(axis=1)])


def _clusters(units: Expr, run: Run, trial: Trial) -> Check:
    import ibis

    assert trial.cluster is not None
    known = units.filter(units[trial.cluster].notnull())
    homes = known.group_by(trial.cluster).aggregate(arms=known[trial.arm].nunique(), n=known.count())
    row = run(homes.aggregate(mixed=ibis.coalesce(ibis.ifelse(homes.arms > 1, 1, 0).sum(), 0), all=homes.count())).to_pylist()[0]
    if row["mixed"]:
        return Check(
            "interference",
            "WARN",
            f'{row["mixed"]:,} of {row["all"]:,} groups by "{trial.cluster}" hold units of several arms. Units that share a home or an '
            f'address influence each other, and the effect may be off by a lot either way. Assign by "{trial.cluster}" next time.',
        )
    return Check("interference", "PASS", f'No group by "{trial.cluster}" holds units of more than one arm.')
