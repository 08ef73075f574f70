"""Who visited a tracked link: a person, or one of the machines that follow links in mail before any person does.

Every visit gets a verdict, kept in its event. A machine's event names neither customer nor decision, so that nothing that counts clicks
or opens can count it as somebody's; how many there were stays visible.

=============  ====================================================================================================
``human``      none of the below
``expired``    the link's time is over: it leads on, and there is no event
``method``     not a GET: link checkers ask with HEAD
``prefetch``   a browser or an app fetched ahead, and says so (``Sec-Purpose`` and its older names)
``agent``      no user agent, or one of a scanner, crawler, preview or library
``proxy``      an open through a mailbox provider's picture proxy, which fetches whether or not somebody looks
``hasty``      within ``HASTY_SECONDS`` of the hand-off: no mail is read that fast
``burst``      ``BURST_LINKS`` links of one message within ``BURST_SECONDS``: nobody clicks that fast, scanners do
=============  ====================================================================================================

A burst is known only when it is over. So :func:`take` keeps a visit for ``HOLD_SECONDS``, and :func:`settle` judges it then, the
first links of a burst included. What this cannot see: a scanner with a person's browser that takes one link at leisure.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import Connection, delete, func, select, update

from tradewind.deliver.links import Link, Links
from tradewind.engine.books_channels import touches
from tradewind.engine.ledger import insert_new
from tradewind.schema import Kind
from tradewind.types import Event, from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

HASTY_SECONDS, BURST_LINKS, BURST_SECONDS, HOLD_SECONDS = 1, 3, 5, 10
KEPT = timedelta(hours=1)  # how long a settled visit stays, for bursts that straddle it
PAGE = 2_000
SECOND = 1_000_000
HUMAN, EXPIRED = "human", "expired"
_KINDS = {"click": Kind.CLICK, "open": Kind.OPEN}
_AHEAD = ("sec-purpose", "purpose", "x-purpose", "x-moz")
_MACHINES = re.compile(
    r"(?<!cu)bot\b|crawl|spider|slurp|scan(?:ner|ning)?\b|preview|monitor|link.?check|validator|headless|phantomjs|facebookexternalhit"
    r"|whatsapp/|barracuda|mimecast|proofpoint|urldefense|trend ?micro|sophos|forcepoint|symantec|messagelabs|fireeye|trellix|zscaler"
    r"|cloudmark|ironport|avanan|check ?point|safe ?links|google-safety|ms-office|microsoft office|python|curl/|wget/|go-http-client"
    r"|java/|libwww|axios|node-fetch|okhttp|httpclient|apache-",
    re.IGNORECASE,
)
_PROXIES = re.compile(
    r"googleimageproxy|yahoomailproxy|outlookimageproxy|\Amozilla/5\.0\Z", re.IGNORECASE
)  # the last: Apple's mail privacy
t = touches.c


@dataclass(frozen=True, slots=True)
class Request:
    """What is known of a visit: the method, the user agent, and the headers by lower-case name. No address is kept."""

    method: str = "GET"
    user_agent: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


class Visit(NamedTuple):
    """Where a visitor is led, and the event of the visit; ``event`` is None when the link has ended."""

    target: str
    event: Event | None


def resolve(
    links: Links, token: str, request: Request, now: datetime, *, purpose: str = "click", recent: Sequence[tuple[int, str]] = ()
) -> Visit:
    """Where a token leads and what the visit is, from what is given alone; ``recent``: other visits of its message, as :func:`judge` takes.

    The target is what the shop signed; a visitor can name no other.

    Raises
    ------
    InputError
        The token is no link of this shop for this purpose.
    """
    link = links.verify(token, purpose=purpose)
    return Visit(link.url, event(link, judge(link, request, now, recent), now))


def judge(link: Link, request: Request, now: datetime, recent: Sequence[tuple[int, str]] = ()) -> str:
    """The verdict on a visit; ``recent``: microseconds and :func:`place` of other visits of the same message."""
    at = micros(now)
    if link.until and at >= link.until:
        return EXPIRED
    if request.method.upper() != "GET":
        return "method"
    headers = {name.lower(): value.lower() for name, value in request.headers.items()}
    if any(re.search("prefetch|preview|prerender", headers.get(name, "")) for name in _AHEAD):
        return "prefetch"
    agent = (request.user_agent or headers.get("user-agent", ""))[:1000]
    if link.purpose == "open" and _PROXIES.search(agent):
        return "proxy"
    if not agent.strip() or _MACHINES.search(agent):
        return "agent"
    if link.made and at - link.made < HASTY_SECONDS * SECOND:
        return "hasty"
    near = {where for moment, where in recent if abs(at - moment) <= BURST_SECONDS * SECOND} | {place(link)}
    return "burst" if link.purpose == "click" and len(near) >= BURST_LINKS else HUMAN


def place(link: Link) -> str:
    """A short name of a link: the same for the same link."""
    key = json.dumps([link.purpose, link.decision_id, link.customer, link.channel, link.url])
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def event(link: Link, verdict: str, now: datetime) -> Event | None:
    """The event of a visit, one per link and verdict however often it comes; None for a link that has ended."""
    return None if verdict == EXPIRED else _event(link, place(link), verdict, now)


def _event(link: Link, name: str, verdict: str, now: datetime) -> Event:
    kind, about = _KINDS[link.purpose].value, json.dumps({"verdict": verdict, "link": name})
    if verdict != HUMAN:
        return Event(f"{kind}-{name}-{verdict}", now, kind, "link", channel=link.channel, context=about)
    return Event(
        f"{kind}-{name}", now, kind, "link", customer=link.customer, channel=link.channel, decision_id=link.decision_id, context=about
    )


def take(home: Home, link: Link, request: Request, *, now: datetime) -> str:
    """Keep a visit of a verified link until it can be judged, and return what it looks like so far."""
    verdict = judge(link, request, now)
    if verdict == EXPIRED:
        return verdict
    at, name = micros(now), place(link)
    told = {"verdict": verdict, "decision": link.decision_id, "customer": link.customer, "channel": link.channel}
    # Who asks for one link again and again adds one row in ten seconds.
    row = {
        "touch_id": hashlib.sha256(f"{name}|{verdict}|{at // (10 * SECOND)}".encode()).hexdigest(),
        "message_id": link.decision_id[:64],
        "kind": link.purpose,
        "link": name,
        "at": at,
        "event": json.dumps(told),
        "logged": False,
    }
    with home.ledger.write() as conn:
        insert_new(conn, touches, [row])
    return verdict


def settle(home: Home, *, now: datetime) -> int:
    """Judge the visits that are ``HOLD_SECONDS`` old, enter their events, and return how many; repeating it enters none twice."""
    query = select(touches).where(t.logged.is_(False), t.at <= micros(now) - HOLD_SECONDS * SECOND).order_by(t.at, t.touch_id).limit(PAGE)
    total = 0
    while True:
        with home.ledger.read() as conn:
            rows = [dict(row) for row in conn.execute(query).mappings()]
            events = [_settled(conn, row) for row in rows]
        if not rows:
            break
        home.log.append(events, now=now)
        with home.ledger.write() as conn:
            conn.execute(update(touches).where(t.touch_id.in_([row["touch_id"] for row in rows])).values(logged=True))
        total += len(rows)
    with home.ledger.write() as conn:
        conn.execute(delete(touches).where(t.logged.is_(True), t.at < micros(now - KEPT)))
    return total


def _settled(conn: Connection, row: Mapping[str, object]) -> Event:
    told = json.loads(str(row["event"]))
    at = int(str(row["at"]))
    verdict = told["verdict"]
    if verdict == HUMAN and row["kind"] == "click":
        near = (t.at >= at - BURST_SECONDS * SECOND, t.at <= at + BURST_SECONDS * SECOND)
        links = select(func.count(t.link.distinct())).where(t.message_id == row["message_id"], t.kind == "click", *near)
        verdict = "burst" if conn.execute(links).scalar_one() >= BURST_LINKS else HUMAN
    link = Link(str(row["kind"]), told["decision"], told["customer"], told["channel"])
    return _event(link, str(row["link"]), verdict, from_micros(at))
