"""Pacing: the budget is never broken whatever comes, and it is spent evenly where that can be known."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from tradewind.decide import pacing
from tradewind.decide.commit import settle
from tradewind.engine.home import Home
from tradewind.engine.ledger import budgets, reservations
from tradewind.errors import InputError

amounts = st.floats(0, 1e6)


@settings(max_examples=100, deadline=None)
@given(
    budget=amounts,
    expected=st.integers(1, 50),
    price=st.floats(1e-6, 1e6),
    eta=st.floats(1e-4, 100),
    floor=st.floats(0, 10),
    stream=st.lists(st.lists(st.tuples(st.floats(-1e6, 1e6), amounts), max_size=4), max_size=25),
)
def test_never_overspends_whatever_the_stream(
    budget: float, expected: int, price: float, eta: float, floor: float, stream: list[list[tuple[float, float]]]
) -> None:
    pace = pacing.start(budget, expected, price=price, eta=eta, floor=floor)
    spent = 0.0
    for actions in stream:
        values, costs = [value for value, _ in actions], [cost for _, cost in actions]
        at = pacing.choose(pace, values, costs)
        cost = costs[at] if at >= 0 else 0.0
        assert cost <= pace.left
        assert at < 0 or values[at] > pace.price * cost
        spent += cost
        pace = pacing.paid(pace, cost)
        assert pace.left >= 0
        assert floor <= pace.price < math.inf
        assert pace.price > 0
    assert spent <= budget * (1 + 1e-12)


@settings(max_examples=25, deadline=None)
@given(budget=st.integers(0, 5000), seed=st.integers(0, 1000))
def test_second_price_bids_never_overspend(budget: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pace = pacing.start(budget, 100, price=1e-3)
    for value, market in zip(rng.exponential(1, 300), rng.integers(0, 300, 300).tolist(), strict=True):
        offered = pacing.bid(pace, float(value))
        assert 0 <= offered <= pace.left
        pace = pacing.paid(pace, market if offered >= market else 0)
    assert pace.left >= 0


def test_a_wrong_first_price_is_corrected_and_the_budget_is_used() -> None:
    rng = np.random.default_rng(3)
    values, costs = rng.gamma(2.0, 1.0, 20_000), rng.uniform(0.5, 1.5, 20_000)
    reached = []
    for first in (0.1, 2.0, 40.0):
        pace, value, half = pacing.start(4_000, 20_000, price=first), 0.0, 0.0
        for step, (worth, cost) in enumerate(zip(values.tolist(), costs.tolist(), strict=True)):
            at = pacing.choose(pace, [worth], [cost])
            value += worth if at == 0 else 0.0
            pace = pacing.paid(pace, cost if at == 0 else 0.0)
            half = pace.left if step == 10_000 else half
        assert pace.left < 40
        assert 1_600 < half < 2_400
        reached.append(value)
    order = np.argsort(-values / costs)
    clairvoyant = values[order][np.cumsum(costs[order]) <= 4_000].sum()
    assert min(reached) > 0.95 * clairvoyant


def test_nothing_to_spend_nothing_to_pay_nothing_to_gain() -> None:
    empty = pacing.start(0, 10, price=1.0)
    assert pacing.bid(empty, 5.0) == 0
    assert pacing.choose(empty, [5.0], [1.0]) == -1
    assert pacing.choose(empty, [5.0], [0.0]) == 0
    assert pacing.paid(empty, 0).price == 1.0
    free = pacing.start(10, 5, price=1.0)
    for _ in range(5_000):
        free = pacing.paid(free, 0)
    assert free.left == 10
    assert 0 < free.price <= 1e-6
    back = pacing.replan(free, opportunities=1_000)
    for _ in range(20):  # and the price comes back when costs do
        back = pacing.paid(back, 3 * back.target)
    assert back.price > 1.4 * free.price
    assert pacing.choose(free, [], []) == -1
    assert pacing.choose(free, [-1.0, 0.0], [0.0, 0.0]) == -1


def test_contradictory_targets_end_in_the_stricter_one() -> None:
    """More money than can be spent well: the floor holds, and money stays; more opportunities than planned: the stop holds."""
    pace = pacing.start(1_000, 10, price=3.0, floor=1.0)
    for _ in range(500):
        at = pacing.choose(pace, [0.9], [1.0])
        assert at == -1
        pace = pacing.paid(pace, 0)
    assert pace.price == 1.0
    assert pace.left == 1_000
    late = pacing.start(10, 1, price=0.001)
    for _ in range(50):
        at = pacing.choose(late, [1.0], [3.0])
        late = pacing.paid(late, 3.0 if at == 0 else 0.0)
    assert 0 <= late.left < 3


def test_hours_at_once_and_new_plans() -> None:
    pace = pacing.start(100, 1_000, price=1.0)
    slow, fast = pacing.paid(pace, 5, opportunities=100), pacing.paid(pace, 20, opportunities=100)
    assert slow.price < 1 < fast.price
    assert slow.opportunities == 900
    assert pacing.replan(pace, left=50).target == 0.05
    assert pacing.replan(pace, opportunities=50).target == 2
    assert pacing.replan(pace) == pace


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"budget": -1.0}, "0 or more"),
        ({"budget": math.nan}, "0 or more"),
        ({"floor": -1.0}, "0 or more"),
        ({"opportunities": 0}, "must be positive"),
        ({"eta": 0.0}, "must be positive"),
        ({"price": 0.0}, "give a floor"),
    ],
)
def test_wrong_starts_are_refused(wrong: dict[str, float], message: str) -> None:
    given = {"budget": 1.0, "opportunities": 1.0, "price": 1.0, **wrong}
    with pytest.raises(InputError, match=message):
        pacing.start(given.pop("budget"), given.pop("opportunities"), price=given.pop("price"), **given)


def test_impossible_reports_are_refused() -> None:
    pace = pacing.start(10, 10, price=1.0)
    for spend in (11.0, -1.0, math.nan):
        with pytest.raises(InputError, match="Spend only what"):
            pacing.paid(pace, spend)
    with pytest.raises(InputError, match="at least one"):
        pacing.paid(pace, 1, opportunities=0)
    with pytest.raises(InputError, match="0 or more"):
        pacing.replan(pace, left=-1)


def test_the_ledger_stops_at_the_budget_under_concurrency(home: Home) -> None:
    with home.ledger.write() as conn:
        conn.execute(budgets.insert().values(budget="live", currency="CNY", amount=1000, reserved=0, spent=0))
    held: list[bool] = []

    def decide(worker: int) -> None:
        for number in range(20):
            with home.ledger.write() as conn:
                held.append(pacing.hold(conn, "live", f"{worker}-{number}", 30))

    workers = [threading.Thread(target=decide, args=(worker,)) for worker in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sum(held) == 33
    with home.ledger.write() as conn:
        assert pacing.left_of(conn, "live") == 10
        names = conn.execute(select(reservations.c.decision_id).order_by("decision_id")).scalars().all()
        assert len(names) == 33
        assert pacing.hold(conn, "live", names[0], 30)  # again: the same reservation
        assert not pacing.hold(conn, "live", "other", 11)
        assert not pacing.hold(conn, "nowhere", "other", 1)
        assert settle(conn, names[0], spent=5)
        assert pacing.left_of(conn, "live") == 35
        with pytest.raises(InputError, match="no budget"):
            pacing.left_of(conn, "nowhere")
        with pytest.raises(InputError, match="0 or more"):
            pacing.hold(conn, "live", "negative", -1)
