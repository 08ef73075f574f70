"""A campaign from a marketer's words: the draft, where each value was said, and what a person must look at."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field, JsonValue

from tradewind.compose.spoken_goal import LONGEST, compile_goal, known_of
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.problems import described
from tradewind.serve.state import Held

router = APIRouter(tags=["campaigns"], responses=described(401, 403))


class Told(BaseModel):
    """A brief in Chinese or English: who, what for, how much, until when, and what never."""

    text: str = Field(min_length=1, max_length=LONGEST)


class Stated(BaseModel):
    """One value of the draft, and whether the brief says it."""

    key: str
    value: JsonValue
    source: Literal["said", "assumed", "refused"] = Field(description="refused: money that the brief does not name; it was taken out.")
    quote: str = Field(description="The words of the brief that say it.")
    why: str = Field(description="The model's reason for what it assumed.")


class RedLine(BaseModel):
    """Something that must not happen; without a key, a person must see to it."""

    text: str
    key: str | None


class BriefFault(BaseModel):
    """What stands in the way of planning the draft."""

    where: str
    what: str


class CompiledBrief(BaseModel):
    """A draft: nothing is planned, approved or sent by it. Plan it with `POST /v1/campaigns/.../plan` to see what it would do."""

    ready: bool
    campaign: dict[str, JsonValue]
    toml: str
    stated: list[Stated]
    red_lines: list[RedLine]
    unused: list[str] = Field(description="Numbers of the brief that no value uses.")
    faults: list[BriefFault]
    model: str
    tries: int


@router.post("/v1/brief", responses=described(409))
def read_brief(told: Told, held: Held, _caller: Annotated[Caller, needs("campaigns")]) -> CompiledBrief:
    """Let the configured language model fill in the form of a campaign; 422 where none is configured: use the form."""
    with held.use() as shop:
        known = known_of(shop.home)
    found = compile_goal(held.shop.home, told.text, known=known, faults=held.shop.campaigns.faults, now=held.shop.now())
    return CompiledBrief(
        ready=found.ready,
        campaign=dict(found.campaign),
        toml=found.to_toml(),
        stated=[Stated(**asdict(one)) for one in found.stated],
        red_lines=[RedLine(**asdict(one)) for one in found.red_lines],
        unused=list(found.unused),
        faults=[BriefFault(where=one.where, what=one.what) for one in found.faults],
        model=found.model,
        tries=found.tries,
    )
