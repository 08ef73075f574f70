"""Visitors that look at things faster or more regularly than people do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from tradewind.collect.rules.base import CHOICES, Find, QualityRule, View
from tradewind.params import Number, Rule


class Bots(QualityRule):
    """Of visitors with at least ``views`` views: a median gap under ``seconds``, or gaps whose spread is under ``spread`` of their mean.

    A visitor is the customer, else the session.
    """

    name: ClassVar[str] = "bots"
    tables: ClassVar[tuple[str, ...]] = ("events",)
    defaults: ClassVar[Mapping[str, Any]] = {"action": "flag", "views": 100, "seconds": 1.0, "spread": 0.1}
    options: ClassVar[Mapping[str, Rule]] = {
        "action": CHOICES,
        "views": Number(10, 1e9),
        "seconds": Number(0, 3600),
        "spread": Number(0, 1),
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
        nobody = "hash(NULL::VARCHAR)"
        many = f"SELECT who FROM marks WHERE who IS NOT NULL AND who <> {nobody} GROUP BY who HAVING count(*) >= {int(options['views'])}"
        robots = (
            "SELECT who FROM (SELECT who, (us - lag(us) OVER (PARTITION BY who ORDER BY us, _pos)) / 1e6 AS gap FROM marks "
            f"WHERE who IN ({many})) GROUP BY who HAVING median(gap) < {float(options['seconds'])} "
            f"OR stddev_samp(gap) < {float(options['spread'])} * avg(gap)"
        )
        reason = "comes from a visitor that is too fast or too regular for a person"
        return [Find("bots", f"SELECT _pos FROM marks WHERE who IN ({robots})", options["action"], reason, "customer")]


PLUGIN = Bots
