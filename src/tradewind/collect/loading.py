"""One load at work: opens sources, sends their rows through the rules, stages what is good and keeps what is not."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from tradewind.collect import people
from tradewind.collect.mapping import InlineOffer, MappingFile, SourceMap
from tradewind.collect.pipeline import Context, Outcome, line_checks, run
from tradewind.collect.quarantine import write_bad_lines, write_held
from tradewind.collect.relation import Relation
from tradewind.collect.report import Check, CollectReport, Count
from tradewind.collect.resolve import format_of
from tradewind.collect.sources.base import SUB_BITS, BadLine, Part, json_path, literal, position, quoted
from tradewind.engine import parquet
from tradewind.errors import InputError
from tradewind.plugins import load as plugin
from tradewind.schema import OFFER_ITEMS, OFFERS, conform

if TYPE_CHECKING:
    from tradewind.engine.home import Home
    from tradewind.engine.staging import Staging

MEMORY = "2500MB"  # DuckDB spills beyond it; the process stays under 4 GiB
REFERENCED = {"items": "item", "customers": "customer", "offers": "offer", "campaigns": "campaign"}


class Load:
    """The work between ``begin`` and ``commit``. Use it in a ``with`` block."""

    def __init__(
        self, home: Home, staging: Staging, mapping: MappingFile, *, now: datetime, progress: Callable[[float, str], None]
    ) -> None:
        self.home = home
        self.staging = staging
        self.mapping = mapping
        self.now = now
        self.progress = progress
        self.checks: list[Check] = []
        self.counts: list[Count] = []
        self.totals: dict[str, float] = {}
        self.assumptions: list[str] = list(mapping.assumptions)
        self.held: list[Path] = []  # files of quarantined rows
        self.seen: set[str] = set()  # reference tables with rows in this load

    def __enter__(self) -> Self:
        (self.home.root / "data" / ".spill").mkdir(exist_ok=True)  # DuckDB makes only the last folder of a path
        self.con = parquet.connect(self.home.root, memory_limit=MEMORY)
        self.scratch = self.staging.folder / "scratch"
        self.scratch.mkdir()
        self.con.execute("CREATE TEMP TABLE seen_people (customer VARCHAR)")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.con.close()

    def known(self, table: str) -> str | None:
        """SQL of the rows of a table that are stored or were seen in this load; of references only the key."""
        files = self.home.log.files(table)
        key = REFERENCED.get(table, "*")
        parts = [parquet.scan(files, key)] if files else []
        if table in self.seen:
            parts.append(f"SELECT * FROM seen_{table}")
        return " UNION ALL ".join(parts) or None

    def source(self, source: SourceMap, files: Sequence[Path], *, inputs: Mapping[str, Sequence[Path]]) -> None:
        """Read, judge and stage one source."""
        for part in self._queried(source, inputs) if source.query else self._opened(source, files, source.name):
            self._part(part, source)

    def replay(self, source: SourceMap, rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> None:
        """The same for mended rows of quarantine; all of one source, table and way of reading."""
        how = json.loads(rows[0][0]["types"] or "{}")
        folder = self._folder()
        if not how:  # lines that never were rows: read anew as the format reads them
            path = folder / f"{source.name}.jsonl"
            path.write_text("".join(json.dumps(mended, ensure_ascii=False) + "\n" for _, mended in rows), encoding="utf-8")
            for part in plugin("collect.sources", "jsonl").open(self.con, [path], source=source, scratch=folder):
                self._part(part, source)
            return
        self._part(self._mended(rows, how, folder / "rows.parquet"), source)

    def _mended(self, rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], how: Mapping[str, Any], path: Path) -> Part:
        """Mended rows with the types that the source had, at the places where they were."""
        names = tuple(dict.fromkeys(str(held["file"]) for held, _ in rows))
        seen: Counter[tuple[str, int]] = Counter()
        places = []
        for held, _ in rows:
            places.append(position(names.index(held["file"]), held["line"], seen[held["file"], held["line"]]))
            seen[held["file"], held["line"]] += 1
        pq.write_table(pa.table({"j": pa.array([json.dumps(one, ensure_ascii=False) for _, one in rows]), "_pos": places}), path)
        texts = {name: f"json_extract_string(j, {literal(json_path(name))})" for name in how["columns"]}
        for name, kind in how["columns"].items():
            text = texts[name]
            wrong = f"SELECT {text} FROM read_parquet({literal(path)}) WHERE {text} IS NOT NULL AND try_cast({text} AS {kind}) IS NULL"
            found = self.con.execute(f"{wrong} LIMIT 1").fetchall()
            if found:
                raise InputError(
                    f'A mended row has {name} = "{found[0][0]}", but that column of the source holds {kind}. Mend it once more.'
                )
        columns = ", ".join(f"try_cast({texts[name]} AS {kind}) AS {quoted(name)}" for name, kind in how["columns"].items())
        return Part(sql=f"SELECT {columns}, _pos FROM read_parquet({literal(path)})", files=names, into=how["into"], money=how["money"])

    def mark_done(self, ids: Sequence[str]) -> None:
        """Take quarantined rows off the list."""
        path = self.staging.folder / "quarantine_done.parquet"
        pq.write_table(pa.table({"id": pa.array(ids, pa.string())}), path)
        self.staging.add_file("quarantine_done", path)

    def offers(self, inline: Sequence[InlineOffer]) -> None:
        """Stage the offers that stand in the mapping itself."""
        if not inline:
            return
        rows = [{**one.row, "terms": json.dumps(one.row["terms"], ensure_ascii=False, sort_keys=True)} for one in inline]
        self._reference("offers", conform(pa.Table.from_pylist(rows, schema=OFFERS), OFFERS), "[[offers]]")
        limited = [{"offer": one.row["offer"], "item": item} for one in inline for item in one.items]
        if limited:
            self._reference("offer_items", pa.Table.from_pylist(limited, schema=OFFER_ITEMS), "[[offers]] items")

    def assume_consent(self) -> None:
        """Record the declared consents of customers who never said anything."""
        for channel in self.mapping.consent:
            everybody = " UNION ALL ".join(
                [parquet.scan(files, "customer") for files in self._peopled()] + ["SELECT customer FROM seen_people"]
            )
            new = people.assume(self.home, self.con, everybody, channel=channel, mapping=self.mapping, now=self.now)
            self.assumptions.append(
                f'consent: {new:,} customers who said nothing are taken to allow "{channel}" (declared in [defaults], not observed)'
            )
        if self.mapping.margin is not None:
            self.assumptions.append(
                f"margin: items without cost are taken to earn {self.mapping.margin:.0%} of their price (declared in [defaults])"
            )

    def finish(self) -> None:
        """Stage the quarantine."""
        for path in self.held:
            self.staging.add_file("quarantine", path)

    def report(self, shown: str) -> CollectReport:
        """What was done so far."""
        wrong = [count for count in self.counts if not count.balanced or count.stored < 0]
        assert not wrong, f"rows do not add up: {wrong}"
        return CollectReport(
            load_id=self.staging.load_id,
            source=shown,
            already_done=False,
            checks=tuple(self.checks),
            counts=tuple(self.counts),
            totals=self.totals,
            assumptions=tuple(self.assumptions),
            simulated=self.mapping.simulated,
        )

    def _held(self) -> Path:
        """The next file of quarantined rows."""
        self.held.append(self.staging.folder / f"quarantine{len(self.held)}.parquet")
        return self.held[-1]

    def _folder(self) -> Path:
        folder = self.scratch / str(len(list(self.scratch.iterdir())))
        folder.mkdir()
        return folder

    def _opened(self, source: SourceMap, files: Sequence[Path], name: str) -> list[Part]:
        formats = {format_of(source, path) for path in files}
        if len(formats) > 1:
            raise InputError(f'Source "{name}" mixes formats: {", ".join(sorted(formats))}. Make one [[source]] per format.')
        found: list[Part] = plugin("collect.sources", formats.pop(), what="source format").open(
            self.con, files, source=source, scratch=self._folder()
        )
        return found

    def _queried(self, source: SourceMap, inputs: Mapping[str, Sequence[Path]]) -> list[Part]:
        """Run the query over its inputs once; its rows become the source."""
        import duckdb

        bad: list[BadLine] = []
        for name, files in self._named(source, inputs).items():
            part, *_ = self._opened(SourceMap(name=name, into=source.into), files, name)
            bad += part.bad
            self.con.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS SELECT * EXCLUDE (_pos) FROM ({part.sql})")
        target = self._folder() / "rows.parquet"
        try:
            self.con.execute(
                f"COPY (SELECT *, row_number() OVER () << {SUB_BITS} AS _pos FROM ({source.query})) TO {literal(target)} (FORMAT parquet)"
            )
        except duckdb.Error as error:
            raise InputError(f'Source "{source.name}": the query fails: {str(error).splitlines()[0]}') from error
        return [Part(sql=f"SELECT * FROM read_parquet({literal(target)})", files=(f"query {source.name}",), bad=tuple(bad))]

    def _named(self, source: SourceMap, inputs: Mapping[str, Sequence[Path]]) -> dict[str, Sequence[Path]]:
        """The inputs that a query mentions."""
        assert source.query is not None
        words = set(re.findall(r"\w+", source.query))
        found = {name: files for name, files in inputs.items() if name in words}
        if not found:
            raise InputError(f'Source "{source.name}": the query mentions none of the [inputs] that are there: {", ".join(inputs)}.')
        return found

    def _part(self, part: Part, source: SourceMap) -> None:
        table = part.into or source.into
        relation = Relation(self.con, part, source, table, simulated=self.mapping.simulated)
        context = Context(self.con, self.now, self.known, self.home.settings.currency or self.mapping.currency)
        self._totals(relation)
        outcome = run(context, relation)
        new = self._store(outcome, source)
        if outcome.quarantined:
            write_held(relation, outcome.flaws, self._held(), load_id=self.staging.load_id, now=self.now)
        if part.bad:
            write_bad_lines(part.bad, self._held(), load_id=self.staging.load_id, source=source.name, table=table, now=self.now)
        outcome.rows_in += len(part.bad) + sum(count for _, count in part.left_out)
        outcome.quarantined += len(part.bad)
        outcome.dropped += sum(count for _, count in part.left_out)
        self.checks += line_checks(part.bad, part.left_out, part.notes, source=source.name, table=table) + outcome.checks
        self.counts.append(outcome.count(source.name, new=new))

    def _store(self, outcome: Outcome, source: SourceMap) -> int:
        """Stage the good rows; returns how many are new."""
        sql, table = outcome.sql, outcome.table
        if self.mapping.consent and table in ("customers", "events"):
            self.con.execute(f"INSERT INTO seen_people SELECT DISTINCT customer FROM ({sql}) WHERE customer IS NOT NULL")
        if table == "events":
            return self.staging.add_events(self.con, sql)
        if table == "contacts":
            stored, refused = people.put(self.home, self.con, sql)
            outcome.dropped += refused
            if refused:
                self.checks.append(
                    Check(
                        "contacts refused",
                        "WARN",
                        refused,
                        "",
                        "dropped: no usable address, or the customer was erased",
                        source.name,
                        table,
                    )
                )
            return stored
        if table == "consents":
            return people.record(self.home, self.con, sql)
        taken = self.staging.replace(table, self.con, sql)
        self._remember(table, sql)
        return taken

    def _remember(self, table: str, sql: str) -> None:
        if table in REFERENCED:
            key = REFERENCED[table]
            verb = f"INSERT INTO seen_{table}" if table in self.seen else f"CREATE TEMP TABLE seen_{table} AS"
            self.con.execute(f"{verb} SELECT {key} FROM ({sql})")
            self.seen.add(table)

    def _reference(self, table: str, rows: pa.Table, shown: str) -> None:
        self.con.register("inline_rows", rows)
        taken = self.staging.replace(table, self.con, "SELECT * FROM inline_rows")
        self._remember(table, "SELECT * FROM inline_rows")
        self.con.unregister("inline_rows")
        self.counts.append(Count(shown, table, rows.num_rows, taken, rows.num_rows - taken, 0, 0))

    def _totals(self, relation: Relation) -> None:
        """Control totals over the raw rows, before anything is left out."""
        for name, total in relation.source.totals.items():
            relation.bind(f"({total.sql})", what=f"total {name}")
            value = float(self.con.execute(f"SELECT {total.sql} FROM {relation.rows}").fetchall()[0][0] or 0)
            self.totals[f"{relation.source.name}.{name}"] = value
            if total.expect is not None:
                fits = abs(value - total.expect) <= total.within
                shown = f"{value:,.2f}, expected {total.expect:,.2f}"
                self.checks.append(Check(f"total {name}", "PASS" if fits else "FAIL", 1, shown, "", relation.source.name, relation.table))

    def _peopled(self) -> list[list[Path]]:
        """Committed files that name customers."""
        return [files for table in ("customers", "events") if (files := self.home.log.files(table))]
