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
        for column in (name for name in COLUMNS[view.table] if view.has(name)):
            limits = self._limits(view, column, only)
            if limits is not None:
                low, high = limits
                where = f'{only} AND ("{column}" < {low!r} OR "{column}" > {high!r})'
                reason = f"is an outlier (typical: {max(low, 0):.6g} to {high:.6g})"
                found.append(Flaw(f"outliers_mad {column}", where, self.set["action"], reason, column))
        return found

    def _limits(self, view: View, column: str, only: str) -> tuple[float, float] | None:
        import math

        sample = view.sample(f'ln(1 + "{column}") AS x', where=f'{only} AND "{column}" >= 0', most=SAMPLE)
        ((middle, spread, mean, count),) = view.con.execute(
            f"WITH s AS MATERIALIZED ({sample}), m AS (SELECT median(x) AS m FROM s) "
            "SELECT any_value(m), median(abs(x - m)), avg(abs(x - m)), count(*) FROM s, m"
        ).fetchall()
        if count < 20 or not mean:
            return None
        scale = spread / 0.6745 if spread else mean * 1.253314
        reach = self.set["threshold"] * scale
        return math.expm1(max(middle - reach, -30)) if middle > reach else -1.0, math.expm1(min(middle + reach, 43))


PLUGIN = OutliersMad
