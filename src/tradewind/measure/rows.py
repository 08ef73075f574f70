"""From rows to units: what cannot be right in the rows of an experiment is found, counted and left out before anything is compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tradewind.errors import InputError, unknown
from tradewind.measure.tally import Expr, Run
from tradewind.measure.trial import WEIGHT, Trial

NAMELESS = 'rows have no arm (column "{}" is empty) and were left out.'


@dataclass(frozen=True)
class Fault:
    """One kind of hand-made error: how many rows or units it touched, in words, and whether it forbids to believe the result."""

    code: str
    count: int
    text: str
    broken: bool = False


@dataclass(frozen=True)
class Prepared:
    """One row per unit, and what was left out on the way there."""

    units: Expr
    faults: tuple[Fault, ...]


def prepare(table: Expr, run: Run, trial: Trial) -> Prepared:
    """Leave out what cannot be right and add up the rows of each unit; one query to count, one more where ``unit`` is given.

    A table of one row per unit, without times and currencies, needs none: rows without an arm are counted where arms are.

    Raises
    ------
    NotFound, InputError
        A column does not exist, or is not of the type that it needs.
    """
    import ibis

    if trial.arm not in table.columns:
        raise unknown("column", trial.arm, table.columns)
    fits(table, trial)
    faults: list[Fault] = []
    if trial.once:
        table, copies = _distinct(table, run)
        faults += [Fault("copies", copies, f"{copies:,} rows are exact copies of others and were dropped.")] * bool(copies)
    tests = _tests(table, trial)
    currency = _commonest(table, run, trial.currency) if trial.currency else None
    if currency is not None:
        tests["currency"] = table[trial.currency].notnull() & (table[trial.currency].cast("string") != currency)
    if trial.unit is None and not tests:
        return Prepared(table, tuple(faults))
    tests["arm"] = table[trial.arm].isnull()
    sums = {name: ibis.coalesce(ibis.ifelse(test, 1, 0).sum(), 0) for name, test in tests.items()}
    counts = run(table.aggregate(**sums)).to_pylist()[0]
    faults += _row_faults(counts, trial, currency)
    for name in ("arm", "unit", "currency"):
        if counts.get(name):
            table = table.filter(~tests[name])
    if counts.get("early"):
        early = table[trial.outcome_at] < table[trial.at]
        table = table.mutate(**{name: ibis.ifelse(early, 0, table[name].cast("float64")) for name in trial.outcomes})
    if trial.unit is None:
        return Prepared(table, tuple(faults))
    units, more = _units(table, run, trial)
    return Prepared(units, (*faults, *more))


def weighed(found: Prepared, trial: Trial) -> Prepared:
    """Units with every number multiplied by the inverse of the logged propensity, and that weight as a column of its own.

    A propensity that is missing or not in (0, 1] makes the unit incomplete: it is left out and counted.
    """
    if trial.propensity is None:
        return found
    import ibis

    chance = found.units[trial.propensity].cast("float64")
    weight = ibis.ifelse((chance > 0) & (chance <= 1), 1 / chance, ibis.null("float64"))
    columns = {name: found.units[name].cast("float64") * weight for name in (*trial.outcomes, *trial.facts)}
    return Prepared(found.units.mutate(**columns, **{WEIGHT: weight}), found.faults)


def fits(table: Expr, trial: Trial) -> None:
    """Raise NotFound or InputError for a column, other than the arm's, that does not exist or is not of the type that it needs."""
    named = [*trial.outcomes, *trial.facts, *trial.strata]
    named += [name for name in (trial.unit, trial.at, trial.outcome_at, trial.currency, trial.cluster, trial.propensity) if name]
    for name in named:
        if name not in table.columns:
            raise unknown("column", name, table.columns)
    for name in (*trial.outcomes, *trial.facts, *([trial.propensity] if trial.propensity else [])):
        kind = table[name].type()
        if not (kind.is_numeric() or kind.is_boolean()):
            raise InputError(
                f'Column "{name}" holds {kind}, not numbers, so it is no metric and no covariate. Convert it, or name another.'
            )
    for name in [name for name in (trial.at, trial.outcome_at) if name]:
        if not (table[name].type().is_timestamp() or table[name].type().is_date()):
            raise InputError(f'Column "{name}" holds {table[name].type()}, not times. Write ISO 8601 times such as 2026-03-01T09:00:00.')


def _distinct(table: Expr, run: Run) -> tuple[Expr, int]:
    alone = table.distinct()
    both = [run(each.aggregate(n=each.count()))["n"][0].as_py() for each in (table, alone)]
    return alone, both[0] - both[1]


def _commonest(table: Expr, run: Run, name: str) -> str | None:
    counted = table.filter(table[name].notnull()).group_by(code=table[name].cast("string")).aggregate(n=lambda t: t.count())
    found = run(counted).to_pylist()
    return str(max(found, key=lambda row: (row["n"], row["code"]))["code"]) if found else None


def _tests(table: Expr, trial: Trial) -> dict[str, Expr]:
    tests: dict[str, Expr] = {}
    if trial.unit:
        tests["unit"] = table[trial.unit].isnull()
    if trial.at and trial.outcome_at:
        late = table[trial.outcome_at] < table[trial.at]
        tests["early"] = late & late.notnull()
    return tests


def _row_faults(counts: Mapping[str, Any], trial: Trial, currency: str | None) -> list[Fault]:
    words = {
        "arm": NAMELESS.format(trial.arm),
        "unit": f'rows have no unit (column "{trial.unit}" is empty) and were left out.',
        "early": f'rows happened before their unit was assigned ("{trial.outcome_at}" before "{trial.at}"); their outcomes count as 0.',
        "currency": f"rows are in another currency than {currency} and were left out; amounts of different currencies cannot be added.",
    }
    return [Fault(name, counts[name], f"{counts[name]:,} {text}") for name, text in words.items() if counts.get(name)]


def _units(table: Expr, run: Run, trial: Trial) -> tuple[Expr, list[Fault]]:
    """One row per unit. Outcomes are added up; a unit with a missing outcome in any row has a missing one."""
    import ibis

    def added(column: Expr) -> Expr:
        value = column.cast("float64")
        return ibis.ifelse(value.isnull().sum() > 0, ibis.null("float64"), value.sum())

    parts = {name: added(table[name]) for name in trial.outcomes}
    kept = [name for name in (*trial.facts, *trial.strata, trial.cluster, trial.propensity) if name and name not in parts]
    parts |= {name: table[name].max() for name in kept}
    if trial.at:
        parts[trial.at] = table[trial.at].min()
    grouped = table.group_by(trial.unit).aggregate(
        **parts, **{trial.arm: table[trial.arm].min()}, tw_arms=table[trial.arm].nunique(), tw_rows=table.count()
    )
    several = (grouped.tw_rows > 1) & (grouped.tw_arms == 1)
    found = run(
        grouped.aggregate(
            arms=ibis.coalesce(ibis.ifelse(grouped.tw_arms > 1, 1, 0).sum(), 0),
            several=ibis.coalesce(ibis.ifelse(several, 1, 0).sum(), 0),
            n=grouped.count(),
        )
    ).to_pylist()[0]
    faults = []
    if found["arms"]:
        text = f"{found['arms']:,} of {found['n']:,} units stand in more than one arm and were left out of all of them."
        faults.append(Fault("two_arms", found["arms"], text, broken=found["arms"] > 0.01 * found["n"]))
        grouped = grouped.filter(grouped.tw_arms == 1)
    if found["several"] and trial.once:
        text = f"{found['several']:,} units have several different rows and were left out; nobody can say which one is right."
        faults.append(Fault("doubled", found["several"], text))
        grouped = grouped.filter(grouped.tw_rows == 1)
    elif found["several"]:
        text = f"{found['several']:,} units have more than one row; the rows of a unit were added up (--once to leave them out instead)."
        faults.append(Fault("several_rows", found["several"], text))
    return grouped.drop("tw_arms", "tw_rows"), faults
