"""What does not go to a person by itself: the slot that is pulled, audiences for ads, and the feed of a live stream."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deliver_kit import START, Clock, change, consent, message, people, queue
from sqlalchemy import select

from tradewind import schema
from tradewind.cli import main
from tradewind.collect.consent import Consents
from tradewind.collect.vault import Vault
from tradewind.compose.base import Brief
from tradewind.compose.facts import Facts
from tradewind.compose.script import Line, Lot, perform
from tradewind.compose.writing import renew, write
from tradewind.deliver.channels._facts import Now
from tradewind.deliver.channels.ads import Ads, Published, hashed
from tradewind.deliver.channels.live import Live
from tradewind.deliver.channels.slot import Slot
from tradewind.deliver.deliver import deliver
from tradewind.engine.books_people import audit
from tradewind.engine.home import Home
from tradewind.errors import InputError, Terminal
from tradewind.shop import Shop
from tradewind.types import Message, Offer

PULL = "view-0001"
ITEM: dict[str, Any] = {
    **dict.fromkeys(schema.ITEMS.names), "item": "mug", "title": "White Mug", "title_en": "White Mug", "category": "Home", "price": 12950,
    "currency": "CNY", "stock": 30,
}  # fmt: skip


def stocked(home: Home, *, name: str = "one", **changes: Any) -> None:
    """Replace the catalogue by one item."""
    con = home.log.connect()
    staging = home.log.begin(name, source=name, now=START)
    assert staging is not None
    with staging:
        con.register("rows_in", pa.Table.from_pylist([ITEM | changes], schema=schema.ITEMS))
        staging.replace("items", con, "SELECT * FROM rows_in")
        staging.commit({}, now=START)
    con.close()


def shown(name: str, step: str = "1", **values: Any) -> Message:
    return message(name, step=step, channel="inapp", **{"parts": {"title": step, "body": "b", "action": "a", "link": "l"}, **values})


@pytest.fixture
def slot(home: Home) -> Slot:
    people(home, ["ann", "bob"], channel="inapp")
    return Slot(home)


def ready(home: Home, slot: Slot, *messages: Message) -> None:
    queue(home, messages)
    deliver(home, channels={"inapp": slot}, now=Clock())


def title(slot: Slot, *, pull_id: str = PULL, at: datetime = START, customer: str = "ann", name: str = "home") -> str | None:
    found = slot.pull(customer, name, now=at, pull_id=pull_id)
    return None if found is None else found.message.parts["title"]


def impressions(home: Home, slot: Slot) -> list[tuple[str, str, str]]:
    slot.log(now=START)
    home.log.compact(now=START)
    rows = home.tables.to_arrow(home.tables.events()).to_pylist()
    return sorted((row["customer"], row["decision_id"], row["channel"]) for row in rows if row["kind"] == "open")


# -- slot -------------------------------------------------------------------------------------------------------------


def test_a_pull_shows_the_best_once_per_id(home: Home, slot: Slot) -> None:
    one, two = shown("ann", "1"), shown("ann", "2")
    ready(home, slot, one, two, shown("bob", "3"))
    change(home, one.message_id, worth=1)
    change(home, two.message_id, worth=9)
    assert title(slot) == "2"
    for _ in range(3):
        again = slot.pull("ann", "home", now=START + timedelta(minutes=1), pull_id=PULL)
        assert again is not None
        assert (again.message.parts["title"], again.repeated) == ("2", True)
    assert title(slot, pull_id="view-0002") == "1"  # what was not shown yet comes first
    assert title(slot, pull_id="view-0003") == "2"
    assert title(slot, pull_id="view-0001", customer="bob") == "3"  # an id is the customer's own
    expected = sorted(
        [("ann", two.decision_id, "inapp")] * 2 + [("ann", one.decision_id, "inapp"), ("bob", shown("bob", "3").decision_id, "inapp")]
    )
    assert impressions(home, slot) == expected
    assert impressions(home, slot) == expected


def test_what_may_not_be_shown_is_not(home: Home, slot: Slot) -> None:
    later = START + timedelta(days=1)
    ready(home, slot, shown("ann", expires_at=START + timedelta(hours=2)), shown("bob", headers={"fresh_until": later.isoformat()}))
    assert title(slot) == "1"
    assert title(slot, at=START + timedelta(hours=2), pull_id="view-0002") is None  # it ended
    assert title(slot, at=START + timedelta(hours=2)) is None  # also for the pull that showed it before
    assert title(slot, customer="bob", at=later) is None  # nobody knows what it rests on
    assert title(slot, customer="bob") == "1"
    assert title(slot, customer="eve") is None
    Consents(home).withdraw("bob", "inapp", source="test", at=START)
    assert title(slot, customer="bob") is None  # the pull that showed it before included
    assert len(impressions(home, slot)) == 2


def test_a_message_that_is_not_handed_off_is_not_there(home: Home, slot: Slot) -> None:
    queue(home, [shown("ann")])
    assert title(slot) is None


def test_a_message_may_name_its_slot(home: Home, slot: Slot) -> None:
    ready(home, slot, shown("ann", headers={"slot": "basket"}))
    assert title(slot) is None
    assert title(slot, name="basket") == "1"


def test_one_pull_at_the_same_time_is_one_impression(home: Home, slot: Slot) -> None:
    ready(home, slot, *(shown("ann", str(step)) for step in range(4)))
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: Slot(home).pull("ann", "home", now=START, pull_id=PULL), range(12)))
    assert len({each.message.message_id for each in found if each}) == 1
    assert sum(not each.repeated for each in found if each) == 1
    assert len(impressions(home, slot)) == 1


def composed(home: Home, *, at: datetime) -> Message:
    """A message that compose wrote about the mug, with the catalogue's mark."""
    now = Now(home)
    facts, *_ = now.of("mug", locale="en", at=at)
    text = write(Brief("d" * 64, "inapp", "en"), facts=facts, seed=0, at=at)
    return renew(shown("ann", parts={}, headers={"item": "mug", "catalogue": now.mark()}), text, seed=0, reason=None)


def test_a_text_whose_facts_changed_is_written_anew_or_not_shown(home: Home, slot: Slot) -> None:
    stocked(home)
    item = composed(home, at=START)
    assert "129.50" in " ".join(item.parts.values())
    ready(home, slot, item)
    assert title(slot) == item.parts["title"]
    stocked(home, name="dearer", price=15000)
    found = slot.pull("ann", "home", now=START, pull_id="view-0002")
    assert found is not None
    words = " ".join(found.message.parts.values())
    assert "129.50" not in words
    assert "150" in words
    stocked(home, name="gone", stock=0)
    assert title(slot, pull_id="view-0003") is None


def test_names_and_ids_are_checked(slot: Slot) -> None:
    with pytest.raises(InputError, match="name of 1 to 64"):
        title(slot, name="a/b")
    with pytest.raises(InputError, match="8 to 255"):
        title(slot, pull_id="short")


# -- ads --------------------------------------------------------------------------------------------------------------


def contacts(home: Home, rows: list[tuple[str, str, str]]) -> None:
    names, channels, addresses = zip(*rows, strict=True)
    Vault(home).put(pa.table({"customer": names, "channel": channels, "address": addresses}, schema=schema.CONTACTS))


def digests(published: Published, name: str) -> set[tuple[str, str]]:
    with (published.folder / f"{name}.csv").open() as file:
        return {(row["kind"], row["sha256"]) for row in csv.DictReader(file)}


def of(kind: str, text: str) -> tuple[str, str]:
    return kind, hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("kind", "address", "normal"),
    [
        ("email", " Ann.Lee@Mail.EXAMPLE ", "ann.lee@mail.example"),
        ("email", "\uff41nn@mail.example", "ann@mail.example"),
        ("email", "ann", None),
        ("email", "ann@mail", None),
        ("email", "a b@mail.example", None),
        ("phone", "+44 (20) 7946-0018", "+442079460018"),
        ("phone", "0044 20 7946 0018", "+442079460018"),
        ("phone", "020 7946 0018", None),  # of which country nobody knows
        ("phone", "+0123456789", None),
        ("phone", "ann@mail.example", None),
    ],
)
def test_contact_points_are_normalised_and_hashed(kind: str, address: str, normal: str | None) -> None:
    assert hashed(kind, address) == (None if normal is None else of(kind, normal))


def test_an_audience_in_additions_and_removals(home: Home, tmp_path: Path) -> None:
    names = ["ann", "bob", "cat", "dan", "eve"]
    contacts(home, [*((name, "email", f"{name}@mail.example") for name in names), ("ann", "sms", "+442079460018"), ("bob", "sms", "12345")])
    consent(home, names[:4], channel="ads", at=START)
    ads = Ads(home)
    for name in names[:4]:
        ads.send(message(name, plan_id="spring"), address=None, at=START)
    with pytest.raises(Terminal, match="no_consent"):
        ads.send(message("eve", plan_id="spring"), address=None, at=START)
    first = ads.publish("spring", tmp_path, now=START)
    everybody = {of("email", f"{name}@mail.example") for name in names[:4]} | {of("phone", "+442079460018")}
    assert digests(first, "additions") == everybody
    assert digests(first, "removals") == set()
    assert (first.added, first.removed, first.held, first.left_out) == (5, 0, 5, {"contact points": 1})
    written = "".join(path.read_text() for path in first.folder.iterdir())
    assert not re.search(r"@mail|4420|ann|bob", written)
    manifest = json.loads((first.folder / "manifest.json").read_text())
    assert manifest["files"]["additions.csv"] == {
        "rows": 5,
        "sha256": hashlib.sha256((first.folder / "additions.csv").read_bytes()).hexdigest(),
    }
    # ann withdraws, bob changes the address, cat is erased, dan is taken out
    Consents(home).withdraw("ann", "ads", source="test", at=START + timedelta(hours=1))
    contacts(home, [("bob", "email", "new@mail.example")])
    Vault(home).erase("cat", now=START)
    ads.leave("spring", "dan")
    second = ads.publish("spring", tmp_path, now=START + timedelta(days=1))
    assert digests(second, "removals") == everybody
    assert digests(second, "additions") == {of("email", "new@mail.example")}
    third = ads.publish("spring", tmp_path, now=START + timedelta(days=2))
    assert (third.added, third.removed, third.held) == (0, 0, 1)
    with home.ledger.read() as conn:
        noted = [row.detail for row in conn.execute(select(audit)) if row.action == "audience.published"]
    assert [json.loads(detail)["removed"] for detail in noted] == [0, 5, 0]


def test_who_was_erased_under_another_id_is_not_advertised_to(home: Home, tmp_path: Path) -> None:
    contacts(home, [("ann", "email", "ann@mail.example"), ("ann-2", "email", "ann@mail.example")])
    consent(home, ["ann", "ann-2"], channel="ads", at=START)
    Vault(home).erase("ann", now=START)
    ads = Ads(home)
    ads.send(message("ann-2", plan_id="spring"), address=None, at=START)
    assert ads.publish("spring", tmp_path, now=START).held == 0


def test_a_killed_publication_is_repeated(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contacts(home, [("ann", "email", "ann@mail.example")])
    consent(home, ["ann"], channel="ads", at=START)
    ads = Ads(home)
    ads.send(message("ann", plan_id="spring"), address=None, at=START)

    def killed(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tradewind.deliver.channels.ads.insert_new", killed)
        with pytest.raises(KeyboardInterrupt):
            ads.publish("spring", tmp_path, now=START)
    with pytest.raises(InputError, match="later time"):
        ads.publish("spring", tmp_path, now=START)
    assert ads.publish("spring", tmp_path, now=START + timedelta(seconds=1)).added == 1


def test_nothing_but_hashes_gets_into_a_file(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contacts(home, [("ann", "email", "ann@mail.example")])
    consent(home, ["ann"], channel="ads", at=START)
    ads = Ads(home)
    ads.send(message("ann", plan_id="spring"), address=None, at=START)
    monkeypatch.setattr("tradewind.deliver.channels.ads.hashed", lambda kind, address: (kind, address))
    with pytest.raises(InputError, match="hashed contact points only"):
        ads.publish("spring", tmp_path, now=START)
    assert not list(tmp_path.rglob("*.csv"))
    with pytest.raises(InputError, match="audience has a name"):
        ads.publish("../x", tmp_path, now=START)


# -- live -------------------------------------------------------------------------------------------------------------


def programme(home: Home) -> tuple[Line, ...]:
    now = Now(home)

    def facts(item: str | None, at: datetime) -> tuple[Facts, Any, Offer | None]:
        known, row, offer, _why = now.of(item, locale="en", at=at)
        return known, row, offer

    return perform([Lot("mug", 5.0)], minutes=4, start=START, facts=facts)


def checked(home: Home) -> Any:
    now = Now(home)

    def facts(item: str | None, at: datetime) -> tuple[Facts, str | None]:
        known, _row, _offer, why = now.of(item, locale="en", at=at)
        return known, why

    return facts


def test_a_feed_grows_by_versions_and_withholds_what_changed(home: Home, tmp_path: Path) -> None:
    stocked(home)
    lines, live = programme(home), Live(tmp_path)
    first = live.publish("friday", lines, now=START, facts=checked(home))
    assert (first.version, first.lines) == (1, len(lines))
    assert first.withheld == sum(line.withheld is not None for line in lines)
    told = json.loads(first.path.read_text())["lines"]
    assert [line["speech"] for line in told] == [line.speech for line in lines]
    assert any("one hundred and twenty-nine" in line["speech"] for line in told)
    stocked(home, name="dearer", price=15000)
    second = live.publish("friday", lines, now=START, facts=checked(home))
    told = json.loads(second.path.read_text())
    assert second.version == told["version"] == 2
    for line in told["lines"]:
        if line["item"] == "mug":
            assert (line["withheld"], line["speech"], line["label"]) == ("the facts have changed", "", "")
    stocked(home, name="gone", price=15000, stock=0)
    third = json.loads(live.publish("friday", lines, now=START, facts=checked(home)).path.read_text())
    assert {line["withheld"] for line in third["lines"] if line["item"] == "mug"} == {"out of stock"}
    assert sorted(path.name for path in (tmp_path / "friday").glob("feed-*")) == [f"feed-{number:06d}.json" for number in (1, 2, 3)]


def test_single_lines_are_appended_once(tmp_path: Path) -> None:
    for _ in range(2):
        with Live(tmp_path) as live:
            for step in "12":
                live.send(message("room", step=step, parts={"speech": f"Line {step}", "label": "AI"}), address=None, at=START)
            live.flush()
    feed = json.loads((tmp_path / "plan-1" / "feed.json").read_text())
    assert [line["speech"] for line in feed["lines"]] == ["Line 1", "Line 2"]
    assert feed["version"] == 1
    with Live(tmp_path) as live:
        with pytest.raises(InputError, match="speech and label"):
            live.send(message("room"), address=None, at=START)
        with pytest.raises(InputError, match="cannot name a folder"):
            live.send(message("room", plan_id="../x", parts={"speech": "a", "label": "b"}), address=None, at=START)
    with pytest.raises(InputError, match="cannot be written"):
        Live("/proc/none").publish("friday", [], now=START, facts=lambda _item, _at: pytest.fail("nothing to look at"))


# -- the door ---------------------------------------------------------------------------------------------------------


def test_through_the_shop_and_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("TRADEWIND_SMTP", raising=False)
    with Shop.open(tmp_path / "shop", now=Clock()) as shop:
        home = shop.home
        people(home, ["ann"], channel="inapp")
        contacts(home, [("ann", "email", "ann@mail.example")])
        consent(home, ["ann"], channel="ads", at=START)
        stocked(home)
        ready(home, Slot(home), shown("ann"))
        Ads(home).send(message("ann", plan_id="spring"), address=None, at=START)
        assert set(shop.channels.senders()) == {"inapp"}
        (home.root / "channels.toml").write_text('[push]\nurl = "https://push.example"\nvendor = "fcm"\n[push.body]\nto = "{token}"\n')
        assert {name: type(sender).__name__ for name, sender in shop.channels.senders().items()} == {"inapp": "Slot", "push": "Push"}
        found = shop.channels.pull("ann", "home", pull_id=PULL)
        assert found is not None
        assert found.message == shown("ann")
        assert shop.channels.script("friday", programme(home), locale="en").version == 1
        heard = shop.channels.feedback()
        assert (heard.mails, heard.visits, heard.impressions, heard.receipts) == (None, 0, 1, 0)
        assert shop.channels.feedback().impressions == 0
    monkeypatch.setattr("sys.argv", ["tradewind", "audience", "spring", "--to", str(tmp_path), "--shop", str(tmp_path / "shop"), "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    said = json.loads(capsys.readouterr().out)
    assert (said["added"], said["removed"], said["held"]) == (1, 0, 1)
    assert (Path(said["folder"]) / "manifest.json").exists()
