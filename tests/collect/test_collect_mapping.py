"""Mapping files: what is wrong is told exactly; a draft says what it assumes and loads again."""

from __future__ import annotations

import gzip
import os
import re
from pathlib import Path

import duckdb
import pytest
from collect_shops import MAPPING, NOW, events, folder, load, rows

from tradewind.collect.ingest import collect
from tradewind.collect.mapping import MappingFile, draft_mapping, load_mapping, parse_mapping
from tradewind.engine.home import Home
from tradewind.errors import InputError, TradewindError

GOLDEN = Path(__file__).parent / "golden" / "errors.txt"
HEAD = '[[source]]\nfiles = "*.csv"\ninto = "events"\n'
MAPPINGS = {
    "no toml": "currency = EUR",
    "unknown key": 'curency = "EUR"\n' + HEAD,
    "wrong currency": 'currency = "Euro"\n' + HEAD,
    "wrong zone": 'zone = "Paris"\n' + HEAD,
    "wrong version": "tradewind = 2\n" + HEAD,
    "no source": 'currency = "EUR"',
    "unknown table": '[[source]]\nfiles = "*.csv"\ninto = "event"\n',
    "no files": '[[source]]\ninto = "events"\n',
    "unknown column": HEAD + '[source.columns]\ncostumer = "who"\n',
    "two ways": HEAD + '[source.columns]\nat = { column = "a", sql = "b" }\n',
    "map without column": HEAD + '[source.columns]\nkind = { constant = "view", map = { a = "b" } }\n',
    "wrong sql": HEAD + '[source.columns]\nvalue = { sql = "price *" }\n',
    "two statements": HEAD + '[source.drop]\nall = "true) FROM x; SELECT (1"\n',
    "no select": '[inputs]\na = "a.csv"\n[[source]]\ninto = "events"\nquery = "DROP TABLE a"\n',
    "unknown rule": HEAD + "[source.rules.outlier_mad]\n",
    "unknown policy": HEAD + '[source.missing]\ncustomer = "ignore"\n',
    "unknown encoding": HEAD + 'encoding = "utf-9"\n',
    "two of one name": HEAD + HEAD,
    "wrong share": "[defaults]\nmargin = 40\n" + HEAD,
    "wrong channel": '[defaults]\nconsent = ["mail"]\n' + HEAD,
    "file elsewhere": HEAD.replace("*.csv", "../*.csv"),
    "offer without kind": '[[offers]]\noffer = "a"\n',
}
GOOD = rows("e1,2026-01-02T00:00:00Z,ann,sale,A,1,1.00")
LOADS: dict[str, tuple[bytes | str, str]] = {
    "empty file": (b"", MAPPING),
    "no header": (b"\n\n", MAPPING),
    "two columns of one name": ("id,id\n1,2\n", MAPPING),
    "wrong columns": ("number,time\n1,2\n", MAPPING),
    "nearly right column": (GOOD, MAPPING.replace('"when"', '"whem"')),
    "times without zone": (rows("e1,2026-01-02 10:00:00,ann,sale,A,1,1.00"), MAPPING.replace('zone = "UTC"\n', "")),
    "times as numbers": (
        rows("e1,1767312000,ann,sale,A,1,1.00"),
        MAPPING.replace('into = "events"', 'into = "events"\n[source.types]\nwhen = "BIGINT"').replace('id = "id"\n', ""),
    ),
    "currency unknown": (GOOD, MAPPING.replace('currency = "EUR"\n', "")),
    "nothing fills at": (GOOD, MAPPING.replace('at = "when"\n', "")),
    "unknown kind": (GOOD, re.sub(r"kind = .*", 'kind = { constant = "buy" }', MAPPING)),
    "sql names no column": (GOOD, MAPPING.replace('value = "amount"', 'value = { sql = "amont * 2" }')),
    "sql fails on a value": (GOOD.replace("1.00", "x"), MAPPING.replace('value = "amount"', 'value = { sql = "CAST(amount AS DOUBLE)" }')),
    "option of a rule": (GOOD, MAPPING + "[source.rules.bots]\nviews = 1\n"),
    "range of nothing": (GOOD, MAPPING + "[source.rules.range]\nprice = { above = 0 }\n"),
    "missing of nothing": (GOOD, MAPPING + '[source.missing]\nrating = "median"\n'),
    "median of text": (GOOD, MAPPING + '[source.missing]\ncustomer = "median"\n'),
    "no such files": (GOOD, MAPPING.replace("*.csv", "*.tsv")),
    "format unclear": (GOOD, MAPPING.replace("*.csv", "mapping.toml")),
}


def said(error: BaseException, base: Path) -> str:
    """A message without what differs from run to run."""
    return str(error).replace(str(base), "FOLDER")


def golden(found: dict[str, str], part: str) -> None:
    """Compare messages with the golden file; ``TRADEWIND_GOLDEN=1`` writes it anew."""
    text = GOLDEN.read_text(encoding="utf-8") if GOLDEN.exists() else ""
    parts = dict(re.findall(r"^# (\w+)\n(.*?)(?=^# |\Z)", text, re.MULTILINE | re.DOTALL))
    ours = "".join(f"{name}: {message}\n" for name, message in found.items())
    if os.environ.get("TRADEWIND_GOLDEN"):
        parts[part] = ours
        GOLDEN.write_text("".join(f"# {name}\n{parts[name]}" for name in sorted(parts)), encoding="utf-8")
    assert ours == parts.get(part)


def test_golden_errors_of_mappings() -> None:
    found = {}
    for name, text in MAPPINGS.items():
        if name == "file elsewhere":
            continue
        with pytest.raises(InputError) as caught:
            parse_mapping(text)
        found[name] = str(caught.value)
    golden(found, "mappings")


def test_golden_errors_of_loads(home: Home, tmp_path: Path) -> None:
    found = {}
    for number, (name, (content, mapping)) in enumerate(LOADS.items()):
        base = tmp_path / f"in{number}"
        with pytest.raises(TradewindError) as caught:
            load(home, base, content, mapping=mapping)
        found[name] = said(caught.value, base)
        assert home.log.files("events") == [], name
        assert not list(home.root.rglob("*.parquet")), name
    golden(found, "loads")


def test_golden_errors_of_sources(home: Home, tmp_path: Path) -> None:
    base = folder(tmp_path / "in", GOOD)
    found = {}
    (base / "strange.csv").write_text("a,b\n1,2\n")
    (base / "empty").mkdir()
    cases: dict[str, tuple[str | Path, MappingFile | Path | None]] = {
        "missing": (base / "nothing.csv", None),
        "no match": (base / "mapping.toml", base / "mapping.toml"),
        "leaves the folder": (base, parse_mapping(MAPPINGS["file elsewhere"])),
        "no mapping file": (base, base / "map.toml"),
        "a folder as mapping": (base, base / "empty"),
        "database without mapping": ("sqlite:///shop.db", None),
        "database with files": ("sqlite:///shop.db", base / "mapping.toml"),
    }
    for name, (source, mapping) in cases.items():
        with pytest.raises(InputError) as caught:
            collect(home, source, mapping=mapping, now=NOW)
        found[name] = said(caught.value, base)
    for name, path in {"nothing to imply": base / "strange.csv", "empty folder": base / "empty"}.items():
        (base / "mapping.toml").unlink(missing_ok=True)
        with pytest.raises(InputError) as caught:
            collect(home, path, now=NOW)
        found[name] = said(caught.value, base)
    golden(found, "sources")


def test_two_currencies_are_two_shops(home: Home, tmp_path: Path) -> None:
    load(home, tmp_path / "a", GOOD)
    with pytest.raises(InputError, match='says currency = "USD", but the shop "shop" counts in EUR'):
        load(home, tmp_path / "b", GOOD, mapping=MAPPING.replace("EUR", "USD"))


def test_some_times_without_zone_are_held_when_others_have_one(home: Home, tmp_path: Path) -> None:
    text = rows("e1,2026-01-02T00:00:00Z,ann,sale,A,1,1.00", "e2,2026-01-02 10:00:00,ann,sale,A,1,1.00")
    report = load(home, tmp_path / "in", text, mapping=MAPPING.replace('zone = "UTC"\n', ""))
    assert (report.rows_stored, report.rows_quarantined) == (1, 1)


@pytest.mark.parametrize(("zone", "hour"), [("Europe/London", 9), ("Asia/Shanghai", 2), ("UTC", 10)])
def test_wall_clocks_become_utc(home: Home, tmp_path: Path, zone: str, hour: int) -> None:
    load(home, tmp_path / "in", rows("e1,2025-07-02 10:00:00,ann,sale,A,1,1.00"), mapping=MAPPING.replace('"UTC"', f'"{zone}"'))
    assert events(home)[0]["at"].hour == hour


DRAFTS = {
    "orders.csv": "order_id,order_date,customer_id,sku,qty,unit_price\n"
    + "".join(f"{n},0{1 + n % 9}/03/2025 10:00,{n % 7},00{n % 5},{n % 3 + 1},{n}.50\n" for n in range(40)),
    "log.csv": "event_id,event_type,timestamp,user_id,product_id\n"
    + "".join(f"x{n},{('pv', 'cart', 'buy')[n % 3]},{1_700_000_000 + n},u{n},p{n}\n" for n in range(30)),
    "returns.csv": "InvoiceNo,StockCode,Quantity,InvoiceDate,UnitPrice,CustomerID\n"
    + "".join(f"{n},A{n},{n - 5 or 1},2025-01-02 10:00:00,{n + 1}.25,{n}\n" for n in range(30)),
    "products.csv": "sku,name,price,category\n" + "".join(f"{n},tea {n},{n}.99,drinks\n" for n in range(20)),
}


@pytest.mark.parametrize("name", list(DRAFTS))
def test_a_draft_loads_again_and_so_do_the_data(home: Home, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(DRAFTS[name])
    text, assumptions = draft_mapping(tmp_path / name, currency="EUR", zone="Europe/Berlin")
    assert all(f"# {said_}" in text for said_ in assumptions)
    mapping = parse_mapping(text)
    report = collect(home, tmp_path / name, mapping=mapping, now=NOW)
    assert report.rows_in == report.rows_stored == DRAFTS[name].count("\n") - 1


def test_a_draft_asks_for_what_no_data_say(tmp_path: Path) -> None:
    (tmp_path / "orders.csv").write_text(DRAFTS["orders.csv"])
    text, assumptions = draft_mapping(tmp_path / "orders.csv")
    assert 'currency = "FILL IN"' in text
    assert 'zone = "FILL IN"' in text
    assert any("the currency is not in the data" in one for one in assumptions)
    assert any("read as %d/%m/%Y %H:%M" in one for one in assumptions)
    with pytest.raises(InputError, match='currency must be a code of ISO 4217 such as "EUR"; got "FILL IN"'):
        parse_mapping(text)


def test_a_draft_of_a_folder_and_of_packed_files(tmp_path: Path) -> None:
    for name, text in DRAFTS.items():
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    drafted = parse_mapping(draft_mapping(tmp_path, currency="EUR", zone="UTC")[0])
    assert sorted((one.files[0], one.into) for one in drafted.sources) == [
        ("log.csv.gz", "events"),
        ("orders.csv.gz", "events"),
        ("products.csv.gz", "items"),
        ("returns.csv.gz", "events"),
    ]


def test_files_with_our_own_columns_need_no_mapping(home: Home, tmp_path: Path) -> None:
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        at = "TIMESTAMPTZ '2026-01-01 00:00:00Z' AS \"at\""
        row = f"SELECT 'e' || i AS id, 'view' AS kind, 'A' AS item, 5::BIGINT AS \"value\", 'EUR' AS currency, {at}"
        con.execute(f"COPY ({row} FROM range(10) AS t(i)) TO '{tmp_path / 'x.parquet'}' (FORMAT parquet)")
    assert collect(home, tmp_path / "x.parquet", now=NOW).rows_stored == 10
    assert events(home)[0]["value"] == 5


@pytest.mark.parametrize("name", ["online_retail.toml", "completejourney.toml"])
def test_committed_maps_are_valid(name: str) -> None:
    assert load_mapping(Path(__file__).parents[2] / "maps" / name).sources
