"""``collect``: any source through a mapping and the quality rules into the shop's tables, once."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from tradewind.collect.loading import Load
from tradewind.collect.mapping import MappingFile, SourceMap, parse_mapping
from tradewind.collect.report import CollectReport
from tradewind.collect.resolve import Plan, plan
from tradewind.collect.sources.sql import fetch
from tradewind.engine.ledger import loads
from tradewind.errors import InputError, StateError

if TYPE_CHECKING:
    from tradewind.engine.home import Home

__all__ = ["collect", "collect_rows"]

Progress = Callable[[float, str], None]


def collect(
    home: Home,
    source: str | Path,
    *,
    mapping: MappingFile | str | Path | None = None,
    now: datetime,
    progress: Progress | None = None,
) -> CollectReport:
    """Load ``source`` (a folder, a file, or a database URL) into ``home``; the same bytes under the same mapping load once.

    A load is all or nothing: it becomes visible in one transaction at its end, and a killed one leaves nothing and can
    be run again. ``mapping`` defaults to ``mapping.toml`` in the folder or beside the file; payload files and files with
    Tradewind's own column names need none. ``progress`` is called with a share from 0 to 1 and what is being done.

    Raises
    ------
    InputError
        The source or the mapping is unusable as a whole. Single bad rows go to quarantine instead.
    Locked
        Another load is running, or the source database is locked.
    """
    if isinstance(mapping, str):
        mapping = Path(mapping)
    todo = plan(source, mapping)
    _agree(home, todo.mapping)
    with tempfile.TemporaryDirectory(prefix="tradewind-") as folder:
        todo, fetched = _fetch(todo, Path(folder))
        load_id = todo.load_id(fetched)
        return _once(home, load_id, todo.shown, todo.mapping, now=now, progress=progress or _silent, work=lambda load: _all(load, todo))


def collect_rows(home: Home, rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], *, now: datetime) -> CollectReport:
    """Collect mended rows of quarantine: pairs of the quarantined row (``quarantine.QUARANTINE``) and its mended columns."""
    if not rows:
        raise InputError("There are no mended rows. Take some from quarantine_rows, mend them, and give them back.")
    content = sorted((held["id"], json.dumps(mended, sort_keys=True, ensure_ascii=False)) for held, mended in rows)
    load_id = hashlib.sha256(("replay" + json.dumps(content)).encode()).hexdigest()
    known = {name: _mapping_of(home, name) for name in sorted({held["load_id"] for held, _ in rows})}
    groups: dict[tuple[str, str, str, str | None], list[tuple[Mapping[str, Any], Mapping[str, Any]]]] = {}
    for held, mended in rows:
        groups.setdefault((held["load_id"], held["source"], held["table"], held["types"]), []).append((held, mended))
    first = next(iter(known.values()))

    def work(load: Load) -> None:
        for (origin, name, table, _), group in sorted(groups.items(), key=lambda one: (one[0][0], one[0][1], one[0][2])):
            load.replay(_source_of(known[origin], name, table), group)
        load.mark_done([held["id"] for held, _ in rows])

    return _once(home, load_id, f"replay of {len(rows)} row(s)", first, now=now, progress=_silent, work=work)


def _once(
    home: Home, load_id: str, shown: str, mapping: MappingFile, *, now: datetime, progress: Progress, work: Callable[[Load], None]
) -> CollectReport:
    staging = home.log.begin(load_id, source=shown, now=now)
    if staging is None:
        return replace(_report_of(home, load_id), already_done=True)
    with staging, Load(home, staging, mapping, now=now, progress=progress) as load:
        work(load)
        load.finish()
        _settle(home, mapping)
        report = load.report(shown)
        staging.commit({"report": report.to_json(), "mapping": mapping.text}, now=now)
    progress(1.0, "done")
    return report


def _all(load: Load, todo: Plan) -> None:
    sources = todo.sources
    load.offers(todo.mapping.offers)
    for number, source in enumerate(sources):
        load.progress(number / len(sources), f"{source.name} -> {source.into}")
        load.source(source, todo.files.get(source.name, ()), inputs=todo.inputs)
    load.assume_consent()


def _fetch(todo: Plan, folder: Path) -> tuple[Plan, dict[str, str]]:
    """Bring database tables into files, which gives them an identity."""
    if todo.url is None:
        return todo, {}
    files: dict[str, tuple[Path, ...]] = {}
    hashes: dict[str, str] = {}
    for number, source in enumerate(todo.mapping.sources):
        assert source.table is not None
        target = folder / f"{number}.parquet"
        hashes[source.name] = fetch(todo.url, source.table, target)
        files[source.name] = (target,)
    sources = tuple(replace(source, format="sql") for source in todo.mapping.sources)
    return replace(todo, mapping=replace(todo.mapping, sources=sources), files=files), hashes


def _agree(home: Home, mapping: MappingFile) -> None:
    """A shop has one currency."""
    ours = home.settings.currency
    if ours is not None and mapping.currency is not None and ours != mapping.currency:
        raise InputError(
            f'The mapping says currency = "{mapping.currency}", but the shop "{home.settings.name}" counts in {ours}. '
            "Convert the amounts first, or open another shop for them."
        )


def _settle(home: Home, mapping: MappingFile) -> None:
    """Take over what the first mapping says about the shop; the margin is declared anew by each mapping that has one."""
    settings = home.settings
    if settings.currency is None and mapping.currency is not None:
        named = mapping.name if mapping.name and settings.name == home.root.name else settings.name
        settings = replace(settings, name=named, currency=mapping.currency, zone=mapping.zone or settings.zone)
    if mapping.simulated:
        settings = replace(settings, simulated=True)
    if mapping.margin is not None:
        settings = replace(settings, margin=mapping.margin)
    if settings != home.settings:
        home.save_settings(settings)


def _stored(home: Home, load_id: str) -> dict[str, Any]:
    with home.ledger.read() as conn:
        text = conn.execute(select(loads.c.report).where(loads.c.load_id == load_id)).scalar()
    if text is None:
        raise StateError(f'The ledger has no report of the load "{load_id}". It was not made by collect.')
    found: dict[str, Any] = json.loads(text)
    return found


def _report_of(home: Home, load_id: str) -> CollectReport:
    return CollectReport.from_json(_stored(home, load_id)["report"])


def _mapping_of(home: Home, load_id: str) -> MappingFile:
    return parse_mapping(_stored(home, load_id)["mapping"])


def _source_of(mapping: MappingFile, name: str, table: str) -> SourceMap:
    for source in mapping.sources:
        if source.name == name:
            return source if source.into == table else replace(source, into=table, columns={})
    raise StateError(f'The mapping of that load has no source "{name}" any more.')


def _silent(share: float, what: str) -> None:
    """Nobody watches."""
