"""The customers of a plan as live decisions hold them in memory; whoever is erased is let go of before the next question is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import func, select

from tradewind.collect.erase import erased
from tradewind.engine.books_vault import erasures
from tradewind.learn.profiles import STAGES

if TYPE_CHECKING:
    from tradewind.decide.request import Request
    from tradewind.engine.home import Home

c = erasures.c
# What changes when an erasure begins and when it ends; both are found by an index.
_MARK = select(
    select(func.max(c.finished_at)).scalar_subquery(), select(func.count()).where(c.finished_at.is_(None)).correlate(None).scalar_subquery()
)


@dataclass(frozen=True)
class People:
    """Profiles, channels with consent and shortlists of some customers, of one moment."""

    rows: Mapping[str, int]
    profiles: pa.Table
    channels: Mapping[str, Sequence[str]]
    places: Mapping[str, tuple[int, int]]  # of the rows of ``listed``: start and count
    listed: pa.Table | None

    @classmethod
    def of(cls, profiles: pa.Table, allowed: pa.Table, shortlist: pa.Table | None) -> People:
        """From the tables of a request."""
        channels: dict[str, list[str]] = {}
        for customer, channel in zip(allowed["customer"].to_pylist(), allowed["channel"].to_pylist(), strict=True):
            channels.setdefault(customer, []).append(channel)
        listed = None if shortlist is None else shortlist.sort_by([("customer", "ascending"), ("score", "descending")])
        rows = {name: row for row, name in enumerate(profiles["customer"].to_pylist())}
        return cls(rows, profiles, channels, {} if listed is None else _runs(listed["customer"]), listed)

    def profile(self, customer: str) -> pa.Table:
        """The row of a customer."""
        return self.profiles.slice(self.rows[customer], 1)

    def shortlist(self, customer: str) -> pa.Table | tuple[()]:
        """What the recommender said for a customer."""
        return () if self.listed is None else self.listed.slice(*self.places.get(customer, (0, 0)))


class Remembered:
    """The customers of a request. Safe to share between threads: what is known is replaced as a whole."""

    def __init__(self, home: Home, request: Request) -> None:
        self._home = home
        self._mark: tuple[int | None, int] | None = None
        self._people = People.of(request.profiles, request.allowed, request.shortlist)

    def now(self) -> People:
        """All who were not erased, also where it happened since."""
        with self._home.ledger.read() as conn:
            mark = tuple(conn.execute(_MARK).one())
        if mark != self._mark:
            known = self._people
            if gone := erased(self._home, list(known.rows)):
                names = pa.array(gone, pa.string())
                tables = (known.profiles, known.listed)
                profiles, listed = (
                    one if one is None else one.filter(pc.invert(pc.is_in(one["customer"], value_set=names))) for one in tables
                )
                left = known.channels.keys() - gone
                rest = [(name, channel) for name in sorted(left) for channel in known.channels[name]]
                columns = [pa.array([pair[place] for pair in rest], pa.string()) for place in (0, 1)]
                self._people = People.of(profiles, pa.table(columns, names=["customer", "channel"]), listed)
            self._mark = (mark[0], mark[1])
        return self._people


def blank(customer: str, schema: pa.Schema) -> dict[str, Any]:
    """The profile of somebody without a past: nothing is known, every count is zero."""
    counts = {field.name: 0 for field in schema if not field.nullable and not pa.types.is_string(field.type)}
    return {"customer": customer, "stage": STAGES[0], **counts}


def _runs(names: pa.ChunkedArray) -> dict[str, tuple[int, int]]:
    """Where the rows of each name lie in a sorted column: start and count."""
    counted = pc.run_end_encode(names.combine_chunks())
    ends = [0, *counted.run_ends.to_pylist()]
    return {name: (start, end - start) for name, start, end in zip(counted.values.to_pylist(), ends[:-1], ends[1:], strict=True)}
