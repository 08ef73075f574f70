"""Keys of programs and people of the console."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, Field, SecretStr

from tradewind.serve.access import SHORTEST, Caller
from tradewind.serve.auth import needs
from tradewind.serve.problems import described
from tradewind.serve.state import Held

router = APIRouter(tags=["access"], responses=described(401, 403))
Role = Literal["site", "backend", "monitor", "viewer", "marketer", "operator", "privacy", "admin"]
Admin = Annotated[Caller, needs("admin")]


class NewKey(BaseModel):
    """What a key shall be called, and what it may do."""

    name: str = Field(max_length=100)
    role: Role
    expires_at: AwareDatetime | None = None


class MadeKey(BaseModel):
    """The key itself: it cannot be shown again."""

    key: str


class Key(BaseModel):
    """A key without its secret."""

    key_id: str
    name: str
    role: Role
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class NewPerson(BaseModel):
    """A password and a role."""

    password: SecretStr = Field(min_length=SHORTEST, max_length=1_000)
    role: Role


class Person(BaseModel):
    """Somebody who may log in, or no longer."""

    name: str
    role: Role
    created_at: datetime
    disabled_at: datetime | None


@router.get("/v1/keys")
def keys(held: Held, _caller: Admin) -> list[Key]:
    """Every key without its secret, newest first."""
    return [Key(**row) for row in held.access.all_keys()]


@router.post("/v1/keys", status_code=201)
def new_key(told: NewKey, held: Held, caller: Admin) -> MadeKey:
    """Make a key; the answer is the only time that it is shown."""
    return MadeKey(key=held.access.new_key(told.name, told.role, expires_at=told.expires_at, by=caller.actor))


@router.delete("/v1/keys/{key_id}", status_code=204, responses=described(404))
def revoke_key(key_id: str, held: Held, caller: Admin) -> None:
    """Refuse a key from now on."""
    held.access.revoke(key_id, by=caller.actor)


@router.get("/v1/people")
def people(held: Held, _caller: Admin) -> list[Person]:
    """Everybody who may log in, by name."""
    return [Person(**row) for row in held.access.people()]


@router.put("/v1/people/{name}", status_code=204)
def set_person(name: str, told: NewPerson, held: Held, caller: Admin) -> None:
    """Let a person in, or change their password and role; their sessions end."""
    held.access.add_user(name, told.password.get_secret_value(), told.role, by=caller.actor)


@router.delete("/v1/people/{name}", status_code=204, responses=described(404))
def disable_person(name: str, held: Held, caller: Admin) -> None:
    """Let a person in no more; their sessions end."""
    held.access.disable_user(name, by=caller.actor)
