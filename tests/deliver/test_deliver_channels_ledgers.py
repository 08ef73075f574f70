"""What channels keep, on SQLite and on PostgreSQL; and that an audience, replayed from its files, is always who agrees."""

from __future__ import annotations

import csv
import hashlib
import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
from deliver_kit import START, Clock, consent, message, people, queue
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_deliver_clicks import PERSON, READ, link
from test_deliver_feedback import complaint, report

from tradewind import schema
from tradewind.collect.consent import Consents
from tradewind.collect.vault import Vault
from tradewind.deliver.channels.ads import Ads, Published
from tradewind.deliver.channels.outbox import Outbox
from tradewind.deliver.channels.slot import Slot
from tradewind.deliver.deliver import deliver
from tradewind.deliver.feedback import Feedback, log
from tradewind.deliver.feedback_clicks import settle, take
from tradewind.deliver.feedback_refs import Returns
from tradewind.engine.home import Home

NAMES = ["ann", "bob", "cat"]


def kinds(home: Home) -> list[str]:
    home.log.compact(now=START)
    return sorted(kind for kind in home.tables.to_arrow(home.tables.events())["kind"].to_pylist() if kind != "sent")


def test_the_same_on_both_ledgers(each_home: Home, tmp_path: Path) -> None:
    home = each_home
    people(home, NAMES)
    people(home, ["ann"], channel="inapp")
    queue(home, [*(message(name) for name in NAMES), message("ann", channel="inapp", parts={"title": "t"})])
    slot = Slot(home)
    deliver(home, channels={"email": Outbox(), "inapp": slot}, now=Clock())
    box = Feedback(home, Returns(Vault(home).key("returns"), "bounces@harbour.example"))
    ids = [box.returns.message_id(message(name).message_id, domain="harbour.example") for name in NAMES]
    mails = [report(quoted=ids[0]), report("4.2.2", to=str(box.returns.sender(message("bob").message_id))), complaint(ids[2])]
    for data in mails * 2:
        box.take(data, now=START)
    with ThreadPoolExecutor(4) as pool:
        pulls = list(pool.map(lambda _: Slot(home).pull("ann", "home", now=START, pull_id="view-0001"), range(8)))
    assert sum(not each.repeated for each in pulls if each) == 1
    for number in range(4):
        take(home, link(str(number)), PERSON, now=READ)
    take(home, link("5"), PERSON, now=READ + timedelta(minutes=1))
    for _ in range(2):
        log(home, now=READ)
        settle(home, now=READ + timedelta(hours=2))
        slot.log(now=READ)
        assert kinds(home) == ["bounce"] * 2 + ["click"] * 5 + ["complaint", "open"]
    consent(home, ["ann"], channel="ads", at=START)
    ads = Ads(home)
    ads.send(message("ann", plan_id="spring"), address=None, at=START)
    assert ads.publish("spring", tmp_path, now=START).added == 1
    Consents(home).withdraw("ann", "ads", source="test", at=START + timedelta(hours=1))
    assert ads.publish("spring", tmp_path, now=START + timedelta(hours=2)).removed == 1


def test_reports_that_come_at_the_same_time_count_once(each_home: Home) -> None:
    people(each_home, ["ann"])
    queue(each_home, [message("ann")])
    deliver(each_home, channels=Outbox(), now=Clock())
    returns = Returns(Vault(each_home).key("returns"), "bounces@harbour.example")
    data = complaint(returns.message_id(message("ann").message_id, domain="harbour.example"))
    boxes = [Feedback(each_home, returns) for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda box: box.take(data, now=START), boxes))
    assert sum(box.new.total() for box in boxes) == 1
    log(each_home, now=START)
    assert kinds(each_home) == ["complaint"]


OPS = st.lists(st.tuples(st.sampled_from(["join", "agree", "withdraw", "move", "leave", "publish"]), st.sampled_from(NAMES)), max_size=10)
TURNS = itertools.count()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ops=OPS)
def test_an_audience_replayed_from_its_files_is_who_agrees(home: Home, tmp_path: Path, ops: list[tuple[str, str]]) -> None:
    audience, ads, clock = f"audience-{next(TURNS)}", Ads(home), Clock()
    agreed, joined, address, held = set[str](), set[str](), dict[str, str](), set[str]()

    def move(name: str, to: str) -> None:
        address[name] = f"{to}.{name}.{audience}@mail.example"
        points = {"customer": [name + audience], "channel": ["email"], "address": [address[name]]}
        Vault(home).put(pa.table(points, schema=schema.CONTACTS))

    def replay(done: Published) -> None:
        for name, change in (("removals", held.difference_update), ("additions", held.update)):
            with (done.folder / f"{name}.csv").open() as file:
                change([row["sha256"] for row in csv.DictReader(file)])
        right = {hashlib.sha256(address[name].encode()).hexdigest() for name in agreed & joined}
        assert held == right
        assert done.held == len(right)

    for name in NAMES:
        move(name, "a")
    for turn, (what, name) in enumerate([*ops, ("publish", "ann")]):
        clock.forward(seconds=1)
        if what == "join" and name in agreed:
            ads.send(message(name + audience, plan_id=audience), address=None, at=clock())
            joined.add(name)
        elif what in ("agree", "withdraw"):
            consent(home, [name + audience], channel="ads", at=clock(), granted=what == "agree")
            (agreed.add if what == "agree" else agreed.discard)(name)
        elif what == "move":
            move(name, f"b{turn}")
        elif what == "leave":
            ads.leave(audience, name + audience)
            joined.discard(name)
        elif what == "publish":
            replay(ads.publish(audience, tmp_path, now=clock()))
