"""Where the money of budgets is: what there was, what decisions hold, what was spent, and what language models cost. Writes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from tradewind.engine.ledger import budgets, model_budgets, outbox, plans, reservations
from tradewind.errors import NotFound
from tradewind.types import from_micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

b, r = budgets.c, reservations.c


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget in minor units; ``budget`` is the id of a plan, or "campaign:NAME". What is left is ``amount - reserved - spent``."""

    budget: str
    currency: str
    amount: int
    reserved: int
    spent: int


@dataclass(frozen=True, slots=True)
class Day:
    """Decisions whose messages were to leave on a UTC day: what they held at first, what they hold now, what they cost."""

    day: date
    decisions: int
    planned: int
    held: int
    spent: int


class Budgets:
    """The budgets of one shop."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def all(self) -> list[Budget]:
        """Every budget: those of campaigns by name, then those of plans, the newest first."""
        query = select(budgets).join_from(budgets, plans, plans.c.plan_id == b.budget, isouter=True)
        query = query.order_by(plans.c.created_at.is_not(None), plans.c.created_at.desc(), b.budget)
        with self._home.ledger.read() as conn:
            return [Budget(**row) for row in conn.execute(query).mappings()]

    def show(self, budget: str) -> Budget:
        """One budget. Raises NotFound."""
        with self._home.ledger.read() as conn:
            row = conn.execute(select(budgets).where(b.budget == budget)).mappings().first()
        if row is None:
            raise NotFound(f'There is no budget "{budget}". It is the id of a plan with a budget, or campaign:NAME.')
        return Budget(**row)

    def states(self, budget: str) -> dict[str, tuple[int, int]]:
        """Reservations by state ("held", "spent", "released"): how many, and minor units (of spent ones what they cost)."""
        query = select(r.state, func.count(), func.sum(r.amount), func.sum(r.spent)).where(r.budget == budget).group_by(r.state)
        with self._home.ledger.read() as conn:
            found = conn.execute(query).all()
        return {str(state): (int(n), int(spent if state == "spent" else amount)) for state, n, amount, spent in found}

    def days(self, budget: str) -> list[Day]:
        """How the money goes, by the day on which messages were to leave, the earliest first."""
        query = select(r.state, r.amount, r.spent, outbox.c.send_at).join_from(reservations, outbox, outbox.c.decision_id == r.decision_id)
        found: dict[date, list[int]] = {}
        with self._home.ledger.read() as conn:
            for row in conn.execute(query.where(r.budget == budget)):
                sums = found.setdefault(from_micros(row.send_at).date(), [0, 0, 0, 0])
                for at, value in enumerate((1, row.amount, row.amount if row.state == "held" else 0, row.spent)):
                    sums[at] += value
        return [Day(day, *sums) for day, sums in sorted(found.items())]

    def models(self) -> list[Mapping[str, Any]]:
        """What language models hold and spent, by limit; ``held`` and ``spent`` in billionths of the currency."""
        with self._home.ledger.read() as conn:
            return [dict(row) for row in conn.execute(select(model_budgets).order_by(model_budgets.c.budget)).mappings()]
