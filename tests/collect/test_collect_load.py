"""Loads are all or nothing, once; what is wrong waits in quarantine and can be replayed."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from collect_shops import MAPPING, NOW, balanced, events, folder, inline, load, rows, table
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.collect.consent import Consents
from tradewind.collect.ingest import collect
from tradewind.collect.quarantine import quarantine_rows, replay
from tradewind.collect.report import CollectReport
from tradewind.engine.home import Home
from tradewind.errors import InputError, Locked, NotFound

GOOD = rows("e1,2026-01-02T03:04:05Z,ann,sale,A1,2,19.99", "e2,2026-01-03T00:00:00Z,bob,return,A1,1,9.99")


def test_the_same_bytes_load_once(home: Home, tmp_path: Path) -> None:
    first = load(home, tmp_path / "in", GOOD)
    files = home.log.files("events")
    again = load(home, tmp_path / "in", GOOD)
    assert (first.already_done, again.already_done) == (False, True)
    assert again.counts == first.counts
    assert "Nothing to do" in again.to_text()
    assert home.log.files("events") == files


def test_a_file_that_grew_adds_only_what_is_new(home: Home, tmp_path: Path) -> None:
    load(home, tmp_path / "in", GOOD)
    report = load(home, tmp_path / "in", GOOD + "e3,2026-01-04T00:00:00Z,ann,sale,A1,1,1.00\n")
    assert (report.rows_in, report.rows_stored, report.duplicates) == (3, 1, 2)
    assert len(events(home)) == 3


def test_a_report_survives_json(home: Home, tmp_path: Path) -> None:
    report = load(home, tmp_path / "in", GOOD)
    assert CollectReport.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_copies_collapse_and_conflicts_are_quarantined(home: Home, tmp_path: Path) -> None:
    other = "e1,2026-01-02T03:04:05Z,ann,sale,A1,2,55.55"
    report = load(home, tmp_path / "in", rows(*GOOD.splitlines()[1:], GOOD.splitlines()[1], other))
    assert (report.rows_in, report.rows_stored, report.duplicates, report.rows_quarantined) == (4, 2, 1, 1)
    (held,) = quarantine_rows(home).to_pylist()
    assert (held["line"], held["field"], held["value"]) == (5, "id", "e1")
    assert {row["id"]: row["value"] for row in events(home)}["e1"] == 1999


def test_without_an_id_equal_rows_are_one_event_unless_kept(home: Home, tmp_path: Path) -> None:
    without = MAPPING.replace('id = "id"\n', "")
    text = "when,who,what,sku,qty,amount\n" + "2026-01-02T03:04:05Z,ann,sale,A1,2,19.99\n" * 3
    report = load(home, tmp_path / "in", text, mapping=without)
    assert (report.rows_stored, report.duplicates) == (1, 2)
    kept = load(home, tmp_path / "in", text, mapping=without + '[source.rules.exact_duplicates]\ncopies = "keep"\n')
    assert (kept.rows_stored, kept.duplicates) == (2, 1)  # the first is known
    assert sorted(row["id"][32:] for row in events(home)) == ["", "#1", "#2"]


BAD = rows(
    "e1,2026-01-02T03:04:05Z,ann,sale,A1,2,19.99",
    "e2,yesterday,bob,sale,A1,1,9.99",
    "e3,2026-01-02T03:04:05Z,cy,dance,A1,1,9.99",
    "e4,2026-01-02T03:04:05Z,di,sale,A1,1,much",
    "e5,2026-01-02T03:04:05Z,ed,sale,A1,-1,9.99",
    "e6,2090-01-02T03:04:05Z,flo,sale,A1,1,9.99",
    "e7,1970-01-02T03:04:05Z,gus,sale,A1,1,9.99",
    "e8,,hal,sale,A1,1,9.99",
    "e9,2026-01-02T03:04:05Z,ivy,,A1,1,9.99",
)


def test_every_bad_row_is_held_with_place_field_value_and_reason(home: Home, tmp_path: Path) -> None:
    report = load(home, tmp_path / "in", BAD)
    held = [(row["line"], row["field"], row["value"], row["reason"]) for row in quarantine_rows(home).to_pylist()]
    assert held == [
        (3, "at", "yesterday", "at is no time"),
        (4, "kind", "dance", "kind is no known value"),
        (5, "value", "much", "value is no whole number or amount"),
        (6, "quantity", "-1.0", "quantity is outside its range (above 0)"),
        (7, "at", "2090-01-02 03:04:05+00", "at is in the future"),
        (8, "at", "1970-01-02 03:04:05+00", "at is before 1990-01-01"),
        (9, "at", None, "at is empty"),
        (10, "kind", None, "kind is empty"),
    ]
    assert balanced(report)
    assert (report.rows_in, report.rows_stored, report.rows_quarantined) == (9, 1, 8)


def test_mended_rows_are_replayed_once(home: Home, tmp_path: Path) -> None:
    load(home, tmp_path / "in", BAD)
    held = quarantine_rows(home)
    mended = []
    for row in held.to_pylist()[:3]:
        columns = json.loads(row["row"])
        columns |= {"when": "2026-01-05T00:00:00Z", "what": "sale", "amount": "much" if columns["id"] == "e4" else "1.00"}
        mended.append({"id": row["id"], "row": json.dumps(columns)})
    path = tmp_path / "mended.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in mended))
    report = replay(home, path, now=NOW)
    assert (report.rows_in, report.rows_stored, report.rows_quarantined) == (3, 2, 1)
    assert [row["id"] for row in events(home)] == ["e1", "e2", "e3"]
    waiting = quarantine_rows(home).to_pylist()
    assert len(waiting) == held.num_rows - 2
    assert [json.loads(row["row"])["id"] for row in waiting if row["value"] == "much"] == ["e4"]
    assert replay(home, path, now=NOW).already_done
    assert replay(home, pa.Table.from_pylist(mended[:1]), now=NOW).rows_stored == 0
    assert len(events(home)) == 3


def test_unreadable_lines_are_replayed_as_rows(home: Home, tmp_path: Path) -> None:
    load(home, tmp_path / "in", GOOD + "e3,only\n")
    (held,) = quarantine_rows(home).to_pylist()
    columns = {"id": "e3", "when": "2026-01-05T00:00:00Z", "who": "ann", "what": "sale", "sku": "A1", "qty": "1", "amount": "2.50"}
    assert replay(home, pa.Table.from_pylist([{"id": held["id"], "row": json.dumps(columns)}]), now=NOW).rows_stored == 1
    assert {row["id"]: row["value"] for row in events(home)}["e3"] == 250
    assert quarantine_rows(home).num_rows == 0


@pytest.mark.parametrize(("row", "error"), [("[1]", InputError), ("no json", InputError), (None, InputError)])
def test_a_replay_needs_objects(home: Home, tmp_path: Path, row: str | None, error: type[Exception]) -> None:
    load(home, tmp_path / "in", BAD)
    name = quarantine_rows(home)["id"][0].as_py()
    with pytest.raises(error, match="no JSON object"):
        replay(home, pa.table({"id": [name], "row": pa.array([row], pa.string())}), now=NOW)


def test_a_replay_keeps_the_types_of_the_source(home: Home, tmp_path: Path) -> None:
    base = folder(
        tmp_path / "in", "", name="x.txt", mapping=MAPPING.replace('"*.csv"', '"*.parquet"').replace('"amount"', '{ sql = "amount * 2" }')
    )
    columns = {"id": ["e1"], "when": ["2026-01-02T00:00:00Z"], "who": ["ann"], "what": ["sale"], "sku": ["A"], "qty": [0], "amount": [1.5]}
    pq.write_table(pa.table(columns), base / "x.parquet")
    assert collect(home, base, now=NOW).rows_quarantined == 1
    (held,) = quarantine_rows(home).to_pylist()
    mended = json.loads(held["row"]) | {"qty": 1}
    with pytest.raises(InputError, match=r'A mended row has amount = "much", but that column of the source holds DOUBLE'):
        replay(home, pa.Table.from_pylist([{"id": held["id"], "row": json.dumps(mended | {"amount": "much"})}]), now=NOW)
    assert replay(home, pa.Table.from_pylist([{"id": held["id"], "row": json.dumps(mended)}]), now=NOW).rows_stored == 1
    assert events(home)[0]["value"] == 300


def test_a_file_that_is_read_wrongly_is_refused_as_a_whole(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tradewind.collect.sources.base.MOST_BAD", 10)
    with pytest.raises(InputError, match=r'"orders\.csv": more than 10 lines cannot be read, the first is line 2: 1 fields'):
        load(home, tmp_path / "in", rows(*["wrong"] * 20))
    assert quarantine_rows(home).num_rows == 0


def test_a_replay_of_an_unknown_row_is_refused(home: Home) -> None:
    with pytest.raises(NotFound, match='no quarantined row "x"'):
        replay(home, pa.table({"id": ["x"], "row": ["{}"]}), now=NOW)


LINE = st.tuples(
    st.sampled_from(["e1", "e2", "e3", ""]), st.sampled_from(["2026-01-02T00:00:00Z", "x", ""]), st.sampled_from(["sale", "look", "?"])
)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(lines=st.lists(LINE, max_size=12))
def test_rows_add_up_whatever_comes(tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str, str]]) -> None:
    base = tmp_path_factory.mktemp("any")
    text = rows(*(f"{name},{when},ann,{what},A1,1,1.00" for name, when, what in lines))
    with Home.open(base / "shop") as home:
        report = load(home, base / "in", text)
        assert balanced(report)
        assert report.rows_in == len(lines)
        assert report.rows_stored == len(events(home))
        assert report.rows_quarantined == quarantine_rows(home).num_rows
        good = {line for line in lines if line[1].startswith("2026") and line[2] != "?"}
        assert {row["id"] for row in events(home) if len(row["id"]) == 2} == {name for name, _, _ in good if name}


def test_a_failed_load_leaves_nothing(home: Home, tmp_path: Path) -> None:
    base = folder(tmp_path / "in", GOOD, mapping=MAPPING + '\n[[source]]\nname = "later"\nfiles = "*.parquet"\ninto = "events"\n')
    (base / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match=r'"bad\.parquet" is no readable Parquet file'):
        collect(home, base, now=NOW)
    assert home.log.files("events") == []
    assert not list(home.root.rglob("*.parquet"))
    (base / "bad.parquet").unlink()
    with pytest.raises(InputError, match=r'source "later": no file matches "\*\.parquet"'):
        collect(home, base, now=NOW)


def test_reference_tables_merge_and_the_last_row_wins(home: Home, tmp_path: Path) -> None:
    mapping = 'currency = "EUR"\n[[source]]\nfiles = "items.csv"\ninto = "items"\n'
    first = inline(home, tmp_path / "in", mapping, items__csv="item,title,price\nA,one,1.00\nB,two,2.00\nA,won,1.50\nB,two,2.00\n")
    assert (first.rows_in, first.rows_stored, first.duplicates) == (4, 2, 2)
    inline(home, tmp_path / "in", mapping, items__csv="item,title,price\nA,new,9.00\nC,three,3.00\n")
    assert [(row["item"], row["title"], row["price"]) for row in sorted(table(home, "items"), key=lambda row: str(row["item"]))] == [
        ("A", "new", 900),
        ("B", "two", 200),
        ("C", "three", 300),
    ]


def test_people_go_to_the_vault_and_the_ledger(home: Home, tmp_path: Path) -> None:
    mapping = """
currency = "EUR"
zone = "UTC"
[defaults]
consent = ["email", "sms"]
margin = 0.3
[[source]]
files = "customers.csv"
into = "customers"
[[source]]
files = "contacts.csv"
into = "contacts"
[[source]]
files = "consents.csv"
into = "consents"
"""
    report = inline(
        home,
        tmp_path / "in",
        mapping,
        customers__csv="customer,locale\nann,en\nbob,zh-CN\n",
        contacts__csv="customer,channel,address\nann,email,ann@example.org\nbob,email,\n",
        consents__csv="customer,channel,granted,at,source\nann,email,no,2026-01-01T00:00:00Z,form\n",
    )
    current = {(row["customer"], row["channel"]): row["granted"] for row in Consents(home).current().to_pylist()}
    assert current == {("ann", "email"): False, ("ann", "sms"): True, ("bob", "email"): True, ("bob", "sms"): True}
    assert home.settings.margin == 0.3
    assert any("declared in [defaults], not observed" in text for text in report.assumptions)
    assert {count.table: count.stored for count in report.counts} == {"customers": 2, "contacts": 1, "consents": 1}
    assert b"ann@example" not in b"".join(path.read_bytes() for path in (home.root / "data").rglob("*.parquet"))


def test_inline_offers(home: Home, tmp_path: Path) -> None:
    mapping = MAPPING + '[[offers]]\noffer = "o"\nkind = "coupon"\nterms = { percent = 10 }\nitems = ["A1"]\nstarts_at = 2026-01-01\n'
    load(home, tmp_path / "in", GOOD, mapping=mapping)
    (offer,) = table(home, "offers")
    assert (offer["offer"], json.loads(offer["terms"]), str(offer["starts_at"])) == ("o", {"percent": 10}, "2026-01-01 00:00:00+00:00")
    assert table(home, "offer_items") == [{"offer": "o", "item": "A1"}]


def database(path: Path) -> str:
    with sqlite3.connect(path) as con:
        con.execute("CREATE TABLE sales (id INTEGER, at TEXT, who TEXT, total NUMERIC)")
        con.executemany("INSERT INTO sales VALUES (?, ?, ?, ?)", [(n, "2026-01-02T00:00:00Z", f"c{n}", n / 4) for n in range(5)])
    con.close()
    return f"sqlite:///{path}"


SQL = """
currency = "EUR"
[[source]]
table = "sales"
into = "events"
id = "id"
[source.columns]
at = "at"
customer = "who"
kind = { constant = "purchase" }
value = "total"
"""


def test_a_database_table_loads_once(home: Home, tmp_path: Path) -> None:
    url = database(tmp_path / "shop.db")
    (tmp_path / "map.toml").write_text(SQL)
    assert collect(home, url, mapping=tmp_path / "map.toml", now=NOW).rows_stored == 5
    assert collect(home, url, mapping=tmp_path / "map.toml", now=NOW).already_done
    assert [row["value"] for row in events(home)] == [0, 25, 50, 75, 100]


def test_a_locked_database_is_told(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tradewind.collect.sources.sql.WAIT", 0.1)
    url = database(tmp_path / "shop.db")
    (tmp_path / "map.toml").write_text(SQL)
    con = sqlite3.connect(tmp_path / "shop.db", isolation_level=None)
    con.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(Locked, match=r"is locked by another process\. Nothing was loaded"):
            collect(home, url, mapping=tmp_path / "map.toml", now=NOW)
    finally:
        con.close()


@pytest.mark.parametrize(("url", "said"), [("sqlite:///{}/no.db", "There is no database"), ("nothing://x/y", "no database URL")])
def test_a_missing_database_is_told(home: Home, tmp_path: Path, url: str, said: str) -> None:
    (tmp_path / "map.toml").write_text(SQL)
    with pytest.raises(InputError, match=said):
        collect(home, url.format(tmp_path), mapping=tmp_path / "map.toml", now=NOW)
    assert not (tmp_path / "no.db").exists()


WORK = """
import sys
from datetime import datetime, UTC
from tradewind.collect.ingest import collect
from tradewind.engine.home import Home
with Home.open(sys.argv[1]) as home:
    print("ready", flush=True)
    collect(home, sys.argv[2], now=datetime(2026, 3, 1, tzinfo=UTC))
"""


@pytest.mark.slow
def test_a_load_that_is_killed_at_any_moment_is_neither_lost_nor_doubled(tmp_path: Path) -> None:
    count = 20_000
    base = folder(tmp_path / "in", "", name="x.txt", mapping=MAPPING.replace('"*.csv"', '"*.parquet"'))
    numbers = range(count)
    columns = {"id": [f"e{n // 2 * 2}" for n in numbers], "when": [f"2026-01-{1 + n % 28:02}T00:00:00Z" for n in numbers]}
    rest = {"who": ["ann"] * count, "what": ["sale"] * count, "sku": ["A"] * count, "qty": [1] * count, "amount": [1.0] * count}
    columns["when"] = [columns["when"][n // 2 * 2] for n in numbers]
    pq.write_table(pa.table({**columns, **rest}), base / "x.parquet")
    shop = tmp_path / "shop"
    draw = random.Random(3)
    killed = 0
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", WORK, str(shop), str(base)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(draw.uniform(0, 1.2))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
        process.stdout.close()
    assert killed
    with Home.open(shop) as home:
        collect(home, base, now=NOW)
        found = events(home)
        assert len(found) == count // 2
        assert len({row["id"] for row in found}) == count // 2
        assert collect(home, base, now=NOW).already_done
        assert set(home.root.rglob("*.parquet")) == {*home.log.files("events")}
