"""The committed plans of a shop, newest first, as far as the ledger tells without opening their files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from tradewind.engine.books_campaigns import campaign_plans
from tradewind.engine.ledger import outbox, plans
from tradewind.errors import StateError
from tradewind.types import from_micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

p = plans.c


@dataclass(frozen=True, slots=True)
class Committed:
    """A plan in the ledger: when it was made, of which moment it is, and its meta (see :class:`tradewind.decide.plan.Plan`)."""

    plan_id: str
    created_at: datetime
    as_of: datetime
    meta: Mapping[str, Any]
    campaign: str | None


class Plans:
    """The plans of one shop. Decisions of single visits are plans of their own in the ledger; they are left out."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def all(self) -> list[Committed]:
        """Every plan, the one made last first."""
        query = (
            select(plans, campaign_plans.c.campaign)
            .join_from(plans, campaign_plans, campaign_plans.c.plan_id == p.plan_id, isouter=True)
            .where(p.meta.not_like('%"live_of":%'))
            .order_by(p.created_at.desc(), p.as_of.desc(), p.plan_id)
        )
        with self._home.ledger.read() as conn:
            rows = conn.execute(query).all()
        return [Committed(r.plan_id, from_micros(r.created_at), from_micros(r.as_of), json.loads(r.meta), r.campaign) for r in rows]

    def newest(self) -> str:
        """The id of the plan made last. Raises StateError where there is none."""
        query = select(p.plan_id).where(p.meta.not_like('%"live_of":%')).order_by(p.created_at.desc(), p.as_of.desc(), p.plan_id).limit(1)
        with self._home.ledger.read() as conn:
            found = conn.execute(query).scalar()
        if found is None:
            raise StateError("The shop has no plan yet. Decide one first.")
        return str(found)

    def messages(self, plan_id: str) -> dict[str, int]:
        """How many messages of a plan are in which state."""
        query = select(outbox.c.state, func.count()).where(outbox.c.plan_id == plan_id).group_by(outbox.c.state).order_by(outbox.c.state)
        with self._home.ledger.read() as conn:
            return {str(state): int(count) for state, count in conn.execute(query)}

    def written(self, plan_id: str, *, customer: str | None = None, limit: int = 50, after: str | None = None) -> list[dict[str, Any]]:
        """The messages of a plan by id, beginning after one of them: state, parts and what they were written from, never an address."""
        c = outbox.c
        columns = (c.message_id, c.decision_id, c.customer, c.channel, c.state, c.send_at, c.detail, c.message)
        query = select(*columns).where(c.plan_id == plan_id).order_by(c.message_id).limit(limit)
        query = query if customer is None else query.where(c.customer == customer)
        query = query if after is None else query.where(c.message_id > after)
        with self._home.ledger.read() as conn:
            rows = [dict(row) for row in conn.execute(query).mappings()]
        return [_read(row) for row in rows]


def _read(row: dict[str, Any]) -> dict[str, Any]:
    text = row.pop("message")
    told = json.loads(text) if text else {"locale": None, "parts": {}, "components": []}
    row["send_at"] = from_micros(row["send_at"]) if row["send_at"] else None
    return row | {name: told[name] for name in ("locale", "parts", "components")}
