"""The loop on a real shop: compose logs, clicks come in, learn learns, compose chooses by it, the report tells."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from compose_kit import AS_OF, NOW, item, plan_of, shop
from sqlalchemy import select, update

from tradewind import schema
from tradewind.collect.memory import collect_table
from tradewind.compose import choosing
from tradewind.compose.approval import Approvals
from tradewind.compose.compose import compose
from tradewind.compose.facts import gather
from tradewind.compose.material import Material
from tradewind.compose.sent import read
from tradewind.compose.writing import refresh
from tradewind.engine.home import Home
from tradewind.engine.ledger import outbox
from tradewind.errors import StateError
from tradewind.learn.registry import retire
from tradewind.shop import Shop
from tradewind.types import Message, Offer

LATER = AS_OF + timedelta(days=10)


def messages(home: Home, plan_id: str) -> list[Message]:
    with home.ledger.read() as conn:
        query = select(outbox.c.message).where(outbox.c.plan_id == plan_id, outbox.c.message.is_not(None)).order_by(outbox.c.message_id)
        return [Message.from_json(text) for text in conn.execute(query).scalars()]


@pytest.fixture
def told(home: Home) -> tuple[Home, list[Message]]:
    """A shop whose first plan was sent; whoever read warm words clicked."""
    shop(home, customers=450, items=[item("mug-1", stock=None)], offers=[Offer("pick", "product")])
    plan = plan_of(home, channels=("email",))
    compose(home, plan, now=NOW, seed=1, locale="en")
    first = messages(home, plan.plan_id)
    with home.ledger.write() as conn:
        conn.execute(update(outbox).values(state="accepted"))
    clicks = [
        {
            "id": f"k{number}", "at": message.send_at + timedelta(hours=1), "customer": message.customer, "kind": "click", "source": "test",
            "decision_id": message.decision_id,
        }
        for number, message in enumerate(first)
        if message.headers["tone"] == "warm"
    ]  # fmt: skip
    empty: dict[str, None] = dict.fromkeys(schema.EVENTS.names)
    collect_table(home, pa.Table.from_pylist([empty | click for click in clicks], schema=schema.EVENTS), now=LATER)
    return home, first


def test_before_anything_is_learned_all_is_alike_and_logged(told: tuple[Home, list[Message]]) -> None:
    home, first = told
    assert len(first) > 200
    for message in first:
        assert "policy" not in message.headers
        product = 1.0
        for among in json.loads(message.headers["shares"]).values():
            product *= next(chance for name, chance in among.items() if name in {*message.components, message.headers["tone"]})
        assert float(message.headers["propensity"]) == pytest.approx(product)
    rows, silent = read(home, as_of=LATER)
    assert (len(rows), silent) == (len(first), 0)
    assert read(home, as_of=AS_OF + timedelta(days=2)) == ([], 0)  # too fresh: a click may still come
    assert read(home, as_of=LATER + timedelta(days=200)) == ([], 0)  # too long ago
    assert sum(row.clicked for row in rows) == sum(message.headers["tone"] == "warm" for message in first)


def test_what_was_learned_is_used_said_and_reported(told: tuple[Home, list[Message]]) -> None:
    home, first = told
    section = choosing.learn(home, as_of=LATER, now=LATER)
    assert f"learned from {len(first):,} messages" in section.text[0]
    plan = plan_of(home, channels=("email",), seed=4)
    with pytest.raises(StateError, match="it knows the future"):
        compose(home, plan, now=NOW, seed=2, locale="en")
    done = compose(home, plan, now=LATER, seed=2, locale="en")
    assert {name.partition(" ")[0] for name in done.words} == {"policy", "fixed"}
    assert "words: policy" in done.to_text()
    second = messages(home, plan.plan_id)
    fixed = [message for message in second if "control" in message.headers]
    chosen = [message for message in second if "control" not in message.headers]
    assert 0 < len(fixed) < 0.12 * len(second)
    assert len({message.components for message in fixed}) == 1
    assert {message.headers["propensity"] for message in fixed} == {"1.0"}
    assert sum(message.headers["tone"] == "warm" for message in chosen) > 0.9 * len(chosen)
    found = choosing.report_of(home, as_of=LATER)
    verdicts = {(row["role"], row["component"]): row["verdict"] for row in found.sections[0].rows}
    assert verdicts["tone", "warm"] == "wins"


def test_a_message_that_is_refreshed_keeps_the_words_that_the_policy_chose(told: tuple[Home, list[Message]]) -> None:
    home, _ = told
    choosing.learn(home, as_of=LATER, now=LATER)
    plan = plan_of(home, channels=("email",), seed=4)
    compose(home, plan, now=LATER, seed=2, locale="en")
    retire(home, choosing.MODEL)
    from tradewind.compose.facts import Storefront

    material = Material.read(home, plan, offers=None, now=LATER)
    store = Storefront(home.settings.name, home.settings.currency, None, home.settings.zone)
    for message in messages(home, plan.plan_id)[:30]:
        facts = gather(
            material.items[message.headers["item"]], offer=material.offers[message.headers["offer"]], store=store, locale="en",
            zone=message.headers["zone"], at=LATER, proof=None,
        )  # fmt: skip
        again = refresh(message, facts, now=LATER)
        assert again.message is not None
        assert again.message.components == message.components
        assert again.message.headers["policy"] == message.headers["policy"]


def test_what_is_not_approved_any_more_is_not_said(told: tuple[Home, list[Message]]) -> None:
    home, first = told
    used = {name for message in first for name in message.components if name.startswith("en.subject")}
    gone = min(used)
    Approvals(home).retire(gone, by="bea", at=LATER)
    Approvals(home).draft(
        {"id": "own.s", "role": "subject", "tone": "any", "channels": ["email"], "text": "Seen {title}?"}, locale="en", by="a", at=LATER
    )
    Approvals(home).approve_by_rule(at=LATER)
    choosing.learn(home, as_of=LATER, now=LATER)
    plan = plan_of(home, channels=("email",), seed=4)
    compose(home, plan, now=LATER, seed=2, locale="en")
    said = {name for message in messages(home, plan.plan_id) for name in message.components}
    assert gone not in said
    assert "own.s" in said


def test_nothing_is_learned_from_logs_without_probabilities_or_without_clicks(home: Home) -> None:
    shop(home, customers=450, items=[item("mug-1", stock=None)], offers=[Offer("pick", "product")])
    plan = plan_of(home, channels=("email",))
    assert "0 messages with a choice" in choosing.learn(home, as_of=LATER, now=LATER).text[0]
    compose(home, plan, now=NOW, seed=1)
    with home.ledger.write() as conn:
        conn.execute(update(outbox).values(state="accepted"))
    empty: dict[str, None] = dict.fromkeys(schema.EVENTS.names)
    seen = empty | {"id": "v", "at": AS_OF, "customer": "c0001", "kind": "view", "source": "test"}
    collect_table(home, pa.Table.from_pylist([seen], schema=schema.EVENTS), now=LATER)
    assert "none was clicked" in choosing.learn(home, as_of=LATER, now=LATER).text[0]
    with home.ledger.write() as conn:
        for message in messages(home, plan.plan_id):
            old = replace(message, headers={name: value for name, value in message.headers.items() if name != "shares"})
            conn.execute(update(outbox).where(outbox.c.message_id == message.message_id).values(message=old.to_json()))
    text = choosing.learn(home, as_of=LATER, now=LATER).text[0]
    assert "have no logged probabilities and were left out" in text
    assert "Words: not learned" in text


def test_the_shop_has_a_desk_of_words(tmp_path: Path) -> None:
    with Shop.open(tmp_path / "s", now=lambda: LATER) as opened:
        assert opened.words.approvals.waiting() == []
        assert opened.words.export(tmp_path / "p.jsonl") == 0
