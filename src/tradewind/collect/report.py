"""What a load did, as a value that prints itself: one line per check, and counts that add up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Level = Literal["PASS", "WARN", "FAIL"]


@dataclass(frozen=True, slots=True)
class Check:
    """One quality rule on one source: ``count`` rows concerned, one of them as ``example``, and what was done."""

    name: str  # rule, and what it looked at: "range UnitPrice"
    level: Level
    count: int
    example: str = ""
    consequence: str = ""  # quarantined | mended | flagged | kept | dropped | collapsed, and why
    source: str = ""
    table: str = ""


@dataclass(frozen=True, slots=True)
class Count:
    """The rows of one source: ``rows_in`` = ``stored`` + ``duplicates`` + ``quarantined`` + ``dropped``."""

    source: str
    table: str
    rows_in: int
    stored: int
    duplicates: int  # copies within the source, and rows that were in the log before
    quarantined: int
    dropped: int  # by a policy that the mapping declares

    @property
    def balanced(self) -> bool:
        """Whether every row is accounted for."""
        return self.rows_in == self.stored + self.duplicates + self.quarantined + self.dropped


@dataclass(frozen=True)
class CollectReport:
    """What :func:`tradewind.collect.ingest.collect` did. Prints as text; ``to_json`` is for machines."""

    load_id: str
    source: str
    already_done: bool  # the same bytes under the same mapping were loaded before: nothing changed
    checks: tuple[Check, ...] = ()
    counts: tuple[Count, ...] = ()
    totals: Mapping[str, float] = field(default_factory=dict)  # control totals of the mapping: "source.name" -> value
    assumptions: tuple[str, ...] = ()  # declared, not observed
    simulated: bool = False

    @property
    def rows_in(self) -> int:
        """Rows read, over all sources."""
        return sum(count.rows_in for count in self.counts)

    @property
    def rows_stored(self) -> int:
        """Rows that are new in the tables."""
        return sum(count.stored for count in self.counts)

    @property
    def rows_quarantined(self) -> int:
        """Rows that wait in quarantine for mending."""
        return sum(count.quarantined for count in self.counts)

    @property
    def rows_dropped(self) -> int:
        """Rows left out by a declared policy."""
        return sum(count.dropped for count in self.counts)

    @property
    def duplicates(self) -> int:
        """Rows that were there already, in the source or in the log."""
        return sum(count.duplicates for count in self.counts)

    def check(self, name: str, *, source: str | None = None) -> Check | None:
        """The first check of that name (of that source), or None."""
        return next((c for c in self.checks if c.name == name and source in (None, c.source)), None)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready mapping; ``from_json`` is its inverse."""
        return {
            **{key: value for key, value in asdict(self).items() if key not in ("checks", "counts")},
            "totals": dict(self.totals),
            "checks": [asdict(check) for check in self.checks],
            "counts": [asdict(count) for count in self.counts],
            "rows_in": self.rows_in,
            "rows_stored": self.rows_stored,
            "rows_quarantined": self.rows_quarantined,
            "rows_dropped": self.rows_dropped,
            "duplicates": self.duplicates,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> CollectReport:
        """Rebuild a report from ``to_json`` (the ledger keeps it with the load)."""
        return cls(
            load_id=data["load_id"],
            source=data["source"],
            already_done=data["already_done"],
            checks=tuple(Check(**check) for check in data["checks"]),
            counts=tuple(Count(**count) for count in data["counts"]),
            totals=data["totals"],
            assumptions=tuple(data["assumptions"]),
            simulated=data["simulated"],
        )

    def to_text(self) -> str:
        """Lines for a terminal: counts per source, checks that found something, the others in one line a source, declared assumptions."""
        lines = [f"collect {self.source}" + (" (simulated)" if self.simulated else "")]
        if self.already_done:
            lines.append("  Nothing to do: these bytes under this mapping were loaded before.")
        width = max([len(f"{c.source} -> {c.table}") for c in self.counts], default=0)
        for c in self.counts:
            where = f"{c.source} -> {c.table}".ljust(width)
            lines.append(
                f"  {where}  {c.rows_in:>11,} in = {c.stored:,} stored + {c.duplicates:,} duplicate"
                f" + {c.quarantined:,} quarantined + {c.dropped:,} dropped"
            )
        for name, value in self.totals.items():
            lines.append(f"  total {name} = {value:,.2f}")
        order = {"FAIL": 0, "WARN": 1, "PASS": 2}
        told = [check for check in self.checks if check.level != "PASS" or check.count]
        for check in sorted(told, key=lambda c: order[c.level]):
            lines.append(f"  {check.level}  {check.source}: {check.name}" + (f"  {check.count:,}" if check.count else ""))
            if check.count and check.example:
                lines.append(f"        for example {check.example}")
            if check.count and check.consequence:
                lines.append(f"        -> {check.consequence}")
        for name in dict.fromkeys(check.source for check in self.checks):
            passed = [check.name for check in self.checks if check.source == name and check not in told]
            if passed:
                lines.append(f"  PASS  {name}: {len(passed)} checks found nothing: {', '.join(passed)}")
        lines += [f"  ASSUMED  {assumption}" for assumption in self.assumptions]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.to_text()
