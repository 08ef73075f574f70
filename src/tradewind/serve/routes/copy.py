"""Words: what waits for a person with the evidence beside it, approve and retire, winners and losers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from tradewind.compose.approval import Entry
from tradewind.compose.choosing import report_of
from tradewind.compose.copy_report import BASE, TOGETHER, Line
from tradewind.serve import views
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.kept import kept, newest
from tradewind.serve.problems import described
from tradewind.serve.state import Held
from tradewind.serve.views import Name, Told, Word, signed

router = APIRouter(tags=["copy"], responses=described(401, 403, 404, 409))
Reader = Annotated[Caller, needs("read")]
Editor = Annotated[Caller, needs("copy")]
Tongue = Literal["en", "zh-CN"]


class Words(BaseModel):
    """A piece of copy as it stands in a library file (docs/copy_learning.md); `text` has slots such as {title}."""

    id: Word
    role: Word
    tone: Word
    channels: list[Word] = Field(min_length=1, max_length=10)
    text: str = Field(min_length=1, max_length=2_000)
    when: list[Word] = Field(default_factory=list, max_length=20)
    without: list[Word] = Field(default_factory=list, max_length=20)
    reasons: list[Word] = Field(default_factory=list, max_length=20)
    claims: list[Word] = Field(default_factory=list, max_length=20)
    tags: list[Word] = Field(default_factory=list, max_length=20)


class NewWords(BaseModel):
    """Words to enter as drafts."""

    locale: Tongue
    words: list[Words] = Field(min_length=1, max_length=200)


class Version(BaseModel):
    """One version of a component and what became of it last."""

    component: str
    version: int
    state: Literal["draft", "checked", "approved", "retired"]
    at: datetime
    by: str
    why: str
    locale: str
    role: str | None = Field(description="Null for a component of the shipped library.")
    tone: str | None
    channels: list[str]
    text: str


class Fact(BaseModel):
    """What code writes into the text: a name, money, share, date, number or link, from the catalogue and the offer."""

    name: str
    kind: str


class Verdict(BaseModel):
    """What a rule found in the text."""

    rule: str
    severity: str = Field(description="block: does not leave; warn: leaves and is counted; exempt.")
    found: str
    begin: int = Field(description="Characters from the beginning of the text.")
    end: int
    reason: str


class Review(Version):
    """A version that waits for a person. A draft was stopped by the guard; a checked one is for a person to approve."""

    claims: list[str]
    facts: list[Fact]
    verdicts: list[Verdict]
    in_use: str | None = Field(description="The text that is in use now.")


class CopyLine(BaseModel):
    """A component against the control of its role, over messages in which both could have been said. Rates are clicks per message."""

    locale: str
    role: str
    component: str
    text: str
    sends: int
    rate: float | None = Field(description="Null where it was never said.")
    shrunken: float | None
    difference: views.Interval | None = Field(description="Null for the control itself; all intervals hold together.")
    verdict: Literal["wins", "loses", "cannot tell", "too few sends", "control"]


class Act(BaseModel):
    """Which version (the newest when null), and why."""

    version: int | None = Field(default=None, ge=1, le=2**31 - 1)
    why: str = Field(default="", max_length=500)


@router.get("/v1/copy/reviews")
def reviews(held: Held, _caller: Reader, limit: views.Limit = 50, after: views.After = None) -> views.Page[Review]:
    """What waits for a person, each with its claims, the facts that fill it and what the guard said."""
    rows = [
        Review(
            **_version(one.entry).model_dump(),
            claims=list(one.claims),
            facts=[Fact(name=name, kind=kind) for name, kind in one.facts.items()],
            verdicts=[
                Verdict(rule=v.rule, severity=v.severity, found=v.found, begin=v.span[0], end=v.span[1], reason=v.reason)
                for v in one.verdicts
            ],
            in_use=one.approved,
        )
        for one in held.shop.words.reviews()
    ]
    return views.paged(rows, limit=limit, after=after, key=_key)


@router.get("/v1/copy/versions")
def versions(
    held: Held,
    _caller: Reader,
    state: Literal["draft", "checked", "approved", "retired"] | None = None,
    limit: views.Limit = 50,
    after: views.After = None,
) -> views.Page[Version]:
    """Every version of the shop's own words, and what of the shipped library was retired."""
    rows = [_version(one) for one in held.shop.words.approvals.current().values() if state in (None, one.state)]
    return views.paged(rows, limit=limit, after=after, key=_key)


@router.post("/v1/copy", status_code=201)
def enter(told: NewWords, held: Held, caller: Editor) -> list[Version]:
    """Enter words as drafts; the guard checks them, and rules approve what is low risk."""
    rows = [{key: value for key, value in one.model_dump().items() if value} for one in told.words]
    return [_version(one) for one in held.shop.words.enter(rows, locale=told.locale, by=signed(caller))]


@router.post("/v1/copy/{component}/approve")
def approve(component: Name, told: Act, held: Held, caller: Editor) -> Version:
    """Approve a checked version; it replaces the one in use."""
    return _version(held.shop.words.approve(component, by=signed(caller), version=told.version, why=told.why))


@router.post("/v1/copy/{component}/reject")
def reject(component: Name, told: Act, held: Held, caller: Editor) -> Version:
    """Refuse a version that waits: it is retired without ever having been used."""
    return _version(held.shop.words.retire(component, by=signed(caller), version=told.version, why=told.why or "rejected"))


@router.post("/v1/copy/{component}/retire")
def retire(component: Name, told: Act, held: Held, caller: Editor) -> Version:
    """Take a component out of use for good, one of the shipped library, too."""
    return _version(held.shop.words.retire(component, by=signed(caller), version=told.version, why=told.why))


@router.get("/v1/copy/report")
def report(held: Held, _caller: Reader, locale: views.Locale = "en") -> Told:
    """Winners and losers among words, and what choosing earned against the fixed template."""
    return views.said(kept(held, "copy", lambda shop: views.told(report_of(shop.home, as_of=newest(shop)))), locale)


@router.get("/v1/copy/lines")
def lines(
    held: Held,
    _caller: Reader,
    verdict: Literal["wins", "loses", "cannot tell", "too few sends", "control"] | None = None,
    limit: views.Limit = 50,
    after: views.After = None,
) -> views.Page[CopyLine]:
    """Every component that had an alternative, with its clicks and its verdict."""
    found = kept(held, "copy lines", lambda shop: shop.words.lines(as_of=newest(shop)))
    rows = [_line(one) for one in found if verdict in (None, one.verdict)]
    return views.paged(rows, limit=limit, after=after, key=lambda one: f"{one.locale}:{one.role}:{one.component}")


def _version(one: Entry) -> Version:
    row: dict[str, Any] = {name: one.row.get(name) for name in ("role", "tone")}
    row |= {"channels": list(one.row.get("channels", ())), "text": one.row["text"]}
    names = ("component", "version", "state", "at", "by", "why", "locale")
    return Version(**{name: getattr(one, name) for name in names}, **row)


def _key(one: Version) -> str:
    return f"{one.component}:{one.version}"


def _line(one: Line) -> CopyLine:
    low, high = views.plain(one.low), views.plain(one.high)
    difference = views.Interval(value=one.difference, low=low, high=high, level=TOGETHER, unit="ratio", n=one.sends)
    names = ("locale", "role", "component", "text", "sends", "rate", "shrunken", "verdict")
    return CopyLine(**{name: views.plain(getattr(one, name)) for name in names}, difference=None if one.verdict == BASE else difference)
