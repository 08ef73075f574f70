"""Contact points, encrypted: the only place where something that names a person is kept.

AES-256-GCM under one data key per customer; the data key is wrapped by the master key (see ``keys``). Destroying a data
key makes every copy of the ciphertext unreadable. Look-ups go through HMAC-SHA256 of the normalised address, so neither
the table nor a suppression tells an address. No address ever enters a log, an exception or a ``repr``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from sqlalchemy import Connection, bindparam, delete, select, tuple_, update

from tradewind import schema
from tradewind.collect import keys
from tradewind.engine import ledger
from tradewind.engine.ledger import insert_new, upsert
from tradewind.errors import Locked, StateError
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

CHUNK = 5_000  # contact points per transaction
DESTROYED = b""  # what stays of an erased customer's key: the mark that keeps a stale import from bringing them back
BURIED = "erased:"  # before the keyed hash in that mark, once nothing else of the customer is left
ROOT = "vault.root"
_PHONE = re.compile(r"\+?[0-9][0-9 ()./-]{4,}")

Pair = tuple[str, str]  # customer, channel
_c, _k = ledger.contacts.c, ledger.vault_keys.c
_POINTS = (
    select(_c.customer, _c.channel, _c.ciphertext, _k.wrapped_key)
    .join_from(ledger.contacts, ledger.vault_keys, _c.customer == _k.customer)
    .where(tuple_(_c.customer, _c.channel).in_(bindparam("pairs", expanding=True)), _k.wrapped_key != DESTROYED)
)


@dataclass(frozen=True)
class Stored:
    """What became of the rows of one :meth:`Vault.put`."""

    new: int = 0
    changed: int = 0
    same: int = 0
    erased: int = 0  # left out: the customer was erased
    refused: int = 0  # left out: empty, longer than 320 characters, or with control characters


class Vault:
    """The encrypted contact points of one shop; the master key is read (or made) at the first use."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._opened: tuple[bytes, bytes] | None = None

    def __repr__(self) -> str:
        return f"Vault({str(self._home.root)!r})"

    def put(self, rows: pa.Table) -> Stored:
        """Encrypt and keep the contact points of a ``schema.CONTACTS`` table; the last of two rows of one key wins.

        Idempotent: an address that is there already is not written again. An erased customer stays erased.
        """
        rows = schema.conform(rows, schema.CONTACTS)
        self._secrets()  # before the write transaction: making the root needs one of its own
        total = Stored()
        for batch in rows.to_batches(max_chunksize=CHUNK):
            given = {(row["customer"], row["channel"]): row["address"].strip() for row in batch.to_pylist()}
            good = {pair: address for pair, address in given.items() if _storable(address)}
            with self._home.ledger.write() as conn:
                part = self._put(conn, good, refused=len(given) - len(good))
            total = Stored(*(getattr(total, name) + getattr(part, name) for name in Stored.__dataclass_fields__))
        return total

    def address(self, customer: str, channel: str) -> str | None:
        """The address of one contact point; None when there is none or the customer was erased.

        Raises StateError when the master key is missing or another one.
        """
        with self._home.ledger.read() as conn:
            return self.addresses(conn, [(customer, channel)]).get((customer, channel))

    def addresses(self, conn: Connection, pairs: Sequence[Pair]) -> dict[Pair, str]:
        """The addresses of many contact points, inside the caller's transaction; pairs without one are left out."""
        rows = conn.execute(_POINTS, {"pairs": pairs}).all() if pairs else []
        if rows:
            self._current(conn)
        return {(row.customer, row.channel): _open(self._secrets()[0], *row) for row in rows}

    def find(self, address: str) -> str | None:
        """The customer who has this address on any channel; the first by name when several share it."""
        query = select(ledger.contacts.c.customer).where(ledger.contacts.c.address_hash == self.hash(address)).order_by("customer").limit(1)
        with self._home.ledger.read() as conn:
            found: str | None = conn.execute(query).scalar()
        return found

    def hash(self, address: str) -> str:
        """64 hexadecimal digits: HMAC-SHA256 of the normalised address under the shop's hash key."""
        return self._hash(normalise(address))

    def subject(self, customer: str) -> str:
        """64 hexadecimal digits that stand for a customer where the id may not stand: HMAC-SHA256 under a key of its own."""
        return hmac.new(keys.derive(self._secrets()[1], "subject"), customer.encode(), hashlib.sha256).hexdigest()

    def subjects(self, customers: Iterable[str]) -> Iterator[str]:
        """:meth:`subject` of many."""
        start = hmac.new(keys.derive(self._secrets()[1], "subject"), digestmod=hashlib.sha256)
        for customer in customers:
            state = start.copy()
            state.update(customer.encode())
            yield state.hexdigest()

    def wrap(self) -> bytes:
        """The key that wraps data keys, for what has to open again within the same vault."""
        return self._secrets()[0]

    def root(self) -> bytes:
        """The secret from which all but the wrap key derives, for whoever seals it anew."""
        return self._secrets()[1]

    def sign(self, text: str) -> str:
        """64 hexadecimal digits that only this shop can make for a text."""
        return hmac.new(self.key("certificates"), text.encode(), hashlib.sha256).hexdigest()

    def opened(self, customer: str, wrapped: bytes) -> bytes:
        """The data key of a customer; raises StateError when it is damaged."""
        return _unwrap(self._secrets()[0], customer, wrapped)

    def key(self, purpose: str) -> bytes:
        """A key of 32 bytes for another purpose, such as signing links; the same for the life of the shop."""
        return keys.derive(self._secrets()[1], purpose)

    def erase(self, customer: str, *, now: datetime) -> int:
        """Destroy the customer's key and contact points, and suppress their addresses for ever; returns how many.

        Copies of the ciphertext (backups, replicas) become unreadable with the key. On SQLite the freed pages are
        overwritten and the write-ahead log is emptied, so that the key is in no file of the shop afterwards.

        Raises
        ------
        Locked
            The key is destroyed, but somebody reads the ledger, so that the log could not be emptied: erase again.
        """
        with self._home.ledger.write() as conn:
            count = self.destroy(conn, [customer], now=now)
        if self._home.ledger.dialect == "sqlite":
            _empty_wal(self._home.ledger)
        return count

    def destroy(self, conn: Connection, customers: Sequence[str], *, now: datetime) -> int:
        """The part of :meth:`erase` that happens inside the caller's write transaction: keys, contact points, suppressions."""
        if conn.dialect.name == "sqlite":
            conn.exec_driver_sql("PRAGMA secure_delete=ON").close()
        c, k = ledger.contacts.c, ledger.vault_keys.c
        points = conn.execute(select(c.channel, c.address_hash).where(c.customer.in_(customers))).all()
        rows = [{"address_hash": row.address_hash, "channel": row.channel, "reason": "erased", "at": micros(now)} for row in points]
        insert_new(conn, ledger.suppressions, rows)
        conn.execute(delete(ledger.contacts).where(c.customer.in_(customers)))
        insert_new(conn, ledger.vault_keys, [{"customer": customer, "wrapped_key": DESTROYED} for customer in customers])
        conn.execute(update(ledger.vault_keys).where(k.customer.in_(customers)).values(wrapped_key=DESTROYED))
        return len(points)

    def bury(self, conn: Connection, customers: Sequence[str]) -> None:
        """Let the mark of an erased customer name nobody: its id becomes a keyed hash. The last step of an erasure."""
        for customer, subject in zip(customers, self.subjects(customers), strict=True):
            conn.execute(delete(ledger.vault_keys).where(ledger.vault_keys.c.customer == customer))
            insert_new(conn, ledger.vault_keys, [{"customer": BURIED + subject, "wrapped_key": DESTROYED}])

    # -- inside ------------------------------------------------------------------------------------------------------

    def _put(self, conn: Connection, good: Mapping[Pair, str], *, refused: int) -> Stored:
        self._current(conn)
        data = self._data_keys(conn, {customer for customer, _ in good})
        c = ledger.contacts.c
        query = select(c.customer, c.channel, c.address_hash).where(tuple_(c.customer, c.channel).in_(list(good)))
        known = {(row.customer, row.channel): row.address_hash for row in conn.execute(query)}
        fresh, same, changed = [], 0, 0
        for (customer, channel), address in good.items():
            if (key := data[customer]) is None:
                continue
            digest = self.hash(address)
            if known.get((customer, channel)) == digest:
                same += 1
                continue
            changed += (customer, channel) in known
            sealed = keys.seal(key, address.encode(), bound=bound(customer, channel))
            fresh.append({"customer": customer, "channel": channel, "address_hash": digest, "ciphertext": sealed})
        upsert(conn, ledger.contacts, fresh, update=("address_hash", "ciphertext"))
        erased = len(good) - len(fresh) - same
        return Stored(new=len(fresh) - changed, changed=changed, same=same, erased=erased, refused=refused)

    def _data_keys(self, conn: Connection, customers: Iterable[str]) -> dict[str, bytes | None]:
        """The data key of each customer, made when there is none yet; None for the erased."""
        wrap, _root = self._secrets()
        names = sorted(customers)
        wrapped = dict(self._wrapped(conn, names))
        wrapped |= self._buried(conn, [name for name in names if name not in wrapped])
        made = [name for name in names if name not in wrapped]
        fresh = {name: keys.seal(wrap, os.urandom(keys.SIZE), bound=bound(name)) for name in made}
        rows = [{"customer": name, "wrapped_key": sealed} for name, sealed in fresh.items()]
        if insert_new(conn, ledger.vault_keys, rows) == len(rows):
            wrapped.update(fresh)
        else:  # another process made some of them first
            wrapped.update(self._wrapped(conn, made))
        return {name: None if wrapped[name] == DESTROYED else _unwrap(wrap, name, wrapped[name]) for name in names}

    def _buried(self, conn: Connection, names: Sequence[str]) -> dict[str, bytes]:
        """Those of ``names`` who were erased."""
        marks = {BURIED + subject: name for name, subject in zip(names, self.subjects(names), strict=True)}
        return {marks[mark]: DESTROYED for mark, _ in self._wrapped(conn, list(marks))}

    def _wrapped(self, conn: Connection, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        c = ledger.vault_keys.c
        rows = conn.execute(select(c.customer, c.wrapped_key).where(c.customer.in_(names))).all()
        return ((str(row.customer), bytes(row.wrapped_key)) for row in rows)

    def _secrets(self) -> tuple[bytes, bytes]:
        """The wrap key and the root, after proving that this master key belongs to this shop."""
        if self._opened is None:
            with self._home.ledger.read() as conn:
                stored = _stored_root(conn)
            if stored is None:
                wrap = keys.derive(keys.master(self._home.root, create=True), "wrap")
                sealed = keys.seal(wrap, os.urandom(keys.SIZE), bound=bound(ROOT))
                with self._home.ledger.write() as conn:
                    insert_new(conn, ledger.meta, [{"key": ROOT, "value": base64.b64encode(sealed).decode()}])
                    stored = _stored_root(conn)
            assert stored is not None
            wrap, root = unlock(self._home.root, stored)
            self._opened, self._stored = (wrap, root), stored
            self._hash_key = keys.derive(root, "address hash")
        return self._opened

    def _current(self, conn: Connection) -> None:
        """Read the master key again when it was replaced since."""
        if self._opened is not None and _stored_root(conn) != self._stored:
            self._opened = None
            self._secrets()

    def _hash(self, normal: str) -> str:
        self._secrets()
        return hmac.new(self._hash_key, normal.encode(), hashlib.sha256).hexdigest()


def unlock(root: Path, stored: bytes) -> tuple[bytes, bytes]:
    """The wrap key and the root of a shop whose sealed root is ``stored``.

    Raises
    ------
    StateError
        Neither the master key nor one that replaces it opens it.
    """
    wrap = keys.derive(keys.master(root, create=False), "wrap")
    secret = keys.unseal(wrap, stored, bound=bound(ROOT))
    if secret is None and (fresh := keys.following(root)) is not None:
        wrap = keys.derive(fresh, "wrap")
        secret = keys.unseal(wrap, stored, bound=bound(ROOT))
        if secret is not None and not os.environ.get(keys.NEXT_ENV):
            keys.settle(root)  # a rotation was cut off after its last commit
    if secret is None:
        where = f"environment variable {keys.ENV}" if os.environ.get(keys.ENV) else str(keys.path(root))
        raise StateError(f"The master key in {where} is not the one that this shop was made with. Put the right one back.")
    return wrap, secret


def _empty_wal(book: ledger.Ledger) -> None:
    raw = book.engine.raw_connection()  # a checkpoint takes no transaction
    try:
        busy = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        raw.close()
    if busy:
        raise Locked("The key is destroyed, but another process reads the ledger, so its write-ahead log still holds a copy. Erase again.")


def normalise(address: str) -> str:
    """The one spelling under which an address is looked up.

    E-mail: NFKC and case-folded. Telephone numbers: digits with the leading "+" ("00" counts as "+"); a number without
    a country code stays without one, nothing is guessed. Anything else (push tokens): as it is, without outer blanks.
    """
    text = unicodedata.normalize("NFKC", address).strip()
    if "@" in text:
        return text.casefold()
    if _PHONE.fullmatch(text):
        digits = re.sub(r"[^0-9]", "", text)
        return f"+{digits}" if text.startswith("+") else f"+{digits[2:]}" if digits.startswith("00") else digits
    return address.strip()


def _storable(address: str) -> bool:
    return 0 < len(address) <= 320 and not any(unicodedata.category(character) == "Cc" for character in address)


def bound(*names: str) -> bytes:
    """What a ciphertext is bound to: it opens under these names only."""
    return json.dumps(["tradewind", 1, *names]).encode()


def _unwrap(wrap: bytes, customer: str, wrapped: bytes) -> bytes:
    key = keys.unseal(wrap, wrapped, bound=bound(customer))
    if key is None:
        raise StateError(
            f'The data key of customer "{customer}" is damaged or belongs to another customer. Restore the ledger from a backup.'
        )
    return key


def _open(wrap: bytes, customer: str, channel: str, ciphertext: bytes, wrapped: bytes) -> str:
    plain = keys.unseal(_unwrap(wrap, customer, bytes(wrapped)), bytes(ciphertext), bound=bound(customer, channel))
    if plain is None:
        raise StateError(
            f'The {channel} contact of customer "{customer}" is damaged. Restore the ledger from a backup or collect it again.'
        )
    return plain.decode()


def _stored_root(conn: Connection) -> bytes | None:
    value = conn.execute(select(ledger.meta.c.value).where(ledger.meta.c.key == ROOT)).scalar()
    return None if value is None else base64.b64decode(value)
