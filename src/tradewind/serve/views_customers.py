"""What is said about a customer over HTTP; money in minor units of the shop's currency."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import pyarrow as pa
from pydantic import BaseModel, Field, JsonValue

from tradewind.decide.segment_live import Why as Membership
from tradewind.serve.kept import kept
from tradewind.serve.state import Serving
from tradewind.serve.views import Word

Contact = Literal["email", "sms", "push", "inapp", "ads", "personalisation", "analytics"]


class CustomerLine(BaseModel):
    """A customer in the list."""

    customer: str
    segment: str
    stage: str
    frequency: int = Field(description="Orders.")
    monetary: int = Field(description="Purchases minus refunds, minor units.")
    expected_value: float | None = Field(description="Minor units within `horizon_days`.")
    churn: float | None = Field(description="Chance of no purchase within `horizon_days`, 0 to 1.")
    last_at: datetime | None
    top_category: str | None


class Profile(CustomerLine):
    """Every column of a profile; shares are 0 to 1."""

    household: str | None
    locale: str | None
    zone: str | None
    currency: str | None
    first_at: datetime | None
    tenure_days: float | None
    recency_days: float | None
    aov: float | None = Field(description="Value of an order on average, minor units.")
    active_days: int
    interval_days: float | None
    views_30d: int
    carts_30d: int
    orders_30d: int
    spend_90d: int
    refund_share: float | None
    top_category_share: float | None
    top_brand: str | None
    top_brand_share: float | None
    price_band: int | None = Field(description="0 (cheap) to 4 (dear).")
    category_confidence: float | None
    discount_affinity: float | None
    best_hour: int | None = Field(description="0 to 23, UTC.")
    hour_confidence: float | None
    best_channel: str | None
    open_rate: float | None
    click_rate: float | None
    messages_30d: int
    last_message_at: datetime | None
    alive: float | None = Field(description="Chance still to be a customer, 0 to 1.")
    horizon_days: int | None


class Tag(BaseModel):
    """A statement, how sure it is, where it comes from, and until when it should be believed."""

    tag: str
    value: str
    confidence: float = Field(description="0 to 1.")
    source: str
    updated_at: datetime
    expires_at: datetime


class ConsentState(BaseModel):
    """One channel or use of data as it counts now."""

    channel: str
    on: bool
    fixed: str = Field(description="Why it cannot be switched on: complaint, bounce, ...; empty otherwise.")


class ConsentAct(BaseModel):
    """What a customer said about a channel or a use, and how one knows."""

    at: datetime
    channel: str
    purpose: str
    status: Literal["granted", "withdrawn", "pending"]
    basis: str
    source: str
    text_version: str | None
    jurisdiction: str | None
    evidence: dict[str, JsonValue]


class Customer(BaseModel):
    """A customer. ``profile`` is null for one who has consents, but neither events nor a row of customers."""

    customer: str
    as_of: datetime
    simulated: bool
    profile: Profile | None
    tags: list[Tag]
    consents: list[ConsentState]
    history: list[ConsentAct]


class Entry(BaseModel):
    """Something that happened: an event, a decision or a message. What does not belong to its sort is null."""

    at: datetime
    sort: Literal["event", "decision", "message"]
    id: str
    kind: str | None = Field(default=None, description="Of an event: view, purchase, click, ...")
    state: str | None = Field(default=None, description="Of a message: ready, accepted, failed, ...")
    variant: str | None = Field(default=None, description="Of a decision: treat or holdout.")
    action: str | None = None
    mode: str | None = None
    item: str | None = None
    offer: str | None = None
    channel: str | None = None
    plan_id: str | None = None
    decision_id: str | None = None
    order_id: str | None = None
    quantity: float | None = None
    value: int | None = Field(default=None, description="Minor units of `currency`.")
    discount: int | None = None
    currency: str | None = None
    text: str | None = None
    rating: float | None = None


class Because(BaseModel):
    """Why a candidate was there: a code and its details."""

    code: str
    details: dict[str, JsonValue]


class CandidateView(BaseModel):
    """An action that could have been taken."""

    action: str
    propensity: float
    value: float = Field(description="Expected incremental margin, minor units.")
    sd: float
    cost: float
    score: float = Field(description="Value less the budget's price times the cost.")
    reasons: list[Because]


class Explanation(BaseModel):
    """One decision read back from its log, and ``text`` in the words of a reader."""

    customer: str
    plan_id: str
    decision_id: str
    at: datetime
    variant: Literal["treat", "holdout"]
    mode: Literal["policy", "override"]
    action: str
    propensity: float
    price: float
    currency: str
    send_at: datetime | None
    policy: str
    model: str
    seed: int
    recomputed: bool = Field(description="Log and seed give the propensities that were logged.")
    candidates: list[CandidateView]
    suppressed: dict[str, str] = Field(description="Offer, item or channel -> code why it was no candidate.")
    text: str


class Changes(BaseModel):
    """What is changed: `messages_30d=2`, `price=1.5`, `without=email`; of a plan, the newest when null."""

    changes: list[Word] = Field(min_length=1, max_length=20)
    plan: Word | None = None
    locale: Literal["en", "zh-CN"] = "en"


class WouldBe(BaseModel):
    """What the policy drew, and what it would draw with the change."""

    customer: str
    change: str
    before: str
    before_chance: float
    now: str
    chance: float
    text: str


class Said(BaseModel):
    """What a customer said about a channel or a use of data, and who recorded it from where."""

    granted: bool
    source: Word = Field(description="A form, a call, a letter.")
    basis: Literal["consent", "double_opt_in", "soft_opt_in", "legitimate_interest"] = "consent"
    locale: Literal["en", "zh-CN"] | None = Field(default=None, description="The language of the words that were shown.")
    jurisdiction: Word | None = Field(default=None, description="CN, EU, US or a country of theirs: its law must accept the basis.")
    evidence: dict[str, str] = Field(default_factory=dict, max_length=20)


class Address(BaseModel):
    """An address to look for."""

    address: str = Field(min_length=3, max_length=320)


class Names(BaseModel):
    """Ids of customers."""

    customers: list[str]


class Exported(BaseModel):
    """Everything about a person, by section; rows have the columns of their table."""

    customer: str
    at: datetime
    shop: str
    data: dict[str, list[dict[str, JsonValue]]]


class ErasedView(BaseModel):
    """What an erasure did. ``models`` are to be learned anew; ``platforms`` are to be asked to remove a person."""

    customers: int
    contact_points: int
    events_removed: int
    events_kept: int = Field(description="Lines of money and answers, without the person.")
    files: int
    rows: dict[str, int]
    other_files: int
    backup_keys: int
    models: list[str]


class Finding(BaseModel):
    """A place where a person still is."""

    place: str
    what: str
    count: int


class ProofView(BaseModel):
    """What was looked at for somebody who was erased, and what was found."""

    clean: bool
    people: int
    files: int
    bytes: int
    values: int
    findings: list[Finding]
    notes: list[str]


class Comparison(BaseModel):
    """One comparison of an expression, whether it holds (null: the cell is empty), and the value of the customer."""

    text: str
    holds: bool | None
    value: float | str | None


class Member(BaseModel):
    """Whether a customer is in an audience, and why."""

    customer: str
    inside: bool
    expression: str
    parts: list[Comparison]


def member(found: Membership) -> Member:
    """The same as values."""
    parts = [Comparison(text=one.text, holds=one.holds, value=one.value) for one in found.parts]
    return Member(customer=found.customer, inside=found.inside, expression=found.expression, parts=parts)


def everybody(held: Serving) -> tuple[datetime, pa.Table]:
    """The moment just after the last event, and a row for every customer, kept for a minute."""
    return kept(held, "people", lambda shop: shop.people.table())
