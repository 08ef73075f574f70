"""Log in to the console, and out of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Request, Response, Security
from pydantic import BaseModel, Field, SecretStr
from starlette.concurrency import run_in_threadpool

from tradewind.serve.access import SESSION, Caller
from tradewind.serve.auth import COOKIE, CSRF, Tries, cookie_of_session, matches
from tradewind.serve.problems import described
from tradewind.serve.state import Held, Serving

router = APIRouter(tags=["session"])
Cookie = Annotated[str | None, Security(cookie_of_session)]


class LogIn(BaseModel):
    """A name and a password."""

    name: str = Field(max_length=100)
    password: SecretStr = Field(max_length=1_000)


class Session(BaseModel):
    """Who is logged in, what they may do, and what changing requests must carry as ``X-CSRF-Token``."""

    name: str
    role: str
    scopes: list[str]
    csrf: str
    shop: str
    currency: str | None
    zone: str
    simulated: bool = Field(description="The customers are not people: every page must say so.")


@router.post("/v1/session", responses=described(401))
async def log_in(told: LogIn, held: Held, request: Request, response: Response) -> Session:
    """Log in; the answer sets the cookie of the session. Needs no key."""
    tries: Tries = held.parts.setdefault("tries", Tries(held.limits.log_ins))
    who = f"{told.name} {request.client.host if request.client else ''}"
    if tries.too_many(who, held.shop.now()):
        raise HTTPException(429, "Too many failed log-ins. Wait a minute, then try again.", {"retry-after": "60"})
    found = await run_in_threadpool(held.access.log_in, told.name, told.password.get_secret_value())
    if found is None:
        tries.failed(who, held.shop.now())
        raise HTTPException(401, "The name or the password is wrong.")
    token, caller = found
    secure = request.url.scheme == "https"
    response.set_cookie(COOKIE, token, max_age=int(SESSION.total_seconds()), httponly=True, samesite="strict", secure=secure, path="/")
    return _session(held, caller)


@router.get("/v1/session", responses=described(401))
async def session(held: Held, cookie: Cookie = None) -> Session:
    """Who is logged in. Needs the session's cookie alone."""
    caller = None if cookie is None else await run_in_threadpool(held.access.of_session, cookie)
    if caller is None:
        raise HTTPException(401, "Nobody is logged in.")
    return _session(held, caller)


@router.delete("/v1/session", status_code=204, responses=described(403))
async def log_out(held: Held, request: Request, response: Response, cookie: Cookie = None) -> None:
    """Log out; nothing happens without a session."""
    caller = None if cookie is None else await run_in_threadpool(held.access.of_session, cookie)
    if caller is not None and cookie is not None:
        if not matches(caller.csrf, request.headers.get(CSRF)):
            raise HTTPException(403, "A changing request of the console must carry X-CSRF-Token; GET /v1/session tells it.")
        await run_in_threadpool(held.access.log_out, cookie)
    response.delete_cookie(COOKIE, path="/")


def _session(held: Serving, caller: Caller) -> Session:
    settings = held.shop.home.settings
    return Session(
        name=caller.name.partition(":")[2],
        role=caller.role,
        scopes=sorted(caller.scopes),
        csrf=caller.csrf or "",
        shop=settings.name,
        currency=settings.currency,
        zone=settings.zone,
        simulated=settings.simulated,
    )
