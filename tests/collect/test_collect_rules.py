"""Every quality rule finds what it is for, and only that; one contract for all of them."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collect_shops import MAPPING, NOW, balanced, events, inline, load, rows, table

from tradewind.collect.ingest import collect
from tradewind.collect.judge import find_alike
from tradewind.collect.pipeline import active_rules
from tradewind.collect.quarantine import quarantine_rows
from tradewind.collect.rules.base import QualityRule
from tradewind.engine.home import Home
from tradewind.engine.parquet import connect
from tradewind.errors import InputError
from tradewind.params import Number, OneOf
from tradewind.plugins import load as plugin
from tradewind.plugins import names
from tradewind.schema import TABLES
from tradewind.simulate.people import NAMES
from tradewind.simulate.world import World

RULES = sorted(names("collect.rules"))


@pytest.mark.parametrize("name", RULES)
def test_contract_of_rules(name: str) -> None:
    kind = plugin("collect.rules", name)
    assert issubclass(kind, QualityRule)
    assert kind.name == name
    assert (kind.__doc__ or "").strip()
    assert set(kind.tables) <= set(TABLES)
    assert set(kind.options) <= set(kind.defaults)
    assert kind({}).set == dict(kind.defaults)
    for option, limit in kind.options.items():
        assert limit.accepts(kind.defaults[option])
        wrong: Any = "no such thing" if isinstance(limit, OneOf) else -(10**15) if isinstance(limit, Number) else None
        with pytest.raises(InputError, match=option):
            _ = kind({option: wrong}).set
    if not kind.free:
        with pytest.raises(InputError, match='has no option "hue"'):
            _ = kind({"hue": 1}).set


def test_rules_that_are_off_run_when_named_and_others_stop_when_told() -> None:
    on = {rule.name for rule in active_rules("events", {})}
    assert "outliers_forest" not in on
    assert {rule.name for rule in active_rules("events", {"outliers_forest": {}, "bots": {"enabled": False}})} == {
        *on,
        "outliers_forest",
    } - {"bots"}


def flags(home: Home) -> dict[str, list[str]]:
    """Event id -> flags."""
    return {row["id"]: json.loads(row["context"])["flags"] for row in events(home) if row["context"]}


def sale(number: int, *, who: str = "ann", at: str = "2026-01-02T00:00:00Z", sku: str = "A", qty: str = "1", amount: str = "10.00") -> str:
    return f"e{number:04},{at},{who},sale,{sku},{qty},{amount}"


def test_outliers_by_mad(home: Home, tmp_path: Path) -> None:
    lines = [sale(n, who=f"c{n}", qty=str(1 + n % 4), amount=f"{10 + n % 7}.00") for n in range(60)]
    load(home, tmp_path / "in", rows(*lines, sale(100, who="x", amount="99999.00"), sale(101, who="y", qty="40000")))
    assert flags(home) == {"e0100": ["outliers_mad value"], "e0101": ["outliers_mad quantity"]}


def test_outliers_by_isolation_forest(home: Home, tmp_path: Path) -> None:
    lines = [sale(n, who=f"c{n}", qty=str(1 + n % 4), amount=f"{(1 + n % 4) * 10}.00") for n in range(400)]
    mapping = MAPPING + "[source.rules.outliers_mad]\nenabled = false\n[source.rules.outliers_forest]\nscore = 0.7\n"
    load(home, tmp_path / "in", rows(*lines, sale(900, who="x", qty="900", amount="1.00")), mapping=mapping)
    assert flags(home) == {"e0900": ["outliers_forest"]}


def test_near_duplicates_are_flagged_within_seconds(home: Home, tmp_path: Path) -> None:
    times = ["2026-01-02T00:00:00Z", "2026-01-02T00:00:03Z", "2026-01-02T00:01:00Z"]
    lines = [sale(n, at=at) for n, at in enumerate(times)] + [sale(9, at=times[1], amount="11.00"), sale(8, at=times[1], who="")]
    report = load(home, tmp_path / "in", rows(*lines))
    assert flags(home) == {"e0001": ["near_duplicates"]}
    found = report.check("near_duplicates")
    assert found is not None
    assert (found.level, found.count, found.example) == ("WARN", 1, "orders.csv line 3")
    assert "flagged" in found.consequence


def test_rows_found_by_comparing_can_be_held(home: Home, tmp_path: Path) -> None:
    mapping = MAPPING + '[source.rules.near_duplicates]\naction = "quarantine"\n'
    load(home, tmp_path / "in", rows(sale(1), sale(2, at="2026-01-02T00:00:03Z")), mapping=mapping)
    (held,) = quarantine_rows(home).to_pylist()
    assert (held["rule"], held["field"], held["value"]) == ("near_duplicates", "at", "2026-01-02 00:00:03+00")
    assert [row["id"] for row in events(home)] == ["e0001"]


def test_bots_are_too_fast_or_too_regular(home: Home, tmp_path: Path) -> None:
    def look(number: int, who: str, second: float) -> str:
        return (
            f"{who}{number},2026-01-02T{int(second // 3600):02}:{int(second // 60) % 60:02}:{second % 60:09.6f}Z,{who},look,A{number % 9},,"
        )

    regular = [look(n, "regular", 7.0 * n) for n in range(120)]
    fast = [look(n, "fast", 0.3 * n + (n * n % 7) / 10) for n in range(120)]
    person = [look(n, "person", 11.0 * n + (n * 37 % 10)) for n in range(120)]
    load(home, tmp_path / "in", rows(*regular, *fast, *person))
    assert {name.strip("0123456789") for name in flags(home)} == {"regular", "fast"}
    assert len(flags(home)) == 240


def test_bots_that_never_stop_to_read_are_found(home: Home, tmp_path: Path) -> None:
    def look(number: int, who: str, second: float) -> str:
        return f"{who}{number},2026-01-02T10:{int(second // 60):02}:{second % 60:09.6f}Z,{who},look,A{number % 9},,"

    restless = [look(n, "restless", 4.0 * n + (n * 7 % 5)) for n in range(60)]
    reader = [look(n, "reader", 4.0 * n + (n * 7 % 5) + 40 * (n // 6)) for n in range(60)]
    load(home, tmp_path / "in", rows(*restless, *reader))
    assert {name.strip("0123456789") for name in flags(home)} == {"restless"}


def test_views_of_people_are_no_bots_when_their_times_are_rounded(home: Home, tmp_path: Path) -> None:
    lines = [f"m{n},2026-01-02T10:{n * n % 47:02}:00Z,minutes,look,A{n % 9},," for n in range(120)]
    lines += [f"d{n},2026-01-{1 + n // 40:02}T00:00:00Z,days,look,A{n % 9},," for n in range(120)]
    lines += [f"w{n},2026-01-{1 + n // 2:02}T{9 + 9 * (n % 2):02}:00:00Z,weeks,look,A{n % 9},," for n in range(60)]
    load(home, tmp_path / "in", rows(*lines))
    assert flags(home) == {}


def test_bots_of_the_simulated_shop_are_found_and_nobody_else(home: Home, tmp_path: Path) -> None:
    world = World.make(1_500, seed=5, start=date(2026, 1, 5), days=28)
    world.write(tmp_path / "in")
    collect(home, tmp_path / "in", now=world.end)
    found = {row["customer"] for row in events(home) if "bots" in str(row["context"])}
    views = Counter(row["customer"] for row in events(home) if row["kind"] == "view")
    people = world.people(0)
    bots = {f"C{row:07d}" for row in np.flatnonzero(people.kind == NAMES.index("bot"))}
    assert found == {name for name in bots if views[name] >= 30}
    assert len(found) > 5


def test_refunds_before_the_purchase_are_flagged_across_loads(home: Home, tmp_path: Path) -> None:
    back = "r1,2026-01-02T00:00:00Z,ann,return,A,1,10.00"
    load(home, tmp_path / "in", rows(back, sale(1, at="2026-01-03T00:00:00Z"), "r2,2026-01-02T00:00:00Z,bob,return,A,1,10.00"))
    assert flags(home) == {"r1": ["time_order refund before purchase"]}
    later = rows("r3,2026-01-02T12:00:00Z,ann,return,A,1,10.00", "r4,2026-01-04T00:00:00Z,ann,return,A,1,10.00")
    load(home, tmp_path / "in", later)
    assert set(flags(home)) == {"r1", "r3"}


def test_unknown_items_are_kept_or_held(home: Home, tmp_path: Path) -> None:
    mapping = """
currency = "EUR"
zone = "UTC"
[[source]]
files = "items.csv"
into = "items"
[[source]]
files = "events.csv"
into = "events"
[source.rules.reference]
action = "ACTION"
"""
    files = {"items__csv": "item\nA\n", "events__csv": "id,at,kind,item\n1,2026-01-02T00:00:00Z,view,A\n2,2026-01-02T00:00:00Z,view,B\n"}
    held = inline(home, tmp_path / "in", mapping.replace("ACTION", "quarantine"), **files)
    assert (held.rows_quarantined, [row["id"] for row in events(home)]) == (1, ["1"])
    kept = inline(home, tmp_path / "in", mapping.replace("ACTION", "keep"), **files)
    found = kept.check("reference item")
    assert found is not None
    assert (found.level, found.count) == ("WARN", 1)
    assert [row["id"] for row in events(home)] == ["1", "2"]


def test_other_currencies_are_held(home: Home, tmp_path: Path) -> None:
    mapping = 'currency = "EUR"\nzone = "UTC"\n[[source]]\nfiles = "e.csv"\ninto = "events"\n'
    text = "id,at,kind,value,currency\n1,2026-01-02,purchase,1.00,EUR\n2,2026-01-02,purchase,100,JPY\n3,2026-01-02,purchase,1.00,\n"
    report = inline(home, tmp_path / "in", mapping, e__csv=text)
    assert [(row["id"], row["value"], row["currency"]) for row in events(home)] == [("1", 100, "EUR"), ("3", 100, "EUR")]
    (held,) = quarantine_rows(home).to_pylist()
    assert (held["field"], held["value"], held["reason"]) == ("currency", "JPY", "currency is not the shop's currency EUR")
    assert balanced(report)


MISSING = """
currency = "EUR"
[[source]]
files = "items.csv"
into = "items"
[source.missing]
"""
ITEMS = "item,category,price\nA,x,1.00\nB,x,3.00\nC,x,\nD,y,50.00\nE,y,\nF,z,\n"


@pytest.mark.parametrize(
    ("policy", "prices", "consequence"),
    [
        ('"keep"', {"C": None, "E": None, "F": None}, "kept as they are"),
        ('"median"', {"C": 300, "E": 300, "F": 300}, "mended: set to the median, 300"),
        ('{ median_by = "category" }', {"C": 200, "E": 5000, "F": 300}, "mended: set to the median of equal category"),
        ("{ constant = 700 }", {"C": 700, "E": 700, "F": 700}, "mended: set to 700"),
        ('"drop"', {}, "dropped by the mapping's policy"),
        ('"quarantine"', {}, "quarantined"),
        ('"flag"', {"C": None, "E": None, "F": None}, "flagged"),
    ],
)
def test_policies_for_missing_values(home: Home, tmp_path: Path, policy: str, prices: dict[str, int | None], consequence: str) -> None:
    report = inline(home, tmp_path / "in", f"{MISSING}price = {policy}\n", items__csv=ITEMS)
    stored = {row["item"]: row for row in table(home, "items")}
    assert {name: row["price"] for name, row in stored.items() if name in "CEF"} == prices
    assert {name: stored[name]["price"] for name in "ABD"} == {"A": 100, "B": 300, "D": 5000}
    found = report.check("missing price")
    assert found is not None
    assert found.count == 3
    assert consequence in found.consequence
    assert balanced(report)
    if policy == '"flag"':
        assert json.loads(stored["C"]["attributes"]) == {"flags": ["missing price"]}


def test_ends_before_starts_and_ranges_of_source_columns(home: Home, tmp_path: Path) -> None:
    mapping = """
zone = "UTC"
[[source]]
files = "c.csv"
into = "campaigns"
[source.types]
size = "BIGINT"
[source.columns]
campaign = "campaign"
starts_at = "starts_at"
ends_at = "ends_at"
[source.rules.range]
size = { from = 10, to = 20, reason = "is no campaign of ours" }
"""
    text = "campaign,starts_at,ends_at,size\n"
    text += "a,2026-01-01,2026-02-01,10\nb,2026-02-01,2026-01-01,15\nc,2026-01-01,2026-02-01,21\nd,2026-01-01,,x\n"
    inline(home, tmp_path / "in", mapping, c__csv=text)
    assert [row["campaign"] for row in table(home, "campaigns")] == ["a"]
    assert [(row["field"], row["value"], row["reason"]) for row in quarantine_rows(home).to_pylist()] == [
        ("ends_at", "2026-01-01 00:00:00+00", "ends_at is before starts_at"),
        ("size", "21", "size is no campaign of ours"),
        ("size", "x", "size is not of the declared type"),
    ]


def test_control_totals_pass_and_fail(home: Home, tmp_path: Path) -> None:
    mapping = (
        MAPPING
        + '[source.types]\namount = "DOUBLE"\n[source.totals]\nsum = { sql = "sum(amount)", expect = 20 }\n'
        + 'rows = { sql = "count(*)", expect = 5 }\n'
    )
    report = load(home, tmp_path / "in", rows(sale(1), sale(2)), mapping=mapping)
    assert dict(report.totals) == {"orders.sum": 20.0, "orders.rows": 2.0}
    levels = {check.name: (check.level, check.example) for check in report.checks if check.name.startswith("total")}
    assert levels == {"total sum": ("PASS", "20.00, expected 20.00"), "total rows": ("FAIL", "2.00, expected 5.00")}


def test_rows_dropped_by_policy_are_counted_by_name(home: Home, tmp_path: Path) -> None:
    report = load(
        home,
        tmp_path / "in",
        rows(sale(1), sale(2, sku="FEE"), sale(3, sku="FEE")),
        mapping=MAPPING + "[source.drop]\nfees = \"sku = 'FEE'\"\n",
    )
    assert (report.rows_stored, report.rows_dropped) == (1, 2)
    found = report.check("drop fees")
    assert found is not None
    assert found.example == "orders.csv line 3: left out: fees"
    assert NOW.year == 2026


def test_json_columns_and_channels_are_checked(home: Home, tmp_path: Path) -> None:
    mapping = 'zone = "UTC"\n[[source]]\nfiles = "e.csv"\ninto = "events"\n[[source]]\nfiles = "c.csv"\ninto = "consents"\n'
    text = 'id,at,kind,context\n1,2026-01-02,view,"{""a"": 1}"\n2,2026-01-02,view,hello\n3,2026-01-02,view,[1]\n'
    people = "customer,channel,granted,at,source\nann,Email,yes,2026-01-02,form\nbob,fax,yes,2026-01-02,form\n"
    inline(home, tmp_path / "in", mapping, e__csv=text, c__csv=people)
    assert [row["id"] for row in events(home)] == ["1"]
    assert [(row["field"], row["value"], row["reason"]) for row in quarantine_rows(home).to_pylist()] == [
        ("channel", "fax", "channel is no known value"),
        ("context", "hello", "context is no JSON object"),
        ("context", "[1]", "context is no JSON object"),
    ]


@pytest.mark.parametrize("at_once", [3, 1_000])
def test_rows_are_alike_by_their_whole_key_hash(tmp_path: Path, at_once: int) -> None:
    repeated, near = 7 << 40, 9 << 40
    hashes = [repeated, near, 1, near + 1, repeated, 0, (1 << 64) - 1, (1 << 64) - 1, near + 2, (1 << 64) - 1]
    with connect(tmp_path) as con:
        con.execute("CREATE TEMP TABLE marks (_pos BIGINT, h UBIGINT, c UBIGINT, bad BIGINT)")
        find_alike(con, at_once=at_once)
        assert con.execute("SELECT * FROM alike").fetchall() == []
        con.executemany("INSERT INTO marks VALUES (?, ?, 5, 1)", list(enumerate(hashes)))
        find_alike(con, at_once=at_once)
        found = con.execute("SELECT * FROM alike ORDER BY _pos").fetchall()
    assert found == [(pos, one, 5, 1) for pos, one in enumerate(hashes) if hashes.count(one) > 1]
