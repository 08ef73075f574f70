"""The same thing recorded twice under different ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tradewind.collect.rules.base import CHOICES, Find, QualityRule, View
from tradewind.params import Number, Rule
from tradewind.schema import Kind

MONEY_KINDS = (Kind.PURCHASE, Kind.REFUND, Kind.REDEEM, Kind.REVIEW)


class NearDuplicates(QualityRule):
    """Same customer, item, kind, quantity and value within ``seconds``; views and clicks repeat naturally and are left alone."""

    name: ClassVar[str] = "near_duplicates"
    tables: ClassVar[tuple[str, ...]] = ("events",)
    defaults: ClassVar[Mapping[str, Any]] = {"action": "flag", "seconds": 5}
    options: ClassVar[Mapping[str, Rule]] = {"action": CHOICES, "seconds": Number(0, 86_400)}

    def features(self, view: View) -> Mapping[str, str]:
        """A hash of what must be equal."""
        if not view.has("customer", "item"):
            return {}
        equal = ", ".join(name for name in ("customer", "item", "kind", "quantity", '"value"') if view.has(name.strip('"')))
        kinds = ", ".join(f"'{kind}'" for kind in MONEY_KINDS)
        return {"near": f"CASE WHEN kind IN ({kinds}) AND customer IS NOT NULL THEN hash({equal}) END", "us": 'epoch_us("at")'}

    def finds(self, view: View) -> Sequence[Find]:
        """Rows that follow an equal one of another key closely."""
        if not self.features(view):
            return ()
        gap = int(self.set["seconds"] * 1_000_000)
        twice = "near IN (SELECT near FROM marks WHERE near IS NOT NULL GROUP BY near HAVING count(*) > 1)"
        sql = (
            "SELECT _pos FROM (SELECT _pos, us - lag(us) OVER w AS gap, h = lag(h) OVER w AS copy "
            f"FROM marks WHERE {twice} WINDOW w AS (PARTITION BY near ORDER BY us, _pos)) WHERE gap <= {gap} AND NOT copy"
        )
        reason = f"equals another row of the same customer within {self.set['seconds']} s"
        return [Find("near_duplicates", sql, self.set["action"], reason, "at")]


PLUGIN = NearDuplicates
