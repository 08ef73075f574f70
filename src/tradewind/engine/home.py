"""One shop: a folder, a ledger and a table engine, found by one address."""

from __future__ import annotations

import os
import secrets
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

from sqlalchemy import select

from tradewind.engine import settings as toml
from tradewind.engine.ledger import Ledger, insert_new, meta
from tradewind.engine.log import EventLog
from tradewind.engine.settings import Settings
from tradewind.errors import InputError, NotFound, StateError

if TYPE_CHECKING:
    from tradewind.engine.tables import Tables

_ALLOWED = (
    'Allowed: a folder such as "harbour/", "postgresql://user@host/database?root=/absolute/folder", '
    'or "spark:///absolute/folder" (with "?ledger=postgresql://user@host/database" if you like).'
)
_OURS = {
    "tradewind.toml", "ledger.db", "ledger.db-journal", "ledger.db-wal", "ledger.db-shm", "data", "models", "plans", "outbox", "reports",
    "keys", "packs", "markets.toml", "channels.toml", "fairness.toml", "risk.toml",
}  # fmt: skip


class Address(NamedTuple):
    """Where a shop's files, ledger and tables are."""

    root: Path
    ledger: str
    engine: str  # "duckdb" | "spark"


class Home:
    """One open shop. Use it in a ``with`` block or call :meth:`close`."""

    def __init__(self, address: Address, ledger: Ledger, settings: Settings) -> None:
        self.root = address.root
        self.ledger = ledger
        self.settings = settings
        self.log = EventLog(self.root, ledger)
        self._engine = address.engine

    def __repr__(self) -> str:
        return f"Home({str(self.root)!r}, {self.ledger!r}, {self._engine!r})"

    @classmethod
    def open(cls, url: str | Path, *, create: bool = True) -> Home:
        """Open the shop at ``url``; make it where there is none, unless ``create`` is false.

        ``"harbour/"``: DuckDB and SQLite in that folder. ``"postgresql://user@host/db?root=/abs/folder"``: the ledger
        there, files in the folder. ``"spark:///abs/folder?ledger=postgresql://..."``: tables on Apache Spark.

        Raises
        ------
        InputError
            The address is wrong, is a file, is a folder with other things in it, or cannot be written.
        NotFound
            There is no shop and ``create`` is false.
        StateError
            The ledger is of a newer Tradewind or belongs to another shop.
        """
        address = locate(url)
        _prepare(address.root, create=create)
        ledger = Ledger.open(address.ledger)
        try:
            home = cls(address, ledger, _agreed(address.root, ledger))
            home.log.recover()
        except BaseException:
            ledger.close()
            raise
        return home

    @cached_property
    def tables(self) -> Tables:
        """The tables on the shop's engine, started when they are first asked for."""
        from tradewind.engine.tables import Tables

        return Tables.on_spark(self.log) if self._engine == "spark" else Tables.on_duckdb(self.log)

    def beside(self) -> Home:
        """The same shop with tables of its own, for another thread; close its ``tables`` when done, the ledger is shared."""
        return Home(Address(self.root, "", self._engine), self.ledger, self.settings)

    def save_settings(self, settings: Settings) -> None:
        """Write other settings, for example ``replace(home.settings, currency="CNY")``.

        Raises
        ------
        InputError
            A value is not allowed, or the salt differs: it decides who is in the holdout and never changes.
        """
        if settings.salt != self.settings.salt:
            raise InputError("The salt of a shop never changes: it decides who is in the holdout. Keep the one that home.settings has.")
        settings.save(self.root)
        self.settings = settings

    def close(self) -> None:
        """Close the ledger and the table engine; safe to call twice."""
        if "tables" in self.__dict__:
            self.tables.close()
            del self.__dict__["tables"]
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def locate(url: str | Path) -> Address:
    """Read an address; raises InputError that shows the three allowed forms."""
    text = str(url)
    if not text.strip():
        raise InputError(f"The shop's address is empty. {_ALLOWED}")
    scheme, mark, _ = text.partition("://")
    if isinstance(url, Path) or not mark:
        return _in_folder(Path(text).expanduser().absolute(), None, "duckdb")
    parts = urlsplit(text)
    if scheme == "postgresql":
        query = dict(parse_qsl(parts.query))
        root = query.pop("root", "")
        return _in_folder(_absolute(root, text), urlunsplit(parts._replace(query=urlencode(query))), "duckdb")
    if scheme == "spark":
        name, _, ledger = parts.query.partition("=")
        if parts.netloc or (parts.query and name != "ledger"):
            raise InputError(f'"{text}" is no shop address. {_ALLOWED}')
        return _in_folder(_absolute(unquote(parts.path), text), unquote(ledger) or None, "spark")
    raise InputError(f'"{text}" is no shop address: there is no engine "{scheme}". {_ALLOWED}')


def _in_folder(root: Path, ledger: str | None, engine: str) -> Address:
    if set(str(root)) & set("*?[]{}"):  # DuckDB and Spark read these in a file's name as patterns
        raise InputError(
            f'The path "{root}" has one of * ? [ ] {{ }}, which the table engines read as patterns. Give a folder without them.'
        )
    return Address(root, ledger or f"sqlite:///{root / 'ledger.db'}", engine)


def _absolute(root: str, url: str) -> Path:
    if not root.startswith("/"):
        raise InputError(f'"{url}" names no absolute folder for the files; got "{root}". {_ALLOWED}')
    return Path(root)


def _prepare(root: Path, *, create: bool) -> None:
    """Make the folder, or say why it cannot be a shop."""
    if root.exists() and not root.is_dir():
        raise InputError(f"{root} is a file; a shop is a folder. Give another path.")
    found = {path.name for path in root.iterdir() if not path.name.startswith(".")} if root.is_dir() else set()
    if toml.NAME not in found:
        if not create:
            raise NotFound(
                f"There is no shop at {root}. Check the path, or make one: tradewind collect FILES --shop {root} (in Python: create=True)."
            )
        if others := sorted(found - _OURS):
            raise InputError(f"{root} is no shop and not empty (it has {others[0]!r}). Give a new or an empty folder.")
    try:
        (root / "data").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"Cannot make a shop at {root}: {error.strerror}. Give a folder that you may write to.") from error
    if not os.access(root, os.W_OK | os.X_OK):
        raise InputError(f"Cannot write to {root}. Change its permissions or give another folder.")


def new_salt() -> str:
    """The salt of a new shop, 32 hexadecimal digits: nobody can foresee who will be in its holdouts."""
    return secrets.token_hex(16)


def _agreed(root: Path, ledger: Ledger) -> Settings:
    """The settings in the folder, made where there are none; folder and ledger must hold one salt."""
    with ledger.read() as conn:  # the usual case asks for no lock: who only looks does not wait for who writes
        known = conn.execute(select(meta.c.value).where(meta.c.key == "salt")).scalar()
    if known is not None and (root / toml.NAME).exists() and (settings := toml.load(root)).salt == known:
        return settings
    with ledger.write() as conn:
        known = conn.execute(select(meta.c.value).where(meta.c.key == "salt")).scalar()
        fresh = Settings(name=root.name or "shop", salt=known or new_salt())
        settings = toml.load(root) if (root / toml.NAME).exists() else fresh.create(root)
        insert_new(conn, meta, [{"key": "salt", "value": settings.salt}])
    if known not in (None, settings.salt):
        raise StateError(
            f"{ledger!r} belongs to another shop than {root}: their salts differ. "
            f"Give the ledger that was used before, or restore {root / toml.NAME} from a backup."
        )
    return settings
