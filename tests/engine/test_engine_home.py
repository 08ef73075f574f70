"""Opening a shop: the right place, or a sentence that says what is wrong with it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tradewind.engine.home import Home, locate, new_salt
from tradewind.engine.settings import NAME
from tradewind.errors import InputError, NotFound, StateError
from tradewind.types import Event


@pytest.fixture(autouse=True)
def _own_salts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here every shop draws its salt, as it does for users; the other tests share one."""
    monkeypatch.setattr("tradewind.engine.home.new_salt", new_salt)


def test_a_new_shop_is_made_and_found_again(home_url: str) -> None:
    with Home.open(home_url) as home:
        first = home.settings
        assert first.name == "shop"
        assert first.currency is None
        assert home.tables.backend == "duckdb"
        home.save_settings(replace(first, currency="CNY", margin=0.25))
    with Home.open(home_url, create=False) as home:
        assert home.settings == replace(first, currency="CNY", margin=0.25)
        assert home.settings.salt == first.salt
        home.close()
        home.close()


def test_two_shops_have_two_salts(tmp_path: Path) -> None:
    salts = []
    for name in ("a", "b"):
        with Home.open(tmp_path / name) as home:
            salts.append(home.settings.salt)
    assert len(set(salts)) == 2


def test_the_salt_never_changes(home: Home) -> None:
    with pytest.raises(InputError, match="salt of a shop never changes"):
        home.save_settings(replace(home.settings, salt="0" * 32))


def test_lost_settings_get_the_same_salt_back(tmp_path: Path) -> None:
    with Home.open(tmp_path / "s") as home:
        salt = home.settings.salt
    (tmp_path / "s" / NAME).unlink()
    with Home.open(tmp_path / "s") as home:
        assert home.settings.salt == salt


def test_a_ledger_of_another_shop_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        Home.open(tmp_path / name).close()
    (tmp_path / "a" / "ledger.db").replace(tmp_path / "b" / "ledger.db")
    with pytest.raises(StateError, match="belongs to another shop"):
        Home.open(tmp_path / "b")


def test_create_false_wants_a_shop(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(NotFound, match=r"There is no shop at .*create=True"):
            Home.open(path, create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match=r"is no shop and not empty \(it has 'thesis.txt'\)"):
        Home.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_what_a_killed_creation_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / ".hidden").write_text("")
    Home.open(tmp_path).close()
    assert (tmp_path / NAME).is_file()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("id\n")
    with pytest.raises(InputError, match="is a file; a shop is a folder"):
        Home.open(path)
    with pytest.raises(InputError, match="Cannot make a shop at"):
        Home.open(path / "shop")


READ_ONLY = """
import os, sys
from tradewind.engine.home import Home
if os.geteuid() == 0:
    os.setuid(65534)
try:
    Home.open(sys.argv[1])
except ValueError as error:
    print(error)
"""


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    ours = [path for path in folder.parents if path.is_relative_to(tempfile.gettempdir()) and path != Path(tempfile.gettempdir())]
    for path in [folder, *ours]:
        path.chmod(path.stat().st_mode | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    folder.chmod(0o555)
    said = subprocess.run([sys.executable, "-c", READ_ONLY, str(folder)], capture_output=True, text=True, check=True).stdout
    assert f"Cannot make a shop at {folder}: Permission denied. Give a folder that you may write to." in said
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "root", "ledger", "engine"),
    [
        ("/a/b", "/a/b", "sqlite:////a/b/ledger.db", "duckdb"),
        ("postgresql://me@host/db?root=/a&sslmode=require", "/a", "postgresql://me@host/db?sslmode=require", "duckdb"),
        ("postgresql://me@host/db?root=%2Fa%20b", "/a b", "postgresql://me@host/db", "duckdb"),
        ("spark:///a", "/a", "sqlite:////a/ledger.db", "spark"),
        ("spark:///a?ledger=postgresql://me@host/db?sslmode=require", "/a", "postgresql://me@host/db?sslmode=require", "spark"),
        ("spark:///a?ledger=postgresql%3A%2F%2Fme%40host%2Fdb", "/a", "postgresql://me@host/db", "spark"),
    ],
)
def test_addresses_are_read(url: str, root: str, ledger: str, engine: str) -> None:
    assert locate(url) == (Path(root), ledger, engine)


def test_a_folder_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("harbour/").root == tmp_path / "harbour"


@pytest.mark.parametrize(
    "url", ["", "  ", "mysql://x/y", "postgresql://h/db", "postgresql://h/db?root=rel", "spark://host:7077/x", "spark:///a?legder=x"]
)
def test_a_wrong_address_shows_the_right_ones(url: str) -> None:
    with pytest.raises(InputError, match=r"Allowed: a folder such as .*postgresql://.*spark:///"):
        locate(url)


@pytest.mark.parametrize("name", ["my shop, 'quoted' & co; 100% #1", "店", "a[1]", "b*", "c?", "d{e}"])
def test_a_folder_works_or_is_refused_whatever_its_name(tmp_path: Path, name: str) -> None:
    if set(name) & set("*?[]{}"):
        with pytest.raises(InputError, match="table engines read as patterns"):
            Home.open(tmp_path / name)
        return
    with Home.open(tmp_path / name) as home:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        home.log.append([Event("e", at, "view", "test")], now=at)
        assert home.log.compact(now=at) == 1
        assert home.tables.to_arrow(home.tables.get("events"))["id"].to_pylist() == ["e"]


@pytest.mark.spark
def test_a_spark_address_opens_tables_on_spark(tmp_path: Path, spark: object) -> None:
    with Home.open(f"spark://{tmp_path / 'shop'}") as home:
        assert home.tables.backend == "pyspark"
        assert home.tables.to_arrow(home.tables.get("items")).num_rows == 0


def test_processes_that_make_one_shop_at_once_agree_on_its_salt(tmp_path: Path) -> None:
    program = "import sys; from tradewind.engine.home import Home; print(Home.open(sys.argv[1]).settings.salt)"
    command = [sys.executable, "-c", program, str(tmp_path / "shop")]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONWARNINGS": "ignore"}) for _ in range(2)]
    assert len({run.communicate(timeout=60)[0] for run in runs}) == 1
    assert [run.returncode for run in runs] == [0, 0]


@pytest.mark.parametrize("left", ["-journal", "-wal", "-shm"])
def test_a_ledger_that_another_process_is_making_does_not_make_the_folder_foreign(tmp_path: Path, left: str) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / f"ledger.db{left}").touch()
    Home.open(tmp_path / "shop").close()


def test_the_url_of_a_shop_is_an_address(home: Home) -> None:
    home.save_settings(replace(home.settings, url="https://harbour.example"))
    assert home.settings.url == "https://harbour.example"
    with pytest.raises(InputError, match='Setting "url" must be an address'):
        home.save_settings(replace(home.settings, url="harbour"))
