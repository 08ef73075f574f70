"""Risk: what is thought of an order or a claim, the reviews that wait, the rules with their backtests, whom we trust."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, JsonValue

from tradewind.errors import InputError
from tradewind.learn._risk_rule_books import Check, Trusted
from tradewind.learn.risk_desk import Standing
from tradewind.learn.risk_rules import FILE
from tradewind.serve import views
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.problems import described
from tradewind.serve.state import Held
from tradewind.serve.views import Name, Word

router = APIRouter(tags=["risk"], responses=described(401, 403, 404, 409))
Reader = Annotated[Caller, needs("read")]
Risk = Annotated[Caller, needs("risk")]
Operator = Annotated[Caller, needs("operate")]
Verdict = Literal["allow", "review", "block"]
Kind = Literal["customer", "device", "address"]


class RiskAsk(BaseModel):
    """An order or a claim: the id of one that was collected, or its features by name (docs/risk.md)."""

    moment: Word | None = Field(default=None, description="Id of the order or claim.")
    features: dict[str, str | float | bool | None] | None = Field(default=None, max_length=200)
    amount: int | None = Field(default=None, ge=-(2**62), le=2**62, description="Minor units.")


class Fired(BaseModel):
    """A rule that fired, and what it looked at; identifiers are left out."""

    rule: str
    verdict: str
    en: str
    zh: str
    values: dict[str, JsonValue]


class RiskCheck(BaseModel):
    """A verdict. `shadow`: what rules that only watch would have said; `state`: open, approved or rejected, of a review."""

    check_id: str
    at: datetime
    verdict: Verdict
    moment: str | None
    customer: str | None
    amount: int | None = Field(description="Minor units.")
    trusted: str | None = Field(description="The kind of key that let it pass.")
    fired: list[Fired]
    shadow: list[Fired]
    held: list[str] = Field(description="Rules that should act, but were not activated as they now read.")
    state: Literal["open", "approved", "rejected"] | None
    by: str | None
    note: str | None
    settled_at: datetime | None


class Settle(BaseModel):
    """What a person decided about a review, and why."""

    decision: Literal["approve", "reject"]
    note: str = Field(default="", max_length=500)


class Tested(BaseModel):
    """What a rule would have done with past orders and claims. Money in minor units; shares 0 to 1; null: not known."""

    at: datetime
    as_of: datetime
    rows: int
    fired: int
    fire_rate: float
    judged: int
    caught: int
    precision: float | None
    precision_low: float | None
    precision_high: float | None
    recall: float | None
    recall_low: float | None
    recall_high: float | None
    money_caught: int
    money_share: float | None
    money_good: int = Field(description="Of good moments that it stops or holds up.")
    newly: int = Field(description="Customers whom it stops and the acting rules would not.")
    newly_good: int
    overlap: dict[str, float] = Field(description="Other rule -> share of its hits where that fires, too.")


class RuleView(BaseModel):
    """A rule of risk.toml as it stands: whether it acts, why not, and its newest backtest."""

    name: str
    verdict: str
    text: str
    en: str
    zh: str
    owner: str
    mode: str
    acting: bool
    why: str
    backtest: Tested | None


class Rules(BaseModel):
    """Every rule, in the order of the file; `fault` is told instead where the file cannot be read."""

    rules: list[RuleView]
    fault: str | None


class Trust(BaseModel):
    """Whom no rule shall stop, for how long, and why."""

    kind: Kind
    subject: Word
    why: str = Field(min_length=1, max_length=500)
    days: float = Field(default=90, ge=0.01, le=3660)


class TrustedView(BaseModel):
    """Whom no rule stops until a moment: who said so, and why."""

    kind: str
    subject: str
    by: str
    why: str
    at: datetime
    expires_at: datetime


@router.post("/v1/risk/check")
def check(told: RiskAsk, held: Held, caller: Risk) -> RiskCheck:
    """Allow, review or block an order or a claim; the verdict is written down, and a review waits for a person."""
    if told.features is None and told.moment is None:
        raise InputError("Give the moment (the id of an order or claim that was collected), or its features, or both.")
    asked: dict[str, Any] | str = told.features if told.features is not None else str(told.moment)
    with held.use() as shop:
        return _checked(shop.risk.check(asked, moment=told.moment, amount=told.amount, by=caller.actor))


@router.get("/v1/risk/checks")
def checks(held: Held, _caller: Reader, limit: views.Limit = 50) -> list[RiskCheck]:
    """The newest verdicts, newest first."""
    return [_checked(one) for one in held.shop.risk.checks(limit=limit)]


@router.get("/v1/risk/reviews")
def reviews(
    held: Held, _caller: Reader, state: Literal["open", "approved", "rejected"] = "open", limit: views.Limit = 50
) -> list[RiskCheck]:
    """Reviews that wait, the oldest first; or those that were settled."""
    return [_checked(one) for one in held.shop.risk.queue(state=state, limit=limit)]


@router.post("/v1/risk/reviews/{check_id}/settle")
def settle(check_id: Name, told: Settle, held: Held, caller: Risk) -> RiskCheck:
    """Approve or reject what waits; it becomes what is known of that moment."""
    return _checked(held.shop.risk.settle(check_id, told.decision, by=caller.actor, note=told.note))


@router.get("/v1/risk/rules")
def rules(held: Held, _caller: Reader) -> Rules:
    """The rules, whether they act, and their newest backtest."""
    try:
        return Rules(rules=[_rule(one) for one in held.shop.risk.rules()], fault=None)
    except InputError as error:
        return Rules(rules=[], fault=f"{FILE}: {error}")


@router.post("/v1/risk/rules/{rule}/backtest")
def backtest(
    rule: Name, held: Held, caller: Operator, days: Annotated[float, Query(ge=0.01, le=3660, description="Of the past.")] = 90
) -> RuleView:
    """What a rule would have done; without it a rule cannot be activated."""
    with held.use() as shop:
        shop.risk.backtest([rule], days=days, by=caller.actor)
        return _rule(next(one for one in shop.risk.rules() if one.rule.name == rule))


@router.post("/v1/risk/rules/{rule}/activate")
def activate(rule: Name, held: Held, caller: Operator) -> RuleView:
    """Let a rule act as it now reads."""
    held.shop.risk.activate(rule, by=caller.actor)
    return _rule(next(one for one in held.shop.risk.rules() if one.rule.name == rule))


@router.post("/v1/risk/rules/{rule}/shadow", status_code=204)
def shadow(rule: Name, held: Held, caller: Operator) -> None:
    """Let a rule only watch from now on, whatever its file says."""
    held.shop.risk.shadow(rule, by=caller.actor)


@router.get("/v1/risk/trusted")
def trusted(held: Held, _caller: Reader) -> list[TrustedView]:
    """Whom no rule stops, as long as it counts."""
    return [_trusted(one) for one in held.shop.risk.whitelist()]


@router.put("/v1/risk/trusted")
def trust(told: Trust, held: Held, caller: Risk) -> TrustedView:
    """Let a customer, device or address (by its key in the events) pass every rule for some days."""
    return _trusted(held.shop.risk.allow(told.kind, told.subject, by=caller.actor, why=told.why, days=told.days))


@router.delete("/v1/risk/trusted/{kind}/{subject}", status_code=204)
def distrust(kind: Kind, subject: Name, held: Held, caller: Risk) -> None:
    """Take somebody off the list of the trusted."""
    held.shop.risk.disallow(kind, subject, by=caller.actor)


def _checked(one: Check) -> RiskCheck:
    return RiskCheck(**views.plain(asdict(one)))


def _rule(one: Standing) -> RuleView:
    tested = None if one.backtest is None else Tested.model_validate(views.plain(one.backtest))
    names = ("name", "verdict", "text", "en", "zh", "owner", "mode")
    return RuleView(**{name: getattr(one.rule, name) for name in names}, acting=one.acting, why=one.why, backtest=tested)


def _trusted(one: Trusted) -> TrustedView:
    return TrustedView(**asdict(one))
