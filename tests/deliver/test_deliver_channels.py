"""The contract of channels, checked on every one that exists; and what is special to the file."""

from __future__ import annotations

import base64
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from aiosmtpd.handlers import Sink
from deliver_http import Gateway
from deliver_kit import KEY, START, Clock, Listening, consent, message, people, queue, states

from tradewind import plugins, schema
from tradewind.collect.vault import Vault
from tradewind.compose.base import UNSUBSCRIBE
from tradewind.deliver.channels.base import Channel
from tradewind.deliver.channels.file import File
from tradewind.deliver.deliver import channel, deliver
from tradewind.deliver.links import Link, Links, fill
from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFound, Transient
from tradewind.types import Message

NAMES = sorted(plugins.names("deliver.channels"))
ADDRESS = "ann@mail.example"
OTHERS: dict[str, tuple[dict[str, Any], str]] = {  # what is sent where it is no e-mail, and to which address
    "sms": ({"channel": "sms", "parts": {"body": "Boots. Reply STOP to end."}}, "+442079460018"),
    "slot": ({"channel": "inapp"}, ADDRESS),
    "live": ({"parts": {"speech": "And now the boots.", "label": "Made by AI"}}, ADDRESS),
    "push": ({"channel": "push", "parts": {"title": "Boots", "body": "They are here."}}, "device-token-1"),
}


def sample(name: str, customer: str, **values: Any) -> Message:
    """A message that the channel of this name takes."""
    return message(customer, **{**OTHERS.get(name, ({}, ""))[0], **values})


def address_of(name: str) -> str:
    return OTHERS.get(name, ({}, ADDRESS))[1]


@pytest.fixture
def environment(home: Home) -> Iterator[dict[str, str]]:
    """What the channels of this package need: a mail server, a sender, an address for links, a gateway and its secrets."""
    server = Listening(Sink(), hostname="127.0.0.1", port=0)
    server.start()
    with Gateway() as gateway:
        common = f'url = "{gateway.url()}"\nprivate = true\n'
        (home.root / "channels.toml").write_text(
            f'[webhook]\n{common}secret_env = ["HOOK"]\n'
            f'[sms]\n{common}[sms.body]\nto = "{{to}}"\ntext = "{{body}}"\n'
            f'[push]\n{common}vendor = "fcm"\n[push.body]\nto = "{{token}}"\ntitle = "{{title}}"\nbody = "{{body}}"\n'
        )
        consent(home, ["ann", "bob"], channel="ads", at=START)
        yield {
            "TRADEWIND_SMTP": f"smtp+plain://127.0.0.1:{server.port}",
            "TRADEWIND_SENDER": "news@harbour.example",
            "TRADEWIND_LINKS": "https://harbour.example/t",
            "HOOK": "whsec_" + base64.b64encode(KEY).decode(),
        }
    server.stop()


def test_all_channels_are_found() -> None:
    assert {"outbox", "file", "smtp", "console", "webhook", "sms", "push", "slot", "ads", "live"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_contract(name: str, home: Home, environment: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    sender = channel(home, name, environment=environment)
    assert isinstance(sender, Channel)
    assert isinstance(sender.idempotent, bool)
    assert sender.provider == channel(home, name, environment=environment).provider
    for _ in range(2):  # it opens again what it closed
        for step in ("1", "2"):
            item = sample(name, "ann", step=step)
            receipt = sender.send(item, address=address_of(name), at=START)
            assert (receipt.message_id, receipt.state, receipt.at) == (item.message_id, "accepted", START)
            assert len(receipt.provider_id or "") <= 255
        sender.flush()
        sender.close()
        sender.close()
    assert address_of(name) not in repr(sender)
    assert address_of(name) not in capsys.readouterr().out
    if not sender.addressed:
        sender.send(sample(name, "bob"), address=None, at=START)
    sender.close()


@pytest.mark.parametrize("name", NAMES)
def test_through_the_queue(name: str, home: Home, environment: dict[str, str]) -> None:
    kind = sample(name, "ann").channel
    people(home, ["ann", "bob"], channel=kind)
    if kind != "email":
        points = {"customer": ["ann", "bob"], "channel": [kind] * 2, "address": [address_of(name), address_of(name) + "2"]}
        Vault(home).put(pa.table(points, schema=schema.CONTACTS))
    queue(home, [sample(name, "ann"), sample(name, "bob")])
    with channel(home, name, environment=environment) as sender:
        done = deliver(home, "plan-1", channels=sender, now=Clock())
        assert done.counts == {"accepted": 2}
        assert deliver(home, "plan-1", channels=sender, now=Clock()).counts == {}
    assert set(states(home).values()) == {"accepted"}


@pytest.mark.parametrize("name", ["smtp", "sms", "push", "slot"])
def test_a_channel_leaves_messages_of_other_channels_alone(name: str, home: Home, environment: dict[str, str]) -> None:
    """A text message handed to a mail server would be refused for good, and be lost."""
    other = "sms" if name == "smtp" else "email"
    people(home, ["ann"], channel=other)
    queue(home, [message("ann", channel=other)])
    with channel(home, name, environment=environment) as sender:
        assert deliver(home, "plan-1", channels=sender, now=Clock()).counts == {}
        with pytest.raises(InputError, match="sender of its own"):
            deliver(home, "plan-1", channels={other: sender}, now=Clock())
    assert set(states(home).values()) == {"ready"}


def test_an_unknown_channel_is_named(home: Home) -> None:
    with pytest.raises(NotFound, match='Did you mean "smtp"'):
        channel(home, "smpt", environment={})


# -- file -------------------------------------------------------------------------------------------------------------


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "plan-1.jsonl").read_text().splitlines()]


def test_a_file_takes_an_id_once_also_from_two_writers(tmp_path: Path) -> None:
    with File(tmp_path) as one, File(tmp_path) as two:
        for sender in (one, two, one):
            for step in "12":
                sender.send(message("ann", step=step), address=None, at=START)
            sender.flush()
        two.send(message("ann", step="3"), address=None, at=START)
        two.flush()
    assert len({line["message_id"] for line in lines(tmp_path)}) == 3
    assert "address" not in lines(tmp_path)[0]
    assert (tmp_path / "plan-1.jsonl").stat().st_mode & 0o077 == 0


def test_a_cut_line_is_removed_by_the_next_writer(tmp_path: Path) -> None:
    with File(tmp_path) as sender:
        sender.send(message("ann"), address=None, at=START)
        sender.flush()
    with (tmp_path / "plan-1.jsonl").open("ab") as file:
        file.write(b'{"message_id": "cut sho')
    with File(tmp_path, addresses=True, links=Links("https://s.example", KEY)) as sender:
        sender.send(message("bob"), address="bob@mail.example", at=START)
        sender.flush()
    found = lines(tmp_path)
    assert [line["customer"] for line in found] == ["ann", "bob"]
    assert found[1]["address"] == "bob@mail.example"
    assert UNSUBSCRIBE not in str(found[1])


def test_a_full_disk_leaves_no_half_line_and_loses_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    people(home, ["ann", "bob"])
    queue(home, [message("ann"), message("bob")])
    real, clock = os.pwrite, Clock()

    def full(descriptor: int, data: bytes, at: int) -> int:
        if data[100:]:
            return real(descriptor, data[:100], at)
        raise OSError(errno.ENOSPC, "No space left on device")

    with File(home.root / "outbox") as sender:
        monkeypatch.setattr(os, "pwrite", lambda descriptor, data, at: full(descriptor, data[:150], at))
        assert deliver(home, channels=sender, now=clock).counts == {"retry": 2}
        assert (home.root / "outbox" / "plan-1.jsonl").read_bytes() == b""
        monkeypatch.setattr(os, "pwrite", real)
        clock.forward(hours=1)
        assert deliver(home, channels=sender, now=clock).counts == {"accepted": 2}
    assert len(lines(home.root / "outbox")) == 2


def test_a_file_refuses_ids_that_lead_elsewhere(tmp_path: Path) -> None:
    with File(tmp_path) as sender, pytest.raises(InputError, match="cannot name a file"):
        sender.send(message("ann", plan_id="../x"), address=None, at=START)
    with File("/proc/none") as sender, pytest.raises(InputError, match="cannot be opened"):
        sender.send(message("ann"), address=None, at=START)


def test_a_disk_that_refuses_is_transient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with File(tmp_path) as sender:
        sender.send(message("ann"), address=None, at=START)
        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(Transient, match="Input/output"):
            sender.flush()


def test_the_console_shows_no_control_characters(capsys: pytest.CaptureFixture[str], home: Home) -> None:
    with channel(home, "console", environment={}) as sender:
        sender.send(message("ann", parts={"body": "a\x1b[2Jb\nc\u202ed"}), address=ADDRESS, at=START)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\\x1b[2Jb" in shown


# -- links ------------------------------------------------------------------------------------------------------------


def test_links_carry_the_decision_and_cannot_be_changed() -> None:
    links = Links("https://shop.example/t/", KEY)
    item = message("ann")
    url = links.click(item, "https://shop.example/p/1?a=b&c=\u4e2d")
    assert url.startswith("https://shop.example/t/click/")
    token = url.rpartition("/")[2]
    assert links.verify(token, purpose="click") == Link("click", item.decision_id, "ann", "email", "https://shop.example/p/1?a=b&c=\u4e2d")
    unsubscribe = links.unsubscribe(item).rpartition("/")[2]
    assert links.verify(unsubscribe, purpose="unsubscribe").customer == "ann"
    other = Links("https://shop.example/t", bytes(32))
    payload, mac = token.split(".")
    for forged, purpose in [(unsubscribe, "click"), (token, "unsubscribe"), ("", "click"), ("a.b", "click"), ("\u4e2d.x", "click")]:
        with pytest.raises(InputError, match="valid"):
            links.verify(forged, purpose=purpose)
    for position in range(len(payload)):
        changed = payload[:position] + ("A" if payload[position] != "A" else "B") + payload[position + 1 :]
        with pytest.raises(InputError, match="valid"):
            links.verify(f"{changed}.{mac}", purpose="click")
    with pytest.raises(InputError, match="valid"):
        other.verify(token, purpose="click")
    assert repr(links).count("key") == 0


@pytest.mark.parametrize(
    "base", ["http://shop.example", "shop.example", "https://", "https://s.example/?q", "https://s.example/a b", "https://\u4e2d.example"]
)
def test_links_need_an_https_address(base: str) -> None:
    with pytest.raises(InputError, match="https"):
        Links(base, KEY)


def test_links_lead_to_the_web_only() -> None:
    with pytest.raises(InputError, match="http"):
        Links("https://shop.example", KEY).click(message("ann"), "javascript:alert(1)")


def test_the_placeholder_is_filled_and_escaped() -> None:
    parts = fill(message("ann"), 'https://x.example/?a="b"&c').parts
    assert UNSUBSCRIBE not in "".join(parts.values())
    assert 'href="https://x.example/?a=&quot;b&quot;&amp;c"' in parts["html"]
    assert 'https://x.example/?a="b"&c' in parts["body"]
