"""Which files a mapping means, which mapping a source comes with, and the identity of a load."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

from tradewind.collect.mapping import MappingFile, SourceMap, load_mapping
from tradewind.collect.sources.base import MAX_FILES
from tradewind.engine.files import sha256_file
from tradewind.errors import InputError
from tradewind.plugins import load, names
from tradewind.schema import TABLES, VERSION

MAPPING = "mapping.toml"


@dataclass(frozen=True)
class Plan:
    """What will be read: files per source and per input of queries, or a database."""

    mapping: MappingFile
    shown: str
    files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    inputs: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    url: str | None = None

    @property
    def sources(self) -> list[SourceMap]:
        """The sources that take part, reference tables before events so that events can be checked against them."""
        order = sorted(TABLES, key=lambda name: (name == "events", name != "campaigns", list(TABLES).index(name)))
        taken = [one for one in self.mapping.sources if one.table or one.name in self.files or (one.query and self.inputs)]
        return sorted(taken, key=lambda one: order.index(one.into))

    def load_id(self, fetched: Mapping[str, str]) -> str:
        """A hash of every byte that is read and of how it is read; ``fetched`` holds the hashes of database tables."""
        hashes = {name: [(path.name, sha256_file(path)) for path in paths] for name, paths in {**self.inputs, **self.files}.items()}
        content = {"mapping": self.mapping.text, "files": hashes, "tables": dict(fetched), "version": VERSION}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def plan(source: str | Path, mapping: MappingFile | Path | None) -> Plan:
    """Find the mapping and the files.

    Raises
    ------
    InputError
        The source does not exist, no mapping fits, or a glob finds nothing; the message says where it looked.
    """
    if isinstance(source, str) and "://" in source:
        return _database(source, mapping)
    path = Path(source).expanduser()
    if not path.exists():
        raise InputError(f'There is no file or folder "{path}".')
    folder = path if path.is_dir() else path.parent
    chosen = load_mapping(mapping) if isinstance(mapping, Path) else mapping or _beside(folder) or _implied(path)
    only = None if path.is_dir() else path
    files = {
        one.name: found for one in chosen.sources if one.files and (found := _find(folder, one.files, only, what=f'source "{one.name}"'))
    }
    inputs = {name: found for name, globs in chosen.inputs.items() if (found := _find(folder, globs, only, what=f'input "{name}"'))}
    if chosen.sources and not files and not inputs:
        raise InputError(f'"{path.name}" matches no files = ... of the mapping{_named(chosen)}. Rename it, or change the glob.')
    if any(one.table for one in chosen.sources):
        raise InputError(f'The mapping{_named(chosen)} reads database tables. Give the database\'s URL instead of "{path}".')
    return Plan(chosen, str(path.name or path), files, inputs)


def _named(mapping: MappingFile) -> str:
    return f" {mapping.path}" if mapping.path else ""


def _database(url: str, mapping: MappingFile | Path | None) -> Plan:
    if mapping is None:
        raise InputError(f"A database needs a mapping: [[source]] blocks with table = 'theirs' and into = one of {', '.join(TABLES)}.")
    chosen = load_mapping(mapping) if isinstance(mapping, Path) else mapping
    wrong = [one.name for one in chosen.sources if not one.table]
    if wrong:
        raise InputError(f'Source "{wrong[0]}" of the mapping{_named(chosen)} names files or a query; for a database write table = "...".')
    return Plan(chosen, url.partition("://")[0] + "://" + url.rpartition("@")[2].rpartition("/")[2], url=url)


def _beside(folder: Path) -> MappingFile | None:
    found = folder / MAPPING
    return load_mapping(found) if found.is_file() else None


def _implied(path: Path) -> MappingFile:
    """Payload files and files with our own column names need no mapping."""
    from tradewind.collect.draft import implied

    return implied(path)


def _find(folder: Path, globs: Sequence[str], only: Path | None, *, what: str) -> tuple[Path, ...]:
    found: set[Path] = set()
    for glob in globs:
        if PurePosixPath(glob).is_absolute() or ".." in PurePosixPath(glob).parts:
            raise InputError(f'{what}: "{glob}" leaves the folder. Files are looked for below the collected folder.')
        if only is not None:
            found |= {only} if fnmatch(only.name, PurePosixPath(glob).name) else set()
            continue
        here = {path for path in folder.glob(glob) if path.is_file()}
        if not here:
            there = sorted(path.name for path in folder.iterdir())[:8]
            raise InputError(f'{what}: no file matches "{glob}" in {folder}. There is: {", ".join(there) or "nothing"}.')
        found |= here
    if len(found) >= MAX_FILES:
        raise InputError(
            f"{what}: {len(found):,} files; one load reads at most {MAX_FILES:,}. Merge small files, or load a folder at a time."
        )
    return tuple(sorted(found))


def format_of(source: SourceMap, path: Path) -> str:
    """The format's plugin name: declared, else by the file's name.

    Raises
    ------
    InputError
        Neither says it.
    """
    if source.format:
        return source.format
    by_suffix = {
        suffix: name for name in names("collect.sources") for suffix in load("collect.sources", name, what="source format").suffixes
    }
    for suffix in sorted(by_suffix, key=len, reverse=True):
        if path.name.lower().endswith(suffix):
            return by_suffix[suffix]
    known = ", ".join(sorted(by_suffix))
    raise InputError(f'"{path.name}": the format is not clear from the name (known: {known}). Write format = "csv", "parquet" or "jsonl".')
