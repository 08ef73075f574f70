"""Who answers messages: learned from the past alone, saved and read, and silent where there is nothing to learn from."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from profile_kit import AS_OF, event, fill

from tradewind.engine.home import Home
from tradewind.errors import NotFound, SchemaError
from tradewind.learn.answers import NAME, SPAN, Answers, Followed, followed, redemptions
from tradewind.learn.profiles import profiles

HALF = 150


def messages(*, answering: str) -> list[dict[str, Any]]:
    """Two kinds of customers: "looker" (20 views before the span) and "buyer" (2); those of ``answering`` click nine times in ten."""
    rng, rows = np.random.default_rng(3), []
    for kind, views in (("looker", 20), ("buyer", 2)):
        for number in range(HALF):
            who = f"{kind}-{number:03d}"
            spread = rng.uniform(30, 80, views)
            rows += [(who, AS_OF - timedelta(days=float(days)), "view", {"item": "i1"}) for days in spread]
            rows.append((who, AS_OF - timedelta(days=10), "sent", {"decision_id": f"d-{who}"}))
            if rng.random() < (0.9 if kind == answering else 0.1):
                rows.append((who, AS_OF - timedelta(days=9), "click", {"decision_id": f"d-{who}"}))
    return [event(number, at, kind=kind, customer=who, **more) for number, (who, at, kind, more) in enumerate(rows)]


@pytest.mark.parametrize("answering", ["looker", "buyer"])
def test_learns_who_answers_from_what_was_known_before(tmp_path: Path, answering: str) -> None:
    with Home.open(tmp_path / "shop") as home:
        fill(home, messages(answering=answering))
        found = Answers.learn(home.tables, as_of=AS_OF)
        assert found is not None
        people = profiles(home.tables, as_of=AS_OF - SPAN)
        rate = dict(zip(people["customer"].to_pylist(), found.predict(people), strict=True))
        means = {kind: np.mean([rate[f"{kind}-{number:03d}"] for number in range(HALF)]) for kind in ("looker", "buyer")}
        assert means[answering] > 0.6
        assert min(means.values()) < 0.4
        assert abs(np.mean(list(means.values())) - 0.5) < 0.1  # as many as did
        assert found.contacted == 2 * HALF
        found.save(tmp_path / "answers")
        again = Answers.load(tmp_path / "answers").added(people)
        np.testing.assert_array_equal(again[NAME].to_numpy(), found.predict(people))


def test_what_comes_after_the_cut_changes_nothing(tmp_path: Path) -> None:
    rows = messages(answering="looker")
    later = [event(10**5 + at, AS_OF + timedelta(days=1), kind="click", customer=f"buyer-{at:03d}") for at in range(HALF)]
    found = []
    for name, more in (("a", []), ("b", later)):
        with Home.open(tmp_path / name) as home:
            fill(home, rows + more)
            learned = Answers.learn(home.tables, as_of=AS_OF)
            assert learned is not None
            found.append(learned.linear.to_json())
    assert found[0] == found[1]


def test_redemptions_by_offer_are_joined_by_message_shrunk_and_ripe(tmp_path: Path) -> None:
    rows = []
    for offer, sent, used in (("ten", 60, 12), ("five", 40, 2), ("never", 30, 0)):
        for number in range(sent):
            more = {"offer": offer, "decision_id": f"{offer}-{number}"}
            rows.append(("sent", 20, more))
            if number < used:
                rows += [("redeem", 19, more), ("redeem", 18, more)]  # a second order line is no second redemption
        rows.append(("sent", 3, {"offer": offer, "decision_id": f"{offer}-fresh"}))  # may still be redeemed
    rows.append(("redeem", -1, {"offer": "five", "decision_id": "five-39"}))  # the future
    events = [event(at, AS_OF - timedelta(days=days), kind=kind, **more) for at, (kind, days, more) in enumerate(rows)]
    with Home.open(tmp_path / "shop") as home:
        fill(home, events)
        found = redemptions(home.tables, as_of=AS_OF)
    total = 14 / 100
    assert found == pytest.approx({"five": (2 + 20 * total) / 60, "ten": (12 + 20 * total) / 80})


def test_orders_after_clicks_are_counted_beyond_those_that_would_have_come_anyway(tmp_path: Path) -> None:
    """60 of 100 messages with "ten" by e-mail and 20 of 100 with "five" by SMS are clicked; the clickers' habits are known."""
    rows: list[tuple[str, datetime, str, dict[str, Any]]] = []
    sent_at = AS_OF - timedelta(days=30)
    for offer, channel, clicks, bought in (("ten", "email", 60, 24), ("five", "sms", 20, 2)):
        for number in range(100):
            who, more = f"{offer}-{number:03d}", {"offer": offer, "channel": channel, "decision_id": f"{offer}-{number}"}
            rows.append((who, sent_at, "sent", more))
            if number >= clicks:
                rows.append((who, sent_at + timedelta(days=1), "purchase", {"order_id": f"o-{who}", "value": 100}))  # without a click
                continue
            rows += [(who, sent_at + timedelta(hours=hours), "click", more) for hours in (5, 60)]  # the first click counts
            habit = {"order_id": f"h-{who}", "value": 100}
            rows.append((who, sent_at - timedelta(days=7), "purchase", habit))  # one order in the 28 days before
            rows.append((who, sent_at - timedelta(days=7), "purchase", habit))  # a second line of it
            if number < bought:
                rows.append((who, sent_at + timedelta(hours=70), "purchase", {"order_id": f"o-{who}", "value": 100}))
            rows.append((who, sent_at + timedelta(hours=80), "purchase", {"order_id": f"l-{who}", "value": 100}))  # too late
    rows.append(("ten-000", AS_OF - timedelta(days=1), "sent", {"offer": "ten", "channel": "email", "decision_id": "fresh"}))
    events = [event(number, at, kind=kind, customer=who, **more) for number, (who, at, kind, more) in enumerate(rows)]
    with Home.open(tmp_path / "shop") as home:
        fill(home, events)
        found = followed(home.tables, as_of=AS_OF)
    share, organic = 80 / 200, 3 / 28
    extra = {"ten": 24 - 60 * organic, "five": 2 - 20 * organic}
    typical = sum(extra.values()) / 80
    assert typical == pytest.approx(26 / 80 - organic)
    rate = {"ten": (60 + 20 * share) / 120, "five": (20 + 20 * share) / 120}
    worth = {offer: (extra[offer] + 50 * typical) / (clicks + 50) for offer, clicks in (("ten", 60), ("five", 20))}
    assert found.orders == pytest.approx({offer: rate[offer] * worth[offer] for offer in extra})
    assert found.channels == pytest.approx({"email": rate["ten"] / share, "sms": rate["five"] / share})


def test_few_clicks_say_nothing_of_what_followed(tmp_path: Path) -> None:
    more = {"offer": "ten", "channel": "email"}
    rows = [event(at, AS_OF - timedelta(days=30), kind="sent", customer=f"c{at}", decision_id=f"d{at}", **more) for at in range(40)]
    rows += [event(50 + at, AS_OF - timedelta(days=29), kind="click", customer=f"c{at}", decision_id=f"d{at}", **more) for at in range(29)]
    with Home.open(tmp_path / "shop") as home:
        fill(home, rows)
        assert followed(home.tables, as_of=AS_OF) == Followed()
        assert followed(home.tables, as_of=AS_OF - timedelta(days=60)) == Followed()


def test_without_answers_nothing_is_learned_and_nothing_is_read(tmp_path: Path) -> None:
    with Home.open(tmp_path / "shop") as home:
        fill(home, [row for row in messages(answering="looker") if row["kind"] != "click"])
        assert Answers.learn(home.tables, as_of=AS_OF) is None
    with pytest.raises(NotFound, match="Learn one first"):
        Answers.load(tmp_path)
    (tmp_path / "answers.json").write_text('{"features": ["other"], "linear": {}, "contacted": 1}', encoding="utf-8")
    with pytest.raises(SchemaError, match="Learn it again"):
        Answers.load(tmp_path)
