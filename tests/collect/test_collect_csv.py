"""CSV in the encodings and states that shops really send."""

from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import pytest
from collect_shops import HEAD, MAPPING, NOW, balanced, events, folder, load, rows

from tradewind.collect.ingest import collect
from tradewind.collect.quarantine import quarantine_rows
from tradewind.engine.home import Home
from tradewind.errors import InputError

GOOD = rows("e1,2026-01-02T03:04:05Z,ann,sale,A1,2,19.99", "e2,2026-01-03 10:00:00,bob,return,A1,1,9.995", "e3,2026-01-04,,look,B2,,")


def test_a_clean_file_becomes_events(home: Home, tmp_path: Path) -> None:
    report = load(home, tmp_path / "in", GOOD)
    one, two, three = events(home)
    assert (one["id"], one["customer"], one["kind"], one["item"], one["quantity"], one["value"]) == (
        "e1",
        "ann",
        "purchase",
        "A1",
        2.0,
        1999,
    )
    assert one["at"].isoformat() == "2026-01-02T03:04:05+00:00"
    assert (two["kind"], two["value"], two["currency"]) == ("refund", 1000, "EUR")
    assert (three["customer"], three["value"], three["currency"]) == (None, None, None)
    assert one["source"] == "orders.csv"
    assert (report.rows_in, report.rows_stored, report.duplicates, report.rows_quarantined) == (3, 3, 0, 0)
    assert balanced(report)
    assert home.settings.currency == "EUR"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030", "latin-1"])
@pytest.mark.parametrize("declared", [True, False])
def test_encodings_are_read_declared_or_found(home: Home, tmp_path: Path, encoding: str, declared: bool) -> None:
    name = "caf\xe9 M\xfcller" if encoding == "latin-1" else "\u5f20\u4f1f\u5e97\u94fa\u7684\u5ba2\u6237"
    text = rows(f"e1,2026-01-02T03:04:05Z,{name},sale,A1,1,1.00")
    mapping = MAPPING.replace('into = "events"', f'into = "events"\nencoding = "{encoding}"') if declared else MAPPING
    report = load(home, tmp_path / "in", text.encode(encoding), mapping=mapping)
    assert [row["customer"] for row in events(home)] == [name]
    guessed = report.check("reading")
    assert (guessed is not None and guessed.level == "WARN") is (not declared and encoding in ("gb18030", "latin-1"))


def test_broken_bytes_cost_one_line(home: Home, tmp_path: Path) -> None:
    content = GOOD.encode() + b"e4,2026-01-05T00:00:00Z,a\xff\xfeb,sale,A1,1,1.00\n" + b"e5,2026-01-05T00:00:00Z,cy,sale,A1,1,1.00\n"
    report = load(home, tmp_path / "in", content)
    assert [row["id"] for row in events(home)] == ["e1", "e2", "e3", "e5"]
    (held,) = quarantine_rows(home).to_pylist()
    assert (held["file"], held["line"]) == ("orders.csv", 5)
    assert "no utf-8 text" in held["reason"]
    assert "a\\xff\\xfeb" in held["value"]
    assert (report.rows_in, report.rows_quarantined) == (5, 1)


def test_a_line_of_50_mb_is_quarantined_in_little_memory(home: Home, tmp_path: Path) -> None:
    content = (
        GOOD.encode() + b"e4,2026-01-05T00:00:00Z," + b"x" * 50_000_000 + b",sale,A1,1,1.00\ne5,2026-01-05T00:00:00Z,cy,sale,A1,1,1.00\n"
    )
    report = load(home, tmp_path / "in", content)
    (held,) = quarantine_rows(home).to_pylist()
    assert held["line"] == 5
    assert "50,000,04" in held["reason"]
    assert len(held["value"]) <= 1000
    assert [row["id"] for row in events(home)] == ["e1", "e2", "e3", "e5"]
    assert balanced(report)


def test_wrong_numbers_of_fields_and_stray_quotes_cost_their_own_line(home: Home, tmp_path: Path) -> None:
    lines = [
        "e1,2026-01-02T00:00:00Z,ann,sale,A1,1,1.00",
        "e2,too,few",
        'e3,2026-01-02T00:00:00Z,5" pipe,sale,A1,1,1.00',
        'e4,2026-01-02T00:00:00Z,"two\nlines",sale,A1,1,1.00',
        'e5,2026-01-02T00:00:00Z,"open,sale,A1,1,1.00',
        "e6,2026-01-02T00:00:00Z,ann,sale,A1,1,1.00",
    ]
    report = load(home, tmp_path / "in", rows(*lines))
    assert [row["id"] for row in events(home)] == ["e1", "e3", "e4", "e6"]
    assert [(row["line"], row["reason"]) for row in quarantine_rows(home).to_pylist()] == [
        (3, "3 fields, the header names 7"),
        (7, "3 fields, the header names 7"),
    ]
    assert {row["id"]: row["customer"] for row in events(home)}["e4"] == "two\nlines"
    assert balanced(report)


def test_gzip_and_zip(home: Home, tmp_path: Path) -> None:
    base = folder(tmp_path / "in", b"", name="unused.txt", mapping=MAPPING.replace('"*.csv"', '["*.csv.gz", "*.zip"]'))
    (base / "a.csv.gz").write_bytes(gzip.compress(rows("e1,2026-01-02T00:00:00Z,ann,sale,A1,1,1.00").encode()))
    with zipfile.ZipFile(base / "b.zip", "w") as archive:
        archive.writestr("deep/b.csv", rows("e2,2026-01-02T00:00:00Z,bob,sale,A1,1,1.00"))
        archive.writestr("read.me", "no")
    assert collect(home, base, now=NOW).rows_stored == 2
    assert [row["source"] for row in events(home)] == ["a.csv.gz", "b.zip/deep/b.csv"]


@pytest.mark.parametrize("cut", [b"\x1f\x8b\x08\x00broken", b"no gzip"])
def test_a_damaged_archive_is_told(home: Home, tmp_path: Path, cut: bytes) -> None:
    mapping = MAPPING.replace('"*.csv"', '"*.gz"')
    with pytest.raises(InputError, match=r'"a\.csv\.gz" is a damaged archive'):
        load(home, tmp_path / "in", cut, name="a.csv.gz", mapping=mapping)
    assert home.log.files("events") == []


def test_decimal_commas_and_other_delimiters(home: Home, tmp_path: Path) -> None:
    text = "id;when;who;what;sku;qty;amount\ne1;31.12.2025 23:30;ann;sale;007;1;1.234,50\n"
    mapping = MAPPING.replace('into = "events"', 'into = "events"\ndecimal = ","\nzone = "Europe/Berlin"').replace(
        'at = "when"', 'at = { column = "when", format = "%d.%m.%Y %H:%M" }'
    )
    load(home, tmp_path / "in", text, mapping=mapping)
    (one,) = events(home)
    assert (one["value"], one["item"], one["at"].isoformat()) == (123450, "007", "2025-12-31T22:30:00+00:00")


def test_a_file_of_only_a_header_is_empty_and_fine(home: Home, tmp_path: Path) -> None:
    assert load(home, tmp_path / "in", HEAD).rows_in == 0
    assert events(home) == []
