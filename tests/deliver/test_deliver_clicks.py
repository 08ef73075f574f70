"""Tracked links: where they lead, that nobody can bend them, and which visits are a person's."""

from __future__ import annotations

import base64
import dataclasses
import html
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from deliver_kit import KEY, START, message
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from tradewind.deliver.feedback_clicks import Request, judge, place, resolve, settle, take
from tradewind.deliver.links import Link, Links
from tradewind.engine.books_channels import touches
from tradewind.engine.home import Home
from tradewind.errors import InputError
from tradewind.types import micros

BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Mobile/15E148 Safari/604.1"
PERSON = Request("GET", BROWSER)
LINKS = Links("https://shop.example/t", KEY, frozenset({"shop.example", "www.shop.example"}), utm="harbour")
READ = START + timedelta(minutes=5)


def token(url: str) -> str:
    return url.rpartition("/")[2]


def link(page: str = "1", **values: Any) -> Link:
    made = LINKS.verify(token(LINKS.click(message("ann"), f"https://shop.example/p/{page}", at=START)), purpose="click")
    return dataclasses.replace(made, **values)


def clicks(home: Home, *, now: Any = READ + timedelta(hours=1)) -> list[Mapping[str, Any]]:
    settle(home, now=now)
    home.log.compact(now=now)
    return [dict(row) for row in home.tables.to_arrow(home.tables.events()).to_pylist()]


# -- what a message holds ---------------------------------------------------------------------------------------------


def test_links_to_the_shops_own_hosts_are_tracked_and_others_left_alone() -> None:
    body = (
        '<p><a class="b" href="https://shop.example/p/1?a=1&amp;b=2#x">one</a> <a href=\'https://WWW.shop.example/\'>two</a>'
        '<a href="https://other.example/p">three</a> <a href="mailto:a@b.example">four</a>'
        '<a href="https://shop.example@evil.example/">five</a><a href="{{unsubscribe_url}}">stop</a></p></body>'
    )
    item = message("ann", parts={"subject": "s", "body": "https://shop.example/p/1", "html": body, "preheader": ""})
    filled = dataclasses.replace(LINKS, opens=True).fill(item, at=START)
    found = [html.unescape(one) for one in re.findall(r"""href=["']([^"']+)""", filled.parts["html"])]
    first, second = (resolve(LINKS, token(one), PERSON, READ).target for one in found[:2])
    marks = {"utm_source": ["harbour"], "utm_medium": ["email"], "utm_campaign": ["plan-1"], "utm_content": [item.decision_id]}
    assert parse_qs(urlsplit(first).query) == {"a": ["1"], "b": ["2"], **marks}
    assert (urlsplit(first).path, urlsplit(first).fragment) == ("/p/1", "x")
    assert urlsplit(second).hostname == "www.shop.example"
    assert found[2:5] == ["https://other.example/p", "mailto:a@b.example", "https://shop.example@evil.example/"]
    assert found[5] == LINKS.unsubscribe(item)
    assert filled.parts["body"] == "https://shop.example/p/1"  # the HTML is what people read
    assert re.search(r'<img src="https://shop\.example/t/open/[^"]+" width="1" height="1" alt=""></body>', filled.parts["html"])


def test_plain_mail_and_the_link_of_a_push_are_tracked_and_a_text_message_is_not() -> None:
    plain = LINKS.fill(message("ann", parts={"subject": "s", "body": "Look: https://shop.example/p/1. Bye"}), at=START).parts["body"]
    assert plain.startswith("Look: https://shop.example/t/click/")
    assert plain.endswith(". Bye")
    push = LINKS.fill(
        message("ann", channel="push", parts={"title": "t", "body": "https://shop.example/x", "link": "https://shop.example/p"}), at=START
    )
    assert push.parts["body"] == "https://shop.example/x"
    assert "/t/click/" in push.parts["link"]
    sms = message("ann", channel="sms", parts={"body": "https://shop.example/p/1 Reply STOP"})
    assert LINKS.fill(sms, at=START).parts == sms.parts
    assert Links("https://shop.example/t", KEY).fill(message("ann"), at=START).parts["html"].count("/t/click/") == 0


@pytest.mark.parametrize("url", ["https://shop.example/a b", "https://shop.example/\\x", "https://[shop.example/", "shop.example"])
def test_a_link_that_cannot_be_tracked_stays_as_it_is(url: str) -> None:
    item = message("ann", parts={"subject": "s", "body": "b", "html": f'<a href="{url}">x</a>', "link": url})
    assert LINKS.fill(item, at=START).parts == item.parts


def test_utm_marks_that_are_there_stay() -> None:
    url = LINKS.click(message("ann"), "https://shop.example/?utm_source=own&q=", at=START)
    query = parse_qs(urlsplit(resolve(LINKS, token(url), PERSON, READ).target).query, keep_blank_values=True)
    assert (query["utm_source"], query["q"], query["utm_medium"]) == (["own"], [""], ["email"])


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "//evil.example",
        "https://shop.example\\@evil.example",
        "https://me@evil.example/",
        "https://shop.example/\r\nX: y",
        "https://",
        "data:x",
    ],
)
def test_odd_targets_are_not_signed(url: str) -> None:
    with pytest.raises(InputError, match="http"):
        LINKS.click(message("ann"), url)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80), st.integers(0, 200))
def test_no_token_but_the_shops_own_leads_anywhere(junk: str, cut: int) -> None:
    good = token(LINKS.click(message("ann"), "https://shop.example/p/1", at=START))
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[cut % 64]  # some of them decode to the same bytes
    for forged in (junk, good[:cut] + junk + good[cut + 1 :], good + junk, good + "=", good[:-1] + last):
        if forged != good:
            with pytest.raises(InputError):
                resolve(LINKS, forged, PERSON, READ)


def test_a_link_that_has_ended_leads_on_and_says_nothing() -> None:
    one = token(LINKS.click(message("ann"), "https://shop.example/p/1", at=START))
    for days, ended in ((179, False), (180, True)):
        visit = resolve(LINKS, one, PERSON, START + timedelta(days=days))
        assert visit.target.startswith("https://shop.example/p/1?utm_source=harbour")
        assert (visit.event is None) is ended
    with pytest.raises(InputError, match="no valid unsubscribe"):
        resolve(LINKS, one, PERSON, READ, purpose="unsubscribe")


def test_tokens_of_the_version_before_still_lead() -> None:
    """A message that was sent before an upgrade is still in people's mailboxes."""
    payload = json.dumps([1, "unsubscribe", "d1", "ann", "email", ""], separators=(",", ":")).encode()
    text = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (payload, LINKS._mac(payload)))
    assert LINKS.verify(text, purpose="unsubscribe") == Link("unsubscribe", "d1", "ann", "email")


# -- who came ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "verdict"),
    [
        (PERSON, "human"),
        (Request("get", PHONE), "human"),
        (
            Request("GET", "Mozilla/5.0 (Linux; Android 12; CUBOT NOTE 30) AppleWebKit/537.36 Chrome/120.0.0.0 Mobile Safari/537.36"),
            "human",
        ),
        (Request("GET", "", {"User-Agent": BROWSER}), "human"),
        (Request("HEAD", BROWSER), "method"),
        (Request("OPTIONS", BROWSER), "method"),
        (Request("GET", BROWSER, {"Sec-Purpose": "prefetch;prerender"}), "prefetch"),
        (Request("GET", BROWSER, {"purpose": "preview"}), "prefetch"),
        (Request("GET", BROWSER, {"X-Moz": "prefetch"}), "prefetch"),
        (Request("GET", ""), "agent"),
        (Request("GET", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"), "agent"),
        (Request("GET", "Mozilla/5.0 (compatible; Barracuda Link Scanner)"), "agent"),
        (Request("GET", "python-requests/2.32"), "agent"),
        (Request("GET", "Slackbot-LinkExpanding 1.0"), "agent"),
        (Request("GET", "facebookexternalhit/1.1"), "agent"),
        (Request("GET", "curl/8.5.0"), "agent"),
        (Request("GET", "HeadlessChrome/120"), "agent"),
        (Request("GET", "\x00" * 5000), "human"),  # odd, but no rule says a machine
    ],
)
def test_verdicts(request_: Request, verdict: str) -> None:
    assert judge(link(), request_, READ) == verdict


def test_opens_through_a_proxy_are_nobodys() -> None:
    opened = Link("open", "d", "ann", "email", made=micros(START))
    proxy = Request("GET", "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)")
    assert judge(opened, proxy, READ) == "proxy"
    assert judge(opened, Request("GET", "Mozilla/5.0"), READ) == "proxy"
    assert judge(opened, PERSON, READ) == "human"


def test_a_click_at_the_moment_of_the_hand_off_is_a_machines() -> None:
    for seconds, verdict in ((-60, "hasty"), (0, "hasty"), (0.9, "hasty"), (1, "human")):
        assert judge(link(), PERSON, START + timedelta(seconds=seconds)) == verdict
    assert judge(link(made=0), PERSON, START) == "human"  # nobody said when


def test_many_links_at_once_are_a_machines() -> None:
    at = micros(READ)
    others = [(at - 2_000_000, place(link("2"))), (at - 4_000_000, place(link("3")))]
    assert judge(link(), PERSON, READ, others) == "burst"
    assert judge(link(), PERSON, READ, [*others[:1], (at - 6_000_000, place(link("3")))]) == "human"
    assert judge(link(), PERSON, READ, [(at, place(link()))] * 9) == "human"  # an impatient finger


def test_a_machines_event_is_nobodys() -> None:
    one = token(LINKS.click(message("ann"), "https://shop.example/p/1", at=START))
    person, machine = (resolve(LINKS, one, request, READ).event for request in (PERSON, Request("HEAD", BROWSER)))
    assert person is not None
    assert machine is not None
    assert (person.kind, person.customer, person.decision_id) == ("click", "ann", message("ann").decision_id)
    assert (machine.kind, machine.customer, machine.decision_id, machine.item) == ("click", None, None, None)
    assert "ann" not in str(machine.context)
    assert json.loads(str(machine.context))["verdict"] == "method"
    assert person.id != machine.id
    again = resolve(LINKS, one, PERSON, READ + timedelta(days=1)).event
    assert again is not None
    assert again.id == person.id  # one per link, however often


def test_a_burst_is_judged_when_it_is_over_and_a_later_person_counts(home: Home) -> None:
    for number in range(4):  # a scanner with a person's browser takes every link, the first ones too
        assert take(home, link(str(number)), PERSON, now=READ + timedelta(seconds=number)) == "human"
    take(home, link("1"), PERSON, now=READ + timedelta(minutes=9))  # the person
    take(home, link("1"), PERSON, now=READ + timedelta(minutes=19))  # and again
    take(home, link("2"), Request("HEAD", BROWSER), now=READ + timedelta(minutes=20))
    assert take(home, link("2", until=1), PERSON, now=READ) == "expired"
    assert settle(home, now=READ + timedelta(seconds=9)) == 0  # too early to know
    rows = clicks(home)
    people = [row for row in rows if row["customer"] is not None]
    assert [(row["customer"], row["at"]) for row in people] == [("ann", READ + timedelta(minutes=9))]
    verdicts = sorted(json.loads(row["context"])["verdict"] for row in rows if row["customer"] is None)
    assert verdicts == ["burst"] * 4 + ["method"]
    assert clicks(home) == rows
    settle(home, now=READ + timedelta(hours=9))
    with home.ledger.read() as conn:
        assert conn.execute(select(func.count()).select_from(touches)).scalar() == 0


def test_who_hammers_a_link_adds_little(home: Home) -> None:
    for number in range(200):
        take(home, link(), PERSON, now=READ + timedelta(milliseconds=10 * number))
    with home.ledger.read() as conn:
        assert conn.execute(select(func.count()).select_from(touches)).scalar_one() <= 2
    assert len(clicks(home)) == 1
