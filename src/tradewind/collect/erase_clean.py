"""What stands for a person in texts, and how it is taken out: whole values become aliases, mentions become nothing.

An alias is 32 hexadecimal digits of HMAC-SHA256 under a seed that lives as long as one erasure and is never stored: who
has the id and all of the shop's files cannot tell which alias it became. Ids of decisions and messages become aliases, too,
because they are hashes of the id that anybody could compute again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradewind.collect.vault import normalise
from tradewind.engine import ledger as books
from tradewind.engine.files import atomic_write
from tradewind.errors import Locked

if TYPE_CHECKING:
    from tradewind.engine.home import Home

SHORTEST = 6  # characters of an id that may be looked for in any text; "12" is in every date
# Columns, and fields of JSON, whose value is a person or what stands for one. "12" is a customer there, and an item elsewhere.
PERSONAL = frozenset(
    {
        "customer", "customers", "customer_id", "user", "user_id", "who", "known", "people", "tail.customers", "subject", "subject_id",
        "unit", "household", "decision_id", "message_id", "address", "address_hash", "digest",
    }
)  # fmt: skip


def personal(column: str) -> bool:
    """Whether a value of this column, or field of JSON, stands for a person wherever it equals an id."""
    return column.rpartition("/")[2].lower() in PERSONAL


def distinctive(word: str) -> bool:
    """Whether an id says by itself that it is one: long enough, and no mere number, which may be an item's or a price."""
    return len(word) >= SHORTEST and not word.isdigit()


@dataclass(frozen=True)
class People:
    """Those whom one erasure forgets: their ids and addresses, and what else stands for them."""

    ids: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    seed: bytes = field(default_factory=lambda: os.urandom(32), repr=False)
    also: dict[str, str] = field(default_factory=dict, repr=False)  # ids of decisions, messages, households -> alias

    def alias(self, value: str, *, of: str = "") -> str:
        """What stands in place of ``value``; ``of`` keeps equal values of different kinds apart."""
        return hmac.new(self.seed, f"{of}\x1f{value}".encode(), hashlib.sha256).hexdigest()[:32]

    def enter(self, values: Iterable[str]) -> None:
        """Give these values an alias wherever they stand alone."""
        for value in values:
            self.also.setdefault(value, self.alias(value))

    @cached_property
    def _own(self) -> dict[str, str]:
        return {name: self.alias(name) for name in (*self.ids, *self.digests)}

    @cached_property
    def digests(self) -> frozenset[str]:
        """SHA-256 of the addresses, as advertising platforms take them."""
        spellings = {
            spelling
            for address in self.addresses
            for spelling in (address, address.lower(), normalise(address), normalise(address).lstrip("+"))
        }
        return frozenset(hashlib.sha256(spelling.encode()).hexdigest() for spelling in spellings)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """What must not be part of any text: addresses as they were given and as they are looked up, and ids long enough."""
        told = {spelling for address in self.addresses for spelling in (address, normalise(address)) if len(spelling) >= SHORTEST}
        return tuple(sorted(told | self.digests | set(filter(distinctive, self.ids)), key=len, reverse=True))

    @cached_property
    def _lower(self) -> tuple[str, ...]:
        return tuple(sorted({word.lower() for word in self.words}))

    @cached_property
    def _pattern(self) -> re.Pattern[str] | None:
        parts = [f"(?<![0-9A-Za-z]){re.escape(word)}(?![0-9A-Za-z])" for word in self.words]
        return re.compile("|".join(parts), re.IGNORECASE) if parts else None

    def exact(self, *, of_person: bool) -> list[str]:
        """The values that become aliases: in a personal column all, elsewhere those that cannot be anything else."""
        return [value for value in (*self._own, *self.also) if of_person or distinctive(value)]

    def whole(self, value: str) -> str | None:
        """The alias of a value that is nothing but an id; None for any other value."""
        return self._own.get(value) or self.also.get(value)

    def mentioned(self, text: str) -> bool:
        """Whether a text is, holds or names one of them."""
        return self.clean(text) != text

    def clean(self, text: str, *, of_person: bool = False) -> str:
        """The text without them: JSON stays JSON. ``of_person``: it stands where a person does (:func:`personal`)."""
        if (alias := self.whole(text)) is not None and (of_person or distinctive(text)):
            return alias
        if text[:1] in ("{", "[") and (found := _json(text)) is not None:
            value = self._walked(found, of_person=of_person)
            return text if value == found else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        lower = text.lower()
        return self._pattern.sub("***", text) if self._pattern and any(word in lower for word in self._lower) else text

    def clean_file(self, path: Path) -> bool:
        """Clean a text file in place; True when it named them. What is no UTF-8 is left to who knows its format."""
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            return False
        fresh = self.clean(text)
        if fresh != text:
            atomic_write(path, fresh.encode())
        return fresh != text

    def _walked(self, value: Any, *, of_person: bool = False) -> Any:
        if isinstance(value, str):
            return self.clean(value, of_person=of_person)
        if isinstance(value, list):
            return [self._walked(one, of_person=of_person) for one in value]
        if isinstance(value, dict):
            return {self.clean(key): self._walked(one, of_person=of_person or personal(key)) for key, one in value.items()}
        return value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def clear_free_pages(home: Home) -> None:
    """Write the ledger anew, so that no free page and no log holds what was deleted.

    SQLite: ``VACUUM`` and an empty write-ahead log. PostgreSQL: ``VACUUM`` marks the old rows as free; its own write-ahead log and
    its replicas forget them when they are recycled (docs/vault.md).

    Raises
    ------
    Locked
        Another process reads or writes the ledger for longer than a writer waits.
    """
    if home.ledger.dialect == "postgresql":
        with home.ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            conn.exec_driver_sql("VACUUM")
        return
    import sqlite3

    home.ledger.engine.dispose()  # our own idle connections must not hold the log
    raw = sqlite3.connect(str(home.ledger.engine.url.database), timeout=books.WAIT_SECONDS, isolation_level=None)
    try:
        raw.execute("VACUUM")
        busy = raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    except sqlite3.OperationalError as error:
        if "locked" not in str(error) and "busy" not in str(error):
            raise
        busy = 1
    finally:
        raw.close()
    if busy:
        raise Locked("Another process uses the ledger, so its free pages and its log still hold what was deleted. Run the same again.")
