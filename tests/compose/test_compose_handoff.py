"""Nothing leaves with a price that was replaced: the hand-off notices, compose writes again, and the new text is true."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

from compose_kit import NOW, URL, item, load, plan_of, rows, shop
from sqlalchemy import select

from tradewind.compose.compose import compose
from tradewind.deliver import rules
from tradewind.deliver.channels.outbox import Outbox
from tradewind.deliver.deliver import Delivered, deliver
from tradewind.deliver.rules import Rules
from tradewind.engine.home import Home
from tradewind.engine.ledger import outbox

LATER = NOW + timedelta(minutes=30)
EVENING = NOW + timedelta(hours=23)  # when everybody's message is due


def states(home: Home) -> Counter[str]:
    with home.ledger.read() as conn:
        return Counter(conn.execute(select(outbox.c.state)).scalars())


def sent(home: Home, plan_id: str, sink: Outbox) -> Delivered:
    return deliver(home, plan_id, channels=sink, now=lambda: EVENING)


def test_a_replaced_catalogue_sends_every_text_back_before_it_leaves(home: Home) -> None:
    shop(home, offers=[])
    plan = plan_of(home, channels=["inapp"])
    first = compose(home, plan, now=NOW, shop_url=URL)
    assert any("\u00a5129.50" in " ".join(m.parts.values()) for m in first.messages())
    load(home, {"items": rows("items", item("mug-1", price=9_950), item("mug-2", price=9_950))}, name="later")
    sink = Outbox()
    held = sent(home, plan.plan_id, sink)
    assert (len(sink.messages), states(home)) == (0, {"planned": first.ready})
    assert held.reasons == {"deferred: stale": first.ready}
    again = compose(home, plan, now=LATER, shop_url=URL)
    assert again.ready == first.ready
    sent(home, plan.plan_id, sink)
    assert len(sink.messages) == first.ready
    said = " ".join(text for message in sink.messages.values() for text in message.parts.values())
    assert "129.5" not in said
    assert "99.5" in said


def test_an_item_that_sold_out_after_writing_is_withheld_at_the_hand_off(home: Home) -> None:
    shop(home, offers=[])
    plan = plan_of(home, channels=["inapp"])
    ready = compose(home, plan, now=NOW, shop_url=URL).ready
    load(home, {"items": rows("items", item("mug-1", stock=0), item("mug-2", stock=-3))}, name="later")
    sent(home, plan.plan_id, Outbox())
    again = compose(home, plan, now=LATER, shop_url=URL)
    assert (again.ready, dict(again.reasons)) == (0, {"out of stock": ready})


def test_an_unchanged_catalogue_holds_nothing_up(home: Home) -> None:
    shop(home, offers=[])
    plan = plan_of(home, channels=["inapp"])
    ready = compose(home, plan, now=NOW, shop_url=URL).ready
    sink = Outbox()
    sent(home, plan.plan_id, sink)
    assert len(sink.messages) == ready > 0


def test_the_hours_of_the_country_that_a_customer_is_in_are_kept(home: Home) -> None:
    """A text message at half past nine in the evening of China: the law of China says no, wherever the shop thinks that people live."""
    shop(home, customers=30, offers=[])
    kinds = (
        {"locale": "en-GB", "zone": None, "attributes": '{"country": "cn"}'},
        {"locale": "zh-Hans-CN", "zone": "Mars/Base", "attributes": "{"},
        {"locale": "zh-CN", "zone": "Europe/London", "attributes": '{"country": 7}'},
    )
    people = [{"customer": f"c{n:04d}", **kinds[n % 3]} for n in range(30)]
    load(home, {"customers": rows("customers", *people)}, name="people")
    rules.save(home, Rules(zones=("Europe/London",)))
    plan = plan_of(home, channels=["sms"])
    written = list(compose(home, plan, now=NOW, shop_url=URL).messages())
    found = {(int(message.customer[1:]) % 3, message.headers.get("country")) for message in written}
    assert found == {(0, "CN"), (1, "CN"), (2, None)}
    due = sorted(message.customer for message in written if int(message.customer[1:]) % 3 == 2)
    sink = Outbox()
    done = deliver(home, plan.plan_id, channels=sink, now=lambda: datetime(2026, 3, 2, 13, 30, tzinfo=UTC))
    assert sorted(message.customer for message in sink.messages.values()) == due, "in London one may be told now, whatever the language"
    assert done.reasons == {"deferred: quiet": len(written) - len(due)}
    morning = deliver(home, plan.plan_id, channels=sink, now=lambda: datetime(2026, 3, 3, 4, tzinfo=UTC))
    assert morning.counts == {"accepted": len(written) - len(due)}
