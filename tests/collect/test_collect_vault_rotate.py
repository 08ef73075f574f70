"""Another master key: one key or the other opens a shop, never none, and the old one opens nothing afterwards."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import select, update

from tradewind import schema
from tradewind.collect import erase_clean, erase_journal, keys, vault_rotate
from tradewind.collect.backup import backup, restore
from tradewind.collect.vault import Vault
from tradewind.engine import audit
from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.errors import InputError, StateError

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def points(*names: str) -> pa.Table:
    rows = {"customer": list(names), "channel": ["email"] * len(names), "address": [f"{name}@mail.example" for name in names]}
    return pa.table(rows, schema=schema.CONTACTS)


@pytest.fixture
def shop(each_home: Home) -> Home:
    """A shop with three contact points, on SQLite and on PostgreSQL."""
    Vault(each_home).put(points("ann", "bob", "cat"))
    return each_home


def test_a_rotation_wraps_every_key_anew_and_the_old_one_opens_nothing(shop: Home) -> None:
    old, running = keys.path(shop.root).read_text(), Vault(shop)
    digest, links = running.hash("ann@mail.example"), running.key("links")
    done = vault_rotate.rotate(shop, now=NOW)
    assert (done.customers, done.from_environment) == (3, False)
    file = keys.path(shop.root)
    assert file.read_text() != old
    assert file.stat().st_mode & 0o777 == 0o600
    assert not keys.next_path(shop.root).exists()
    vault = Vault(shop)
    assert vault.address("ann", "email") == "ann@mail.example"
    assert (vault.hash("ann@mail.example"), vault.key("links")) == (digest, links), "look-ups and links stay as they are"
    assert running.address("bob", "email") == "bob@mail.example", "a program that runs reads the new key by itself"
    assert running.put(points("dan")).new == 1
    assert vault.address("dan", "email") == "dan@mail.example"
    with shop.ledger.read() as conn:
        assert audit.entries(conn, action="vault.rotate", limit=1)[0].detail == {"data_keys": 3}
    file.write_text(old)
    with pytest.raises(StateError, match="not the one"):
        Vault(shop).address("ann", "email")


def test_after_a_rotation_no_byte_of_the_old_wrapping_is_in_the_folder(home: Home) -> None:
    Vault(home).put(points(*(f"c{number}" for number in range(200))))
    with home.ledger.read() as conn:
        wrapped = [bytes(key) for key in conn.execute(select(books.vault_keys.c.wrapped_key)).scalars()]
    old = keys.path(home.root).read_bytes().strip()
    vault_rotate.rotate(home, now=NOW)
    data = [path.read_bytes() for path in home.root.rglob("*") if path.is_file()]
    assert not any(key in one for key in (*wrapped, old) for one in data)


@pytest.mark.parametrize(
    ("module", "name", "done"), [(vault_rotate, "_data_keys", False), (keys, "settle", True), (erase_clean, "clear_free_pages", True)]
)
def test_cut_off_a_rotation_leaves_one_key_that_opens_everything(
    shop: Home, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, *, done: bool
) -> None:
    old = keys.path(shop.root).read_text()

    def cut(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(module, name, cut)
        with pytest.raises(KeyboardInterrupt):
            vault_rotate.rotate(shop, now=NOW)
    assert Vault(shop).address("ann", "email") == "ann@mail.example"
    assert (keys.path(shop.root).read_text() != old) == done, "whoever opens the vault next finishes what was committed"
    assert keys.next_path(shop.root).exists() != done
    assert vault_rotate.rotate(shop, now=NOW).customers == 3
    assert Vault(shop).address("cat", "email") == "cat@mail.example"
    assert not keys.next_path(shop.root).exists()


def test_a_key_in_the_environment_is_replaced_by_one_in_the_environment(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(keys.ENV, "11" * 32)
    Vault(home).put(points("ann"))
    with pytest.raises(InputError, match=keys.NEXT_ENV):
        vault_rotate.rotate(home, now=NOW)
    monkeypatch.setenv(keys.NEXT_ENV, "22" * 32)
    assert "Now set TRADEWIND_MASTER_KEY" in vault_rotate.rotate(home, now=NOW).to_text()
    assert Vault(home).address("ann", "email") == "ann@mail.example", "until the operator has moved it, both are there"
    monkeypatch.delenv(keys.NEXT_ENV)
    with pytest.raises(StateError, match="not the one"):
        Vault(home).address("ann", "email")
    monkeypatch.setenv(keys.ENV, "22" * 32)
    assert Vault(home).address("ann", "email") == "ann@mail.example"
    assert not (home.root / "keys" / "master.key").exists()


def test_what_cannot_be_rotated_is_told_and_left_alone(home: Home) -> None:
    Vault(home).put(points("ann", "bob"))
    file = keys.path(home.root)
    text = file.read_text()
    file.chmod(0o640)
    with pytest.raises(StateError, match="chmod 600"):
        vault_rotate.rotate(home, now=NOW)
    file.chmod(0o600)
    file.write_text(base64.b64encode(b"x" * 32).decode())
    with pytest.raises(StateError, match="not the one"):
        vault_rotate.rotate(home, now=NOW)
    file.write_text(text)
    with home.ledger.write() as conn:
        mine = books.vault_keys.c.customer == "bob"
        before = bytes(conn.execute(select(books.vault_keys.c.wrapped_key).where(mine)).scalar_one())
        conn.execute(update(books.vault_keys).where(mine).values(wrapped_key=before[:-1] + b"\0"))
    with pytest.raises(StateError, match=r'"bob" is damaged.*nothing was changed'):
        vault_rotate.rotate(home, now=NOW)
    assert Vault(home).address("ann", "email") == "ann@mail.example"


def test_backups_of_before_a_rotation_open_with_the_key_of_after(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Vault(home).put(points("ann"))
    backup(home, tmp_path / "saved", now=NOW)

    def cut(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:  # the root beside the keys was written for both of them
        patched.setattr(keys, "settle", cut)
        with pytest.raises(KeyboardInterrupt):
            vault_rotate.rotate(home, now=NOW)
    assert len((home.root / "keys" / erase_journal.SEALED).read_text().split()) == 2
    Vault(home).key("open")
    restore(tmp_path / "saved", tmp_path / "one", keys=home.root / "keys", now=NOW)
    vault_rotate.rotate(home, now=NOW)
    restore(tmp_path / "saved", tmp_path / "two", keys=home.root / "keys", now=NOW)
    for name in ("one", "two"):
        with Home.open(tmp_path / name, create=False) as back:
            assert Vault(back).address("ann", "email") == "ann@mail.example"
