"""What the shop is set to, its offers and its channels. The salt and keys are never told."""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePath
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, Field, JsonValue

from tradewind.asked import CHANNEL_COSTS
from tradewind.decide.read import read_offers
from tradewind.serve import views
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.problems import described
from tradewind.serve.state import Held
from tradewind.types import Offer

router = APIRouter(tags=["settings"], responses=described(401, 403, 404, 409))
Reader = Annotated[Caller, needs("read")]


class LanguageModel(BaseModel):
    """A language model that may write; keys stay in the environment of the service."""

    kind: str = Field(description="chat or local.")
    model: str
    mode: str
    monthly_budget: str | None


class Settings(BaseModel):
    """What `tradewind.toml` says."""

    name: str
    currency: str | None
    zone: str
    margin: float | None = Field(description="Assumed share of the price where items have no cost, 0 to 1.")
    url: str | None
    simulated: bool
    text_model: str
    image_model: str
    language_models: list[LanguageModel]


class OfferView(BaseModel):
    """Something that the shop may give; `terms` are those of its kind (docs/decide.md)."""

    offer: str
    kind: str
    terms: dict[str, JsonValue]
    campaign: str | None
    starts_at: datetime | None
    ends_at: datetime | None
    eligible: str | None = Field(description="An expression over the profile; null: everybody.")
    items: int | None = Field(description="How many items it holds for; null: the whole catalogue.")
    audience: int | None = Field(description="How many customers it is for; null: everybody.")
    title: dict[str, str]


class ChannelView(BaseModel):
    """A channel of messages."""

    channel: str
    cost: int = Field(description="Of one contact unless a plan says otherwise, minor units.")
    stopped: str | None = Field(description="Why nothing leaves on it; null while it runs.")
    reachable: int = Field(description="Customers who may be contacted on it now.")


@router.get("/v1/settings")
def settings(held: Held, _caller: Reader) -> Settings:
    """What the shop is set to."""
    found = held.shop.home.settings
    names = ("name", "currency", "zone", "margin", "url", "simulated", "text_model", "image_model")
    models = []
    if found.chat is not None:
        models.append(LanguageModel(kind="chat", model=found.chat.model, mode=found.chat.mode, monthly_budget=found.chat.monthly_budget))
    if found.local is not None:
        models.append(LanguageModel(kind="local", model=PurePath(found.local.path).name, mode=found.local.mode, monthly_budget=None))
    return Settings(**{name: getattr(found, name) for name in names}, language_models=models)


@router.get("/v1/offers")
def offers(held: Held, _caller: Reader, limit: views.Limit = 50, after: views.After = None) -> views.Page[OfferView]:
    """What the shop may give, by id."""
    with held.use() as shop:
        found = read_offers(shop.home.tables)
    return views.paged([_offer(one) for one in found], limit=limit, after=after, key=lambda one: one.offer)


@router.get("/v1/channels")
def channels(held: Held, _caller: Reader) -> list[ChannelView]:
    """The channels of messages, whether they run, and how many customers may be contacted on each."""
    stopped = {row["gate"].removeprefix("channel "): row["stopped"] for row in held.shop.outbox.gates() if row["stopped"]}
    reach = held.shop.consents.reach()
    return [
        ChannelView(channel=name, cost=cost, stopped=stopped.get(name), reachable=reach.get(name, 0))
        for name, cost in CHANNEL_COSTS.items()
    ]


def _offer(one: Offer) -> OfferView:
    return OfferView(
        offer=one.offer,
        kind=one.kind,
        terms=views.plain(one.terms),
        campaign=one.campaign,
        starts_at=one.starts_at,
        ends_at=one.ends_at,
        eligible=one.eligible,
        items=None if one.items is None else len(one.items),
        audience=None if one.audience is None else len(one.audience),
        title=dict(one.title),
    )
