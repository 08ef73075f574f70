"""Text messages and push notifications through a real HTTP gateway on loopback, and the receipts that come back."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pyarrow as pa
import pytest
from deliver_http import Gateway
from deliver_kit import KEY, START, Clock, consent, message, queue, states

from tradewind import schema
from tradewind.collect.consent import Consents
from tradewind.collect.vault import Vault
from tradewind.compose.registered import Register
from tradewind.deliver import feedback_receipts
from tradewind.deliver.channels import _signing
from tradewind.deliver.channels.base import Channel, Later, Uncertain
from tradewind.deliver.channels.sms import instance, number
from tradewind.deliver.deliver import channel, deliver
from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFound, StateError, Terminal, Transient

SECRETS = {"SANDPIPER_TOKEN": "t0ken", "SANDPIPER_HOOK": "whsec_" + base64.b64encode(KEY).decode()}
SMS = """
[sms]
url = "{url}"
private = true
timeout = 2
idempotency_header = "Idempotency-Key"
{more}
[sms.auth]
kind = "bearer"
token_env = "SANDPIPER_TOKEN"
[sms.body]
to = "{{to}}"
text = "{{body}}"
parts = "{{segments}}"
client_ref = "{{message_id}}"
at = "{{at}}"
options = {{ unicode = true, tags = ["shop", "{{encoding}}"], brace = "{{{{x}}}}" }}
{body}
[sms.answer]
id = "messages.0.id"
code = "code"
ok = ["0", "queued"]
transient = ["throttled"]
permanent = ["bad_number"]
unknown = ["timeout"]
stop = ["no_credit"]
[sms.receipts]
secret_env = ["SANDPIPER_HOOK"]
reports = "reports"
id = "client_ref"
status = "state"
delivered = ["DELIVERED"]
permanent = ["ABSENT"]
transient = ["OFF"]
optout = ["STOP"]
"""
PUSH = """
[push]
url = "{url}"
private = true
vendor = "{vendor}"
format = "{format}"
[push.auth]
kind = "basic"
user_env = "SANDPIPER_TOKEN"
password_env = "SANDPIPER_TOKEN"
[push.body]
token = "{{token}}"
title = "{{title}}"
body = "{{body}}"
ttl = "{{seconds_left}}"
category = "{{category}}"
"""
OK = (200, {"code": 0, "messages": [{"id": "sp-1"}]})


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as running:
        yield running


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """One shop for the tests that only set channels up and send."""
    with Home.open(tmp_path_factory.mktemp("gateways") / "shop") as opened:
        yield opened


def sms(home: Home, gateway: Gateway, *, more: str = "", body: str = "") -> Channel:
    (home.root / "channels.toml").write_text(SMS.format(url=gateway.url(), more=more, body=body))
    return channel(home, "sms", environment=SECRETS)


def text(body: str = "Boots 20% off. Reply STOP to end.", **values: Any) -> Any:
    return message("ann", channel="sms", parts={"body": body}, **values)


def test_the_mapping_makes_the_request(shop: Home, gateway: Gateway) -> None:
    gateway.answers = [OK]
    with sms(shop, gateway) as sender:
        receipt = sender.send(text('"}, "x": "\u4e2d\r\n\x00{to}'), address="0044 (20) 7946-0018", at=START)
        assert "t0ken" not in repr(sender) + repr(sender.__dict__)
    (asked,) = gateway.asked
    assert receipt.provider_id == "sp-1"
    assert asked.json == {
        "to": "+442079460018",
        "text": '"}, "x": "\u4e2d\r\n\x00{to}',  # whatever it holds, it is one value
        "parts": 1,
        "client_ref": text().message_id,
        "at": int(START.timestamp()),
        "options": {"unicode": True, "tags": ["shop", "UCS-2"], "brace": "{x}"},
    }
    assert asked.headers["authorization"] == "Bearer t0ken"
    assert asked.headers["idempotency-key"] == text().message_id
    assert sender.idempotent


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ((200, {"code": "throttled"}), Transient),
        ((400, {"code": "bad_number"}), Terminal),
        ((200, {"code": "bad_number"}), Terminal),
        ((500, {"code": "timeout"}), Uncertain),
        ((402, {"code": "no_credit"}), StateError),
        ((200, {"code": "novel"}), Uncertain),  # a code that nobody listed: nobody knows
        ((200, {}), Uncertain),
        ((200, {"code": True}), Uncertain),
        ((422, {"code": "novel"}), Terminal),
        ((503, {}), Transient),
        ((401, {}), StateError),
        ("cut", Uncertain),
        ("drop", Uncertain),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n[[[", Uncertain),
    ],
)
def test_codes_and_statuses_are_classed(shop: Home, gateway: Gateway, answer: object, error: type[Exception]) -> None:
    gateway.answers = [answer, OK]
    with sms(shop, gateway) as sender:
        with pytest.raises(error) as caught:
            sender.send(text(), address="+442079460018", at=START)
        assert "7946" not in str(caught.value)
        sender.close()
        assert sender.send(text(), address="+442079460018", at=START).state == "accepted"


def test_a_provider_that_throttles_by_its_code_says_when_to_come_again_too(shop: Home, gateway: Gateway) -> None:
    body = b'{"code": "throttled"}'
    gateway.answers = [b"HTTP/1.1 200 OK\r\nRetry-After: 7\r\nContent-Length: %d\r\n\r\n" % len(body) + body]
    with sms(shop, gateway) as sender, pytest.raises(Later, match="in 7 s") as caught:
        sender.send(text(), address="+442079460018", at=START)
    assert caught.value.seconds == 7


def test_a_form_is_a_form(shop: Home, gateway: Gateway) -> None:
    (shop.root / "channels.toml").write_text(PUSH.format(url=gateway.url(), vendor="fcm", format="form"))
    item = message("ann", channel="push", parts={"title": "A&b=c", "body": "x\r\ny"}, expires_at=START + timedelta(hours=1))
    with channel(shop, "push", environment=SECRETS) as sender:
        sender.send(item, address="tok-1", at=START)
    fields = parse_qs(gateway.asked[0].body.decode())
    assert (fields["title"], fields["body"], fields["ttl"], fields["token"]) == (["A&b=c"], ["x\r\ny"], ["3600"], ["tok-1"])
    assert gateway.asked[0].headers["authorization"].startswith("Basic ")


@pytest.mark.parametrize(
    "address", [None, "", "ann@mail.example", "+44 7946 x", "1" * 16, "12", "+44\r\n20794600", "\u0661\u0662\u0663\u0664\u0665"]
)
def test_only_a_number_is_a_recipient(address: str | None) -> None:
    with pytest.raises(Terminal, match="telephone") as caught:
        number(address)
    assert not address or address not in str(caught.value)


def test_texts_that_are_too_long_or_empty_do_not_leave(shop: Home, gateway: Gateway) -> None:
    with sms(shop, gateway, more="segments = 2") as sender:
        for body, why in [("\u4e2d" * 135, "3 parts in UCS-2"), ("a" * 307, "3 parts in GSM-7"), (" ", "needs the part body")]:
            with pytest.raises(Terminal, match=why):
                sender.send(text(body), address="+442079460018", at=START)
    assert gateway.asked == []


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"{to}"', '"{two}"', 'no placeholder "{two}". Did you mean "to"'),
        ('"{to}"', '"{to"', ""),
        ('url = "', 'uri = "', "url"),
        ('kind = "bearer"', 'kind = "digest"', "kind must be"),
        ('"SANDPIPER_TOKEN"', '"NONE"', "NONE, which is not set"),
        ('ok = ["0", "queued"]', "", "say which codes are ok"),
        ('permanent = ["bad_number"]', 'permanent = ["0"]', "both ok and permanent"),
        ('code = "code"', "", "where they stand"),
        ('idempotency_header = "Idempotency-Key"', 'idempotency_header = "X: y"', "idempotency_header"),
        ("timeout = 2", "timeout = 0", "0.1 to 300"),
        ("timeout = 2", 'vendor = "nobody"', "no SMS vendor"),
        ("timeout = 2", "segments = 0", "1 to 20"),
        ("timeout = 2", 'format = "form"', "flat fields"),
        ("timeout = 2", 'format = "xml"', "json"),
    ],
)
def test_a_wrong_mapping_is_named(shop: Home, gateway: Gateway, old: str, new: str, why: str) -> None:
    good = SMS.format(url=gateway.url(), more="", body="")
    assert old in good
    (shop.root / "channels.toml").write_text(good.replace(old, new, 1))
    if not why:
        channel(shop, "sms", environment=SECRETS)  # an unpaired brace is a brace
        return
    with pytest.raises((InputError, NotFound)) as caught:
        channel(shop, "sms", environment=SECRETS)
    assert why in str(caught.value)


# -- registered templates ---------------------------------------------------------------------------------------------


def test_an_instance_of_a_template_is_recognised() -> None:
    assert instance("Hi {title}!", "Hi boots!") == {"title": "boots"}
    assert instance("{title}: {price}, {title}", "a: 9, a") == {"title": "a", "price": "9"}
    for text_, template in [
        ("Hi boots.", "Hi {title}!"),
        ("Hi !", "Hi {title}!"),
        ("a: 9, b", "{title}: {price}, {title}"),
        ("Hi a!x", "Hi {title}!"),
    ]:
        assert instance(template, text_) is None
    assert instance("a.b", "axb") is None


def test_only_approved_templates_leave_and_only_in_the_vendors_hours(home: Home, gateway: Gateway) -> None:
    register, day = Register(home.root), START.replace(hour=4)  # noon in China
    words = "\u65b0\u54c1{title}\u5230\u8d27\uff0c\u62d2\u6536\u8bf7\u56de\u590dR"
    body = "\u3010\u6e2f\u6e7e\u3011" + words.replace("{title}", "\u9774\u5b50")
    gateway.answers = [OK]
    with sms(home, gateway, more='vendor = "aliyun"', body='template = "{template}"\nvars = "{variables}"\nsign = "{sign}"') as sender:

        def send(at: Any = day, words: str = body) -> Any:
            return sender.send(text(words), address="+8613800000000", at=at)

        def refused() -> None:
            with pytest.raises(Terminal, match="approved no template"):
                send()

        refused()
        register.draft("new", vendor="aliyun", text=words, at=day, by="li")
        refused()
        register.submit("new", vendor="aliyun", at=day, by="li")
        refused()
        register.approve("new", vendor="aliyun", code="SMS_42", at=day, by="li", expires_at=day + timedelta(days=1))
        send()
        assert gateway.asked[0].json["template"] == "SMS_42"
        assert gateway.asked[0].json["vars"] == {"title": "\u9774\u5b50"}
        assert gateway.asked[0].json["sign"] == "\u6e2f\u6e7e"
        with pytest.raises(Terminal, match="approved no template"):
            send(words=body + "!")
        with pytest.raises(Terminal, match="link"):
            send(words=body.replace("\u9774\u5b50", "www.x.cn"))
        with pytest.raises(Terminal, match="approved no template"):
            send(at=day + timedelta(days=2))
        with pytest.raises(StateError, match="8:00 to 21:00"):
            send(at=day + timedelta(hours=10))
    assert len(gateway.asked) == 1


# -- push -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("vendor", "parts", "why"),
    [
        ("xiaomi", {"title": "t" * 51, "body": "b"}, "51 chars; xiaomi refuses"),
        ("xiaomi", {"title": "t", "body": "b" * 129}, "129 chars"),
        ("vivo", {"title": "\u4e2d" * 21, "body": "b"}, "42 columns"),
        ("apple", {"title": "t" * 60, "body": "b"}, ""),  # only shown shortened
        ("apple", {"title": "t", "body": "b" * 4096}, "payload"),
        ("huawei", {"title": "t", "body": "\u4e2d" * 1024}, ""),
        ("fcm", {"title": "", "body": "b"}, "needs the part title"),
        ("fcm", {"body": "b"}, "needs the part title"),
    ],
)
def test_a_vendors_limits_hold(shop: Home, gateway: Gateway, vendor: str, parts: dict[str, str], why: str) -> None:
    (shop.root / "channels.toml").write_text(PUSH.format(url=gateway.url(), vendor=vendor, format="json"))
    with channel(shop, "push", environment=SECRETS) as sender:
        item = message("ann", channel="push", parts=parts)
        if not why:
            assert sender.send(item, address="tok", at=START).state == "accepted"
            return
        with pytest.raises(Terminal, match=why):
            sender.send(item, address="tok", at=START)
    assert gateway.asked == []


def test_a_token_is_no_place_for_headers(shop: Home, gateway: Gateway) -> None:
    (shop.root / "channels.toml").write_text(PUSH.format(url=gateway.url(), vendor="fcm", format="json"))
    with channel(shop, "push", environment=SECRETS) as sender:
        for token in (None, "", "a\r\nb", "\u4e2d"):
            with pytest.raises(Terminal, match="token"):
                sender.send(message("ann", channel="push", parts={"title": "t", "body": "b"}), address=token, at=START)


# -- receipts ---------------------------------------------------------------------------------------------------------


def texted(home: Home, gateway: Gateway, names: list[str]) -> None:
    size = len(names)
    addresses = [f"+4420794600{number:02d}" for number in range(size)]
    Vault(home).put(pa.table({"customer": names, "channel": ["sms"] * size, "address": addresses}, schema=schema.CONTACTS))
    consent(home, names, channel="sms", at=START - timedelta(days=1))
    queue(home, [message(name, channel="sms", parts={"body": "Boots. Reply STOP to end."}) for name in names])
    gateway.answers = [OK] * size
    with sms(home, gateway) as sender:
        assert deliver(home, channels={"sms": sender}, now=Clock()).counts == {"accepted": size}


def called(home: Home, reports: list[tuple[str, str]], *, id: str, key: bytes = KEY) -> Any:  # noqa: A002
    body = json.dumps({"reports": [{"client_ref": name, "state": state} for name, state in reports]}).encode()
    headers = _signing.sign([key], id=id, at=START, body=body)
    return feedback_receipts.take(home, "sms", headers, body, environment=SECRETS, now=START)


def test_receipts_become_suppressions_and_events(home: Home, gateway: Gateway) -> None:
    names = ["ann", "bob", "cat", "dan"]
    texted(home, gateway, names)
    ids = {name: message(name, channel="sms").message_id for name in names}
    reports = [
        (ids["ann"], "DELIVERED"),
        (ids["bob"], "ABSENT"),
        (ids["cat"], "STOP"),
        (ids["dan"], "OFF"),
        (ids["dan"], "ODD"),
        ("0" * 64, "ABSENT"),
    ]
    call = called(home, reports, id="c-1")
    assert call.result == {"delivered": 1, "hard": 1, "optout": 1, "soft": 1, "unlisted": 1, "foreign": 1}
    assert called(home, reports, id="c-1").repeated
    assert called(home, reports, id="c-2").result == {"repeated": 4, "unlisted": 1, "foreign": 1}
    with pytest.raises(InputError, match="not signed with"):
        called(home, [(ids["ann"], "STOP")], id="c-3", key=bytes(32))
    with home.ledger.read() as conn:
        why = {name: Consents(home).allowed(conn, name, "sms")[1] for name in names}
    assert why == {"ann": "", "bob": "suppressed:hard_bounce", "cat": "suppressed:unsubscribed", "dan": ""}
    home.log.compact(now=START)
    rows = home.tables.to_arrow(home.tables.events()).to_pylist()
    assert sorted((row["kind"], row["customer"]) for row in rows if row["kind"] != "sent") == [
        ("bounce", "bob"),
        ("bounce", "dan"),
        ("unsubscribe", "cat"),
    ]
    assert set(states(home).values()) == {"accepted"}


def test_a_shared_token_in_place_of_a_signature(home: Home, gateway: Gateway) -> None:
    texted(home, gateway, ["ann"])
    path = home.root / "channels.toml"
    path.write_text(
        path.read_text().replace('secret_env = ["SANDPIPER_HOOK"]', 'secret_env = ["SANDPIPER_TOKEN"]\ntoken_header = "X-Token"')
    )
    body = json.dumps({"reports": [{"client_ref": message("ann", channel="sms").message_id, "state": "ABSENT"}]}).encode()
    for headers in ({}, {"x-token": "t0kem"}, {"x-token": "\u4e2d"}):
        with pytest.raises(InputError, match="agreed token"):
            feedback_receipts.take(home, "sms", headers, body, environment=SECRETS, now=START)
    assert feedback_receipts.take(home, "sms", {"X-TOKEN": "t0ken"}, body, environment=SECRETS, now=START).result == {"hard": 1}


@pytest.mark.parametrize(
    ("body", "readable"),
    [
        (b"", False),
        (b"[", False),
        (b"[" * 100_000, False),
        (b"\xff", False),
        (b'{"reports": [1, null, {"client_ref": {}}]}', True),
        (b'{"reports": 5}', True),
        (b"{}", True),
    ],
)
def test_calls_that_cannot_be_read_change_nothing(home: Home, gateway: Gateway, body: bytes, readable: bool) -> None:
    texted(home, gateway, ["ann"])
    headers = _signing.sign([KEY], id="odd", at=START, body=body)
    if readable:
        assert not feedback_receipts.take(home, "sms", headers, body, environment=SECRETS, now=START).result
        return
    with pytest.raises(InputError, match="receipt"):
        feedback_receipts.take(home, "sms", headers, body, environment=SECRETS, now=START)


def test_too_many_reports_at_once(home: Home, gateway: Gateway) -> None:
    texted(home, gateway, ["ann"])
    with pytest.raises(InputError, match="1,001 receipts"):
        called(home, [("0", "X")] * 1001, id="big")


def test_receipts_need_a_table_and_a_secret(shop: Home, gateway: Gateway, tmp_path: Path) -> None:
    sms(shop, gateway)
    path = shop.root / "channels.toml"
    whole = path.read_text()
    for text_, why in [
        (whole.partition("[sms.receipts]")[0], "no table"),
        (whole.replace('["SANDPIPER_HOOK"]', "[]"), "at least one secret"),
        (whole.replace('reports = "reports"', 'reports = "reports"\nformat = "form"'), "one report per call"),
    ]:
        path.write_text(text_)
        with pytest.raises(InputError, match=why):
            feedback_receipts.Reading.of(shop, "sms", SECRETS)
