"""Times that cannot be: in the future, before 1990, ends before starts, refunds before purchases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from typing import Any, ClassVar

from tradewind.collect.rules.base import CHOICES, Find, Flaw, QualityRule, View
from tradewind.errors import InputError
from tradewind.params import Number, Rule
from tradewind.types import micros, utc

PAIRS = (("starts_at", "ends_at"), ("available_from", "available_until"))


class TimeOrder(QualityRule):
    """``ahead_seconds`` forgives clocks that run fast; ``refunds`` is the action for a refund before the first purchase."""

    name: ClassVar[str] = "time_order"
    defaults: ClassVar[Mapping[str, Any]] = {"action": "quarantine", "earliest": "1990-01-01", "ahead_seconds": 300, "refunds": "flag"}
    options: ClassVar[Mapping[str, Rule]] = {"action": CHOICES, "ahead_seconds": Number(0, 366 * 86_400), "refunds": CHOICES}

    def flaws(self, view: View) -> Sequence[Flaw]:
        """Conditions on the time of an event or sign-up, and on the order of start and end."""
        options = self.set
        found = []
        for column in ("at", "signed_up_at"):
            if view.has(column):
                late = _moment(view.now + timedelta(seconds=options["ahead_seconds"]))
                early = _moment(utc(str(options["earliest"]), what="rule time_order: earliest"))
                found += [
                    Flaw(f"time_order {column} in the future", f'"{column}" > {late}', options["action"], "is in the future", column),
                    Flaw(
                        f"time_order {column} too early",
                        f'"{column}" < {early}',
                        options["action"],
                        f"is before {options['earliest']}",
                        column,
                    ),
                ]
        for start, end in PAIRS:
            if view.has(start, end):
                found.append(Flaw(f"time_order {end}", f'"{end}" < "{start}"', options["action"], f"is before {start}", end))
        return found

    def features(self, view: View) -> Mapping[str, str]:
        """Who bought or returned what, and when."""
        if view.table != "events" or not view.has("customer", "item"):
            return {}
        return {
            "bought": "CASE WHEN kind = 'purchase' AND customer IS NOT NULL THEN hash(customer, item) END",
            "returned": "CASE WHEN kind = 'refund' AND customer IS NOT NULL THEN hash(customer, item) END",
            "us": 'epoch_us("at")',
        }

    def finds(self, view: View) -> Sequence[Find]:
        """Refunds that come before every purchase of the same item by the same customer, where there is one."""
        if not self.features(view):
            return ()
        some = view.con.execute("SELECT count(*) FROM marks WHERE returned IS NOT NULL").fetchall()[0][0]
        before = view.known("events") if some else None  # the whole log is read for refunds only
        older = f" UNION ALL SELECT hash(customer, item), epoch_us(\"at\") FROM ({before}) WHERE kind = 'purchase'" if before else ""
        sql = (
            "SELECT r._pos FROM marks AS r JOIN (SELECT k, min(us) AS first FROM (SELECT bought AS k, us FROM marks WHERE bought IN "
            f"(SELECT returned FROM marks WHERE returned IS NOT NULL){older}) GROUP BY k) AS p ON r.returned = p.k WHERE r.us < p.first"
        )
        return [
            Find(
                "time_order refund before purchase", sql, self.set["refunds"], "is before the item's first purchase by that customer", "at"
            )
        ]


def _moment(value: Any) -> str:
    if value.tzinfo is None:
        raise InputError("Rule time_order: now must carry a time zone.")
    return f"timezone('UTC', make_timestamp({micros(value.astimezone(UTC))}))"


PLUGIN = TimeOrder
