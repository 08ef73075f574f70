"""Campaigns: check a draft, keep it, see what it would do, approve and apply it, watch, pause, resume and finish it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue

from tradewind.decide.campaign_books import Version
from tradewind.errors import InputError
from tradewind.serve import views
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.problems import described
from tradewind.serve.state import Held
from tradewind.serve.submit import submit
from tradewind.serve.views import Name, Submitted, signed
from tradewind.serve.views_customers import Member, everybody, member

router = APIRouter(tags=["campaigns"], responses=described(401, 403, 404, 409))
Reader = Annotated[Caller, needs("read")]
Marketer = Annotated[Caller, needs("campaigns")]
State = Literal["draft", "planned", "approved", "running", "paused", "done"]


class Guard(BaseModel):
    """What pauses a campaign: shares (0 to 1) of accepted messages, and money as text."""

    complaint_rate: float | None = None
    unsubscribe_rate: float | None = None
    bounce_rate: float | None = None
    spend_per_day: str | None = None
    max_loss: str | None = None
    least_messages: int | None = None


class Spec(BaseModel):
    """What the file of a campaign says (docs/campaigns.md)."""

    model_config = ConfigDict(populate_by_name=True)

    name: str
    goal: str
    begins: str = Field(alias="from", description="A date, or a time with a zone.")
    until: str
    audience: str | None = Field(default=None, description="An expression over the profile; null: everybody.")
    offers: list[str] | None = None
    channels: list[str] | dict[str, int] | None = Field(default=None, description="Names, or the cost of a contact in minor units.")
    budget: str = Field(default="0", description="Money, such as `2000 CNY`.")
    holdout: float = 0.1
    window_days: int = 14
    seed: int = 0
    limits: dict[str, JsonValue] = Field(default_factory=dict, description="More limits (docs/decide.md).")
    guard: Guard = Guard()
    trigger: dict[str, JsonValue] | None = Field(default=None, description="`kind`, and the settings of that kind.")


class CampaignSummary(BaseModel):
    """What a plan of the campaign would do. Money in minor units of `currency`."""

    as_of: datetime
    currency: str
    customers: int = Field(description="In the shop.")
    audience: int
    firings: int | None = Field(description="How often the trigger would have fired within 28 days; null without one.")
    treated: int
    holdout: int
    channels: dict[str, int]
    offers: dict[str, int]
    left_out: dict[str, int] = Field(description="Reason -> customers who get nothing.")
    budget: int
    reserved: int
    expected_cost: float
    worst_cost: float = Field(description="If everybody redeems.")
    expected_profit: float


class CampaignVersion(BaseModel):
    """One version of a campaign; `shown` is what its plan showed, null before."""

    campaign: str
    version: int
    state: State
    spec: Spec
    shown: CampaignSummary | None
    created_at: datetime
    updated_at: datetime


class Money(BaseModel):
    """A budget in minor units."""

    currency: str
    amount: int
    reserved: int
    spent: int


class Rail(BaseModel):
    """A guard-rail: a share, or minor units; `value` is null where it cannot be told yet."""

    name: str
    limit: float
    value: float | None
    exceeded: bool
    note: str


class CampaignNow(CampaignVersion):
    """The newest version, and how the campaign goes. `active`: the version that runs, or this one."""

    active: int
    plans: list[str]
    firings: dict[str, int] = Field(description="Firings of the trigger by state.")
    budget: Money | None = Field(description="Null before it was applied.")
    guard: list[Rail]


class Draft(BaseModel):
    """A campaign as the text of a TOML file, or as the same in JSON; one of both."""

    toml: str | None = Field(default=None, max_length=100_000)
    campaign: dict[str, JsonValue] | None = None


class FaultIn(BaseModel):
    """What is wrong, the key that says it, and its line where the text was given."""

    where: str
    what: str
    line: int | None


class DraftFaults(BaseModel):
    """Everything that is wrong with a draft; nothing when it can be planned."""

    faults: list[FaultIn]


class PlanIt(BaseModel):
    """The moment that is planned for; events after it do not make the plan stale. Now when null."""

    as_of: AwareDatetime | None = None


class Difference(BaseModel):
    """Against the version that is applied: keys of the file with the value before and after, and customers who enter or leave."""

    version: int | None = Field(description="The version that is applied; null when there is none.")
    file: dict[str, tuple[JsonValue, JsonValue]]
    enter: int
    leave: int


class Planned(BaseModel):
    """What a campaign would do now; nothing is committed."""

    campaign: str
    version: int
    summary: CampaignSummary
    diff: Difference


class Moving(BaseModel):
    """Why a campaign is paused, resumed or finished."""

    why: str = Field(default="", max_length=500)


class Move(BaseModel):
    """Who moved a campaign to another state, when and why."""

    at: datetime
    by: str
    action: str
    version: int | None
    before: str | None = Field(description="The state before.")
    why: str | None


class Watching(BaseModel):
    """How far a trigger has read the events; one that was set anew begins anew."""

    since: datetime
    watermark: datetime
    counted: int
    late: int


class TriggerNow(BaseModel):
    """A campaign's trigger: its firings by state, and how far it has read."""

    campaign: str
    kind: str | None
    firings: dict[str, int]
    reading: list[Watching]


@router.get("/v1/campaigns")
def campaigns(
    held: Held, _caller: Reader, state: State | None = None, limit: views.Limit = 50, after: views.After = None
) -> views.Page[CampaignVersion]:
    """Every version of every campaign, by name, the newest first."""
    rows = [one for one in held.shop.campaigns.all() if state in (None, one.state)]
    page = views.paged(rows, limit=limit, after=after, key=lambda one: f"{one.campaign}:{one.version}")
    return views.Page(rows=[_version(one) for one in page.rows], next=page.next)


@router.post("/v1/campaigns/check")
def check(told: Draft, held: Held, _caller: Reader) -> DraftFaults:
    """Everything that is wrong with a draft, each fault with its place; nothing is kept."""
    return DraftFaults(faults=[FaultIn(**asdict(one)) for one in held.shop.campaigns.faults(_source(told))])


@router.post("/v1/campaigns", status_code=201)
def draft(told: Draft, held: Held, caller: Marketer) -> CampaignVersion:
    """Keep a draft as the newest version of its campaign; the same again changes nothing."""
    return _version(held.shop.campaigns.draft(_parsed(told), by=signed(caller)))


@router.post("/v1/campaigns/tick", status_code=202)
def tick(held: Held, caller: Annotated[Caller, needs("operate")]) -> Submitted:
    """Hear triggers, look at guard-rails, end what is over; a job."""
    return submit(held, "tick", {}, by=caller)


@router.get("/v1/campaigns/{campaign}")
def campaign(campaign: Name, held: Held, _caller: Reader) -> CampaignNow:
    """A campaign's newest version, its plans, firings, budget and guard-rails."""
    with held.use() as shop:
        found = shop.campaigns.show(campaign)
    more = {name: found[name] for name in ("active", "plans", "firings", "budget", "guard")}
    return CampaignNow(**_told(found), **more)


@router.get("/v1/campaigns/{campaign}/history")
def history(campaign: Name, held: Held, _caller: Reader) -> list[Move]:
    """Who moved it when, the oldest first."""
    rows = held.shop.campaigns.history(campaign)
    return [
        Move(at=row["at"], by=row["by"], action=row["action"], version=row.get("version"), before=row.get("from"), why=row.get("why"))
        for row in rows
    ]


@router.get("/v1/campaigns/{campaign}/trigger")
def trigger(campaign: Name, held: Held, _caller: Reader) -> TriggerNow:
    """What the trigger of a campaign heard and fired."""
    return TriggerNow(campaign=campaign, **held.shop.campaigns.trigger(campaign))


@router.get("/v1/campaigns/{campaign}/why")
def why(campaign: Name, customer: views.Word, held: Held, _caller: Reader) -> Member:
    """Why a customer is in the audience of the newest version now, or not."""
    audience = held.shop.campaigns.newest(campaign).spec.get("audience")
    return member(held.shop.people.why(everybody(held)[1], audience, customer))


@router.post("/v1/campaigns/{campaign}/plan")
def plan(campaign: Name, told: PlanIt, held: Held, caller: Marketer) -> Planned:
    """Show what the newest version would do, and how it differs from what runs; an earlier approval of it is lost."""
    with held.use() as shop:
        spec = shop.campaigns.newest(campaign).spec
        shown = shop.campaigns.plan(spec, by=signed(caller), as_of=told.as_of)
    return Planned(**shown.to_dict())


@router.post("/v1/campaigns/{campaign}/approve")
def approve(campaign: Name, held: Held, caller: Marketer) -> CampaignVersion:
    """Approve what the newest version's plan showed."""
    return _version(held.shop.campaigns.approve(campaign, by=signed(caller)))


@router.post("/v1/campaigns/{campaign}/apply")
def apply(campaign: Name, held: Held, caller: Marketer) -> CampaignVersion:
    """Do what was shown and approved; refused when the data changed since."""
    with held.use() as shop:
        return _version(shop.campaigns.apply(shop.campaigns.newest(campaign).spec, by=signed(caller)))


@router.post("/v1/campaigns/{campaign}/pause")
def pause(campaign: Name, told: Moving, held: Held, caller: Marketer) -> CampaignVersion:
    """Nothing is decided and nothing is handed off until it is resumed."""
    return _version(held.shop.campaigns.pause(campaign, by=signed(caller), why=told.why))


@router.post("/v1/campaigns/{campaign}/resume")
def resume(campaign: Name, told: Moving, held: Held, caller: Marketer) -> CampaignVersion:
    """Let a paused campaign run again."""
    return _version(held.shop.campaigns.resume(campaign, by=signed(caller), why=told.why))


@router.post("/v1/campaigns/{campaign}/finish")
def finish(campaign: Name, told: Moving, held: Held, caller: Marketer) -> CampaignVersion:
    """End it for good: messages that no provider can have yet are taken back, and what they held of the budget is free."""
    with held.use() as shop:
        return _version(shop.campaigns.finish(campaign, by=signed(caller), why=told.why))


def _source(told: Draft) -> str | dict[str, Any]:
    if (told.toml is None) == (told.campaign is None):
        raise InputError("Give the campaign as toml (the text of a file) or as campaign (the same in JSON), one of both.")
    return told.toml if told.toml is not None else dict(told.campaign or {})


def _parsed(told: Draft) -> dict[str, Any]:
    import tomllib

    source = _source(told)
    try:
        return tomllib.loads(source) if isinstance(source, str) else source
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"toml: this is no TOML: {error}. POST /v1/campaigns/check tells every fault.") from error


def _version(one: Version) -> CampaignVersion:
    return CampaignVersion(**_told(one.to_dict()))


def _told(one: dict[str, Any]) -> dict[str, Any]:
    names = ("campaign", "version", "state", "spec", "created_at", "updated_at")
    return {name: one[name] for name in names} | {"shown": one["shown"] and one["shown"]["summary"]}
