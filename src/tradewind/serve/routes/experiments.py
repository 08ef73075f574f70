"""Experiments: which run, who is in which arm, what a plan could show before it starts, and the evidence beside a plan's report."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from tradewind.serve import views
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.kept import kept, newest, plan
from tradewind.serve.problems import described
from tradewind.serve.state import Held
from tradewind.serve.views import Name, Told, Word
from tradewind.shop import Shop

router = APIRouter(tags=["experiments"], responses=described(401, 403, 404, 409))
Reader = Annotated[Caller, needs("read")]


class Experiment(BaseModel):
    """An experiment of the shop, with the shares of its arms as they were recorded when it began."""

    name: str
    shares: dict[str, float]


class Assign(BaseModel):
    """Whom to assign, and the shares; they cannot change once the experiment runs."""

    units: list[Word] = Field(max_length=10_000, description="Customers or households.")
    shares: dict[str, float] = Field(min_length=2, max_length=50)


class Arms(BaseModel):
    """The arm of each unit: the same for ever."""

    arms: dict[str, str]


@router.get("/v1/experiments")
def experiments(held: Held, _caller: Reader, limit: views.Limit = 50, after: views.After = None) -> views.Page[Experiment]:
    """Every experiment that was begun, by name."""
    rows = [Experiment(name=name, shares=shares) for name, shares in held.shop.experiments.all().items()]
    return views.paged(rows, limit=limit, after=after, key=lambda one: one.name)


@router.get("/v1/experiments/power")
def power(
    held: Held,
    _caller: Reader,
    window_days: Annotated[float, Query(ge=1, le=366)] = 14,
    holdout: Annotated[float, Query(ge=0.001, le=0.999)] = 0.1,
    acted: Annotated[float, Query(ge=0.001, le=1, description="Share of the customers on whom the plan will act.")] = 1,
    locale: views.Locale = "en",
) -> Told:
    """What a plan could show: the smallest effect on margin per customer and on conversion, read off the shop's own last window."""

    def make(shop: Shop) -> Told:
        return views.told(shop.experiments.power(window_days=window_days, holdout=holdout, acted=acted))

    return views.said(kept(held, ("power", window_days, holdout, acted), make), locale)


@router.post("/v1/experiments/{experiment}/arms")
def arms(experiment: Name, told: Assign, held: Held, _caller: Annotated[Caller, needs("campaigns")]) -> Arms:
    """The arm of each unit by hash; the first request of a name records its shares."""
    return Arms(arms=held.shop.experiments.arms(experiment, told.units, told.shares))


@router.get("/v1/plans/{plan_id}/longer")
def longer(
    plan_id: Name, held: Held, _caller: Reader, days: Annotated[float, Query(ge=1, le=3650)] = 28, locale: views.Locale = "en"
) -> Told:
    """What a plan earned in its window and for some days after it: what lasted, and what was only pulled forward."""
    meant = plan(held, plan_id)
    return views.said(
        kept(held, ("longer", meant.plan_id, days), lambda shop: views.told(shop.experiments.longer(meant, days=days))), locale
    )


@router.get("/v1/plans/{plan_id}/offpolicy")
def offpolicy(plan_id: Name, held: Held, _caller: Reader, locale: views.Locale = "en") -> Told:
    """What other ways of deciding would have earned on the plan's log, with intervals, or why the log cannot say."""
    meant = plan(held, plan_id)
    return views.said(kept(held, ("offpolicy", meant.plan_id), lambda shop: views.told(shop.evidence.offpolicy(meant))), locale)


@router.get("/v1/plans/{plan_id}/fairness")
def fairness(
    plan_id: Name,
    held: Held,
    _caller: Reader,
    by: Annotated[list[Word], Query(min_length=1, max_length=10, description="Declared attributes, or locale or zone.")],
    locale: views.Locale = "en",
) -> Told:
    """Exposure, offer value and outcome of a plan by declared groups."""
    meant = plan(held, plan_id)
    return views.said(kept(held, ("fairness", meant.plan_id, *by), lambda shop: views.told(shop.evidence.fairness(meant, by))), locale)


@router.get("/v1/attribution")
def attribution(
    held: Held,
    _caller: Reader,
    plan_id: Annotated[views.Asked, Query(alias="plan", description="Also what its holdout says was caused.")] = None,
    lookback_days: Annotated[float, Query(ge=0.1, le=366)] = 30,
    locale: views.Locale = "en",
) -> Told:
    """Who stood on the way to purchases; with a plan, what its holdout says was caused."""
    meant = None if plan_id is None else plan(held, plan_id)

    def make(shop: Shop) -> Told:
        return views.told(shop.evidence.attribution(meant, as_of=newest(shop), lookback_days=lookback_days))

    return views.said(kept(held, ("attribution", meant and meant.plan_id, lookback_days), make), locale)
