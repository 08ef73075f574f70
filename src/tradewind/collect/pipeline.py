"""One part of a source through the quality rules into a table, in two passes over the data.

The first pass evaluates all conditions of all rules and keeps a slim table ``marks``; everything that compares rows
works on that. The second pass stores the good rows. Nothing is held in memory per row of the source but ``marks``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tradewind.collect.judge import Judge
from tradewind.collect.relation import Relation
from tradewind.collect.report import Check, Count
from tradewind.collect.rules.base import CONSEQUENCES, Flaw, QualityRule, View
from tradewind.collect.sources.base import BadLine, quoted
from tradewind.errors import InputError
from tradewind.plugins import load, names

if TYPE_CHECKING:
    import duckdb

FLAG_COLUMNS = {"events": "context", "items": "attributes", "customers": "attributes"}
MOST_FLAWS = 62  # bits of a BIGINT
FIRST = ("missing",)  # fills columns that other rules look at


@dataclass
class Outcome:
    """What one part gave. ``sql`` yields the good rows; the temp table ``held`` names the quarantined ones."""

    table: str
    rows_in: int
    duplicates: int
    quarantined: int
    dropped: int
    sql: str
    checks: list[Check]
    flaws: Sequence[Flaw] = field(default_factory=list)

    def count(self, source: str, *, new: int) -> Count:
        """The line of the report; good rows that were not new are duplicates of what was stored before."""
        good = self.rows_in - self.duplicates - self.quarantined - self.dropped
        return Count(source, self.table, self.rows_in, new, self.duplicates + good - new, self.quarantined, self.dropped)


@dataclass(frozen=True)
class Context:
    """What all parts of a load share."""

    con: duckdb.DuckDBPyConnection
    now: datetime
    known: Callable[[str], str | None]
    currency: str | None


def active_rules(table: str, given: Mapping[str, Mapping[str, Any]]) -> list[QualityRule]:
    """The rules that look at ``table``: those on by default, and those that the mapping names; ``enabled`` decides last."""
    found = []
    for name in sorted(names("collect.rules"), key=lambda one: (one not in FIRST, one)):
        kind = load("collect.rules", name, what="quality rule")
        options = dict(given.get(name, {}))
        enabled = options.pop("enabled", kind.default_on or name in given)
        if not isinstance(enabled, bool):
            raise InputError(f"Rule {name}: enabled must be true or false; got {enabled!r}.")
        rule: QualityRule = kind(options)
        _ = rule.set  # refuses wrong options even where the rule has nothing to do
        if enabled and rule.applies(table):
            found.append(rule)
    return found


def run(context: Context, relation: Relation) -> Outcome:
    """Judge every row of ``relation``; afterwards the outcome's ``sql`` can be stored, until the next run.

    Raises
    ------
    InputError
        SQL of the mapping fails on a value, a rule's option is wrong, or there are more conditions than fit one pass.
    """
    import duckdb

    try:
        return _run(context, relation)
    except (duckdb.ConversionException, duckdb.InvalidInputException, duckdb.OutOfRangeException, duckdb.BinderException) as error:
        raise InputError(
            f'Source "{relation.source.name}": SQL failed on a value: {str(error).splitlines()[0]}. '
            "Write try_cast instead of cast, so that such a value becomes a quarantined row."
        ) from error


def _run(context: Context, relation: Relation) -> Outcome:
    con = context.con
    rows = int(con.execute(f"SELECT count(*) FROM ({relation.part.sql})").fetchall()[0][0])
    view = View(con, relation, rows, context.now, context.known, context.currency)
    rules = active_rules(relation.table, relation.source.rules)
    flaws = [*_policies(relation), *(flaw for rule in rules for flaw in rule.flaws(view))]
    if len(flaws) > MOST_FLAWS:
        raise InputError(f'Source "{relation.source.name}": {len(flaws)} conditions; at most {MOST_FLAWS} fit one pass. Split the source.')
    _mark(con, relation, flaws, {name: sql for rule in rules for name, sql in rule.features(view).items()})
    judge = Judge(con, relation, flaws)
    copies = next((rule.set["copies"] for rule in rules if rule.name == "exact_duplicates"), "collapse")
    numbered = judge.duplicates(keep=copies == "keep" and relation.table == "events")
    judge.settle([find for rule in rules for find in rule.finds(view)])
    return Outcome(
        table=relation.table,
        rows_in=rows,
        duplicates=judge.count("SELECT _pos FROM left_out WHERE fate = 'copy'"),
        quarantined=judge.count("SELECT DISTINCT _pos FROM held"),
        dropped=judge.count("SELECT _pos FROM left_out WHERE fate = 'drop'"),
        sql=_good(relation, numbered=numbered, flagged=bool(judge.count("SELECT _pos FROM flagged"))),
        checks=judge.checks,
        flaws=flaws,
    )


def _policies(relation: Relation) -> list[Flaw]:
    found = []
    for name, condition in relation.source.drop.items():
        relation.bind(f"({condition})", what=f"drop {name}")
        found.append(Flaw(f"drop {name}", relation.condition(condition), "drop", f"left out: {name}"))
    return found


def _mark(con: duckdb.DuckDBPyConnection, relation: Relation, flaws: Sequence[Flaw], features: Mapping[str, str]) -> None:
    """The first pass."""
    bits = " | ".join(f"(CAST(coalesce({flaw.where}, false) AS BIGINT) << {number})" for number, flaw in enumerate(flaws))
    # Nearly all rows are good: asking that first spares them the bits.
    mask = f"CASE WHEN {' OR '.join(f'({flaw.where})' for flaw in flaws)} THEN {bits} ELSE 0 END" if flaws else "0"
    columns = "".join(f", {sql} AS {name}" for name, sql in features.items())
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE marks AS SELECT _pos, {relation.key} AS h, {relation.content} AS c, "
        f"{mask} AS bad{columns} FROM ({relation.sql})"
    )


def _good(relation: Relation, *, numbered: bool, flagged: bool) -> str:
    """The second pass: rows that stay, with their flags."""
    columns = {name: f"r.{quoted(name)}" for name in relation.targets}
    joins = ""
    flags = FLAG_COLUMNS.get(relation.table)
    if flags and flagged:
        joins += (
            " LEFT JOIN (SELECT _pos, to_json(list_sort(list(DISTINCT flag))) AS flags FROM flagged GROUP BY _pos) AS f ON r._pos = f._pos"
        )
        own = columns.get(flags, "NULL::VARCHAR")
        merged = f"CAST(json_merge_patch(coalesce({own}, '{{}}')::JSON, json_object('flags', f.flags)) AS VARCHAR)"
        columns[flags] = f"CASE WHEN f.flags IS NULL THEN {own} ELSE {merged} END"
    if numbered:
        joins += " LEFT JOIN numbered AS n ON r._pos = n._pos"
        columns["id"] = "CASE WHEN n.n IS NULL THEN r.id ELSE r.id || '#' || n.n END"
    selected = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in columns.items())
    gone = "SELECT _pos FROM left_out UNION ALL SELECT _pos FROM held"
    inner = f"SELECT * FROM ({relation.sql}) AS m ANTI JOIN ({gone}) AS o ON m._pos = o._pos"
    return f"SELECT {selected} FROM ({inner}) AS r{joins}"


def line_checks(
    bad: Sequence[BadLine], left_out: Sequence[tuple[str, int]], notes: Sequence[str], *, source: str, table: str
) -> list[Check]:
    """Checks about the file itself: unreadable lines, event names without a table, guessed encodings."""
    example = f"{bad[0].file} line {bad[0].line}: {bad[0].reason}" if bad else ""
    found = [Check("readable", "FAIL" if bad else "PASS", len(bad), example, CONSEQUENCES["quarantine"] if bad else "", source, table)]
    if left_out:
        shown = ", ".join(f"{name} ({count:,})" for name, count in left_out[:5])
        found.append(
            Check("unused calls", "WARN", sum(count for _, count in left_out), shown, "dropped: no table holds them", source, table)
        )
    found += [Check("reading", "WARN" if "guess" in note else "PASS", 1, note, "", source, table) for note in notes]
    return found
