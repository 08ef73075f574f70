"""`tradewind risk`: each command in words and as JSON, and what it refuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tradewind.cli import app
from tradewind.engine.home import Home
from tradewind.types import Event

RULES = """
[[rules]]
name = "dear"
rule = "review if amount > 90000"
reason = { zh = "\u91d1\u989d\u5927", en = "Dear." }
owner = "li"
mode = "acting"

[[rules]]
name = "cheap"
rule = "block if amount < 200"
reason = { zh = "\u91d1\u989d\u5c0f", en = "Cheap." }
owner = "li"
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("risk") / "shop"
    with Home.open(root) as home:
        now = datetime.now(UTC)
        for number, value in enumerate((100, 5_000, 95_000)):
            more: dict[str, Any] = {"order_id": f"o{number}", "value": value, "quantity": 1.0, "currency": "CNY"}
            home.log.append([Event(f"e{number}", now - timedelta(days=50 - number), "purchase", "test", f"c{number}", **more)], now=now)
    (root / "risk.toml").write_text(RULES, encoding="utf-8")
    return str(root)


def run(shop: str, *words: str) -> str:
    done = CliRunner().invoke(app, ["risk", *words, "--shop", shop], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def told(shop: str, *words: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(shop, *words, "--json"))
    return found


def test_from_a_rule_to_a_label(shop: str, tmp_path: Path) -> None:
    assert "watches  dear: review if amount > 90000  [li]  (it was not backtested yet)" in run(shop, "rules")
    known = tmp_path / "known.csv"
    known.write_text(f"id,known_at\no2,{(datetime.now(UTC) - timedelta(days=9)).isoformat()}\n", encoding="utf-8")
    assert "1 frauds noted" in run(shop, "label", str(known))
    text = run(shop, "backtest", "dear")
    assert "dear: review 1 of 3 (33.33%)" in text
    assert "precision 100.0%" in text
    assert "money caught 950.00 (100.0% of all known fraud)" in text
    found = told(shop, "backtest", "--days", "1.5")["rules"]
    assert [(one["rule"], one["rows"], one["recall"]) for one in found] == [("dear", 2, 1.0), ("cheap", 2, 0.0)]
    assert '"dear" acts' in run(shop, "activate", "dear", "--by", "wang")
    assert told(shop, "rules")["rules"][0]["acting"]

    assert run(shop, "check", "o2", "--locale", "zh-CN").startswith("review")
    checked = told(shop, "check", "--feature", "amount=90001", "--feature", "new_card=true", "--feature", "device=d1")
    assert (checked["verdict"], checked["fired"][0]["values"]) == ("review", {"amount": 90001.0})
    waiting = told(shop, "queue")["reviews"]
    assert [one["moment"] for one in waiting] == ["o2", None]
    assert "o2  c2  950.00  Dear." in run(shop, "queue")
    assert "rejected: o2" in run(shop, "settle", waiting[0]["check_id"], "reject", "--by", "wang", "--note", "stolen")
    assert "rejected by person:wang: stolen" in run(shop, "queue", "--state", "rejected")

    assert "device    d1  until" in run(shop, "allow", "device", "d1", "--why", "a school", "--by", "wang")
    assert told(shop, "check", "--feature", "amount=90002", "--feature", "device=d1")["trusted"] == "device"
    assert "Nobody is on the whitelist" in run(shop, "allow", "device", "d1", "--end", "--by", "wang")
    assert '"dear" only watches now' in run(shop, "shadow", "dear", "--by", "wang")
    assert "is meant to act and does not" in run(shop, "check", "o2")
    assert "[[rules]]" in run(shop, "rules", "--starter")
    assert "number  device_customers" in run(shop, "rules", "--fields")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check"], "Give the id of an order"),
        (["check", "o1", "--feature", "amount=1"], "Give the id of an order"),
        (["check", "nothing"], 'no order and no claim "nothing"'),
        (["check", "--feature", "amount"], "write NAME=VALUE"),
        (["check", "--feature", "amount=dear"], "a number is needed"),
        (["check", "--feature", "new_card=maybe"], "true or false is needed"),
        (["check", "--feature", "amont=1"], 'Did you mean "amount"?'),
        (["activate", "cheap", "--by", "wang"], "is a shadow rule"),
        (["activate", "chep", "--by", "wang"], 'Did you mean "cheap"?'),
        (["allow", "device"], "Which device?"),
        (["allow", "device", "d1"], "Say why"),
        (["queue", "--state", "done"], "state of a review"),
        (["settle", "zzz", "approve", "--by", "wang"], "no verdict"),
        (["backtest", "--days", "0"], "days"),
        (["backtest", "--delay", "-1"], "delay_days"),
        (["label", "nowhere.csv"], "Cannot read nowhere.csv"),
    ],
)
def test_what_cannot_be_done_is_said(shop: str, words: list[str], message: str) -> None:
    done = CliRunner().invoke(app, ["risk", *words, "--shop", shop])
    assert done.exit_code != 0
    assert message in str(done.exception)


def test_a_file_of_labels_with_faults(shop: str, tmp_path: Path) -> None:
    for text, message in (
        ("id\no1\n", "line 2: needs the columns id and known_at"),
        ("id,known_at\no1,yesterday\n", "line 2: known_at"),
        ("id,known_at\no1,2999-01-01T00:00:00Z\n", "has not come"),
    ):
        path = tmp_path / "known.csv"
        path.write_text(text, encoding="utf-8")
        done = CliRunner().invoke(app, ["risk", "label", str(path), "--shop", shop])
        assert message in str(done.exception)
