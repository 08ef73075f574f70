"""What an operator sees of the queue and does to it, by the API and by the command line; every act is in the audit log."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from deliver_kit import START, Clock, message, people, queue, states
from sqlalchemy import select
from typer.testing import CliRunner

from tradewind.cli import app
from tradewind.decide import commit
from tradewind.deliver import rules
from tradewind.deliver.channels.base import Channel, Uncertain, accepted
from tradewind.deliver.channels.outbox import Outbox
from tradewind.deliver.deliver import deliver
from tradewind.deliver.queue import Queue
from tradewind.deliver.rules import Rules
from tradewind.engine import ledger as books
from tradewind.engine.audit import entries
from tradewind.engine.home import Home
from tradewind.engine.ledger import insert_new
from tradewind.errors import InputError, NotFound, StateError, Terminal, Transient
from tradewind.types import Message, Receipt


class Moody(Channel):
    """Answers every customer in a way of its own."""

    def send(self, message: Message, *, address: str | None, at: object) -> Receipt:
        faults = {"ann": Terminal("no such mailbox"), "bob": Uncertain("cut after the text"), "cat": Transient("busy")}
        if message.customer in faults:
            raise faults[message.customer]
        return accepted(message, at=at, provider_id="Q1")  # type: ignore[arg-type]


@pytest.fixture
def shop(each_home: Home) -> tuple[Home, dict[str, str], Clock]:
    names = ("ann", "bob", "cat", "dan")
    rules.save(each_home, Rules(attempts=2, backoff_seconds=60))
    people(each_home, names)
    ids = dict(zip(names, queue(each_home, [message(name) for name in names]), strict=True))
    clock = Clock()
    for _ in range(2):
        deliver(each_home, channels={"email": Moody()}, now=clock)
        clock.forward(minutes=5)
    return each_home, ids, clock


def test_the_dead_letters_and_the_history_of_one(shop: tuple[Home, dict[str, str], Clock]) -> None:
    home, ids, clock = shop
    desk = Queue(home, now=clock)
    assert {(row["customer"], row["state"], row["detail"]) for row in desk.messages()} == {
        ("ann", "failed", "no such mailbox"),
        ("bob", "unknown", "cut after the text"),
        ("cat", "failed", "busy (tried 2 times)"),
    }
    assert {(row["state"], row["messages"]) for row in desk.counts()} == {("accepted", 1), ("failed", 2), ("unknown", 1)}
    told = desk.show(ids["cat"])
    assert [(step["state"], step["detail"], step["actor"]) for step in told.steps] == [
        ("ready", "busy", "deliver"),
        ("failed", "busy (tried 2 times)", "deliver"),
    ]
    assert told.message is not None
    assert told.message["parts"]["subject"] == "Hello 1"
    assert "cat@mail.example" not in told.to_text() + json.dumps(told.to_json(), default=str)
    assert "at the provider Q1" in desk.show(ids["dan"]).to_text()
    with pytest.raises(NotFound, match="outbox list"):
        desk.show("nothing")
    for wrong in ({"states": ("dead",)}, {"channel": "fax"}):
        with pytest.raises(NotFound):
            desk.messages(**wrong)


def test_replay_of_many_and_resolve(shop: tuple[Home, dict[str, str], Clock]) -> None:
    home, ids, clock = shop
    desk = Queue(home, now=clock)
    with pytest.raises(InputError, match="name the messages"):
        desk.replay_failed(by="li")
    assert desk.replay_failed(by="li", channel="email", why="busy") == 1
    assert states(home)[ids["cat"]] == "ready"
    with pytest.raises(StateError, match="reach the person twice"):
        desk.replay(ids["bob"], by="li")
    desk.resolve(ids["bob"], accepted=True, by="li", provider_id="Q7")
    assert states(home)[ids["bob"]] == "accepted"
    assert [(step["state"], step["actor"]) for step in desk.show(ids["bob"]).steps] == [("unknown", "deliver"), ("accepted", "li")]
    assert desk.cancel("plan-1", by="li") == 1
    desk.stop("email", by="li", why="wrong price")
    desk.resume("email", by="li")
    with home.ledger.read() as conn:
        log = [(row.actor, row.action, row.subject) for row in entries(conn, action="outbox")]
    assert log == [
        ("person:li", "outbox.resume", "channel:email"),
        ("person:li", "outbox.stop", "channel:email"),
        ("person:li", "outbox.cancel", "plan:plan-1"),
        ("person:li", "outbox.accepted", f"message:{ids['bob']}"),
        ("person:li", "outbox.ready", f"message:{ids['cat']}"),
    ]


def test_what_a_cancelled_plan_held_is_free_at_once_and_a_killed_cancel_is_finished(
    each_home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, names = each_home, [f"c{number}" for number in range(6)]
    people(home, names)
    items = [message(name) for name in names]
    ids = queue(home, items)
    other = message("c0", plan_id="plan-2")
    queue(home, [other])
    decisions = [item.decision_id for item in (*items, other)]
    with home.ledger.write() as conn:
        insert_new(conn, books.budgets, [{"budget": "b", "currency": "CNY", "amount": 100, "reserved": 70, "spent": 0}])
        held = [{"decision_id": name, "budget": "b", "amount": 10, "state": "held", "spent": 0} for name in decisions]
        insert_new(conn, books.reservations, held)
        insert_new(conn, books.stock, [{"thing": "item:mug", "reserved": 7}])
        insert_new(conn, books.promises, [{"decision_id": name, "thing": "item:mug", "until": 2**60} for name in decisions])

    def left() -> tuple[int, int]:
        with home.ledger.read() as conn:
            money = conn.execute(select(books.budgets.c.reserved)).scalar_one()
            return money, conn.execute(select(books.stock.c.reserved)).scalar_one()

    deliver(home, "plan-1", channels={"email": Outbox()}, now=Clock(START), limit=1)
    monkeypatch.setattr("tradewind.deliver.outbox.FREED", 2)
    release, calls = commit.release, []

    def killed(home: Home, some: Sequence[str]) -> int:
        calls.append(some)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return release(home, some)

    monkeypatch.setattr(commit, "release", killed)
    desk = Queue(home, now=Clock(START))
    with pytest.raises(KeyboardInterrupt):
        desk.cancel("plan-1", by="li")
    assert left() == (50, 5), "two of the five are free"
    assert desk.cancel("plan-1", by="li") == 0
    assert left() == (20, 2), "what was handed off and the other plan still hold theirs"
    assert sorted(states(home)[name] for name in ids) == ["accepted", *["suppressed"] * 5]


def test_the_commands(tmp_path: Path) -> None:
    folder = str(tmp_path / "shop")
    with Home.open(folder) as home:
        people(home, ["ann", "bob"])
        ann, bob = queue(home, [message("ann"), message("bob")])
        deliver(home, channels={"email": Moody()}, now=Clock(START))

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, ["outbox", *arguments, "--shop", folder])
        assert (done.exit_code == 0) == (code == 0), done.output
        return done.output

    assert "no such mailbox" in run("list")
    assert [row["message_id"] for row in json.loads(run("list", "--state", "unknown", "--json"))["messages"]] == [bob]
    assert "now failed, 1 tries, no such mailbox" in run("show", ann)
    assert "1 messages are ready again" in run("replay", ann, "--by", "li")
    assert "accepted" in run("resolve", bob, "--accepted", "--by", "li")
    assert "will not leave" in run("cancel", "plan-1", "--by", "li")
    assert "is stopped" in run("stop", "email", "--why", "wrong price", "--by", "li")
    assert "channel email  stopped: wrong price" in run("gates")
    assert "runs" in run("resume", "email", "--by", "li")
    assert "Everything is open" in run("gates")
    run("replay", ann, "--channel", "email", "--by", "li", code=1)
