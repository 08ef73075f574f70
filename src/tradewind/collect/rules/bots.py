"""Visitors that look at things faster or more regularly than people do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tradewind.collect.rules.base import CHOICES, Find, QualityRule, View
from tradewind.params import Number, Rule


class Bots(QualityRule):
    """Visitors of whom one visit of at least ``views`` views has less than ``seconds`` between views on average, gaps whose
    spread is under ``spread`` of their mean, or nine of ten gaps under ``restless`` seconds: people stop and read.

    A visitor is the customer, else the session; a visit ends with a pause of ``pause`` minutes. Means over a visit, not medians
    of gaps: in a log whose times are rounded to minutes or days most gaps of a person are nought, and ``restless`` is not asked.
    """

    name: ClassVar[str] = "bots"
    tables: ClassVar[tuple[str, ...]] = ("events",)
    defaults: ClassVar[Mapping[str, Any]] = {"action": "flag", "views": 30, "seconds": 1.0, "spread": 0.1, "restless": 10.0, "pause": 30}
    options: ClassVar[Mapping[str, Rule]] = {
        "action": CHOICES,
        "views": Number(10, 1e9),
        "seconds": Number(0, 3600),
        "spread": Number(0, 1),
        "restless": Number(0, 3600),
        "pause": Number(1, 1440),
    }

    def features(self, view: View) -> Mapping[str, str]:
        """Who looked, and when."""
        who = [name for name in ("customer", "session") if view.has(name)]
        if not who:
            return {}
        return {"who": f"CASE WHEN kind = 'view' THEN hash(coalesce({', '.join(who)})) END", "us": 'epoch_us("at")'}

    def finds(self, view: View) -> Sequence[Find]:
        """All views of such visitors."""
        if not self.features(view):
            return ()
        options = self.set
        views, nobody = int(options["views"]), "hash(NULL::VARCHAR)"
        # Half of a long visit lies within one day or the next: few visitors are busy enough to be worth sorting.
        many = f"SELECT who FROM marks WHERE who IS NOT NULL AND who <> {nobody} GROUP BY who HAVING count(*) >= {views}"
        busy = f"SELECT who FROM marks WHERE who IN ({many}) GROUP BY who, us // 86400000000 HAVING count(*) >= {(views + 1) // 2}"
        gaps = (
            f"SELECT who, us, _pos, (us - lag(us) OVER (PARTITION BY who ORDER BY us, _pos)) / 1e6 AS gap FROM marks WHERE who IN ({busy})"
        )
        pause = float(options["pause"]) * 60
        visits = (
            f"SELECT who, CASE WHEN gap < {pause} THEN gap END AS gap, "
            f"count(*) FILTER (gap IS NULL OR gap >= {pause}) OVER (PARTITION BY who ORDER BY us, _pos) AS visit FROM ({gaps})"
        )
        robots = (
            f"SELECT who FROM ({visits}) GROUP BY who, visit HAVING count(*) >= {views} AND sum(gap) > 0 "
            f"AND (avg(gap) < {float(options['seconds'])} OR stddev_samp(gap) < {float(options['spread'])} * avg(gap) "
            f"OR (median(gap) > 0 AND quantile_cont(gap, 0.9) < {float(options['restless'])}))"
        )
        reason = "comes from a visitor that is too fast or too regular for a person"
        return [Find("bots", f"SELECT _pos FROM marks WHERE who IN ({robots})", options["action"], reason, "customer")]


PLUGIN = Bots
