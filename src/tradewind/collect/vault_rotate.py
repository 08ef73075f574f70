"""Replace the master key: every data key is wrapped anew, in one transaction, so that a shop has one key or the other.

::

    1  the new key lies beside the old one (keys/master.next, or TRADEWIND_MASTER_KEY_NEXT)
    2  one transaction: all data keys and the root, unwrapped with the old key, wrapped with the new one
    3  the new key takes the old one's place; the old one is overwritten; the ledger's free pages are cleared

Killed before 2 has committed, the old key opens everything; killed after it, the new one does, and whoever opens the vault
next finishes step 3. Running it again finishes it, too. Other programs that hold the shop open read the new key by themselves.
"""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, bindparam, select, update

from tradewind.collect import erase_journal, keys
from tradewind.collect.vault import CHUNK, DESTROYED, ROOT, Vault, bound, unlock
from tradewind.engine import audit, ledger
from tradewind.engine.books_vault import erasures
from tradewind.errors import StateError

if TYPE_CHECKING:
    from tradewind.engine.home import Home


@dataclass(frozen=True)
class Rotated:
    """What one rotation did."""

    customers: int  # data keys wrapped anew
    from_environment: bool  # then the operator moves the new key to ``TRADEWIND_MASTER_KEY``

    def to_text(self) -> str:
        """One or two sentences for people."""
        said = f"{self.customers:,} data keys are wrapped with the new master key; the old one opens nothing any more."
        if self.from_environment:
            said += f" Now set {keys.ENV} to the value of {keys.NEXT_ENV}, everywhere, and remove {keys.NEXT_ENV}."
        return said + " Back up the new key apart from the ledger."


def rotate(home: Home, *, now: datetime, actor: str = "person:operator") -> Rotated:
    """Replace the master key of a shop by a new one; see the module for what happens when.

    Raises
    ------
    StateError
        The master key is missing, readable by others or the wrong one, or a data key is damaged; nothing is changed.
    InputError
        The master key is in the environment and the new one is not.
    Locked
        Done, but another process reads the ledger, so that its free pages still hold keys under the old one: run it again.
    """
    from tradewind.collect.erase_clean import clear_free_pages

    vault = Vault(home)
    vault.key("rotation")  # opens the vault, and finishes a rotation that was cut off
    fresh = keys.following(home.root, create=True)
    assert fresh is not None
    target = keys.derive(fresh, "wrap")
    text = base64.b64encode(keys.seal(target, vault.root(), bound=bound(ROOT))).decode()
    if (erase_journal.folder(home.root) / erase_journal.SEALED).exists():
        erase_journal.keep_root(home, text)  # both, until one of them is the only one
    with home.ledger.write() as conn:
        if conn.dialect.name == "sqlite":
            conn.exec_driver_sql("PRAGMA secure_delete=ON").close()
        old, _root = unlock(home.root, _stored(conn))
        count = _data_keys(conn, old, target)
        for row in conn.execute(select(erasures.c.subject, erasures.c.sealed).where(erasures.c.finished_at.is_(None))).all():
            sealed = _again(old, target, bytes(row.sealed), row.subject)
            conn.execute(update(erasures).where(erasures.c.subject == row.subject).values(sealed=sealed))
        conn.execute(update(ledger.meta).where(ledger.meta.c.key == ROOT).values(value=text))
        audit.note(conn, actor, "vault.rotate", "vault", {"data_keys": count}, at=now)
    told = bool(os.environ.get(keys.NEXT_ENV))
    if not told:
        keys.settle(home.root)
    if (erase_journal.folder(home.root) / erase_journal.SEALED).exists():
        erase_journal.keep_root(home)
    clear_free_pages(home)
    return Rotated(count, told)


def _stored(conn: Connection) -> bytes:
    return base64.b64decode(conn.execute(select(ledger.meta.c.value).where(ledger.meta.c.key == ROOT)).scalar_one())


def _data_keys(conn: Connection, old: bytes, target: bytes) -> int:
    k, last, count = ledger.vault_keys.c, "", 0
    change = update(ledger.vault_keys).where(k.customer == bindparam("who")).values(wrapped_key=bindparam("key"))
    while True:
        query = select(k.customer, k.wrapped_key).where(k.customer > last, k.wrapped_key != DESTROYED).order_by(k.customer).limit(CHUNK)
        rows = conn.execute(query).all()
        if not rows:
            return count
        conn.execute(change, [{"who": row.customer, "key": _again(old, target, bytes(row.wrapped_key), row.customer)} for row in rows])
        last, count = rows[-1].customer, count + len(rows)


def _again(old: bytes, target: bytes, sealed: bytes, name: str) -> bytes:
    plain = keys.unseal(old, sealed, bound=bound(name))
    if plain is None:
        raise StateError(f'The data key of customer "{name}" is damaged, so nothing was changed. Restore the ledger from a backup.')
    return keys.seal(target, plain, bound=bound(name))
