"""Buying again: shares, intervals and what is due, against answers that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recommend_worlds import HOUR, hour, of

from tradewind.errors import InputError
from tradewind.learn.repeat import ANY_DAYS, Repeat
from tradewind.learn.sequences import Sequences

DAY = 24


def regular(interval: int, *, customers: int = 40, times: int = 8, item: str = "coffee") -> list[tuple[str, str, int]]:
    """Customers who buy an item every ``interval`` days, on different first days."""
    return [(f"c{c}", item, DAY * (c % interval + n * interval)) for c in range(customers) for n in range(times)]


def column(model: Repeat, name: str) -> int:
    return list(model.items).index(name)


def test_the_interval_is_found_and_the_score_peaks_when_it_has_passed() -> None:
    model = Repeat(timing=1.0, explore=0.0, decay=1.0).fit(of(*regular(14), *regular(5, item="milk")), as_of=hour(DAY * 200))
    assert np.exp(model._interval[column(model, "coffee")]) == pytest.approx(14, rel=0.05)
    assert np.exp(model._interval[column(model, "milk")]) == pytest.approx(5, rel=0.05)
    waits = np.arange(9, 23)
    histories = [of(("new", "coffee", DAY * (200 - int(wait)))) for wait in waits]
    scores = [float(model.score(history)[0, column(model, "coffee")]) for history in histories]
    best = int(np.argmax(scores))
    assert abs(waits[best] - 14) <= 1
    assert (np.diff(scores[: best + 1]) > 0).all()
    assert (np.diff(scores[best:]) < 0).all()
    why = model.reasons(histories[8], row=0, item=column(model, "coffee"))
    assert [(each.code, each.details["last_days"], each.details["times"]) for each in why] == [("repeat", 17.0, 1)]
    assert why[0].details["every_days"] == pytest.approx(14, rel=0.05)


def test_a_customers_own_rhythm_moves_the_interval() -> None:
    model = Repeat().fit(of(*regular(14)), as_of=hour(DAY * 300))
    slow = of(*[("slow", "coffee", DAY * 28 * n) for n in range(7)])
    [why] = model.reasons(slow, row=0, item=0)
    item = float(np.exp(model._interval[0]))
    assert why.details["every_days"] == pytest.approx(28 ** (6 / 8) * item ** (2 / 8), rel=0.01)


def test_few_intervals_lean_on_the_category_and_this_on_the_shop() -> None:
    rows = [*regular(7, item="tea"), ("x", "rare tea", 0), ("x", "rare tea", DAY * 70), ("y", "sofa", 5)]
    log = Sequences.from_arrays(
        [row[0] for row in rows],
        item=[row[1] for row in rows],
        at=[row[2] * HOUR for row in rows],
        categories={"tea": "tea", "rare tea": "tea", "sofa": "chairs"},
    )
    model = Repeat(shrink=10.0).fit(log, as_of=hour(DAY * 200))
    tea, rare, sofa = (float(np.exp(model._interval[column(model, name)])) for name in ("tea", "rare tea", "sofa"))
    assert tea == pytest.approx(7, rel=0.05)
    assert 7 < rare < 14
    shop = np.exp((280 * np.log(7) + np.log(70)) / 281)
    assert sofa == pytest.approx(shop, rel=0.01)
    back = {name: float(model._back[column(model, name)]) for name in ("tea", "rare tea", "sofa")}
    assert back["tea"] > back["rare tea"] > back["sofa"]


def test_the_base_is_the_decayed_share_of_baskets() -> None:
    history = of(("a", "x", 1), ("a", "y", 1), ("a", "x", 2), ("a", "x", 2), ("a", "z", 3))
    model = Repeat(decay=0.5, timing=0.0, loyalty=0.0, explore=0.0).fit(history, as_of=hour(10))
    total = 1 + 0.5 + 0.25
    np.testing.assert_allclose(model.score(history)[0], [(0.5 + 0.25) / total, 0.25 / total, 1 / total], rtol=1e-6)


def test_what_one_never_bought_comes_by_the_share_of_the_shop() -> None:
    rows = [("a", "x", 1), ("b", "x", 1), ("b", "y", 1), ("c", "x", 1)]
    model = Repeat(explore=0.5).fit(of(*rows), as_of=hour(2))
    stranger = of(*rows).histories(["nobody"])
    np.testing.assert_allclose(model.score(stranger)[0], [0.5, 0.5 / 3], rtol=1e-6)
    assert model.reasons(stranger, row=0, item=1)[0].details["rank"] == 2
    alone = Repeat(explore=0.0).fit(of(*rows), as_of=hour(2))
    assert np.isneginf(alone.score(stranger)).all()


def test_a_history_newer_than_the_fit_is_dated_by_its_latest_event() -> None:
    model = Repeat().fit(of(*regular(14)), as_of=hour(DAY * 120))
    late = of(("new", "coffee", DAY * 150), ("new", None, DAY * 160))
    assert model.reasons(late, row=0, item=0)[0].details["last_days"] == 10.0


def test_a_shop_without_repeats_has_no_rhythm() -> None:
    model = Repeat().fit(of(("a", "x", 1), ("b", "y", 2)), as_of=hour(9))
    np.testing.assert_allclose(np.exp(model._interval), ANY_DAYS)
    assert np.isfinite(model.score(of(("a", "x", 1)))[0]).all()


def test_only_purchases_count_unless_told_otherwise() -> None:
    views = of(("a", "x", 1), ("a", "x", 30), kind="view")
    assert np.isneginf(Repeat().fit(views, as_of=hour(99)).score(views)).all()
    assert np.isfinite(Repeat(weights={"view": 1.0}).fit(views, as_of=hour(99)).score(views)).all()
    with pytest.raises(InputError, match="timing"):
        Repeat(timing=1.5).fit(views, as_of=hour(99))


EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 200)), min_size=1, max_size=40)


@settings(max_examples=40, deadline=None)
@given(EVENTS, st.randoms(use_true_random=False))
def test_the_order_of_lines_in_a_basket_says_nothing(events: list[tuple[int, int, int]], random: object) -> None:
    rows = [(f"c{who}", f"i{item}", at) for who, item, at in events]
    turned = rows.copy()
    random.shuffle(turned)  # type: ignore[attr-defined]
    one, two = of(*rows), of(*turned)
    first, second = (Repeat().fit(log, as_of=hour(500)) for log in (one, two))
    np.testing.assert_allclose(first.score(one), second.score(two), rtol=1e-5)
