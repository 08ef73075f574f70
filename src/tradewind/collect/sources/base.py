"""What a source format gives: relations that DuckDB can scan, and the lines that could not be read at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from tradewind.errors import InputError

if TYPE_CHECKING:
    import duckdb

    from tradewind.collect.mapping import SourceMap

# A row's position is its identity within a load: file number, line (1-based), and which of the line's rows it is.
SUB_BITS, LINE_BITS = 16, 32
MAX_FILES = 1 << (63 - SUB_BITS - LINE_BITS)
MAX_LINE = 16 * 1024 * 1024  # bytes; a longer line is quarantined, it is no record of a shop
MOST_BAD = 100_000  # unreadable lines of a source; more mean that it is read in the wrong way
KEPT = 1000  # characters of an unreadable line that quarantine keeps


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that could not become a row."""

    file: str
    line: int
    field: str
    value: str
    reason: str
    rule: str = "readable"


@dataclass(frozen=True)
class Part:
    """Rows for one table. ``sql`` yields the source's columns and ``_pos`` (see ``position``)."""

    sql: str
    files: tuple[str, ...]  # names to show, by file number
    bad: tuple[BadLine, ...] = ()
    notes: tuple[str, ...] = ()  # what was found out rather than declared, for the report
    into: str | None = None  # when the format decides the table (identify calls): else as mapped
    money: str | None = None  # "minor" when the format has already normalised amounts
    left_out: tuple[tuple[str, int], ...] = ()  # names of events that no table holds, and how many
    # Given a SELECT of ``_pos``: ``sql`` with at least those rows, for a format that can skip others undecoded.
    among: Callable[[str], str] | None = None


class SourceFormat(Protocol):
    """One file of this folder: ``PLUGIN`` is an instance."""

    suffixes: ClassVar[tuple[str, ...]]

    def open(self, con: duckdb.DuckDBPyConnection, files: Sequence[Path], *, source: SourceMap, scratch: Path) -> list[Part]:
        """Make ``files`` scannable; temporary files go to ``scratch``, which exists and is the source's own.

        Raises
        ------
        InputError
            A file as a whole is unusable: empty, no such format, damaged archive. Single bad lines are returned.
        """
        ...


def quoted(name: str) -> str:
    """A DuckDB identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str | Path) -> str:
    """A DuckDB string."""
    return "'" + str(value).replace("'", "''") + "'"


def json_path(key: str) -> str:
    """The JSON path of a top-level key."""
    return '$."' + key.replace('"', '\\"') + '"'


def listed(paths: Sequence[Path]) -> str:
    """A DuckDB list of strings."""
    return "[" + ", ".join(literal(path) for path in paths) + "]"


def position(number: int, line: int, sub: int = 0) -> int:
    """The ``_pos`` of a row."""
    return (((number << LINE_BITS) | line) << SUB_BITS) | sub


def place(pos: int) -> tuple[int, int]:
    """File number and line of a ``_pos``."""
    return pos >> (LINE_BITS + SUB_BITS), (pos >> SUB_BITS) & ((1 << LINE_BITS) - 1)


def line_sql(pos: str) -> str:
    """SQL of the line of a ``_pos``."""
    return f"(({pos} >> {SUB_BITS}) & {(1 << LINE_BITS) - 1})"


def note_bad(bad: list[BadLine], line: BadLine) -> None:
    """Keep a bad line; raises InputError when there are so many that the file as a whole is read wrongly."""
    bad.append(line)
    if len(bad) > MOST_BAD:
        one = bad[0]
        raise InputError(
            f'"{one.file}": more than {MOST_BAD:,} lines cannot be read, the first is line {one.line}: {one.reason}. '
            "Is that its format, encoding and delimiter? Nothing was loaded."
        )


def refuse_empty(path: Path) -> None:
    """Raise InputError for a file without bytes."""
    if path.stat().st_size == 0:
        raise InputError(f'"{path.name}" is empty (0 bytes). Export it again, or take it out of the mapping.')
