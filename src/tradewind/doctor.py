"""Look at the machine and at a shop, and say what to mend. Reads only."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, Literal

from tradewind.errors import NotFound, TradewindError

OPTIONAL = {
    "torch": ('the transformer; pip install "tradewind[deep]"', "deep"),
    "pyspark": ('Apache Spark; pip install "tradewind[spark]"', "spark"),
    "psycopg": ('PostgreSQL; pip install "tradewind[postgres]"', "postgres"),
}
LOW_DISK_GIB = 2.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    level: Literal["PASS", "WARN", "FAIL"]
    said: str

    def to_dict(self) -> dict[str, str]:
        """For machines."""
        return asdict(self)

    def to_text(self) -> str:
        """One line."""
        return f"{self.level:<4}  {self.name:<18} {self.said}"


def examine(url: str) -> list[Finding]:
    """Look at the machine, then at the shop at ``url``."""
    return [*_machine(), *_shop(url)]


def _machine() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("python", "PASS" if sys.version_info >= (3, 11) else "FAIL", f"{version} (3.11 or newer is needed)")
    for package, (what, _) in OPTIONAL.items():
        there = find_spec(package) is not None
        yield Finding(package, "PASS" if there else "WARN", "installed" if there else f"not installed; only needed for {what}")
    java = shutil.which("java")
    yield Finding("java", "PASS" if java else "WARN", java or "not found; only needed for Apache Spark")


def _shop(url: str) -> Iterator[Finding]:
    from tradewind.engine.home import Home

    try:
        home = Home.open(url, create=False)
    except NotFound:
        yield Finding("shop", "WARN", f"there is no shop at {url} yet; tradewind collect makes one, tradewind demo makes one to look at")
        return
    except TradewindError as error:
        yield Finding("shop", "FAIL", str(error))
        return
    try:
        yield Finding("shop", "PASS", f"{home.settings.name} at {home.root}")
        free = shutil.disk_usage(home.root).free / 2**30
        yield Finding("disk", "PASS" if free >= LOW_DISK_GIB else "WARN", f"{free:.1f} GiB free")
        yield from _files(home)
        yield _kept(home)
        yield from _work(home)
        yield from _forgetting(home)
        key = home.root / "keys" / "master.key"
        if key.exists():
            private = key.stat().st_mode & 0o077 == 0
            yield Finding("master key", "PASS" if private else "FAIL", "private" if private else f"others can read {key}; chmod 600 it")
    finally:
        home.close()


def _files(home: Any) -> Iterator[Finding]:
    from sqlalchemy import select

    from tradewind.engine import ledger as books

    with home.ledger.read() as connection:
        rows = connection.execute(select(books.manifest.c.path, books.manifest.c.bytes, books.manifest.c.rows, books.manifest.c.name)).all()
    wrong = [path for path, size, _, _ in rows if not (home.root / path).is_file() or (home.root / path).stat().st_size != size]
    events = sum(count for _, _, count, name in rows if name == "events")
    if wrong:
        yield Finding(
            "files", "FAIL", f"{len(wrong)} of {len(rows)} files are missing or changed, first {wrong[0]}; restore them from a backup"
        )
    else:
        yield Finding("files", "PASS", f"{len(rows)} files whole; {events:,} events")


def _kept(home: Any) -> Finding:
    """Plans and active models lie where the ledger says."""
    from sqlalchemy import select

    from tradewind.engine import ledger as books

    with home.ledger.read() as connection:
        plans = connection.execute(select(books.plans.c.path)).scalars().all()
        models = connection.execute(select(books.models.c.path).where(books.models.c.active)).scalars().all()
    gone = [path for path in [*plans, *models] if not (home.root / path).exists()]
    if gone:
        return Finding(
            "plans and models", "FAIL", f"{len(gone)} are gone, first {gone[0]}; restore plans from a backup, learn models again"
        )
    return Finding("plans and models", "PASS", f"{len(plans)} plans, {len(models)} active models")


def _forgetting(home: Any) -> Iterator[Finding]:
    """Models that saw somebody who was erased, and erasures that were cut off."""
    from sqlalchemy import func, select

    from tradewind.collect.erase_trained import due
    from tradewind.engine.books_vault import erasures

    with home.ledger.read() as connection:
        cut = connection.execute(select(func.count()).select_from(erasures).where(erasures.c.finished_at.is_(None))).scalar_one()
    if cut:
        yield Finding("erasures", "FAIL", f"{cut} erasures were cut off; run the same tradewind erase again")
    late = [one for one in due(home) if one.active]
    if late:
        names = ", ".join(f"{one.name} (until {one.deadline:%Y-%m-%d})" for one in late)
        yield Finding("erased people", "WARN", f"models that saw them still serve: {names}; run tradewind learn")


def _work(home: Any) -> Iterator[Finding]:
    from sqlalchemy import func, select

    from tradewind.engine import ledger as books

    with home.ledger.read() as connection:
        waiting = connection.execute(select(func.count()).select_from(books.inbox)).scalar_one()
        running = connection.execute(select(books.loads.c.source).where(books.loads.c.state == "running")).scalars().all()
        unknown = connection.execute(select(func.count()).select_from(books.outbox).where(books.outbox.c.state == "unknown")).scalar_one()
    yield Finding("inbox", "PASS", f"{waiting:,} events wait to be compacted")
    if running:
        yield Finding("loads", "WARN", f'{len(running)} loads were cut off, first "{running[0]}"; run the same collect again')
    if unknown:
        yield Finding("messages", "WARN", f"{unknown} hand-offs have an unknown end; ask the provider before sending again")
