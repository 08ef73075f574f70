"""The pieces: randomness, discounts, the shelf's exact averages, the flow of orders, tiredness."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.errors import InputError
from tradewind.simulate import rng
from tradewind.simulate.contacts import Past, tiredness
from tradewind.simulate.deals import Deal, parse, standard
from tradewind.simulate.window import Flow
from tradewind.simulate.world import World


def test_streams_repeat_and_differ() -> None:
    assert rng.stream(1, 2, 3).random(4).tolist() == rng.stream(1, 2, 3).random(4).tolist()
    assert rng.stream(1, 2, 3).random() != rng.stream(1, 3, 2).random()


def test_uniforms_are_uniform_and_uncorrelated() -> None:
    keys = np.arange(20_000)
    first, second = rng.uniforms(7, keys, 1), rng.uniforms(7, keys, 2)
    assert abs(first.mean() - 0.5) < 0.01
    assert abs(first.var() - 1 / 12) < 0.003
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.03
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.03
    assert np.histogram(first, 10, (0, 1))[0].min() > 1_800


def test_a_choice_draws_with_the_given_shares() -> None:
    choice = rng.Choice(np.array([[0.2, 0.0, 0.8], [0.0, 3.0, 3.0]]))
    rows = np.repeat([0, 1], 5_000)
    found = choice.pick(rows, rng.uniforms(1, np.arange(10_000)))
    share = [np.bincount(found[rows == row], minlength=3) / 5_000 for row in (0, 1)]
    assert np.allclose(share, [[0.2, 0.0, 0.8], [0.0, 0.5, 0.5]], atol=0.03)


@given(
    main=st.integers(1, 10**6),
    extra=st.integers(0, 10**6),
    percent=st.integers(1, 100),
    threshold=st.integers(0, 10**6),
    cap=st.none() | st.integers(1, 10**5),
)
@settings(max_examples=50, deadline=None)
def test_a_discount_stays_within_the_basket(main: int, extra: int, percent: int, threshold: int, cap: int | None) -> None:
    one, two = Deal(percent=percent, threshold=threshold, cap=cap).take(np.array([main]), np.array([extra]))
    total = int(one[0] + two[0])
    assert 0 <= one[0] <= main
    assert 0 <= two[0] <= extra
    assert total <= (cap or total)
    assert total == 0 or main + extra >= threshold
    if main + extra >= threshold and cap is None:
        assert abs(total - (main + extra) * percent / 100) <= 0.5


def test_terms_of_the_shops_offers_parse() -> None:
    found = {offer["offer"]: parse(offer["kind"], offer["terms"]) for offer in standard()}
    assert not found["recommend"].discounts
    assert found["coupon-20"] == Deal(percent=20)
    assert found["coupon-199-20"] == Deal(fixed=2000, threshold=19_900)


@pytest.mark.parametrize(
    ("kind", "terms"), [("ad", "{}"), ("coupon", "{}"), ("coupon", '{"percent": 120}'), ("coupon", "ten"), ("coupon", "[1]")]
)
def test_bad_terms_are_refused(kind: str, terms: str) -> None:
    with pytest.raises(InputError):
        parse(kind, terms)


def test_the_shelfs_averages_are_those_of_its_draws(world: World) -> None:
    shelf, people = world.window(world.end, 14).shelf, world.people(0)
    rows = np.repeat(np.arange(30), 20_000)
    draw = np.random.default_rng(0)
    item = shelf.draw(people, rows, (draw.random(len(rows)), draw.random(len(rows))))
    assert shelf.open[item].all()
    pieces, extra = shelf.basket(item, shelf.baskets.pick(item, draw.random(len(rows))))
    main, side = shelf.worth(world.catalogue.price, item, pieces, extra)
    deal = Deal(fixed=2000, threshold=19_900)
    cut, (one, two) = shelf.cut(deal), deal.take(main, side)
    for exact, drawn in ((shelf.value, main + side), (cut.off, one + two), (cut.share, (one + two) > 0)):
        seen = drawn.reshape(30, -1)
        error = seen.std(axis=1) / np.sqrt(seen.shape[1]) + 1e-9
        assert np.abs((seen.mean(axis=1) - shelf.mean(people, exact)[:30]) / error).max() < 4.5


def test_the_flow_after_a_moment_is_what_it_draws(world: World) -> None:
    flow = Flow(world.people(0), world.window(world.end, 14), np.full(1_500, 3.0))
    rows, x = flow.draw(np.random.default_rng(1))
    assert (np.diff(rows) >= 0).all()
    assert ((x >= 0) & (x < 14 * 24)).all()
    everybody = np.arange(1_500)
    for hour in (0.0, 7.25, 100.9, 335.5):
        expected = flow.after(everybody, np.full(1_500, hour)).sum()
        assert abs((x >= hour).sum() - expected) < 4 * np.sqrt(expected)
    assert flow.after(everybody, np.full(1_500, 400.0)).sum() == 0


@given(
    st.lists(st.tuples(st.integers(0, 3), st.floats(-500, 0)), max_size=12),
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 300)), max_size=12),
)
@settings(max_examples=50, deadline=None)
def test_tiredness_is_the_sum_over_earlier_contacts(past: list[tuple[int, float]], now: list[tuple[int, float]]) -> None:
    now = sorted(now)
    rest = np.array([24.0, 48.0, 100.0, 240.0])
    told = [Past(np.array([a for a, _ in rows], dtype=np.int64), np.array([b for _, b in rows], dtype=float)) for rows in (past, now)]
    found = tiredness(told[0], told[1], rest)
    for place, (customer, hour) in enumerate(now):
        earlier = [t for c, t in past + now[:place] if c == customer]
        assert found[place] == pytest.approx(sum(np.exp(-(hour - t) / rest[customer]) for t in earlier))
