"""A plan: one logged decision per customer, "nothing" included, immutable once made."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tradewind.errors import NotFound, did_you_mean
from tradewind.types import NOTHING

if TYPE_CHECKING:
    from tradewind.decide.diff import PlanDiff
    from tradewind.decide.explain import Explanation
    from tradewind.engine.home import Home

_META = b"tradewind.meta"
MANY = 100_000  # customers: comparing a name with more of them takes too long


@dataclass(frozen=True)
class Plan:
    """The decisions of one run of ``decide``.

    ``table`` has the columns of ``schema.PLAN``, one row per customer, sorted by customer. ``features`` is what the
    value model saw (one row per decision): the training rows of the next model, so that learning never needs to
    rebuild the past. ``meta`` holds what the whole plan shares: plan_id, policy, as_of, budget, currency, holdout,
    salt, seed, channel_costs, window_days, floor, price, certificate, offers and versions; JSON values only.
    """

    table: pa.Table
    meta: Mapping[str, Any]
    features: pa.Table | None = field(default=None, repr=False)

    @property
    def plan_id(self) -> str:
        return str(self.meta["plan_id"])

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Customer -> row number of ``table``."""
        return {name: row for row, name in enumerate(self.table["customer"].to_pylist())}

    def row(self, customer: str) -> dict[str, Any]:
        """The decision of one customer as a dict of the columns of ``schema.PLAN``.

        Raises
        ------
        NotFound
            The plan has no decision for this customer.
        """
        if customer not in self.rows:
            some = ", ".join(list(self.rows)[:3])
            raise NotFound(
                f'The plan has no decision for customer "{customer}".{did_you_mean(customer, self.rows) if len(self) < MANY else ""} '
                f"It decides for {len(self):,} customers{f', for example {some}' if some else ''}."
            )
        found: dict[str, Any] = self.table.slice(self.rows[customer], 1).to_pylist()[0]
        return found

    def explain(self, customer: str) -> Explanation:
        """Why this customer got what: candidates, values, propensities, reasons and what was suppressed."""
        from tradewind.decide.explain import explain

        return explain(self, customer)

    def diff(self, other: Plan) -> PlanDiff:
        """Who is decided differently in ``other``, and why."""
        from tradewind.decide.diff import diff

        return diff(self, other)

    def summary(self) -> dict[str, Any]:
        """Counts and money of the plan; money in minor units of ``currency``."""
        treated = pc.and_(pc.equal(self.table["variant"], "treat"), pc.not_equal(self.table["action"], NOTHING))
        chosen = self.table.filter(treated)

        def counts(column: str) -> dict[str, int]:
            found = pc.value_counts(chosen[column]).to_pylist()
            return dict(sorted((str(pair["values"]), int(pair["counts"])) for pair in found if pair["values"] is not None))

        return {
            "plan_id": self.plan_id,
            "as_of": self.meta["as_of"],
            "customers": len(self),
            "holdout": int(pc.sum(pc.equal(self.table["variant"], "holdout")).as_py() or 0),
            "treated": chosen.num_rows,
            "overridden": int(pc.sum(pc.equal(self.table["mode"], "override")).as_py() or 0),
            "offers": counts("offer"),
            "channels": counts("channel"),
            "expected_value": float(pc.sum(chosen["value"]).as_py() or 0.0),
            "expected_cost": float(pc.sum(chosen["cost"]).as_py() or 0.0),
            "reserved": int(pc.sum(self.table["reserved"]).as_py() or 0),
            "budget": self.meta["budget"],
            "currency": self.meta["currency"],
            "price": self.meta["price"],
            "certificate": self.meta["certificate"],
        }

    def to_bytes(self) -> bytes:
        """The Parquet file of the plan: equal plans give equal bytes."""
        return _parquet(self.table, self.meta)

    @classmethod
    def from_bytes(cls, data: bytes, *, features: bytes | None = None) -> Plan:
        """The inverse of :meth:`to_bytes`."""
        table = pq.read_table(io.BytesIO(data))
        meta = json.loads(table.schema.metadata[_META])
        from tradewind.schema import PLAN, conform

        rows = None if features is None else pq.read_table(io.BytesIO(features)).replace_schema_metadata(None)
        return cls(conform(table, PLAN), meta, rows)

    @classmethod
    def load(cls, home: Home, plan_id: str) -> Plan:
        """Read a committed plan; raises NotFound for an unknown id and StateError when its file was changed."""
        from tradewind.decide.commit import load

        return load(home, plan_id)

    def commit(self, home: Home, now: datetime) -> bool:
        """Make the plan real in one ledger transaction; False when it was committed before. See ``decide/commit.py``."""
        from tradewind.decide.commit import commit

        return commit(self, home, now)


def _parquet(table: pa.Table, meta: Mapping[str, Any] | None) -> bytes:
    from tradewind.decide.hashing import canonical

    if meta is not None:
        table = table.replace_schema_metadata({**(table.schema.metadata or {}), _META: canonical(meta).encode()})
    sink = io.BytesIO()
    pq.write_table(table.combine_chunks(), sink, compression="zstd", row_group_size=65_536)
    return sink.getvalue()
