"""What a quality rule is: conditions on rows, and sets of rows that only show when rows are compared.

Rules never run queries per row. Every rule's conditions are evaluated together in one pass over the data, which also
keeps the few columns (``features``) that the comparing rules need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tradewind.errors import InputError, did_you_mean
from tradewind.params import OneOf, Rule, check

if TYPE_CHECKING:
    import duckdb

    from tradewind.collect.relation import Relation

Action = Literal["quarantine", "drop", "flag", "keep", "mend"]
CONSEQUENCES: dict[str, str] = {
    "quarantine": "quarantined: not stored until they are mended and replayed",
    "drop": "dropped by the mapping's policy",
    "flag": "flagged: stored, with the rule's name under flags",
    "keep": "kept as they are",
    "mend": "mended",
}
CHOICES = OneOf(("quarantine", "flag", "keep"))


@dataclass(frozen=True)
class View:
    """What a rule may look at: the mapped rows of one source and what was collected before."""

    con: duckdb.DuckDBPyConnection
    relation: Relation
    rows: int
    now: datetime
    known: Callable[[str], str | None]  # table -> SQL of its rows, this load's included; None when there are none
    currency: str | None = None  # the shop's

    @property
    def table(self) -> str:
        """The table that the rows go to."""
        return self.relation.table

    def has(self, *columns: str) -> bool:
        """Whether the source fills all these columns."""
        return all(column in self.relation.targets for column in columns)

    def sample(self, columns: str, *, where: str, most: int) -> str:
        """SQL of at most about ``most`` evenly spread rows, always the same ones."""
        step = max(1, -(-self.rows // most))
        return f"SELECT {columns} FROM ({self.relation.sql}) WHERE (_pos >> 16) % {step} = 0 AND {where}"


@dataclass(frozen=True, slots=True)
class Flaw:
    """Rows for which ``where`` holds (SQL over the mapped rows)."""

    label: str
    where: str
    action: Action
    reason: str
    field: str = ""
    shown: str | None = None  # SQL over the source's columns for the offending value; default: the field
    consequence: str = ""


@dataclass(frozen=True, slots=True)
class Find:
    """Rows named by ``_pos`` by a query over ``marks``."""

    label: str
    sql: str
    action: Action
    reason: str
    field: str = ""


class QualityRule:
    """One file of this folder: the class is its ``PLUGIN``.

    ``tables`` are the tables that it looks at (empty: all), ``options`` the values that a mapping may set with their
    limits, ``defaults`` their defaults. ``default_on`` rules run without being named.
    """

    name: ClassVar[str]
    tables: ClassVar[tuple[str, ...]] = ()
    default_on: ClassVar[bool] = True
    defaults: ClassVar[Mapping[str, Any]] = {}
    options: ClassVar[Mapping[str, Rule]] = {}
    free: ClassVar[bool] = False  # options named by columns, checked by the rule itself

    def __init__(self, given: Mapping[str, Any] | None = None) -> None:
        self.given = dict(given or {})

    @property
    def set(self) -> dict[str, Any]:
        """The defaults with what the mapping gives, checked."""
        if not self.free:
            for name in self.given:
                if name not in self.defaults:
                    known = ", ".join(self.defaults) or "none"
                    raise InputError(f'Rule {self.name} has no option "{name}".{did_you_mean(name, self.defaults)} Known: {known}.')
        values = {**self.defaults, **self.given}
        check(f"Rule {self.name}", values, self.options)
        return values

    def applies(self, table: str) -> bool:
        """Whether the rule looks at this table."""
        return not self.tables or table in self.tables

    def flaws(self, view: View) -> Sequence[Flaw]:  # noqa: ARG002 - the contract
        """Conditions on single rows."""
        return ()

    def features(self, view: View) -> Mapping[str, str]:  # noqa: ARG002 - the contract
        """Columns of ``marks`` that :meth:`finds` needs: name -> SQL over the mapped rows."""
        return {}

    def finds(self, view: View) -> Sequence[Find]:  # noqa: ARG002 - the contract
        """Queries over the table ``marks``: ``_pos``, ``h`` (hash of the key), ``bad`` and the features."""
        return ()
