"""Who answers messages: learned from the past alone, saved and read, and silent where there is nothing to learn from."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from profile_kit import AS_OF, event, fill

from tradewind.engine.home import Home
from tradewind.errors import NotFound, SchemaError
from tradewind.learn.answers import NAME, SPAN, Answers, redemptions
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


def test_without_answers_nothing_is_learned_and_nothing_is_read(tmp_path: Path) -> None:
    with Home.open(tmp_path / "shop") as home:
        fill(home, [row for row in messages(answering="looker") if row["kind"] != "click"])
        assert Answers.learn(home.tables, as_of=AS_OF) is None
    with pytest.raises(NotFound, match="Learn one first"):
        Answers.load(tmp_path)
    (tmp_path / "answers.json").write_text('{"features": ["other"], "linear": {}, "contacted": 1}', encoding="utf-8")
    with pytest.raises(SchemaError, match="Learn it again"):
        Answers.load(tmp_path)
