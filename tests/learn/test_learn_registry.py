"""Models on the shelf: one active version of a name, versions named by their bytes, nothing left of who was killed."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.errors import StateError
from tradewind.learn.registry import DRAFT, active, learned, publish

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 2, tzinfo=UTC)


def writes(**files: str) -> Callable[[Path], None]:
    def save(folder: Path) -> None:
        for name, text in files.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)

    return save


def shelf(home: Home, name: str = "recommend") -> list[str]:
    return sorted(path.name for path in (home.root / "models" / name).iterdir() if path.is_dir())


def test_what_was_published_is_active(each_home: Home) -> None:
    made = publish(each_home, "recommend", writes(weights="1 2 3", deep__more="4"), as_of=AS_OF, card={"events": 7}, now=NOW)
    found = active(each_home, "recommend")
    assert found == made
    assert found.as_of == AS_OF
    assert found.card == {"events": 7}
    assert (found.path / "weights").read_text() == "1 2 3"
    assert (found.path / "deep" / "more").read_text() == "4"
    assert learned(each_home, "recommend")
    assert not learned(each_home, "value")


def test_the_same_bytes_are_the_same_version_and_the_names_of_files_count(home: Home) -> None:
    first = publish(home, "recommend", writes(a="x", b="y"), as_of=AS_OF, card={"n": 1}, now=NOW)
    again = publish(home, "recommend", writes(b="y", a="x"), as_of=AS_OF + timedelta(days=1), card={"n": 2}, now=NOW)
    other = publish(home, "recommend", writes(a="y", b="x"), as_of=AS_OF, card={}, now=NOW)
    assert first.version == again.version != other.version
    assert shelf(home) == sorted({first.version, other.version})
    assert active(home, "recommend").version == other.version
    back = publish(home, "recommend", writes(a="x", b="y"), as_of=AS_OF, card={"n": 3}, now=NOW)
    assert active(home, "recommend") == back
    assert back.card == {"n": 3}


def test_names_do_not_disturb_each_other(home: Home) -> None:
    publish(home, "recommend", writes(a="1"), as_of=AS_OF, card={}, now=NOW)
    publish(home, "value", writes(a="2"), as_of=AS_OF, card={}, now=NOW)
    publish(home, "value", writes(a="3"), as_of=AS_OF, card={}, now=NOW)
    with home.ledger.read() as connection:
        rows = connection.execute(select(books.models.c.name, books.models.c.active)).all()
    assert Counter((name, on) for name, on in rows) == {("recommend", True): 1, ("value", True): 1, ("value", False): 1}


def test_a_save_that_fails_changes_nothing(home: Home) -> None:
    before = publish(home, "recommend", writes(a="1"), as_of=AS_OF, card={}, now=NOW)

    def fails(folder: Path) -> None:
        (folder / "half").write_text("h")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        publish(home, "recommend", fails, as_of=AS_OF, card={}, now=NOW)
    assert active(home, "recommend") == before
    after = publish(home, "recommend", writes(a="2"), as_of=AS_OF, card={}, now=NOW)
    assert shelf(home) == sorted({before.version, after.version}), "the half-written draft is gone"


def test_what_a_killed_publisher_left_is_removed(home: Home) -> None:
    made = publish(home, "recommend", writes(a="1"), as_of=AS_OF, card={}, now=NOW)
    folder = home.root / "models" / "recommend"
    (folder / f"{DRAFT}123").mkdir()
    (folder / "0123456789abcdef01234567").mkdir()  # moved into place, never named by the ledger
    assert active(home, "recommend") == made
    publish(home, "recommend", writes(a="1"), as_of=AS_OF, card={}, now=NOW)
    assert shelf(home) == [made.version]


def test_a_model_that_knows_the_future_is_refused(home: Home) -> None:
    publish(home, "recommend", writes(a="1"), as_of=AS_OF, card={}, now=NOW)
    assert active(home, "recommend", before=AS_OF).as_of == AS_OF
    with pytest.raises(StateError, match=r"learned from what happened until 2026-03-01.*tradewind learn --as-of 2026-02-28"):
        active(home, "recommend", before=AS_OF - timedelta(days=1))


def test_what_is_missing_says_what_to_run(home: Home) -> None:
    with pytest.raises(StateError, match=r'no learned "recommend"\. Run: tradewind learn'):
        active(home, "recommend")
    made = publish(home, "recommend", writes(a="1"), as_of=AS_OF, card={}, now=NOW)
    made.path.rename(made.path.with_name("elsewhere"))
    with pytest.raises(StateError, match=r"is gone: .*tradewind learn"):
        active(home, "recommend")


def _publish_many(url: str, worker: int) -> None:
    def slow(folder: Path) -> None:
        (folder / "a").write_text(str(worker))
        time.sleep(0.01)
        (folder / "b").write_text(str(worker))

    with Home.open(url) as home:
        for _ in range(8):
            made = publish(home, "recommend", slow, as_of=AS_OF, card={"worker": worker}, now=NOW)
            assert (made.path / "a").read_text() == (made.path / "b").read_text() == str(worker)


def test_processes_that_publish_at_once_take_turns(tmp_path: Path) -> None:
    url = str(tmp_path / "shop")
    Home.open(url).close()
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_publish_many, args=(url, worker)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    with Home.open(url) as home, home.ledger.read() as connection:
        rows = connection.execute(select(books.models.c.version, books.models.c.active)).all()
        assert sum(on for _, on in rows) == 1
        assert shelf(home) == sorted(version for version, _ in rows)
