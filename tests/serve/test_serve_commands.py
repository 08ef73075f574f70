"""The commands consent, audit and serve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import typer
from serve_kit import BASE
from sqlalchemy import update
from typer.testing import CliRunner

from tradewind import schema
from tradewind.collect.vault import Vault
from tradewind.commands import audit, consent, serve
from tradewind.engine.books_people import audit as rows
from tradewind.errors import InputError, StateError
from tradewind.serve.public import base_of
from tradewind.shop import Shop

app = typer.Typer()
app.add_typer(consent.app, name="consent")
app.command()(audit.audit)
app.command()(serve.serve)


@pytest.fixture
def folder(tmp_path: Path) -> str:
    with Shop.open(tmp_path / "shop") as shop:
        point = {"customer": ["ann"], "channel": ["email"], "address": ["ann@mail.example"]}
        Vault(shop.home).put(pa.table(point, schema=schema.CONTACTS))
    return str(tmp_path / "shop")


def run(folder: str, *words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, [*words, "--shop", folder], catch_exceptions=True)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def read(folder: str, *words: str, code: int = 0) -> Any:
    return json.loads(run(folder, *words, "--json", code=code))


def test_consent_is_shown_granted_withdrawn_and_asked_for(folder: str) -> None:
    said = ("--channel", "email", "--source", "call", "--by", "eve")
    assert read(folder, "consent", "grant", "ann", *said, "--locale", "en", "--jurisdiction", "DE") == {"new": True}
    assert read(folder, "consent", "withdraw", "ann", *said) == {"new": True}
    assert run(folder, "consent", "withdraw", "ann", *said) == "Nothing had to be changed.\n"
    run(folder, "consent", "withdraw", "ann", "--channel", "personalisation", "--source", "call")
    shown = read(folder, "consent", "show", "ann")
    assert [(act["status"], act["channel"], act["jurisdiction"]) for act in shown["history"]] == [
        ("granted", "email", "DE"),
        ("withdrawn", "email", None),
        ("withdrawn", "personalisation", None),
    ]
    assert "Now: email off, personalisation off" in run(folder, "consent", "show", "ann")
    with pytest.raises(InputError, match='"legitimate_interest" is no basis for email in EU'):
        run(folder, "consent", "grant", "ann", *said, "--basis", "legitimate_interest", "--jurisdiction", "EU")
    asked = read(folder, "consent", "request", "ann", "--channel", "email", "--locale", "en", "--source", "form", "--base", BASE)
    assert asked["link"].startswith(f"{BASE}/confirm/")
    assert run(folder, "consent", "link", "ann", "--channel", "email", "--base", BASE).startswith(f"{BASE}/preferences/")
    with pytest.raises(InputError, match="Where are the public pages"):
        run(folder, "consent", "link", "ann", "--channel", "email")


def test_the_address_of_the_pages_may_stand_in_a_file(folder: str) -> None:
    Path(folder, "channels.toml").write_text(f'[links]\nbase = "{BASE}/"\n', encoding="utf-8")
    with Shop.open(folder) as shop:
        assert base_of(shop.home, None) == BASE


def test_the_audit_log_is_shown_and_verified(folder: str) -> None:
    run(folder, "consent", "grant", "ann", "--channel", "email", "--source", "call", "--by", "eve")
    run(folder, "consent", "withdraw", "ann", "--channel", "email", "--source", "call")
    assert "person:eve  consent.granted  customer:ann" in run(folder, "audit", "--subject", "customer:ann")
    assert [row["action"] for row in read(folder, "audit", "--action", "consent.w")["rows"]] == ["consent.withdrawn"]
    found = read(folder, "audit", "--verify")
    assert (found["sound"], found["rows"]) == (True, 2)
    assert "as it was written" in run(folder, "audit", "--verify", "--expect", found["head"])
    assert "BROKEN" in run(folder, "audit", "--verify", "--expect", "0f" * 32, code=3)
    with Shop.open(folder) as shop, shop.home.ledger.write() as conn:
        conn.execute(update(rows).where(rows.c.seq == 1).values(actor="person:mallory"))
    broken = read(folder, "audit", "--verify", code=3)
    assert [(fault["seq"], fault["kind"]) for fault in broken["faults"]] == [(1, "changed")]
    with pytest.raises(InputError, match="separate questions"):
        run(folder, "audit", "--verify", "--prices")


def test_prices_are_compared_from_the_command_line(folder: str) -> None:
    with pytest.raises(StateError):
        run(folder, "audit", "--prices")
    from tradewind.types import Event

    with Shop.open(folder) as shop:
        told: dict[str, Any] = {"item": "tea", "quantity": 1.0}
        events = [Event(f"e{n}", shop.now(), "purchase", "t", customer=f"c{n % 2}", value=100 + n % 2 * 50, **told) for n in range(4)]
        shop.home.log.append(events, now=shop.now())
        shop.home.log.compact(now=shop.now())
    assert "FAULT tea" in run(folder, "audit", "--prices", code=3)
    assert read(folder, "audit", "--prices", code=3)["faults"] == 3


def test_serve_says_what_it_needs(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import uvicorn

    with pytest.raises(InputError, match="Where are the public pages"):
        run(folder, "serve", "--public")
    asked: list[Any] = []
    monkeypatch.setattr(uvicorn, "run", lambda pages, **told: asked.append((pages, told)))
    run(folder, "serve", "--public", "--base", BASE, "--port", "9000")
    assert asked[0][1]["port"] == 9000
    assert asked[0][1]["access_log"] is False
    run(folder, "serve", "--no-worker")
    assert asked[1][0].title == "Tradewind"
