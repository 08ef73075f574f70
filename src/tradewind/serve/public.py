"""The public pages: one-click unsubscribe (RFC 8058), the preference centre, double opt-in, tracked links. An ASGI app.

    uvicorn.run(app(shop, base="https://shop.example/t"))        # or: tradewind serve --public

==========================  =====================================  ==========================================================
path under ``base``          GET                                    POST
==========================  =====================================  ==========================================================
``/unsubscribe/TOKEN``       asks; changes nothing                  body ``List-Unsubscribe=One-Click``: withdrawn, 200
``/preferences/TOKEN``       shows the switches; changes nothing    sets them
``/confirm/TOKEN``           shows the words; changes nothing       grants, once
``/click/TOKEN``             redirects, notes a visit               -
``/open/TOKEN``              one pixel, notes a visit               -
==========================  =====================================  ==========================================================

No GET changes a consent: scanners and previews follow every link of a mail. A visit is measurement: a row for the event log,
once per link. There is no session and no cookie, so nothing for a forged request to ride on: the signed token in the address is the
only proof, and it is asked for each time. A genuine link is never refused for its frequency - one mailbox provider speaks for millions -
but who tries out invalid ones is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.parser import BytesParser
from email.policy import default
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tradewind.collect.consent_desk import Desk
from tradewind.collect.consent_texts import called
from tradewind.collect.vault import Vault
from tradewind.deliver.links import Link, Links, links_base
from tradewind.errors import InputError, Locked
from tradewind.serve import pages
from tradewind.serve.visits import PIXEL, Visits

if TYPE_CHECKING:
    from tradewind.engine.home import Home
    from tradewind.shop import Shop

LONGEST = 16_384  # bytes of a body
PATIENCE = 3  # how often a change is tried while others hold the ledger
TRIES = 30  # invalid links from one address within a minute
_MINUTE = timedelta(minutes=1)
_REMEMBERED = 10_000  # addresses
Fields = Mapping[str, list[str]]
_T = TypeVar("_T")


def app(shop: Shop, *, base: str, keep_ip: bool = False) -> Starlette:
    """The pages of a shop under ``base``, an https address; ``keep_ip`` adds a visitor's address, as a keyed hash, to the evidence."""
    site = _Site(shop, base=base, keep_ip=keep_ip)
    under = urlsplit(base).path.rstrip("/")
    get, both = ["GET"], ["GET", "POST"]
    routes = [
        Route(f"{under}/unsubscribe/{{token}}", site.unsubscribe, methods=both),
        Route(f"{under}/preferences/{{token}}", site.preferences, methods=both),
        Route(f"{under}/confirm/{{token}}", site.confirm, methods=both),
        Route(f"{under}/click/{{token}}", site.click, methods=get),
        Route(f"{under}/open/{{token}}", site.open, methods=get),
    ]
    return Starlette(routes=routes, middleware=[Middleware(_Hardened)], exception_handlers={HTTPException: site.failed})


def base_of(home: Home, told: str | None) -> str:
    """Where the pages are: what was told, else ``base`` of ``[links]`` in ``channels.toml``; raises InputError for neither."""
    if found := told or links_base(home):
        return found.rstrip("/")
    raise InputError(
        "Where are the public pages? Give --base https://shop.example/t, set TRADEWIND_LINKS, or write base under [links] in channels.toml."
    )


@dataclass(frozen=True, slots=True)
class _Shown:
    """One switch as the page shows it."""

    name: str
    title: str
    text: str
    on: bool
    fixed: str


class _Site:
    def __init__(self, shop: Shop, *, base: str, keep_ip: bool) -> None:
        self._home, self._now = shop.home, shop.now
        self._vault = Vault(shop.home)
        self._links = Links.of(shop.home, base)
        self._desk = Desk(shop.home, now=shop.now)
        self._base, self._keep_ip = base.rstrip("/"), keep_ip
        self._tries = _Tries()
        self._visits = Visits(shop.home)

    # -- pages ---------------------------------------------------------------------------------------------------------

    async def unsubscribe(self, request: Request) -> Response:
        link = await self._link(request, "unsubscribe")
        if request.method == "POST":
            fields = await _fields(request)
            if fields.get("List-Unsubscribe") != ["One-Click"]:
                raise HTTPException(400)
            await _done(self._desk.unsubscribe, link.customer, link.channel, decision_id=link.decision_id)
            more: dict[str, Any] = {"link": self._preferences(request, link.customer, link.channel), "switch": ""}
            return self._page(request, "left", more, channel=link.channel)
        form = {"action": self._action(request), "fields": [("List-Unsubscribe", "One-Click")]}
        more = form | {"link": self._preferences(request, link.customer, link.channel)}
        return self._page(request, "unsubscribe", more, channel=link.channel)

    async def preferences(self, request: Request) -> Response:
        customer, _ = await self._checked(request, self._desk.opened)
        if not await run_in_threadpool(self._desk.choices, customer):
            raise HTTPException(404)
        said, locale = "", self._locale(request)
        if request.method == "POST":
            fields = await _fields(request)
            shown, on = fields.get("shown", []), [] if "nothing" in fields else fields.get("on", [])
            if not shown:
                raise HTTPException(400)
            wanted = {name: name in on for name in shown}
            evidence = {"page": "preferences", **self._visitor(request)}
            changed = await _done(self._desk.choose, customer, wanted, locale=locale, source="preference centre", evidence=evidence)
            said = pages.words(locale)["choices"]["saved" if changed else "same"]
        switches = await run_in_threadpool(self._switches, customer, locale)
        return self._page(request, "choices", switches | {"action": self._action(request), "said": said})

    async def confirm(self, request: Request) -> Response:
        standing = await self._checked(request, self._desk.requested)
        if request.method == "POST":
            await _fields(request)
            evidence = {"page": "confirm", **self._visitor(request)}
            standing = await _done(self._desk.confirm, request.path_params["token"], evidence=evidence)
        if standing.state == "gone":
            raise HTTPException(404)
        if standing.state == "granted":
            return self._page(request, "agreed", {"link": self._preferences(request, standing.customer, standing.channel)})
        if standing.state != "open":
            return self._page(request, "expired", status=410)
        quoted, body = await run_in_threadpool(self._desk.agreed_words, standing.text_hash)
        return self._page(request, "confirm", {"quote": body, "quoted": quoted, "action": self._action(request)})

    async def click(self, request: Request) -> Response:
        link = await self._link(request, "click")
        await self._visited(request, link)
        return RedirectResponse(link.url, status_code=302)

    async def open(self, request: Request) -> Response:
        link = await self._link(request, "open")
        await self._visited(request, link)
        return Response(PIXEL, media_type="image/gif")

    async def failed(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        name = {404: "missing", 429: "busy", 503: "held"}.get(error.status_code, "refused")
        answer = self._page(request, name, {"switch": ""}, status=error.status_code)
        answer.headers.update(error.headers or {})
        return answer

    # -- inside --------------------------------------------------------------------------------------------------------

    async def _link(self, request: Request, purpose: str) -> Link:
        return await self._checked(request, lambda token: self._links.verify(token, purpose=purpose))

    async def _checked(self, request: Request, read: Callable[[str], _T]) -> _T:
        try:
            return await run_in_threadpool(read, request.path_params["token"])
        except InputError:
            if self._tries.too_many(request.client.host if request.client else "", self._now()):
                raise HTTPException(429, headers={"retry-after": "60"}) from None
            raise HTTPException(404) from None

    async def _visited(self, request: Request, link: Link) -> None:
        await run_in_threadpool(self._visits.note, link, method=request.method, headers=dict(request.headers), at=self._now())

    def _page(
        self, request: Request, name: str, told: Mapping[str, Any] | None = None, *, channel: str = "", status: int = 200
    ) -> HTMLResponse:
        locale = self._locale(request)
        other = pages.words(locale)["other"]
        more = {"switch": f"{request.url.path}?{urlencode({'lang': other})}"} | dict(told or {})
        text = pages.page(name, locale, shop=self._home.settings.name, channel=called(channel, locale), **more)
        return HTMLResponse(text, status, {"content-language": locale})

    def _switches(self, customer: str, locale: str) -> dict[str, Any]:
        words = pages.words(locale)["choices"]
        shown = []
        for one in self._desk.choices(customer):
            title = words["personalisation"] if one.channel == "personalisation" else called(one.channel, locale)
            text = words["fixed"] if one.fixed else self._desk.words(one.channel, locale).body
            shown.append(_Shown(one.channel, title, text, one.on, one.fixed))
        uses = [one for one in shown if one.name == "personalisation"]
        groups = [(words["contacts"], [one for one in shown if one not in uses]), (words["data"], uses)]
        return {"groups": groups, "fields": [("shown", one.name) for one in shown]}

    def _locale(self, request: Request) -> str:
        otherwise = "zh-CN" if self._home.settings.currency == "CNY" else "en"
        asked, header = request.query_params.get("lang", ""), request.headers.get("accept-language", "")
        return pages.language(asked, header, otherwise=otherwise)

    def _action(self, request: Request) -> str:
        return f"{request.url.path}?{urlencode({'lang': self._locale(request)})}"

    def _preferences(self, request: Request, customer: str, channel: str) -> str:
        token = self._desk.preferences_token(customer, channel)
        return f"{self._base}/preferences/{token}?{urlencode({'lang': self._locale(request)})}"

    def _visitor(self, request: Request) -> dict[str, str]:
        return {"ip_hash": self._vault.hash(f"ip {request.client.host}")} if self._keep_ip and request.client else {}


class _Tries:
    """How often an address tried an invalid link within the last minute."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[datetime, int]] = {}

    def too_many(self, address: str, at: datetime) -> bool:
        since, count = self._seen.get(address, (at, 0))
        if at - since >= _MINUTE:
            since, count = at, 0
        if len(self._seen) >= _REMEMBERED and address not in self._seen:
            self._seen.clear()
        self._seen[address] = (since, count + 1)
        return count >= TRIES


class _Hardened:
    """Security headers on every answer, also on those of the framework."""

    def __init__(self, inner: ASGIApp) -> None:
        self._inner = inner

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def out(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                more = [(name.encode(), value.encode()) for name, value in pages.headers().items()]
                message["headers"] = [*message["headers"], *(pair for pair in more if pair[0] not in there)]
            await send(message)

        await self._inner(scope, receive, out)


async def _done(change: Callable[..., _T], *given: object, **named: object) -> _T:
    """Make a change, again if another writer held the ledger: who asked may not ask twice. 503 when it stays held."""
    for left in reversed(range(PATIENCE)):
        try:
            return await run_in_threadpool(change, *given, **named)
        except Locked:
            if not left:
                raise HTTPException(503, headers={"retry-after": "60"}) from None
    raise AssertionError


async def _fields(request: Request) -> Fields:
    """The fields of a form: both encodings of RFC 8058; 413 for a body that is too long, 400 for one that is no form."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > LONGEST:
            raise HTTPException(413)
    kind = request.headers.get("content-type", "")
    found: dict[str, list[str]] = {}
    if kind.lower().startswith("multipart/form-data"):
        whole = BytesParser(policy=default).parsebytes(b"Content-Type: " + kind.encode("latin-1") + b"\r\n\r\n" + body)
        for part in whole.iter_parts():
            name = part.get_param("name", header="content-disposition")
            if isinstance(name, str):
                found.setdefault(name, []).append(str(part.get_payload()).strip())
        return found
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=100)
    except ValueError:
        raise HTTPException(400) from None
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found
