"""What becomes of marked rows, in this order: copies, drops by policy, quarantine, flags."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from tradewind.collect.relation import Relation
from tradewind.collect.report import Check, Level
from tradewind.collect.rules.base import CONSEQUENCES, Action, Find, Flaw
from tradewind.collect.sources.base import literal, place
from tradewind.schema import KEYS

if TYPE_CHECKING:
    import duckdb
    import numpy.typing as npt

STATES = {
    "left_out": "_pos BIGINT, fate VARCHAR",  # "copy" or "drop"
    "held": "_pos BIGINT, field VARCHAR, rule VARCHAR, reason VARCHAR, shown INTEGER",
    "flagged": "_pos BIGINT, flag VARCHAR",
    "numbered": "_pos BIGINT, n BIGINT",  # copies that are kept
}
SORTED_AT_ONCE = 32_000_000  # rows; four bytes each
NOT_OUT = "_pos NOT IN (SELECT _pos FROM left_out)"


class Judge:
    """Fills the temp tables of ``STATES`` from ``marks`` and collects the checks for the report."""

    def __init__(self, con: duckdb.DuckDBPyConnection, relation: Relation, flaws: Sequence[Flaw]) -> None:
        self.con = con
        self.relation = relation
        self.flaws = flaws
        self.checks: list[Check] = []
        for name, columns in STATES.items():
            con.execute(f"CREATE OR REPLACE TEMP TABLE {name} ({columns})")

    def count(self, sql: str) -> int:
        """Rows of a query."""
        return int(self.con.execute(f"SELECT count(*) FROM ({sql})").fetchall()[0][0])

    def duplicates(self, *, keep: bool) -> bool:
        """Collapse or number copies, and settle keys with several contents; True when copies were numbered."""
        find_alike(self.con)
        copies = "SELECT _pos, row_number() OVER (PARTITION BY h, c ORDER BY _pos) - 1 AS n FROM alike"
        if keep:
            self.con.execute(f"INSERT INTO numbered SELECT * FROM ({copies}) WHERE n > 0")
            return bool(self._seen("exact_duplicates", "SELECT _pos FROM numbered", "kept: each copy under an id of its own"))
        self.con.execute(f"INSERT INTO left_out SELECT _pos, 'copy' FROM ({copies}) WHERE n > 0")
        self._seen("exact_duplicates", "SELECT _pos FROM left_out", "collapsed: the first of each is kept")
        self._conflicts()
        return False

    def settle(self, finds: Sequence[Find]) -> None:
        """Drop, quarantine and flag what the conditions and the comparing queries say."""
        con = self.con
        groups = con.execute("SELECT bad, count(*), min(_pos) FROM marks WHERE bad <> 0 GROUP BY bad").fetchall()
        first = {number: min((pos for bad, _, pos in groups if bad >> number & 1), default=None) for number in range(len(self.flaws))}
        shown = self._values({number: pos for number, pos in first.items() if pos is not None})
        for number, flaw in enumerate(self.flaws):
            count = sum(count for bad, count, _ in groups if bad >> number & 1)
            self._note(flaw, count, first[number], shown.get(number))
        found = [(number, flaw) for number, flaw in enumerate(self.flaws) if first[number] is not None]
        if any(flaw.action == "drop" for _, flaw in found):
            con.execute(f"INSERT INTO left_out SELECT _pos, 'drop' FROM marks WHERE bad & {self._bits('drop')} <> 0 AND {NOT_OUT}")
        for number, flaw in found:
            held = f"FROM marks WHERE bad & {1 << number} <> 0 AND {NOT_OUT}"
            if flaw.action == "quarantine":
                values = f"{literal(flaw.field)}, {literal(flaw.label)}, {literal(flaw.reason)}, {number}"
                con.execute(f"INSERT INTO held SELECT _pos, {values} {held}")
            elif flaw.action == "flag":
                con.execute(f"INSERT INTO flagged SELECT _pos, {literal(flaw.label)} {held}")
        for find in finds:
            self._find(find)

    def _bits(self, *actions: Action) -> int:
        return sum(1 << number for number, flaw in enumerate(self.flaws) if flaw.action in actions)

    def _conflicts(self) -> None:
        events = self.relation.table == "events"
        good = f"(bad & {self._bits('drop', 'quarantine')}) = 0 AND {NOT_OUT}"
        order = "_pos" if events else "_pos DESC"
        sql = (
            f"SELECT _pos FROM (SELECT _pos, row_number() OVER (PARTITION BY h ORDER BY {order}) AS n FROM alike WHERE {good}) WHERE n > 1"
        )
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE found AS {sql}")
        label = f"conflicting {', '.join(KEYS[self.relation.table])}"
        if events:
            self._seen(label, "SELECT _pos FROM found", CONSEQUENCES["quarantine"], level="FAIL")
            reason = "has an id that an earlier row with other content has"
            self.con.execute(f"INSERT INTO held SELECT _pos, 'id', {literal(label)}, {literal(reason)}, -1 FROM found")
        else:
            self._seen(label, "SELECT _pos FROM found", "collapsed: the last row of each key wins")
            self.con.execute("INSERT INTO left_out SELECT _pos, 'copy' FROM found")

    def _find(self, find: Find) -> None:
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE found AS SELECT DISTINCT _pos FROM ({find.sql}) WHERE {NOT_OUT}")
        level: Level = "FAIL" if find.action == "quarantine" else "WARN"
        self._seen(find.label, "SELECT _pos FROM found", CONSEQUENCES[find.action], level=level)
        if find.action == "flag":
            self.con.execute(f"INSERT INTO flagged SELECT _pos, {literal(find.label)} FROM found")
        elif find.action == "quarantine":
            values = f"{literal(find.field)}, {literal(find.label)}, {literal(find.reason)}, -1"
            self.con.execute(f"INSERT INTO held SELECT _pos, {values} FROM found")

    def _seen(self, label: str, sql: str, consequence: str, *, level: Level = "WARN") -> int:
        """Add the check of a set of rows; returns how many they are."""
        count, first = self.con.execute(f"SELECT count(*), min(_pos) FROM ({sql})").fetchall()[0]
        self._add(label, int(count), "" if first is None else self._place(first), consequence, level)
        return int(count)

    def _values(self, first: Mapping[int, int]) -> dict[int, str | None]:
        """What stands in the faulty field of the first row of each broken condition; one scan for all."""
        shown = [shown_value(self.relation, self.flaws[number].field, self.flaws[number].shown) for number in first]
        if not shown:
            return {}
        wanted = ", ".join(str(pos) for pos in first.values())
        source = self.relation.rows_among(f"SELECT unnest([{wanted}]) AS _pos")
        rows = self.con.execute(f"SELECT _pos, [{', '.join(shown)}] FROM {source} WHERE _pos IN ({wanted})").fetchall()
        by_place = dict(rows)
        return {number: by_place[pos][index] for index, (number, pos) in enumerate(first.items())}

    def _note(self, flaw: Flaw, count: int, first: int | None, value: str | None) -> None:
        example = ""
        if first is not None:
            shown = "***" if self.relation.table == "contacts" else value
            what = f"{flaw.field} = {json.dumps(shown, ensure_ascii=False)} {flaw.reason}" if flaw.field else flaw.reason
            example = f"{self._place(first)}: {what}"
        level: Level = "FAIL" if flaw.action == "quarantine" else "WARN"
        self._add(flaw.label, count, example, flaw.consequence or CONSEQUENCES[flaw.action], level)

    def _add(self, label: str, count: int, example: str, consequence: str, level: Level) -> None:
        found = bool(count)
        self.checks.append(
            Check(
                label,
                level if found else "PASS",
                count,
                example,
                consequence if found else "",
                self.relation.source.name,
                self.relation.table,
            )
        )

    def _place(self, pos: int) -> str:
        number, line = place(pos)
        return f"{self.relation.part.files[number]} line {line}"


def find_alike(con: duckdb.DuckDBPyConnection, *, at_once: int = SORTED_AT_ONCE) -> None:
    """Fill the temp table ``alike`` with the rows of ``marks`` whose key hash occurs more than once; ``at_once`` bounds memory.

    Sorting the upper halves of the hashes takes half the time of grouping by whole ones: few rows share one by chance,
    and only those that do are compared as a whole.
    """
    rows = int(con.execute("SELECT count(*) FROM marks").fetchall()[0][0])
    parts = max(2, -(-rows // at_once))  # at least two, so that two cores sort

    def repeated(values: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
        values.sort()
        return np.unique(values[1:][values[1:] == values[:-1]])

    found: list[npt.NDArray[np.uint32]] = []
    for first in range(0, parts, 2):
        with ThreadPoolExecutor(2) as pool:  # NumPy sorts without Python's lock
            waiting = []
            for part in range(first, min(first + 2, parts)):
                half = f"SELECT CAST(h >> 32 AS UINTEGER) AS h FROM marks WHERE h % {parts} = {part}"
                waiting.append(pool.submit(repeated, con.execute(half).fetchnumpy()["h"]))
            found += [one.result() for one in waiting]
    con.register("repeated_halves", pa.table({"half": np.concatenate(found)}))
    con.execute(
        "CREATE OR REPLACE TEMP TABLE alike AS SELECT _pos, h, c, bad FROM marks "
        "WHERE CAST(h >> 32 AS UINTEGER) IN (SELECT half FROM repeated_halves) QUALIFY count(*) OVER (PARTITION BY h) > 1"
    )
    con.unregister("repeated_halves")


def shown_value(relation: Relation, column: str, shown: str | None) -> str:
    """SQL over the source's columns for what stands in a field."""
    if shown is not None:
        return shown
    return f"CAST({relation.targets[column]} AS VARCHAR)" if column in relation.targets else "NULL::VARCHAR"
