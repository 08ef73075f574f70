"""Plans: what was decided for whom, what it reserves, and the messages that come of it. Deciding, writing and sending are jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import pyarrow as pa
import pyarrow.compute as pc
from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from tradewind import asked
from tradewind.decide.plan import Plan
from tradewind.decide.plans import Committed
from tradewind.decide.versions import find
from tradewind.serve import views
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.kept import plan
from tradewind.serve.problems import described
from tradewind.serve.state import Held
from tradewind.serve.submit import submit
from tradewind.serve.views import Submitted, Word

router = APIRouter(tags=["plans"], responses=described(401, 403, 404, 409))
Reader = Annotated[Caller, needs("read")]
Operator = Annotated[Caller, needs("operate")]
Channel = Literal["email", "sms", "push", "inapp"]
Writer = Literal["components", "chat", "local", "transformer"]


class PlanLine(BaseModel):
    """A plan in the list. Money in minor units of ``currency``."""

    plan_id: str
    created_at: datetime
    as_of: datetime = Field(description="The moment that it was decided for.")
    campaign: str | None
    policy: str
    policy_version: str | None
    currency: str
    budget: int | None
    expected_profit: float | None = Field(description="Minor units, beyond doing nothing.")
    holdout: float = Field(description="Share of customers who get nothing, 0 to 1.")
    window_days: float


class PlanCounts(PlanLine):
    """A plan with its counts. ``actions``, ``offers``, ``channels``: customers by offer kind, offer, channel."""

    customers: int
    treated: int = Field(description="Customers who get something.")
    held_out: int
    overridden: int = Field(description="Decisions that a hard limit changed to nothing.")
    offers: dict[str, int]
    channels: dict[str, int]
    actions: dict[str, int] = Field(description="Customers by kind of offer, and `nothing`.")
    messages: dict[str, int] = Field(description="Messages by state.")
    expected_value: float = Field(description="Expected margin, minor units.")
    expected_cost: float = Field(description="Expected discounts and contacts, minor units.")
    reserved: int = Field(description="Held of the budget, minor units.")
    price: float = Field(description="Margin that a unit of budget must bring.")
    seed: int
    model: str


class PlanDecision(BaseModel):
    """One customer's decision. Money in minor units; ``nothing`` is an action, too."""

    decision_id: str
    customer: str
    variant: Literal["treat", "holdout"]
    action: str
    offer: str | None
    item: str | None
    channel: str | None
    send_at: datetime | None
    propensity: float = Field(description="Chance of this action under the policy, 0 to 1.")
    mode: Literal["policy", "override"]
    value: float
    cost: float
    reserved: int


class Preview(BaseModel):
    """A message as it was written, or where it waits; without the address."""

    message_id: str
    decision_id: str
    customer: str
    channel: str
    state: str
    send_at: datetime | None
    locale: str | None
    parts: dict[str, str] = Field(description="By format: subject, preheader, title, body, action, ...; empty before compose.")
    components: list[str] = Field(description="What it was written from.")
    detail: str | None = Field(description="Why it was withheld, or how sending failed.")


class NewPlan(BaseModel):
    """What a plan shall do; what is left out is the shop's default."""

    budget: str = Field(default="0", max_length=40, description="Money for discounts and contacts, such as `2000 CNY`.")
    offers: list[Word] | None = Field(default=None, max_length=500, description="Kinds or ids; all when null.")
    channels: list[Channel] | None = Field(default=None, max_length=4)
    holdout: float = Field(default=0.1, ge=0, le=0.9)
    window_days: int = Field(default=14, ge=1, le=365)
    as_of: AwareDatetime | None = None
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    policy: Word | None = Field(default=None, description="Decide with this stored version of the policy again.")


class Compose(BaseModel):
    """How messages are written."""

    locale: Word | None = Field(default=None, description="One language for all; each customer's own when null.")
    at: AwareDatetime | None = Field(default=None, description="The moment whose facts count; now when null.")
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    writer: Writer = "components"


class Deliver(BaseModel):
    """Whether messages really leave, and by which sender."""

    dry_run: bool = Field(default=True, description="Only say what would be handed off.")
    to: Word = Field(default="file", description="The sender: file, smtp, ... (docs/deliver.md).")


@router.get("/v1/plans")
def plans(held: Held, _caller: Reader, limit: views.Limit = 50, after: views.After = None) -> views.Page[PlanLine]:
    """Every committed plan, the one made last first."""
    page = views.paged(held.shop.plans.all(), limit=limit, after=after, key=lambda one: one.plan_id)
    return views.Page(rows=[_line(one) for one in page.rows], next=page.next)


@router.post("/v1/plans", status_code=202)
def decide(told: NewPlan, held: Held, caller: Operator) -> Submitted:
    """Decide for every customer; a job, whose result names the plan."""
    asked.budget(told.budget, currency=held.shop.home.settings.currency)
    if told.policy is not None:
        told.policy = find(held.shop.home, told.policy).version
    return submit(held, "decide", told.model_dump(mode="json", exclude_none=True), by=caller)


@router.get("/v1/plans/{plan_id}")
def one_plan(plan_id: views.Name, held: Held, _caller: Reader) -> PlanCounts:
    """One plan with its counts by action, offer and channel, and its budget."""
    found = plan(held, plan_id)
    line = _line(next(one for one in held.shop.plans.all() if one.plan_id == found.plan_id))
    summary = found.summary()
    names = ("customers", "treated", "overridden", "offers", "channels", "expected_value", "expected_cost", "reserved", "price")
    return PlanCounts(
        **line.model_dump(),
        **{name: summary[name] for name in names},
        held_out=summary["holdout"],
        actions=_actions(found),
        messages=held.shop.plans.messages(found.plan_id),
        seed=int(found.meta["seed"]),
        model=str(found.meta["model"]),
    )


@router.get("/v1/plans/{plan_id}/decisions")
def decisions(
    plan_id: views.Name,
    held: Held,
    _caller: Reader,
    action: Annotated[views.Asked, Query(description="An action, an offer, or `nothing`.")] = None,
    customer: views.Asked = None,
    variant: Literal["treat", "holdout"] | None = None,
    limit: views.Limit = 50,
    after: views.After = None,
) -> views.Page[PlanDecision]:
    """What was decided for whom, by customer."""
    table = plan(held, plan_id).table.select(list(PlanDecision.model_fields))
    if customer is not None:
        table = table.filter(pc.equal(table["customer"], customer))
    if variant is not None:
        table = table.filter(pc.equal(table["variant"], variant))
    if action is not None:
        table = table.filter(pc.or_(pc.equal(table["action"], action), pc.fill_null(pc.equal(table["offer"], action), False)))
    if after is not None:
        table = table.filter(pc.greater(table["customer"], after))
    rows = [PlanDecision(**row) for row in table.slice(0, limit).to_pylist()]
    return views.Page(rows=rows, next=rows[-1].customer if table.num_rows > limit else None)


@router.get("/v1/plans/{plan_id}/messages")
def messages(
    plan_id: views.Name, held: Held, _caller: Reader, customer: views.Asked = None, limit: views.Limit = 50, after: views.After = None
) -> views.Page[Preview]:
    """The messages of a plan as they were written: what the recipients read, without their addresses."""
    found = held.shop.plans.written(plan(held, plan_id).plan_id, customer=customer, limit=limit + 1, after=after)
    rows = [Preview(**row) for row in found[:limit]]
    return views.Page(rows=rows, next=rows[-1].message_id if len(found) > limit else None)


@router.post("/v1/plans/{plan_id}/compose", status_code=202)
def compose(plan_id: views.Name, told: Compose, held: Held, caller: Operator) -> Submitted:
    """Write and check the messages of a plan; a job."""
    if told.locale is not None:
        asked.whole_run(budget_text="0", holdout=0.1, recommend="", known=[""], locale=told.locale)
    args = {"plan": plan(held, plan_id).plan_id, **told.model_dump(mode="json", exclude_none=True)}
    return submit(held, "compose", args, by=caller)


@router.post("/v1/plans/{plan_id}/deliver", status_code=202)
def deliver(plan_id: views.Name, told: Deliver, held: Held, caller: Operator) -> Submitted:
    """Hand off what is ready and due; a job. Only counts unless `dry_run` is false."""
    return submit(held, "deliver", {"plan": plan(held, plan_id).plan_id, **told.model_dump()}, by=caller)


@router.post("/v1/plans/{plan_id}/measure", status_code=202)
def measure(plan_id: views.Name, held: Held, caller: Operator) -> Submitted:
    """Measure a plan and collect its outcomes, from which the next one learns; a job. Looking alone is GET /v1/plans/{id}/report."""
    return submit(held, "measure", {"plan": plan(held, plan_id).plan_id}, by=caller)


def _line(one: Committed) -> PlanLine:
    meta = one.meta
    known = {
        name: meta.get(name) for name in ("policy", "policy_version", "currency", "budget", "expected_profit", "holdout", "window_days")
    }
    return PlanLine(plan_id=one.plan_id, created_at=one.created_at, as_of=one.as_of, campaign=one.campaign, **known)  # type: ignore[arg-type]


def _actions(found: Plan) -> dict[str, int]:
    """Customers of the treated by kind of offer; who gets nothing is counted, too."""
    kinds = {offer: str(told["kind"]) for offer, told in found.meta["offers"].items()}
    rows = found.table.filter(pc.equal(found.table["variant"], "treat"))
    acted = pc.if_else(pc.equal(rows["action"], "nothing"), pa.scalar("nothing"), rows["offer"])
    counts: dict[str, int] = {}
    for pair in pc.value_counts(acted).to_pylist():
        kind = kinds.get(pair["values"], str(pair["values"]))
        counts[kind] = counts.get(kind, 0) + int(pair["counts"])
    return dict(sorted(counts.items()))
