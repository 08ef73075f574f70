"""The verb on a real shop: planned rows become ready or withheld, once, whatever is run again."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
from compose_kit import AS_OF, NOW, URL, consented, coupon, item, plan_of, shop
from sqlalchemy import select

from tradewind.compose import compose as verb
from tradewind.compose.base import UNSUBSCRIBE
from tradewind.compose.compose import compose
from tradewind.compose.library import load as library
from tradewind.engine.home import Home
from tradewind.engine.ledger import budgets, outbox, reservations
from tradewind.errors import InputError
from tradewind.types import Message, Offer


def states(home: Home) -> Counter[str]:
    with home.ledger.read() as conn:
        return Counter(conn.execute(select(outbox.c.state)).scalars())


def stored(home: Home) -> dict[str, Message]:
    with home.ledger.read() as conn:
        rows = conn.execute(select(outbox.c.message_id, outbox.c.message).where(outbox.c.message.is_not(None))).all()
    return {row.message_id: Message.from_json(row.message) for row in rows}


def test_every_planned_row_gets_a_checked_text_in_the_customers_language(home: Home) -> None:
    shop(home)
    plan = plan_of(home)
    planned = states(home)["planned"]
    done = compose(home, plan, now=NOW, seed=1, shop_url=URL)
    assert (done.ready, done.withheld, done.waiting) == (planned, 0, 0)
    assert states(home) == {"ready": planned}
    seen = stored(home)
    assert {message.locale for message in seen.values()} == {"zh-CN", "en"}
    assert {message.channel for message in seen.values()} == {"email", "push", "sms", "inapp"}
    for message in seen.values():
        assert message.locale == ("zh-CN", "en")[int(message.customer[1:]) % 2]
        assert message.writer == "components"
        assert len(message.facts) == 64
        assert set(message.components) <= set(library(message.locale).by_id)
        assert 0 < float(message.headers["propensity"]) <= 1
        assert json.loads(message.headers["choices"])["tone"] in (1, 2)
        assert message.headers["item"] in ("mug-1", "mug-2")
        if message.channel == "email":
            assert message.parts["body"].count(UNSUBSCRIBE) == message.parts["html"].count(UNSUBSCRIBE) == 1
        if message.channel == "sms":
            assert int(message.headers["segments"]) <= 2
    assert [m.message_id for m in done.messages()] == sorted(seen)
    assert len(list(done.messages(5))) == 5
    assert "title: no usable title_en, title used" in done.fallbacks
    assert f"{planned:,} ready" in done.to_text()
    assert done.to_json()["ready"] == planned


def test_running_again_changes_nothing(each_home: Home) -> None:
    home = each_home
    shop(home)
    plan = plan_of(home)
    compose(home, plan, now=NOW, seed=1)
    before = stored(home)
    again = compose(home, plan, now=NOW + timedelta(hours=1), seed=2)
    assert (again.ready, again.withheld, again.done) == (0, 0, len(before))
    assert stored(home) == before


def test_a_run_that_dies_between_chunks_goes_on_where_it_stopped(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    shop(home, customers=60)
    plan = plan_of(home)
    planned = states(home)["planned"]
    monkeypatch.setattr(verb, "CHUNK", 20)
    write, calls = verb._Run._store, []

    def dies(run: verb._Run, *arguments: object) -> None:
        calls.append(1)
        if len(calls) == 2:
            write(run, *arguments)  # type: ignore[arg-type]
            raise KeyboardInterrupt
        write(run, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(verb._Run, "_store", dies)
        with pytest.raises(KeyboardInterrupt):
            compose(home, plan, now=NOW, seed=1)
    assert states(home) == {"ready": 20, "planned": planned - 20}  # the transaction that died left nothing
    done = compose(home, plan, now=NOW, seed=1)
    assert (done.ready, done.done) == (planned - 20, 20)
    assert states(home) == {"ready": planned}


def test_what_cannot_be_said_is_withheld_and_its_money_released(each_home: Home) -> None:
    home = each_home
    shop(home, items=[item("mug-1")], offers=[coupon(percent=10)])
    plan = plan_of(home)
    with home.ledger.read() as conn:
        held = conn.execute(select(budgets.c.reserved)).scalar_one()
    assert held > 0
    late = AS_OF + timedelta(days=8)  # after the coupon has ended
    done = compose(home, plan, now=late, seed=1)
    assert done.ready == 0
    assert done.reasons == {"offer has ended at the time of sending": done.withheld}
    with home.ledger.read() as conn:
        assert conn.execute(select(budgets.c.reserved)).scalar_one() == 0
        assert set(conn.execute(select(reservations.c.state)).scalars()) == {"released"}
        assert set(conn.execute(select(outbox.c.detail)).scalars()) == {"offer has ended at the time of sending"}
    assert states(home) == {"withheld": done.withheld}


def test_what_is_sent_too_late_waits(home: Home) -> None:
    shop(home, offers=[Offer("pick", "product")])
    plan = plan_of(home)
    done = compose(home, plan, now=AS_OF - timedelta(days=5), seed=1)
    assert (done.ready, done.withheld) == (0, 0)
    assert done.waiting == states(home)["planned"] > 0
    assert "compose again" in done.to_text()


def test_forced_language_and_unknown_language(home: Home) -> None:
    shop(home)
    plan = plan_of(home)
    with pytest.raises(InputError, match='no texts in "fr"'):
        compose(home, plan, now=NOW, seed=1, locale="fr")
    with pytest.raises(InputError, match="shop_url must be a web address"):
        compose(home, plan, now=NOW, seed=1, shop_url="javascript:alert(1)")
    compose(home, plan, now=NOW, seed=1, locale="en")
    assert {message.locale for message in stored(home).values()} == {"en"}


def test_same_seed_same_words(home: Home) -> None:
    shop(home)
    plan = plan_of(home, commit=False)
    plan.commit(home, AS_OF)
    compose(home, plan, now=NOW, seed=5, shop_url=URL)
    first = stored(home)
    with home.ledger.write() as conn:
        conn.execute(outbox.update().values(state="planned"))  # what deliver does with stale messages
    compose(home, plan, now=NOW, seed=5, shop_url=URL)
    assert stored(home) == first
    with home.ledger.write() as conn:
        conn.execute(outbox.update().values(state="planned"))
    compose(home, plan, now=NOW, seed=6, shop_url=URL)
    other = stored(home)
    assert {key: m.components for key, m in other.items()} != {key: m.components for key, m in first.items()}


def test_a_reason_becomes_words_only_when_it_is_not_creepy(home: Home) -> None:
    shop(home, customers=30)
    told = json.dumps([{"code": "because", "details": {"item": "mug-2", "share": 0.6}}])
    plan = plan_of(home, channels=["email"], reasons=told)
    compose(home, plan, now=NOW, seed=1, locale="en")
    lines = [m for m in stored(home).values() if m.headers["item"] == "mug-1"]
    assert lines
    for message in lines:
        assert "If you like Plain White Mug, this one may be for you too." in message.parts["body"]
        assert "en.reason.similar" in message.components


def test_nobody_is_written_to_after_a_withdrawal(home: Home) -> None:
    shop(home)
    plan = plan_of(home)
    with home.ledger.read() as conn:
        left = sorted(conn.execute(select(outbox.c.customer).where(outbox.c.state == "planned")).scalars())[:3]
    consented(home, left, granted=False, at=NOW)
    done = compose(home, plan, now=NOW, seed=1)
    assert done.reasons == {"no consent now: withdrawn": 3}
    assert not {message.customer for message in stored(home).values()} & set(left)


def test_a_missing_item_and_a_plan_of_another_shop(home: Home) -> None:
    shop(home)
    plan = plan_of(home)
    table = plan.table.set_column(plan.table.schema.get_field_index("item"), plan.table.schema.field("item"), [["gone"] * len(plan)])
    done = compose(home, replace(plan, table=table), now=NOW, seed=1)
    assert set(done.reasons) == {"the item is not in the catalogue"}
    empty = replace(plan, table=plan.table.slice(0, 0))
    with home.ledger.write() as conn:
        conn.execute(outbox.update().values(state="planned"))
    assert set(compose(home, empty, now=NOW, seed=1).reasons) == {"the plan has no such decision"}
