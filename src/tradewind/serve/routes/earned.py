"""What plans earned: the first thing that a shop's people look at, and the report behind it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tradewind.decide.plans import Committed
from tradewind.errors import InputError, StateError
from tradewind.measure.verdict import sentence
from tradewind.serve import views
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.kept import kept, plan
from tradewind.serve.problems import described
from tradewind.serve.state import Held
from tradewind.serve.views import Interval, Sentence, Told
from tradewind.shop import Shop
from tradewind.types import Estimate, Reason, Report

router = APIRouter(tags=["earned"], responses=described(401, 403, 404, 409))
Reader = Annotated[Caller, needs("read")]


class Earned(BaseModel):
    """One plan against its holdout. Where ``problem`` is told instead of a verdict, it cannot be measured at all."""

    plan_id: str
    campaign: str | None
    as_of: datetime = Field(description="The moment that the plan was decided for.")
    until: datetime = Field(description="End of the window in which outcomes count.")
    currency: str
    final: bool = Field(description="The whole window has been seen.")
    verdict: Sentence | None = Field(description="earned, lost, unsure, no_holdout, nothing or broken.")
    next: list[Sentence] = Field(description="What to do next.")
    problem: str | None
    profit: Interval | None = Field(description="Incremental profit after discounts, contacts and models.")
    profit_per_customer: Interval | None
    revenue: Interval | None = Field(description="Incremental revenue.")
    margin: Interval | None = Field(description="Incremental margin.")
    contact_cost: Interval | None
    model_cost: Interval | None
    discounts: Interval | None = Field(description="Discounts used on the plan's offers.")
    budget: Interval | None
    roi: Interval | None = Field(description="Profit for each unit of money spent on contacts, models and the plan's offers.")


_FIGURES = {
    "profit": "incremental profit", "profit_per_customer": "incremental profit per customer", "revenue": "incremental revenue",
    "margin": "incremental margin", "contact_cost": "contact cost", "model_cost": "model cost",
    "discounts": "discounts used on the plan's offers", "budget": "budget", "roi": "return on marketing cost",
}  # fmt: skip


@router.get("/v1/earned")
def earned(held: Held, _caller: Reader, limit: views.Limit = 5, after: views.After = None) -> views.Page[Earned]:
    """What the newest plans earned, each with its interval and a verdict that says when it cannot tell yet."""
    page = views.paged(held.shop.plans.all(), limit=limit, after=after, key=lambda one: one.plan_id)
    return views.Page(rows=[_earned(held, one) for one in page.rows], next=page.next)


@router.get("/v1/plans/{plan_id}/earned")
def plan_earned(plan_id: views.Name, held: Held, _caller: Reader) -> Earned:
    """What one plan earned."""
    meant = plan(held, plan_id).plan_id
    return _earned(held, next(one for one in held.shop.plans.all() if one.plan_id == meant))


@router.get("/v1/plans/{plan_id}/report")
def plan_report(plan_id: views.Name, held: Held, _caller: Reader, locale: views.Locale = "en") -> Told:
    """The whole report on one plan: what it earned, how sure we are, where the money went, what was left out."""
    return views.said(views.told(_report(held, plan(held, plan_id).plan_id)), locale)


def _report(held: Held, plan_id: str) -> Report:
    def make(shop: Shop) -> Report:
        return shop.measure(plan(held, plan_id))

    return kept(held, ("measure", plan_id), make)


def _earned(held: Held, one: Committed) -> Earned:
    report, problem = None, None
    try:
        report = _report(held, one.plan_id)
    except (InputError, StateError) as error:
        problem = str(error)
    meta, currency = {} if report is None else report.meta, str(one.meta["currency"])
    return Earned(
        plan_id=one.plan_id,
        campaign=one.campaign,
        as_of=one.as_of,
        until=one.as_of + timedelta(days=float(one.meta["window_days"])),
        currency=currency,
        final=bool(meta.get("matured", False)),
        verdict=None if report is None else _said("verdict", Reason(**meta["verdict"]), currency),
        next=[_said("next", Reason(**told), currency) for told in meta.get("next", [])],
        problem=problem,
        **{field: views.interval(_figure(report, name)) for field, name in _FIGURES.items()},
    )


def _figure(report: Report | None, name: str) -> Estimate | None:
    sections = () if report is None else report.sections
    return next((one for section in sections for one in section.estimates if one.name == name), None)


def _said(kind: str, told: Reason, currency: str) -> Sentence:
    english, chinese = (sentence(kind, told, currency=currency, locale=locale) for locale in ("en", "zh-CN"))
    return Sentence(code=told.code, en=english, zh=chinese)
