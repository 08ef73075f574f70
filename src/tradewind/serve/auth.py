"""Who asks: a key in the ``Authorization`` header, or the session of the console with its CSRF token.

    @router.get("/v1/plans")
    def plans(held: Held, caller: Annotated[Caller, needs("read")]) -> list[Plan]: ...

Every route under ``/v1`` names the scope that it needs; a test walks them all.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from tradewind.serve.access import SCOPES, Caller
from tradewind.serve.state import Serving, serving

COOKIE = "tradewind_session"
CSRF = "x-csrf-token"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_MINUTE = timedelta(minutes=1)
_MANY = 10_000

_bearer = HTTPBearer(auto_error=False, description="A key that `tradewind keys add` made: `Authorization: Bearer tw_...`")
cookie_of_session = APIKeyCookie(
    name=COOKIE, auto_error=False, description="The console's session; changing requests also carry `X-CSRF-Token`."
)


def needs(scope: str) -> Any:
    """The dependency of a route that only callers with ``scope`` may use; it gives the :class:`Caller`."""
    assert scope in SCOPES, scope

    async def caller(
        request: Request,
        key: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
        session: Annotated[str | None, Security(cookie_of_session)],
    ) -> Caller:
        held = serving(request)
        found = await who(held, key.credentials if key else None, session)
        if found is None:
            raise HTTPException(
                401, "This needs a key (Authorization: Bearer tw_...) or a log-in; what came is missing, wrong, expired or revoked.",
                {"www-authenticate": "Bearer"},
            )  # fmt: skip
        if key is None and request.method not in SAFE and not matches(found.csrf, request.headers.get(CSRF)):
            raise HTTPException(403, "A changing request of the console must carry X-CSRF-Token; GET /v1/session tells it.")
        if scope not in found.scopes:
            raise HTTPException(403, f'{found.name} has the role "{found.role}", which may not {SCOPES[scope]} (scope "{scope}").')
        if (wait := rates(held).wait(found.name, held.shop.now())) > 0:
            raise HTTPException(429, "Too many requests from one caller. Wait, then go on.", {"retry-after": str(max(1, round(wait)))})
        return found

    caller.scope = scope  # type: ignore[attr-defined]  # for the test that walks all routes
    return Depends(caller)


async def who(held: Serving, key: str | None, session: str | None) -> Caller | None:
    """Who a key or a session belongs to; a key comes first, and a wrong one is not helped by a session."""
    if key is not None:
        return await run_in_threadpool(held.access.of_key, key) if (known := held.access.glance_key(key)) is None else known
    if session is not None:
        return await run_in_threadpool(held.access.of_session, session)
    return None


class Rates:
    """A token bucket per caller: ``per_second`` on average, twice that at once."""

    def __init__(self, per_second: float) -> None:
        self._rate, self._burst = per_second, max(1.0, 2 * per_second)
        self._left: dict[str, tuple[datetime, float]] = {}

    def wait(self, name: str, now: datetime) -> float:
        """Take one; returns 0, or how many seconds until there is one again."""
        since, left = self._left.get(name, (now, self._burst))
        left = min(self._burst, left + max(0.0, (now - since).total_seconds()) * self._rate)
        taken = left >= 1
        self._left[name] = (now, left - 1 if taken else left)
        return 0.0 if taken else (1 - left) / self._rate


class Tries:
    """Failed log-ins per minute of one name from one address."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: OrderedDict[str, tuple[datetime, int]] = OrderedDict()

    def too_many(self, what: str, now: datetime) -> bool:
        """Whether ``what`` failed too often within the last minute."""
        since, count = self._seen.get(what, (now, 0))
        return now - since < _MINUTE and count >= self._most

    def failed(self, what: str, now: datetime) -> None:
        """Count one more."""
        since, count = self._seen.pop(what, (now, 0))
        self._seen[what] = (now, 1) if now - since >= _MINUTE else (since, count + 1)
        if len(self._seen) > _MANY:
            self._seen.popitem(last=False)


def rates(held: Serving) -> Rates:
    """The buckets of a service."""
    found: Rates = held.parts.setdefault("rates", Rates(held.limits.per_second))
    return found


def matches(known: str | None, told: str | None) -> bool:
    return known is not None and told is not None and hmac.compare_digest(known.encode(), told.encode())
