"""Amounts and quantities far from the rest: median and median absolute deviation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tradewind.collect.rules.base import CHOICES, Flaw, QualityRule, View
from tradewind.params import Number, Rule

COLUMNS = {"events": ("quantity", "value"), "items": ("price", "cost")}
SAMPLE = 100_000


class OutliersMad(QualityRule):
    """|0.6745 (x - median) / MAD| of log(1 + x) above ``threshold`` (Iglewicz and Hoaglin 1993, on the log scale).

    Where more than half of the values are equal the MAD is 0 and the mean absolute deviation stands in, as they propose.
    When not to use: columns with two separate honest groups, such as single pieces and wholesale; raise the threshold there.
    """

    name: ClassVar[str] = "outliers_mad"
    tables: ClassVar[tuple[str, ...]] = tuple(COLUMNS)
    defaults: ClassVar[Mapping[str, Any]] = {"action": "flag", "threshold": 8.0}
    options: ClassVar[Mapping[str, Rule]] = {"action": CHOICES, "threshold": Number(1, 1000)}

    def flaws(self, view: View) -> Sequence[Flaw]:
        """One condition per numeric column, with the limits computed from an even sample of the rows."""
        found = []
        only = "kind IN ('purchase', 'refund')" if view.table == "events" else "true"
        columns = [name for name in COLUMNS[view.table] if view.has(name)]
        for column, limits in zip(columns, self._limits(view, columns, only), strict=True):
            if limits is not None:
                low, high = limits
                where = f'{only} AND ("{column}" < {low!r} OR "{column}" > {high!r})'
                reason = f"is an outlier (typical: {max(low, 0):.6g} to {high:.6g})"
                found.append(Flaw(f"outliers_mad {column}", where, self.set["action"], reason, column))
        return found

    def _limits(self, view: View, columns: Sequence[str], only: str) -> list[tuple[float, float] | None]:
        """Low and high limit per column; all columns in one look at the rows."""
        if not columns:
            return []
        logs = ", ".join(f'CASE WHEN "{column}" >= 0 THEN ln(1 + "{column}") END AS x{n}' for n, column in enumerate(columns))
        middles = ", ".join(f"median(x{n}) AS m{n}" for n in range(len(columns)))
        told = ", ".join(f"[any_value(m{n}), median(abs(x{n} - m{n})), avg(abs(x{n} - m{n})), count(x{n})]" for n in range(len(columns)))
        (row,) = view.con.execute(
            f"WITH s AS MATERIALIZED ({view.sample(logs, where=only, most=SAMPLE)}), m AS (SELECT {middles} FROM s) SELECT {told} FROM s, m"
        ).fetchall()
        return [self._reach(*values) for values in row]

    def _reach(self, middle: float, spread: float, mean: float, count: float) -> tuple[float, float] | None:
        import math

        if count < 20 or not mean:
            return None
        scale = spread / 0.6745 if spread else mean * 1.253314
        reach = self.set["threshold"] * scale
        return math.expm1(max(middle - reach, -30)) if middle > reach else -1.0, math.expm1(min(middle + reach, 43))


PLUGIN = OutliersMad
