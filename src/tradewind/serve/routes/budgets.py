"""Budgets: what there was, what decisions hold, what was spent, day by day."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tradewind.decide.budgets import Budget
from tradewind.serve import views
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.problems import described
from tradewind.serve.state import Held
from tradewind.serve.views import Name

router = APIRouter(tags=["budgets"], responses=described(401, 403, 404))
Reader = Annotated[Caller, needs("read")]


class BudgetLine(BaseModel):
    """A budget in minor units of `currency`."""

    budget: str = Field(description="The id of a plan, or campaign:NAME.")
    currency: str
    amount: int
    reserved: int = Field(description="Held by decisions whose outcome is not known yet.")
    spent: int
    left: int


class Reserved(BaseModel):
    """Reservations in one state; of spent ones the amount is what they cost."""

    count: int
    amount: int


class BurnDay(BaseModel):
    """Decisions whose messages were to leave on a UTC day. `left`: of the budget after it, if all that is held is spent."""

    day: date
    decisions: int
    planned: int
    held: int
    spent: int
    left: int


class BurnDown(BudgetLine):
    """A budget with its reservations and how it goes down."""

    held: Reserved
    paid: Reserved
    released: Reserved
    days: list[BurnDay]


class ModelBudget(BaseModel):
    """What language models may cost; in billionths of the currency."""

    budget: str
    currency: str
    held: int
    spent: int


@router.get("/v1/budgets")
def budgets(held: Held, _caller: Reader, limit: views.Limit = 50, after: views.After = None) -> views.Page[BudgetLine]:
    """Every budget, those of campaigns first, then those of plans, the newest first."""
    return views.paged([_line(one) for one in held.shop.budgets.all()], limit=limit, after=after, key=lambda one: one.budget)


@router.get("/v1/budgets/{budget}")
def budget(budget: Name, held: Held, _caller: Reader) -> BurnDown:
    """One budget with its reservations, and how it goes down by the day on which messages leave."""
    desk = held.shop.budgets
    one, states = desk.show(budget), desk.states(budget)
    left, days = one.amount, []
    for day in desk.days(budget):
        left -= day.held + day.spent
        days.append(BurnDay(day=day.day, decisions=day.decisions, planned=day.planned, held=day.held, spent=day.spent, left=left))
    counts = {name: Reserved(count=count, amount=amount) for name, (count, amount) in states.items()}
    none = Reserved(count=0, amount=0)
    return BurnDown(
        **_line(one).model_dump(), held=counts.get("held", none), paid=counts.get("spent", none),
        released=counts.get("released", none), days=days,
    )  # fmt: skip


@router.get("/v1/model-budgets")
def model_budgets(held: Held, _caller: Reader) -> list[ModelBudget]:
    """What language models hold and spent."""
    return [ModelBudget(**row) for row in held.shop.budgets.models()]


def _line(one: Budget) -> BudgetLine:
    left = one.amount - one.reserved - one.spent
    return BudgetLine(budget=one.budget, currency=one.currency, amount=one.amount, reserved=one.reserved, spent=one.spent, left=left)
