"""The webhook channel against a real HTTP server on loopback, and calls that come in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import select
import socket
import ssl
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from deliver_http import Gateway, certificate, server_context
from deliver_kit import KEY, START, Clock, message, people, queue, states

from tradewind.deliver.channels import _signing
from tradewind.deliver.channels._http import Endpoint
from tradewind.deliver.channels.base import Later, Uncertain
from tradewind.deliver.channels.webhook import Webhook
from tradewind.deliver.deliver import channel, deliver
from tradewind.deliver.feedback_calls import receive
from tradewind.engine.home import Home
from tradewind.errors import InputError, StateError, Terminal, Transient

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
SECRET = "whsec_" + base64.b64encode(OLD).decode()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as running:
        yield running


def hook(gateway: Gateway, *, timeout: float = 5) -> Webhook:
    return Webhook(Endpoint(gateway.url(), timeout=timeout, private=True), [OLD, NEW])


def send(channel: Webhook, step: str = "1", address: str | None = None) -> str:
    return channel.send(message("ann", step=step), address=address, at=START).state


def test_a_call_is_signed_by_every_key_and_carries_the_id(gateway: Gateway) -> None:
    with hook(gateway) as channel:
        assert send(channel) == "accepted"
        assert send(channel, "2") == "accepted"
    (asked, _) = gateway.asked
    item = message("ann")
    assert gateway.connections == 1
    assert asked.json["data"]["message_id"] == asked.headers["webhook-id"] == asked.headers["idempotency-key"] == item.message_id
    assert "address" not in asked.json["data"]
    # by hand, as the specification says it
    told = f"{item.message_id}.{int(START.timestamp())}.".encode() + asked.body
    marks = [base64.b64encode(hmac.new(key, told, hashlib.sha256).digest()).decode() for key in (OLD, NEW)]
    assert asked.headers["webhook-signature"] == " ".join(f"v1,{mark}" for mark in marks)
    for key in (OLD, NEW):
        assert _signing.verify([key], asked.headers, asked.body, now=START) == item.message_id


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (400, Terminal),
        (422, Terminal),
        (401, StateError),
        (404, StateError),
        (410, StateError),
        (b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n", StateError),
        (429, Transient),
        (503, Transient),
        (500, Uncertain),
        (502, Uncertain),
        ("early", (Transient, Uncertain)),
        ("drop", Uncertain),
        ("drip", Uncertain),
        ("hang", Uncertain),
        (b"\x00\xff\r\n\r\n", Uncertain),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000, Uncertain),
    ],
)
def test_answers_and_silence_are_classed(gateway: Gateway, answer: object, error: type[Exception]) -> None:
    gateway.answers = [answer]
    with hook(gateway, timeout=0.6) as channel:
        with pytest.raises(error):
            send(channel)
        channel.close()
        assert send(channel, "2") == "accepted"


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("120", 120.0),
        ("Sun, 01 Mar 2026 09:30:00 GMT", 1800.0),
        ("Sun, 01 Mar 2026 08:00:00 GMT", 0.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("\u0661", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_service_says_when_to_come_again(gateway: Gateway, status: int, told: str, seconds: float | None) -> None:
    head = f"HTTP/1.1 {status} X\r\nDate: Sun, 01 Mar 2026 09:00:00 GMT\r\nRetry-After: {told}\r\nContent-Length: 0\r\n\r\n"
    gateway.answers = [head.encode()]
    with hook(gateway) as channel, pytest.raises(Transient) as caught:
        send(channel)
    assert (caught.value.seconds if isinstance(caught.value, Later) else None) == seconds


def test_a_status_counts_even_when_the_body_is_cut(gateway: Gateway) -> None:
    gateway.answers = ["cut", b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"]
    with hook(gateway) as channel:
        assert [send(channel, step) for step in "123"] == ["accepted"] * 3


def test_a_connection_that_was_closed_while_idle_is_replaced(gateway: Gateway) -> None:
    gateway.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"]  # and closes without a word
    with hook(gateway) as channel:
        assert send(channel) == "accepted"
        kept: Any = channel._client._connection
        assert select.select([kept.sock.sock], [], [], 5)[0]  # the other side has closed it
        for step in "23":
            assert send(channel, step) == "accepted"
    assert gateway.connections == 2


def test_nobody_listens_is_certain() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Transient, match="cannot be reached"):
        send(Webhook(Endpoint(f"http://127.0.0.1:{port}/", private=True), [OLD]))


# -- where it may lead ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "10.0.0.1", "192.168.1.1", "169.254.169.254", "[::ffff:127.0.0.1]", "[64:ff9b::a00:1]",
     "[2002:7f00:1::]", "[fec0::1]", "[::7f00:1]", "[64:ff9b:1::a00:1]", "0.0.0.0", "[fe80::1]", "100.64.0.1", "224.0.0.1", "2130706433",
     "0x7f.1"],
)  # fmt: skip
def test_private_addresses_are_refused(host: str) -> None:
    with pytest.raises((StateError, Transient)) as caught:
        send(Webhook(Endpoint(f"https://{host}/hook", timeout=2), [OLD]))
    assert isinstance(caught.value, StateError) or "looked up" in str(caught.value)


def test_a_name_is_checked_by_where_it_leads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two addresses, one private: refused before anything is connected to."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 443)) for one in ("93.184.216.34", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("connected"))
    with pytest.raises(StateError, match="private address"):
        send(Webhook(Endpoint("https://harmless.example/hook"), [OLD]))


@pytest.mark.parametrize(
    "url",
    ["http://shop.example/", "https://me:word@shop.example/", "ftp://shop.example/", "https://", "https://a b.example/", "https://x\r\ny/",
     "https://\u4e2d.example/", "http://127.0.0.1/", "https://h:99999/"],
)  # fmt: skip
def test_only_plain_https_addresses_are_taken(url: str) -> None:
    with pytest.raises(InputError) as caught:
        Endpoint(url)
    assert "word" not in str(caught.value).replace("password", "")


def test_certificates_are_verified(tmp_path: Path) -> None:
    good, expired = certificate(tmp_path / "good"), certificate(tmp_path / "expired", valid=False)
    other = certificate(tmp_path / "other", name="127.0.0.2")
    for files, trusted, why in [(good, good, ""), (good, None, "self-signed"), (expired, expired, "expired"), (other, other, "mismatch")]:
        with Gateway(context=server_context(files)) as gateway:
            trust = ssl.create_default_context(cafile=str(trusted[0])) if trusted else None
            with Webhook(Endpoint(gateway.url(), private=True, context=trust, timeout=5), [OLD]) as channel:
                if not why:
                    assert send(channel) == "accepted"
                    continue
                with pytest.raises(StateError, match=why):
                    send(channel)
                assert gateway.asked == []


# -- through the queue ------------------------------------------------------------------------------------------------


def test_set_up_from_the_file_and_through_the_queue(gateway: Gateway, home: Home) -> None:
    people(home, ["ann", "bob", "cat"])
    queue(home, [message(name) for name in ("ann", "bob", "cat")])
    (home.root / "channels.toml").write_text(
        f'[webhook]\nurl = "{gateway.url()}"\nprivate = true\naddresses = true\nidempotent = true\nsecret_env = ["HOOK"]\n'
    )
    gateway.answers = [200, "drop", 200, 200]
    clock = Clock()
    with channel(home, "webhook", environment={"HOOK": SECRET}) as sender:
        assert sender.idempotent
        assert SECRET not in repr(sender)
        done = deliver(home, channels={"email": sender}, now=clock)
        clock.forward(hours=3)
        deliver(home, channels={"email": sender}, now=clock)
    assert set(states(home).values()) == {"accepted"}, done
    assert len(gateway.asked) == 4  # the doubtful one was asked again under its key
    assert len({asked.headers["idempotency-key"] for asked in gateway.asked}) == 3
    assert {asked.json["data"]["address"] for asked in gateway.asked} == {f"{name}@mail.example" for name in ("ann", "bob", "cat")}


def test_without_a_promise_a_doubt_stays_a_doubt(gateway: Gateway, home: Home) -> None:
    people(home, ["ann"])
    queue(home, [message("ann")])
    gateway.answers = ["drop"]
    with hook(gateway) as sender:
        assert deliver(home, channels={"email": sender}, now=Clock()).counts == {"unknown": 1}
        assert deliver(home, channels={"email": sender}, now=Clock()).counts == {}
    assert len(gateway.asked) == 1


def test_settings_that_are_missing_or_wrong_are_named(home: Home) -> None:
    with pytest.raises(InputError, match=r"\[webhook\]"):
        channel(home, "webhook", environment={})
    path = home.root / "channels.toml"
    for text, environment, why in [
        ('url = "https://x.example"\nsecret_env = ["HOOK"]', {}, "HOOK, which is not set"),
        ('url = "https://x.example"\nsecret_env = ["HOOK"]', {"HOOK": "whsec_abc"}, "24 to 64"),
        ('url = "https://x.example"\nsecret_env = []', {}, "needs a secret"),
        ('url = "https://x.example"\nsecret_env = ["HOOK"]\nretries = 3', {"HOOK": SECRET}, "unknown key"),
        ('url = "https://x.example"\nsecret_env = ["HOOK"]\ntimeout = "5"', {"HOOK": SECRET}, "must be a number"),
        ('url = "https://x.example"\nsecret_env = ["HOOK"]\nca = "none.pem"', {"HOOK": SECRET}, "PEM file"),
        ('secret_env = ["HOOK"]', {"HOOK": SECRET}, "needs url"),
    ]:
        path.write_text(f"[webhook]\n{text}\n")
        with pytest.raises(InputError, match=why):
            channel(home, "webhook", environment=environment)


# -- calls that come in -----------------------------------------------------------------------------------------------


def test_a_published_example_verifies() -> None:
    """The example of the Standard Webhooks specification's reference implementations."""
    key = _signing.secret_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    at = START.fromtimestamp(1614265330, tz=START.tzinfo)
    assert _signing.verify([key], headers, b'{"test": 2432232314}', now=at) == "msg_p5jXN8AQM9LWM0D4loKWxJek"


def test_forged_old_and_early_calls_are_refused() -> None:
    body = b'{"a": 1}'
    good = _signing.sign([OLD], id="call-1", at=START, body=body)
    assert _signing.verify([NEW, OLD], {name.upper(): value for name, value in good.items()}, body, now=START) == "call-1"
    for seconds in (-300, 300):
        assert _signing.verify([OLD], good, body, now=START + timedelta(seconds=seconds))
    refused = [
        ({}, body, START),
        (good, body + b" ", START),
        ({**good, "webhook-id": "call-2"}, body, START),
        ({**good, "webhook-timestamp": str(int(good["webhook-timestamp"]) + 1)}, body, START),
        ({**good, "webhook-timestamp": "\u0661\u0662"}, body, START),
        ({**good, "webhook-timestamp": "-1"}, body, START),
        ({**good, "webhook-signature": good["webhook-signature"].replace("v1,", "v1a,")}, body, START),
        ({**good, "webhook-signature": "v1,"}, body, START),
        ({**good, "webhook-signature": "v1,\u4e2d"}, body, START),
        (_signing.sign([NEW], id="call-1", at=START, body=body), body, START),
        (good, body, START + timedelta(seconds=301)),
        (good, body, START - timedelta(seconds=301)),
    ]
    for headers, data, now in refused:
        with pytest.raises(InputError):
            _signing.verify([OLD], headers, data, now=now)


def test_a_repeated_call_has_no_effect_and_a_killed_one_comes_through(home: Home) -> None:
    taken: list[bytes] = []
    body = b"{}"
    headers = _signing.sign([KEY], id="call-1", at=START, body=body)

    def take(data: bytes) -> int:
        taken.append(data)
        if len(taken) == 1:
            raise KeyboardInterrupt
        return 7

    with pytest.raises(KeyboardInterrupt):
        receive(home, "sms", headers, body, keys=[KEY], now=START, take=take)
    call = receive(home, "sms", headers, body, keys=[KEY], now=START, take=take)
    assert (call.repeated, call.result) == (False, 7)
    for later in (0, 200):
        assert receive(home, "sms", headers, body, keys=[KEY], now=START + timedelta(seconds=later), take=take).repeated
    assert len(taken) == 2
    assert not receive(home, "push", headers, body, keys=[KEY], now=START, take=take).repeated  # ids are the sender's own
    with pytest.raises(InputError, match="older"):
        receive(home, "sms", headers, body, keys=[KEY], now=START + timedelta(hours=1), take=take)
    with pytest.raises(InputError, match="bytes"):
        receive(home, "sms", headers, b"a" * (1 << 21), keys=[KEY], now=START, take=take)
