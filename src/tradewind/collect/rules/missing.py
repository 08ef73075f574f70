"""Empty values and what the mapping wants done about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from tradewind.collect.mapping import Missing
from tradewind.collect.rules.base import Action, Flaw, QualityRule, View
from tradewind.collect.sources.base import literal, quoted
from tradewind.errors import InputError

ACTIONS: dict[str, Action] = {
    "keep": "keep",
    "flag": "flag",
    "drop": "drop",
    "quarantine": "quarantine",
    "median": "mend",
    "constant": "mend",
}
WATCHED = {"events": ("customer", "item", "value"), "items": ("title", "price", "category"), "customers": ("locale",)}


class MissingValues(QualityRule):
    """Policies are the mapping's ``[source.missing]``; columns that matter and have none are counted and kept."""

    name: ClassVar[str] = "missing"

    def flaws(self, view: View) -> Sequence[Flaw]:
        """One condition per watched column; ``median`` and ``constant`` also fill the column."""
        relation = view.relation
        watched = {name: Missing() for name in WATCHED.get(view.table, ()) if view.has(name)}
        found = []
        for column, policy in {**watched, **relation.source.missing}.items():
            if column not in relation.targets:
                raise InputError(f'Source "{relation.source.name}": [source.missing] names {column}, but nothing fills that column.')
            empty = relation.condition(f"({relation.targets[column]}) IS NULL")
            if column in relation.unreadable:
                empty = f"({empty} AND NOT {relation.condition(relation.unreadable[column][0])})"
            consequence = _fill(view, column, policy) if ACTIONS[policy.policy] == "mend" else ""
            found.append(Flaw(f"missing {column}", empty, ACTIONS[policy.policy], "is empty", column, consequence=consequence))
        return found


def _fill(view: View, column: str, policy: Missing) -> str:
    """Make the relation fill the column; returns what was done, for the report."""
    relation = view.relation
    kind = str(relation.schema.field(column).type)
    own = relation.targets[column]
    if policy.policy == "constant":
        value = literal(policy.constant) if isinstance(policy.constant, str) else repr(policy.constant)
        relation.mended[column] = f"coalesce({own}, {value})"
        return f"mended: set to {policy.constant}"
    if kind not in ("double", "int64"):
        raise InputError(f'Source "{relation.source.name}": the median of {column} needs numbers; it holds {kind}. Use a constant.')
    whole = f"(SELECT {_median(own, kind)} FROM {relation.rows})"
    if policy.by is None:
        middle = view.con.execute(f"SELECT {whole}").fetchall()[0][0]
        relation.mended[column] = f"coalesce({own}, {'NULL' if middle is None else repr(middle)})"
        return f"mended: set to the median, {middle}"
    by = relation.targets.get(policy.by) or quoted(policy.by)
    relation.bind(by, what=f"median_by of {column}")
    name = f"medians_{relation.table}_{column}"
    view.con.execute(
        f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT {by} AS k, {_median(own, kind)} AS m "
        f"FROM {relation.rows} WHERE ({by}) IS NOT NULL GROUP BY 1"
    )
    relation.joins.append(f" LEFT JOIN {name} ON {name}.k = ({by})")
    relation.mended[column] = f"coalesce({own}, {name}.m, {whole})"
    return f"mended: set to the median of equal {policy.by}, else to the median of all"


def _median(own: str, kind: str) -> str:
    return f"median({own})" if kind == "double" else f"CAST(round(median({own})) AS BIGINT)"


PLUGIN = MissingValues
