"""The vault: nothing readable without the key, nothing readable after erasure, nothing about a person in any message."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import select, update

from tradewind import schema
from tradewind.collect import keys
from tradewind.collect.consent import Consents
from tradewind.collect.vault import Stored, Vault, normalise
from tradewind.engine.home import Home
from tradewind.engine.ledger import Ledger, contacts, suppressions, vault_keys
from tradewind.errors import InputError, SchemaError, StateError

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def shop(ledger_url: str, tmp_path: Path) -> Iterator[Home]:
    """A shop on SQLite and on PostgreSQL."""
    root = tmp_path / "shop"
    with Home.open(root if ledger_url.startswith("sqlite") else f"{ledger_url}&root={root}") as opened:
        yield opened


def rows(*points: tuple[str, str, str]) -> pa.Table:
    columns = zip(*points, strict=True)
    return pa.table(dict(zip(("customer", "channel", "address"), map(list, columns), strict=True)), schema=schema.CONTACTS)


def ciphertexts(ledger: Ledger) -> dict[tuple[str, str], bytes]:
    with ledger.read() as conn:
        return {(row.customer, row.channel): bytes(row.ciphertext) for row in conn.execute(select(contacts))}


def test_what_is_put_is_found_and_putting_it_again_writes_nothing(shop: Home) -> None:
    vault = Vault(shop)
    table = rows(("ann", "email", "Ann@Mail.example"), ("ann", "sms", "0049 170-12345"), ("bob", "push", "Token-X"))
    assert vault.put(table) == Stored(new=3)
    before = ciphertexts(shop.ledger)
    assert vault.put(table) == Stored(same=3)
    assert ciphertexts(shop.ledger) == before
    assert vault.address("ann", "email") == "Ann@Mail.example"
    assert vault.address("ann", "push") is None
    assert vault.find("ann@MAIL.example ") == "ann"
    assert vault.find("+49 (170) 12345") == "ann"
    assert vault.find("token-x") is None  # a token has no other spelling
    assert Vault(shop).address("bob", "push") == "Token-X"  # another process, the same key
    assert vault.put(rows(("ann", "email", "new@mail.example"), ("cat", "email", ""))) == Stored(changed=1, refused=1)
    assert vault.find("ann@mail.example") is None
    with pytest.raises(SchemaError):
        vault.put(pa.table({"customer": ["x"]}))


def test_each_customer_has_a_key_and_ciphertext_is_bound_to_customer_and_channel(shop: Home) -> None:
    vault = Vault(shop)
    vault.put(rows(("ann", "email", "ann@mail.example"), ("ann", "sms", "+491701"), ("bob", "email", "bob@mail.example")))
    stolen = ciphertexts(shop.ledger)
    for owner, channel, source in (("bob", "email", ("ann", "email")), ("ann", "sms", ("ann", "email"))):
        with shop.ledger.write() as conn:
            mine = (contacts.c.customer == owner) & (contacts.c.channel == channel)
            conn.execute(update(contacts).where(mine).values(ciphertext=stolen[source]))
        with pytest.raises(StateError, match="damaged") as caught:
            vault.address(owner, channel)
        assert "mail.example" not in str(caught.value)


def test_a_missing_or_wrong_master_key_is_a_clear_error(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    Vault(home).put(rows(("ann", "email", "ann@mail.example")))
    file = keys.path(home.root)
    assert file.stat().st_mode & 0o777 == 0o600
    text = file.read_text()
    file.chmod(0o644)
    with pytest.raises(StateError, match="chmod 600"):
        Vault(home).address("ann", "email")
    file.unlink()
    with pytest.raises(StateError, match=r"missing.*backup"):
        Vault(home).address("ann", "email")
    assert not file.exists(), "a lost key is never replaced by a new one"
    monkeypatch.setenv(keys.ENV, "00" * 32)
    with pytest.raises(StateError, match=r"TRADEWIND_MASTER_KEY.*not the one"):
        Vault(home).hash("ann@mail.example")
    monkeypatch.setenv(keys.ENV, "secret-but-short")
    with pytest.raises(InputError, match="32 bytes") as caught:
        Vault(home).address("ann", "email")
    assert "secret" not in str(caught.value)
    monkeypatch.setenv(keys.ENV, text.strip())
    assert Vault(home).address("ann", "email") == "ann@mail.example"


def test_two_shops_hash_differently(home: Home, tmp_path: Path) -> None:
    with Home.open(tmp_path / "other") as other:
        assert Vault(home).hash("ann@mail.example") != Vault(other).hash("ann@mail.example")
        assert Vault(home).key("links") != Vault(home).key("address hash")


def test_erasure_destroys_the_key_and_the_suppression_survives_a_new_import(shop: Home) -> None:
    vault, consents = Vault(shop), Consents(shop)
    table = rows(("ann", "email", "ann@mail.example"), ("bob", "email", "bob@mail.example"))
    vault.put(table)
    digest = vault.hash("ann@mail.example")
    assert vault.erase("ann", now=NOW) == 1
    assert vault.erase("ann", now=NOW) == 0
    assert vault.address("ann", "email") is None
    assert vault.find("ann@mail.example") is None
    assert vault.address("bob", "email") == "bob@mail.example"
    assert vault.put(table) == Stored(same=1, erased=1), "a stale import does not bring the person back"
    vault.put(rows(("ann-2", "email", " ANN@mail.example")))
    granted = pa.table(
        {"customer": ["ann", "ann-2"], "channel": ["email"] * 2, "granted": [True] * 2, "at": [NOW] * 2, "source": ["t"] * 2},
        schema=schema.CONSENTS,
    )
    consents.record(granted)
    with shop.ledger.read() as conn:
        assert consents.allowed(conn, "ann", "email") == (False, "erased")
        assert consents.allowed(conn, "ann-2", "email") == (False, "suppressed:erased")
        assert conn.execute(select(suppressions.c.address_hash)).scalars().all() == [digest]
        assert bytes(conn.execute(select(vault_keys.c.wrapped_key).where(vault_keys.c.customer == "ann")).scalar_one()) == b""


def test_after_erasure_no_byte_of_the_key_is_in_the_folder(home: Home) -> None:
    vault = Vault(home)
    vault.put(rows(*((f"c{number}", "email", f"c{number}@mail.example") for number in range(300))))
    with home.ledger.read() as conn:
        key = bytes(conn.execute(select(vault_keys.c.wrapped_key).where(vault_keys.c.customer == "c7")).scalar_one())
    sealed = ciphertexts(home.ledger)["c7", "email"]

    def found(needle: bytes) -> list[str]:
        return [str(path) for path in home.root.rglob("*") if path.is_file() and needle in path.read_bytes()]

    assert found(key), "the search itself works"
    vault.erase("c7", now=NOW)
    assert not found(key)
    assert not found(sealed)
    assert not found(b"c9@mail.example"), "no address is ever in clear text"


def test_no_address_in_a_repr_or_in_the_log(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    vault = Vault(home)
    table = rows(("ann", "email", "ann@mail.example"))
    stored = vault.put(table)
    vault.address("ann", "email")
    assert "mail.example" not in repr((vault, stored)) + caplog.text


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("\uff21nn@mail.example", "ann@mail.example", True),
        ("ann+news@mail.example", "ann@mail.example", False),  # providers differ: nothing is guessed
        ("+86 138-0013-8000", "008613800138000", True),
        ("138 0013 8000", "+86 138 0013 8000", False),
        ("tokenA", "tokena", False),
    ],
)
def test_normal_forms(one: str, other: str, same: bool) -> None:
    assert (normalise(one) == normalise(other)) is same
