"""Everything that an analysis of means needs, in one pass of the table engine: counts, means and covariances by arm and stratum."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tradewind.errors import InputError
from tradewind.stats.moments import Moments
from tradewind.stats.quantiles import ranks

Expr = Any
Run = Callable[[Expr], pa.Table]
Stratum = tuple[Any, ...]
Row = Mapping[str, Any]
WHOLE = 2.0**53  # below it float64 holds every whole number


@dataclass(frozen=True)
class Tally:
    """One row per arm and stratum of complete units, and how many units were left out because a value was missing, by arm."""

    columns: tuple[str, ...]
    groups: Mapping[tuple[str, Stratum], Row]
    missing: Mapping[str, int]
    nameless: int = 0  # rows without an arm

    @property
    def arms(self) -> tuple[str, ...]:
        """Names of the arms, sorted."""
        return tuple(sorted({arm for arm, _ in self.groups} | set(self.missing)))

    @property
    def strata(self) -> tuple[Stratum, ...]:
        """The strata, sorted by their text."""
        return tuple(sorted({stratum for _, stratum in self.groups}, key=repr))

    def count(self, arm: str) -> int:
        """Complete units of an arm."""
        return int(sum(row["n"] for (name, _), row in self.groups.items() if name == arm))

    def moments(self, arm: str, names: Sequence[str], strata: Sequence[Stratum]) -> list[Moments]:
        """The moments of the columns ``names`` in an arm, one per stratum; a stratum without a unit of the arm has n = 0."""
        found = []
        for stratum in strata:
            row = self.groups.get((arm, stratum))
            k = len(names)
            if row is None:
                found.append(Moments(0, np.zeros(k), np.zeros((k, k))))
                continue
            mean = np.array([row[f"m_{self.columns.index(name)}"] for name in names])
            cov = np.array([[row[_pair(self.columns.index(a), self.columns.index(b))] or 0.0 for b in names] for a in names])
            found.append(Moments(int(row["n"]), mean, cov))
        return found


def _pair(i: int, j: int) -> str:
    return f"c_{min(i, j)}_{max(i, j)}"


def tally(table: Expr, run: Run, *, arm: str, pairs: Iterable[tuple[str, str]], strata: Sequence[str] = ()) -> Tally:
    """Aggregate ``table`` (one row per unit) once; a second time where values are missing.

    Parameters
    ----------
    run
        Runs an Ibis expression and returns Arrow: ``Tables.to_arrow``, or the ``to_pyarrow`` of any Ibis backend.
    pairs
        Which columns are needed together; a column alone is a pair with itself.

    Units with a missing value, or one that is not finite, in any needed column or stratum are left out of everything and counted.
    """
    wanted = sorted({(min(pair), max(pair)) for pair in pairs})
    columns = tuple(sorted({name for pair in wanted for name in pair}))
    whole = _sums(table, run, arm, columns, wanted, strata)
    if all(_complete(row, len(columns), len(strata)) for row in whole):
        return _tally(columns, whole, whole, len(strata))
    kept = _sums(table.filter(*(_known(table[name]) for name in (*columns, *strata))), run, arm, columns, wanted, strata)
    return _tally(columns, whole, kept, len(strata))


def _sums(
    table: Expr, run: Run, arm: str, columns: Sequence[str], wanted: Sequence[tuple[str, str]], strata: Sequence[str], *, exact: bool = True
) -> list[Row]:
    """One row per group: ``n``, and per column and pair its count ``k``, mean ``m`` and covariance ``c``.

    Whole numbers take plain sums of products, which cost a third of a covariance in the engine: while the sum of squares stays below
    2^53 every partial sum is a whole number that float64 holds exactly. Otherwise the engine's covariances are asked for after all.
    """
    parts = {f"x{i}": table[name].cast("float64") for i, name in enumerate(columns)}
    keys = {f"s{i}": table[name] for i, name in enumerate(strata)}
    rows = table.select(arm=table[arm], **keys, **parts)
    kinds = [table[name].type() for name in columns]
    whole = {i for i, kind in enumerate(kinds) if exact and (kind.is_integer() or kind.is_boolean()) and (columns[i],) * 2 in wanted}
    sums: dict[str, Expr] = {"n": rows.count()}
    for i in range(len(columns)):
        column = rows[f"x{i}"]
        sums |= {f"m_{i}": column.sum() if i in whole else column.mean(), f"k_{i}": column.count()}
    for a, b in wanted:
        i, j = columns.index(a), columns.index(b)
        one, other = rows[f"x{i}"], rows[f"x{j}"]
        if {i, j} <= whole:
            sums[_pair(i, j)] = (one * other).sum()
        else:
            sums[_pair(i, j)] = one.var(how="sample") if i == j else one.cov(other, how="sample")
    found = run(rows.group_by("arm", *keys).aggregate(**sums))
    for name in ("arm", *keys):  # as text, and only now: grouping a million texts is slow
        found = found.set_column(found.schema.get_field_index(name), name, found[name].cast(pa.string()))
    listed: list[dict[str, Any]] = found.to_pylist()
    if any((row[_pair(i, i)] or 0.0) >= WHOLE for row in listed for i in whole):
        return _sums(table, run, arm, columns, wanted, strata, exact=False)
    for row in listed:
        _centred(row, whole)
    return list[Row](listed)


def _centred(row: dict[str, Any], whole: set[int]) -> None:
    """Turn the sums of whole numbers into means and covariances, in exact arithmetic until the last division."""
    totals = {i: int(row[f"m_{i}"] or 0) for i in whole}
    for i, j in ((i, j) for i in whole for j in whole if i <= j and row.get(_pair(i, j)) is not None):
        n = row["n"]
        row[_pair(i, j)] = (int(row[_pair(i, j)]) * n - totals[i] * totals[j]) / (n * (n - 1)) if n > 1 else 0.0
    for i in whole:
        row[f"m_{i}"] = totals[i] / row["n"]


def _complete(row: Row, columns: int, strata: int) -> bool:
    """Whether no unit of the group lacks a value; one that is not finite spoils the mean."""
    whole = all(row[f"k_{i}"] == row["n"] and math.isfinite(row[f"m_{i}"]) for i in range(columns))
    return whole and all(row[f"s{i}"] is not None for i in range(strata))


def _known(column: Expr) -> Expr:
    if not column.type().is_floating():
        return column.notnull()
    return column.notnull() & ~column.isnan() & ~column.isinf()


def _tally(columns: tuple[str, ...], whole: Sequence[Row], kept: Sequence[Row], strata: int) -> Tally:
    groups = {(row["arm"], tuple(row[f"s{i}"] for i in range(strata))): row for row in kept if row["arm"] is not None}
    missing: dict[str, int] = {}
    for sign, rows in ((1, whole), (-1, kept)):
        for row in rows:
            if row["arm"] is not None:
                missing[row["arm"]] = missing.get(row["arm"], 0) + sign * int(row["n"])
    nameless = sum(int(row["n"]) for row in whole if row["arm"] is None)
    return Tally(columns, groups, {arm: count for arm, count in missing.items() if count}, nameless)


def quantiles(
    table: Expr, run: Run, *, arm: str, column: str, share: float, counts: Mapping[str, int], level: float
) -> dict[str, tuple[float, float, float, bool]]:
    """Per arm: the quantile, the bounds of its interval and whether there were enough units; one more pass, because ranks need counts."""
    values = table.filter(table[column].notnull())
    name = values[arm].cast("string")
    asked = {}
    for i, (each, n) in enumerate(counts.items()):
        found = ranks(n, share, level=level)
        for j, at in enumerate((share, (found.low - 1) / max(1, n - 1), (found.high - 1) / max(1, n - 1))):
            asked[f"q{i}_{j}"] = values[column].cast("float64").quantile(at, where=name == each)
    if not asked:
        raise InputError("quantile: there is no arm with units.")
    row = run(values.aggregate(**asked)).to_pylist()[0]
    return {
        each: (row[f"q{i}_0"], row[f"q{i}_1"], row[f"q{i}_2"], ranks(n, share, level=level).enough)
        for i, (each, n) in enumerate(counts.items())
    }
