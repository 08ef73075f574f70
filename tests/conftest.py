"""Fixtures that every room shares: a shop in a temporary folder, a real PostgreSQL, a local Spark, the real data.

What a user's machine lacks is skipped with the reason; continuous integration must have it, so there it fails.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tradewind.engine.home import Home
from tradewind.engine.ledger import Ledger

REPOSITORY = Path(__file__).resolve().parent.parent
CI = os.environ.get("CI", "").lower() in ("true", "1")


def lacking(what: str) -> None:
    """Skip the test on a user's machine, fail it in continuous integration."""
    if CI:
        pytest.fail(f"{what}; continuous integration needs it")
    pytest.skip(what)


@pytest.fixture(scope="session", autouse=True)
def _salt() -> Iterator[None]:
    """Every shop of a run has the same salt, so that a run can be repeated; TRADEWIND_TEST_SALT tries another."""
    salt = hashlib.sha256(os.environ.get("TRADEWIND_TEST_SALT", "tradewind").encode()).hexdigest()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tradewind.engine.home.new_salt", lambda: salt[:32])
        yield


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """An empty shop on DuckDB and SQLite."""
    with Home.open(tmp_path / "shop") as shop:
        yield shop


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the real data sets: ``TRADEWIND_DATA``, else ``shared/data`` beside the repository."""
    path = Path(os.environ.get("TRADEWIND_DATA") or REPOSITORY.parent / "shared" / "data")
    if not path.is_dir():
        lacking(f"the real data are not at {path} (set TRADEWIND_DATA)")
    return path


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A PostgreSQL cluster of our own on a Unix socket; yields the URL of its ``postgres`` database."""
    bins = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = shutil.which("initdb")
    if not bins and not found:
        lacking("PostgreSQL's server programs are not installed")
    folder = (bins[-1] if bins else Path(str(found))).parent
    base = Path(tempfile.mkdtemp(prefix="tw-pg-", dir="/tmp"))  # short: a socket's path has at most 107 bytes

    def run(program: str, *arguments: str) -> None:
        command = [str(folder / program), *arguments]
        if os.geteuid() == 0:  # the server refuses to run as root
            command = ["runuser", "-u", "postgres", "--", *command]
        # Output goes to a file: the server keeps a pipe open for ever.
        with (base / "log.txt").open("ab") as log:
            done = subprocess.run(command, cwd=base, stdout=log, stderr=log, check=False, timeout=120)
        if done.returncode:
            pytest.fail(f"{program} failed: {(base / 'log.txt').read_text()[-2000:]}")

    if os.geteuid() == 0:
        shutil.chown(base, "postgres", "postgres")
    try:
        run("initdb", "-D", str(base / "data"), "-U", "tradewind", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C")
        # fsync off: the tests kill programs, not the machine.
        run(
            "pg_ctl",
            "-D",
            str(base / "data"),
            "-w",
            "-l",
            str(base / "server.txt"),
            "start",
            "-o",
            f"-k {base} -c listen_addresses= -c fsync=off",
        )
        try:
            yield f"postgresql://tradewind@/postgres?host={base}"
        finally:
            run("pg_ctl", "-D", str(base / "data"), "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a fresh PostgreSQL database."""
    import psycopg

    name = f"t{secrets.token_hex(6)}"
    with psycopg.connect(postgres_server, autocommit=True) as conn:
        conn.execute(f'CREATE DATABASE "{name}"')
        yield postgres_server.replace("/postgres?", f"/{name}?")
        conn.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty ledger, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """An open, empty ledger, once on SQLite and once on PostgreSQL."""
    with Ledger.open(ledger_url) as opened:
        yield opened


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def home_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a shop that does not exist yet, once with each ledger."""
    if request.param == "sqlite":
        return str(tmp_path / "shop")
    return f"{request.getfixturevalue('postgres_url')}&root={tmp_path / 'shop'}"


@pytest.fixture
def each_home(home_url: str) -> Iterator[Home]:
    """An empty shop, once with each ledger."""
    with Home.open(home_url) as shop:
        yield shop


@pytest.fixture(scope="session")
def spark() -> Iterator[Any]:
    """A small local SparkSession."""
    if not shutil.which("java"):
        lacking("Java is not installed; Apache Spark needs it")
    try:
        from pyspark.sql import SparkSession
    except ImportError:
        lacking('PySpark is not installed: pip install "tradewind[spark]"')
    scratch = tempfile.mkdtemp(prefix="tw-spark-")
    session = (
        SparkSession.builder.master("local[2]")
        .appName("tradewind-tests")
        .config("spark.driver.memory", "1g")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.sql.warehouse.dir", f"{scratch}/warehouse")
        .config("spark.local.dir", scratch)
        .getOrCreate()
    )
    yield session
    session.stop()
    shutil.rmtree(scratch, ignore_errors=True)


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait up to 20 seconds for a condition that another process makes true."""
    import time

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "it did not happen within 20 seconds"
            time.sleep(0.01)

    return wait


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that uses an engine carries its mark, so that ``-m "not spark"`` is exact."""
    for item in items:
        for fixture, mark in (("spark", "spark"), ("postgres_url", "postgres"), ("data_dir", "data")):
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)
        if item.get_closest_marker("spark"):  # our tables reach Spark through Arrow, never through pandas
            item.add_marker(pytest.mark.filterwarnings("ignore:PySpark does not yet fully support pandas:FutureWarning"))
