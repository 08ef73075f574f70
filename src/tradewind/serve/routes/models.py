"""Models and policies: versions with what they learned from, which is in use, and going back."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field, JsonValue

from tradewind.decide.versions import Policy, code
from tradewind.learn.models_desk import Stored
from tradewind.serve import views
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.problems import described
from tradewind.serve.state import Held
from tradewind.serve.submit import submit
from tradewind.serve.views import Name, Submitted, Word, signed

router = APIRouter(tags=["models"], responses=described(401, 403, 404, 409))
Reader = Annotated[Caller, needs("read")]
Operator = Annotated[Caller, needs("operate")]


class Model(BaseModel):
    """A version of a model; `card` is what it says of itself: parameters, rows, figures."""

    name: str
    version: str
    as_of: datetime = Field(description="It knows nothing of what came after.")
    created_at: datetime
    active: bool
    there: bool = Field(description="Its files are on the disk: it can be used.")
    card: dict[str, JsonValue]


class PolicyVersion(BaseModel):
    """A version of the policy: the models and settings that a plan was decided with."""

    version: str
    created_at: datetime
    active: bool
    same_code: bool = Field(description="It can decide again: its code is that of this service.")
    models: dict[str, str | None]
    settings: dict[str, JsonValue]


class Due(BaseModel):
    """A version that saw somebody who was erased since, and until when it may serve."""

    name: str
    version: str
    active: bool
    erased: int
    deadline: datetime


class Gates(BaseModel):
    """What stops a model from serving: those that have to forget somebody, and the rule of the shop."""

    days: int = Field(description="How long a model may serve after it has to forget somebody.")
    late: Literal["warn", "refuse"]
    due: list[Due]


class Learn(BaseModel):
    """What to learn; what is left out is the default of `tradewind learn`."""

    recommend: Word = "fallback"
    size: Word | None = None
    as_of: AwareDatetime | None = None
    epochs: int | None = Field(default=None, ge=1, le=1_000)
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    evaluate: bool = False


@router.get("/v1/models")
def models(held: Held, _caller: Reader, name: views.Asked = None, limit: views.Limit = 50, after: views.After = None) -> views.Page[Model]:
    """Every version of every model, by name, the newest first."""
    rows = [_model(one) for one in held.shop.models.all(name)]
    return views.paged(rows, limit=limit, after=after, key=lambda one: f"{one.name}:{one.version}")


@router.post("/v1/models/learn", status_code=202)
def learn(told: Learn, held: Held, caller: Operator) -> Submitted:
    """Learn everything anew; a job. A running service takes the new versions up by itself."""
    return submit(held, "learn", told.model_dump(mode="json", exclude_none=True), by=caller)


@router.get("/v1/models/gates")
def gates(held: Held, _caller: Reader) -> Gates:
    """Which versions have to be learned anew because somebody was erased, and what happens when they are late."""
    privacy = held.shop.privacy
    return Gates(**asdict(privacy.rule()), due=[Due(**asdict(one)) for one in privacy.due()])


@router.post("/v1/models/{name}/{version}/activate")
def activate(name: Name, version: Name, held: Held, caller: Operator) -> Model:
    """Use a stored version again."""
    return _model(held.shop.models.activate(name, version, by=caller.actor))


@router.get("/v1/policies")
def policies(held: Held, _caller: Reader, limit: views.Limit = 50, after: views.After = None) -> views.Page[PolicyVersion]:
    """Every version of the policy, the newest first."""
    return views.paged([_policy(one) for one in held.shop.policies.all()], limit=limit, after=after, key=lambda one: one.version)


@router.post("/v1/policies/{version}/rollback")
def rollback(version: Name, held: Held, caller: Operator) -> PolicyVersion:
    """Make the models of a version the active ones again; nothing is deleted."""
    return _policy(held.shop.policies.rollback(version, by=signed(caller)))


def _model(one: Stored) -> Model:
    return Model(**(asdict(one) | {"card": views.plain(one.card)}))


def _policy(one: Policy) -> PolicyVersion:
    return PolicyVersion(
        version=one.version, created_at=one.created_at, active=one.active, same_code=one.code == code(),
        models=dict(one.models), settings=views.plain(one.settings),
    )  # fmt: skip
