"""One contract for every source format."""

from __future__ import annotations

from pathlib import Path

import pytest

from tradewind.collect.mapping import SourceMap
from tradewind.collect.resolve import format_of
from tradewind.collect.sources.base import LINE_BITS, MAX_FILES, SUB_BITS, place, position
from tradewind.engine.parquet import connect
from tradewind.errors import InputError
from tradewind.plugins import load, names

FORMATS = sorted(names("collect.sources"))
SAMPLES = {"csv": b"a,b\n1,x\n2,y\n", "jsonl": b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n'}


def sample(name: str, folder: Path) -> Path:
    """A file of two rows in a format."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / f"sample.{name}"
    if name in SAMPLES:
        path.write_bytes(SAMPLES[name])
    else:
        pq.write_table(pa.table({"a": [1, 2], "b": ["x", "y"]}), path)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_contract_of_formats(name: str, tmp_path: Path) -> None:
    plugin = load("collect.sources", name)
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in plugin.suffixes)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    source = SourceMap(name="s", into="events", table="t")
    with connect(tmp_path) as con:
        (part,) = plugin.open(con, [sample(name, tmp_path)], source=source, scratch=scratch)
        found = con.execute(f"SELECT CAST(a AS INTEGER), b, _pos FROM ({part.sql}) ORDER BY _pos").fetchall()
    assert [(a, b) for a, b, _ in found] == [(1, "x"), (2, "y")]
    first = 2 if name == "csv" else 1
    assert [place(pos) for _, _, pos in found] == [(0, first), (0, first + 1)]
    assert len(part.files) == 1
    assert part.bad == ()


@pytest.mark.parametrize("name", [name for name in FORMATS if load("collect.sources", name).suffixes])
def test_an_empty_file_is_refused_by_every_format(name: str, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "empty").touch()
    source, plugin = SourceMap(name="s", into="events"), load("collect.sources", name)
    with connect(tmp_path) as con, pytest.raises(InputError, match=r'"empty" is empty \(0 bytes\)'):
        plugin.open(con, [tmp_path / "empty"], source=source, scratch=tmp_path / "scratch")


def test_formats_are_found_by_the_longest_ending() -> None:
    source = SourceMap(name="s", into="events")
    found = {name: format_of(source, Path(name)) for name in ("a.csv", "A.CSV.GZ", "a.json.gz", "a.pq", "a.zip")}
    assert found == {"a.csv": "csv", "A.CSV.GZ": "csv", "a.json.gz": "jsonl", "a.pq": "parquet", "a.zip": "csv"}


def test_positions_are_reversible_to_their_limits() -> None:
    for number, line, sub in ((0, 1, 0), (MAX_FILES - 1, (1 << LINE_BITS) - 1, (1 << SUB_BITS) - 1), (5, 77, 3)):
        assert place(position(number, line, sub)) == (number, line)
        assert 0 <= position(number, line, sub) < 1 << 63


def test_parquet_gives_at_least_the_rows_asked_for_with_the_same_positions(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = [tmp_path / f"{number}.parquet" for number in range(3)]
    for number, path in enumerate(paths):
        pq.write_table(pa.table({"a": [number * 10_000 + row for row in range(5_000)]}), path, row_group_size=2_000)
    wanted = {position(0, 1): 0, position(1, 4_321): 14_320, position(2, 5_000): 24_999}
    with connect(tmp_path) as con:
        part, *_ = load("collect.sources", "parquet").open(con, paths, source=SourceMap(name="s", into="events"), scratch=tmp_path)
        assert part.among is not None
        every = dict(con.execute(f"SELECT _pos, a FROM ({part.sql})").fetchall())
        some = dict(con.execute(f"SELECT _pos, a FROM ({part.among(f'SELECT unnest({list(wanted)}) AS _pos')})").fetchall())
    assert len(every) == 15_000
    assert some.items() <= every.items()
    assert {pos: some[pos] for pos in wanted} == wanted
    assert len(some) == 9  # the same lines of the other files, and no more
