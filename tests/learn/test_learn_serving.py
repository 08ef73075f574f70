"""A server gives the recommender's own scores and reasons, under every filter, and a defined answer to everything odd."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recommend_worlds import CUT, END, HOUR, log, of

from tradewind import plugins
from tradewind.errors import InputError, NotFitted
from tradewind.learn._deep import Deep
from tradewind.learn._serve_blend import SUMMED, Blend, Softmax
from tradewind.learn._serve_sources import Encoder, Walk
from tradewind.learn.base import Recommender
from tradewind.learn.fallback import Fallback
from tradewind.learn.filters import Filters, Request, capped
from tradewind.learn.graph import Graph
from tradewind.learn.index import Exact
from tradewind.learn.sequences import KINDS, Sequences
from tradewind.learn.serving import Server
from tradewind.types import Event, from_micros

MODELS = ("graph", "transformer", "gru", "fallback", "popular")
NOW = from_micros(1001 * HOUR)


def past() -> Sequences:
    return log().before(CUT)


@cache
def fitted(name: str) -> Recommender:
    if name == "fallback":
        return Fallback(size="tiny", epochs=2, seed=3, blend={"graph": 1.0, "transformer": 0.7, "recent": 0.2}).fit(log(), as_of=CUT)
    kind = plugins.load("learn", name)
    model: Recommender = (kind(size="tiny", epochs=2, seed=3) if issubclass(kind, Deep) else kind()).fit(log(), as_of=CUT)
    return model


@cache
def server(name: str) -> Server:
    return Server(fitted(name), log())


def events_of(history: Sequences) -> list[Event]:
    names = [None if item < 0 else str(history.items[item]) for item in history.item]
    columns = zip(names, history.at.tolist(), history.kind.tolist(), strict=True)
    return [
        Event(str(place), from_micros(at), KINDS[kind], "test", customer=str(history.customers[0]), item=name)
        for place, (name, at, kind) in enumerate(columns)
    ]


def test_each_family_has_its_quick_way() -> None:
    assert isinstance(server("graph").source, Walk)
    for name, quick in (("transformer", True), ("gru", False)):
        source = server(name).source
        assert isinstance(source, Encoder)
        assert source.lean is quick
    source = server("fallback").source
    assert isinstance(source, Blend)
    assert source.encoders["transformer"].lean


@pytest.mark.parametrize("name", MODELS)
class TestEqualToTheModel:
    def test_items_scores_sources_and_states(self, name: str) -> None:
        model, histories = fitted(name), past()
        ranking = model.recommend(histories, k=7)
        for row in range(len(histories)):
            answer = server(name).serve(histories.rows(np.array([row])), k=7)
            shown = ranking.items[row] >= 0
            np.testing.assert_allclose(answer.scores, ranking.scores[row][shown], rtol=1e-4, atol=1e-5)
            assert answer.state == ranking.states[row]
            close = np.abs(np.diff(ranking.scores[row][shown])).min(initial=1.0) < 1e-4  # a tie may fall either way
            if not close:
                assert answer.codes.tolist() == ranking.items[row][shown].tolist()
                assert answer.sources == tuple(ranking.sources[row][shown])
            assert answer.items == tuple(model.items[answer.codes])

    def test_reasons(self, name: str) -> None:
        model, histories = fitted(name), past()
        for row in range(0, len(histories), 6):
            history = histories.rows(np.array([row]))
            answer = server(name).serve(history, k=4)
            assert len(answer.reasons) == len(answer)
            for item, source, why in zip(answer.codes.tolist(), answer.sources, answer.reasons, strict=True):
                assert why == model.why(history, item, source)
                assert why

    def test_events_say_the_same_as_the_history_that_holds_them(self, name: str) -> None:
        for row in (0, 7, 21):
            history = past().rows(np.array([row]))
            shuffled = events_of(history)[::-1]
            told = server(name).history(shuffled, customer=str(history.customers[0]))
            assert told.item.tolist() == history.item.tolist() or len(set(history.at.tolist())) < len(history.at)
            straight = server(name).answer(events_of(history), k=5, customer=str(history.customers[0]))
            assert straight.items == server(name).serve(history, k=5).items

    def test_a_campaign_is_the_requests_one_by_one(self, name: str) -> None:
        histories = past().rows(np.array([0, 3, 8, -1, 12]))
        ranking = server(name).campaign(histories, k=6)
        for row in range(5):
            answer = server(name).serve(histories.rows(np.array([row])), k=6)
            shown = ranking.items[row] >= 0
            np.testing.assert_allclose(ranking.scores[row][shown], answer.scores, rtol=1e-4, atol=1e-5)
            assert (np.sort(ranking.items[row][shown]) == np.sort(answer.codes)).all()

    def test_everything_odd_has_a_defined_answer(self, name: str) -> None:
        model, serving = fitted(name), server(name)
        always = "cold_customers" in model.tags
        for events in ([], [Event("e", NOW, "purchase", "test", item="never seen")], [Event("e", NOW, "open", "test")]):
            answer = serving.answer(events, k=5, customer="nobody")
            assert answer.state == "cold"
            assert len(answer) == (5 if always else 0)
            assert len(answer.reasons) == len(answer)
        everything = serving.serve(past().rows(np.array([0])), k=1000, exclude_seen=False)
        finite = np.isfinite(model.score(past().rows(np.array([0])))[0])
        assert len(everything) == finite.sum()
        assert len(set(everything.items)) == len(everything)
        long = past().rows(np.array([0]))
        repeated = [event for event in events_of(long) for _ in range(400)]
        assert len(serving.answer(repeated, k=3)) == 3

    def test_bad_input_is_refused(self, name: str) -> None:
        calls: list[Callable[[], object]] = [
            lambda: server(name).answer([], k=0),
            lambda: server(name).answer([Event("e", NOW, "stare", "test", item="i01")]),
            lambda: server(name).serve(past(), k=3),
            lambda: server(name).answer([], request=Request(as_of=NOW)),
        ]
        for call in calls:
            with pytest.raises(InputError):
                call()


@pytest.mark.parametrize("name", ["graph", "transformer", "fallback"])
def test_a_catalogue_of_one_item(name: str) -> None:
    world = of(("a", "only", 1), ("a", "only", 2), ("b", "only", 3))
    kind: Any = plugins.load("learn", name)
    model = (kind(size="tiny", epochs=1, early_stopping=False) if name == "transformer" else kind()).fit(world, as_of=END)
    serving = Server(model, world)
    assert serving.serve(world.rows(np.array([0])), k=5).items == ()
    found = serving.serve(world.rows(np.array([0])), k=5, exclude_seen=False)
    assert found.items == (() if name == "graph" else ("only",))  # an item has no edge to itself


def test_a_softmax_over_eight_bits_is_the_true_one_where_it_matters() -> None:
    rng = np.random.default_rng(0)
    for spread in (0.05, 0.3, 1.0):  # nearly flat, as trained, peaked
        vectors = (spread * rng.standard_normal((20_000, 48))).astype(np.float32)
        state = rng.standard_normal(48).astype(np.float32)
        soft = Softmax(Exact(vectors), state)
        logits = vectors.astype(np.float64) @ state
        truth = np.log(np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum() + 1 / 20_000)
        assert len(vectors) > 10 * SUMMED
        groups = np.arange(20_000) % len(soft.wrong)
        assert (np.abs(soft.rough - truth) <= soft.wrong[groups] + 1e-3).all()
        np.testing.assert_allclose(soft.exact(np.arange(20_000)), truth, atol=1e-3)
        assert np.abs(soft.rough - truth).max() > 2 * np.abs(soft.exact(np.arange(20_000)) - truth).max()


def test_a_graph_that_learns_between_requests_is_served_as_it_is() -> None:
    whole, half = log(), CUT - timedelta(hours=200)
    model = Graph().fit(whole, as_of=half)
    serving = Server(model, whole)
    history = past().rows(np.array([4]))
    serving.serve(history, k=5)
    model.update(whole.keep(whole.at >= int(half.timestamp() * 1e6)).before(CUT))
    again = Graph().fit(whole, as_of=CUT)
    for row in range(60):
        history = past().rows(np.array([row]))
        row_of = again.score(history)[0]
        items, scores = model.reach(history)
        np.testing.assert_allclose(np.sort(scores), np.sort(row_of[np.isfinite(row_of)]), rtol=1e-5)
        np.testing.assert_allclose(scores, row_of[items], rtol=1e-5)


def test_events_observed_one_by_one_are_an_update_and_a_fit() -> None:
    whole, half = log(), CUT - timedelta(hours=200)
    later = whole.keep(whole.at >= int(half.timestamp() * 1e6)).before(CUT)
    one, other = Graph().fit(whole, as_of=half), Graph().fit(whole, as_of=half)
    other.update(later)
    owner = later.owner
    for number, place in enumerate(np.argsort(later.at, kind="stable").tolist()):
        if later.item[place] >= 0:
            at, kind = from_micros(int(later.at[place])), KINDS[later.kind[place]]
            one.observe(str(later.customers[owner[place]]), str(later.items[later.item[place]]), at=at, kind=kind)
        if number % 40 == 0:  # answers in between leave some rows renewed and others not
            one.reach(past().rows(np.array([number % 60])))
    for model in (one, other):
        fit = Graph().fit(whole, as_of=CUT)
        for row in range(60):
            history = past().rows(np.array([row]))
            items, scores = model.reach(history)
            right, best = fit.reach(history)
            assert dict(zip(items.tolist(), scores.tolist(), strict=True)) == dict(zip(right.tolist(), best.tolist(), strict=True))
    np.testing.assert_array_equal(one.score(past()), other.score(past()))
    one.observe("new", "never seen", at=NOW)
    one.observe("new", "i05", at=NOW + timedelta(hours=1))
    found = one.recommend(of(("x", "never seen", 1)), k=3)
    assert found.catalogue[found.items[0, 0]] == "i05"


def test_an_item_that_joins_is_served_at_once_and_behind_filters_when_they_know_it() -> None:
    model = Graph().fit(log(), as_of=CUT)
    free, strict = Server(model, log(), diversity=0.3), Server(model, log(), filters=Filters(model.items, brand={"i01": "b"}))
    request = Request(as_of=NOW, per_brand=3)
    events = [Event("1", NOW, "purchase", "test", item="brand new")]
    assert len(free.answer(events, k=3)) == 0
    for number, item in enumerate(("brand new", "i01", "newer", "i02")):
        model.observe("ann", item, at=NOW + timedelta(hours=number))
    assert set(free.answer(events, k=5).items) == {"i01", "newer", "i02"}
    assert set(strict.answer(events, k=5, request=request).items) == {"i01", "i02"}
    knows = Server(model, log(), filters=Filters(model.items, brand={"newer": "b"}))
    assert set(knows.answer(events, k=5, request=request).items) == {"i01", "newer", "i02"}


def test_strangers_see_what_the_crowd_wants_now() -> None:
    model = Fallback(blend={"graph": 1.0}).fit(log(), as_of=CUT)
    serving, nobody = Server(model, log()), past().histories(["nobody"])
    before = serving.answer([], k=4)
    assert before.items == tuple(model.items[model.recommend(nobody, k=4).items[0]])
    allowed = np.array([name not in before.items[:2] for name in model.items])
    filtered = Server(model, log(), filters=Filters(model.items, stock=dict.fromkeys(before.items[:2], 0)))
    shown = filtered.answer([], k=4, request=Request(as_of=NOW))
    right = model.recommend(nobody, k=4, allowed=allowed)
    assert shown.items == tuple(model.items[right.items[0]])
    assert shown.sources == tuple(right.sources[0])
    wave = of(*((f"w{number}", before.items[3], 999 + number % 3) for number in range(500)))
    model.refresh(wave)
    assert serving.answer([], k=4).items[0] == before.items[3]
    assert serving.answer([], k=4).items == tuple(model.items[model.recommend(nobody, k=4).items[0]])


def test_an_approximate_index_behind_the_encoder_reads_until_it_has_enough() -> None:
    serving = Server(fitted("transformer"), log(), index="approximate", recall=0.9)
    exact = server("transformer")
    for row in range(0, 60, 5):
        history = past().rows(np.array([row]))
        a, b = serving.serve(history, k=25, exclude_seen=False), exact.serve(history, k=25, exclude_seen=False)
        assert len(a) == len(b) == 25
        assert len(set(a.items) & set(b.items)) >= 22


# ---- filters ---------------------------------------------------------------------------------------------------------


@st.composite
def shops(draw: st.DrawFn) -> tuple[dict[str, Any], Request]:
    """Facts about the 30 items of the small log, and a request."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    names = [f"i{code:02d}" for code in range(30)]

    def some(share: float) -> list[str]:
        return [name for name in names if rng.random() < share]

    facts = {
        "stock": {name: int(rng.integers(0, 3)) for name in some(0.5)},
        "sold": {
            name: (
                NOW + timedelta(hours=int(rng.integers(-5, 3))) if rng.random() < 0.5 else None,
                NOW + timedelta(hours=int(rng.integers(-2, 9))) if rng.random() < 0.7 else None,
            )
            for name in some(0.4)
        },
        "regions": {name: [region for region in ("CN", "US", "DE") if rng.random() < 0.5] for name in some(0.4)},
        "min_age": {name: int(rng.choice([0, 16, 18])) for name in some(0.3)},
        "margin": {name: int(rng.integers(-100, 500)) for name in some(0.8)},
        "brand": {name: f"brand {rng.integers(4)}" for name in some(0.8)},
        "consumable": some(0.3),
    }
    request = Request(
        as_of=NOW,
        region=draw(st.sampled_from([None, "CN", "US", "FR"])),
        age=draw(st.sampled_from([None, 15, 16, 40])),
        min_margin=draw(st.sampled_from([None, -50, 0, 200])),
        per_brand=draw(st.sampled_from([None, 1, 2])),
        again=draw(st.booleans()),
    )
    return facts, request


def may(facts: dict[str, Any], request: Request, name: str, bought: set[str]) -> bool:
    """The rules, item by item, as a shop would write them down."""
    start, end = facts["sold"].get(name, (None, None))
    where = facts["regions"].get(name, [])
    return (
        facts["stock"].get(name, 1) > 0
        and (start is None or start <= request.as_of)
        and (end is None or request.as_of < end)
        and (not where or request.region in where)
        and facts["min_age"].get(name, 0) <= (request.age or 0)
        and (request.min_margin is None or (name in facts["margin"] and facts["margin"][name] >= request.min_margin))
        and (request.again or name not in bought or name in facts["consumable"])
    )


def greedy(order: list[str], facts: dict[str, Any], request: Request, k: int) -> list[str]:
    count: dict[str, int] = {}
    chosen: list[str] = []
    for name in order:
        brand = facts["brand"].get(name)
        if len(chosen) < k and (brand is None or request.per_brand is None or count.get(brand, 0) < request.per_brand):
            chosen.append(name)
            count[brand or ""] = count.get(brand or "", 0) + 1
    return chosen


@pytest.mark.parametrize("name", ["graph", "transformer", "approximate", "fallback"])
@settings(max_examples=12, deadline=None)
@given(shop=shops(), row=st.integers(0, 59), k=st.integers(1, 40), diversity=st.sampled_from([0.0, 0.6]))
def test_a_filter_holds_on_every_path(name: str, shop: tuple[dict[str, Any], Request], row: int, k: int, diversity: float) -> None:
    facts, request = shop
    model = fitted("transformer" if name == "approximate" else name)
    index = "approximate" if name == "approximate" else "exact"
    serving = Server(model, log(), filters=Filters(model.items, **facts), diversity=diversity, calibration=diversity / 2, index=index)
    history = past().rows(np.array([row]))
    answer = serving.serve(history, k=k, request=request, exclude_seen=False)
    bought = {str(model.items[item]) for item, kind in zip(history.item, history.kind, strict=True) if KINDS[kind] == "purchase"}
    assert all(may(facts, request, item, bought) for item in answer.items)
    free = model.recommend(history, k=30, exclude_seen=False)
    order = [str(model.items[item]) for item in free.items[0] if item >= 0]
    right = greedy([item for item in order if may(facts, request, item, bought)], facts, request, k)
    assert len(set(answer.items)) == len(answer) == len(right)
    if request.per_brand is not None:
        brands = [facts["brand"][item] for item in answer.items if item in facts["brand"]]
        assert max((brands.count(brand) for brand in brands), default=0) <= request.per_brand
    if diversity == 0 and np.abs(np.diff(free.scores[0][np.isfinite(free.scores[0])])).min(initial=1) > 1e-4:
        assert list(answer.items) == right


def test_stock_that_changes_is_in_force_at_once() -> None:
    model = fitted("transformer")
    filters = Filters(model.items, stock={"i03": 2})
    serving = Server(model, log(), filters=filters)
    history, request = past().rows(np.array([2])), Request(as_of=NOW)
    first = serving.serve(history, k=3, request=request)
    filters.restock({first.items[0]: 0})
    second = serving.serve(history, k=3, request=request)
    assert second.items[:2] == first.items[1:]
    filters.restock({first.items[0]: 5})
    assert serving.serve(history, k=3, request=request).items == first.items


def test_a_bitmap_is_kept_between_changes_of_the_dates_and_not_across_them() -> None:
    items = np.array(["a", "b"], dtype=object)
    filters = Filters(items, sold={"a": (NOW, NOW + timedelta(hours=1))})
    shown = [filters.allowed(Request(as_of=NOW + timedelta(minutes=minutes))).tolist() for minutes in (-1, 0, 59, 60, 61)]
    assert shown == [[False, True], [True, True], [True, True], [False, True], [False, True]]


def test_an_unknown_region_or_age_gets_only_what_suits_everybody() -> None:
    items = np.array(["cn", "adult", "all"], dtype=object)
    filters = Filters(items, regions={"cn": ["CN"], "all": []}, min_age={"adult": 18})
    assert filters.allowed(Request(as_of=NOW)).tolist() == [False, False, True]
    assert filters.allowed(Request(as_of=NOW, region="CN", age=18)).tolist() == [True, True, True]


def test_a_brand_cap_goes_on_until_the_list_is_full() -> None:
    brand = np.array([0] * 50 + [1] * 50 + [-1] * 2, np.int32)
    scores = -np.arange(102, dtype=np.float32)
    asked: list[int] = []

    def search(n: int, taken: Any, still: Any) -> tuple[Any, Any]:
        asked.append(n)
        free = np.ones(102, bool) if still is None else still.copy()
        free[list(taken)] = False
        found = np.flatnonzero(free)[:n].astype(np.int32)
        return found, scores[found]

    items, found = capped(search, 6, brand=brand, most=2)
    assert items.tolist() == [0, 1, 50, 51, 100, 101]
    assert found.tolist() == scores[items].tolist()
    assert capped(search, 9, brand=brand, most=2)[0].tolist() == [0, 1, 50, 51, 100, 101]


def test_filters_refuse_what_they_cannot_hold() -> None:
    items = np.array(["a", "b"], dtype=object)
    for facts in ({"stock": {"c": 1}}, {"stock": {"a": -1}}, {"min_age": {"a": 1.5}}, {"consumable": ["z"]}):
        with pytest.raises(InputError):
            Filters(items, **facts)
    for request in (Request(as_of=NOW, age=-1), Request(as_of=NOW, per_brand=0), Request(as_of=NOW, min_margin=0.5)):  # type: ignore[arg-type]
        with pytest.raises(InputError):
            Filters(items).allowed(request)
    with pytest.raises(InputError, match="another catalogue"):
        Server(fitted("graph"), filters=Filters(items))
    with pytest.raises(InputError, match="pass request"):
        Server(fitted("graph"), filters=Filters(fitted("graph").items)).answer([])
    with pytest.raises(NotFitted):
        Server(Graph())
    with pytest.raises(InputError, match="diversity"):
        Server(fitted("graph"), diversity=1.5)


def test_calibration_brings_the_list_closer_to_the_categories_of_the_history() -> None:
    from tradewind.learn.rerank import divergence

    model, whole = fitted("transformer"), log()
    plain, even = Server(model, whole), Server(model, whole, calibration=0.9)
    shelf = {f"i{code:02d}": code % 3 for code in range(30)}
    before, after = [], []
    for row in range(60):
        history = past().rows(np.array([row]))
        taste = np.bincount(history.category[history.category >= 0], minlength=3).astype(float)
        if taste.sum():
            lists = [serving.serve(history, k=6, exclude_seen=False).items for serving in (plain, even)]
            apart = [divergence(taste, np.array([shelf[item] for item in found])) for found in lists]
            before.append(apart[0])
            after.append(apart[1])
    assert np.mean(after) < 0.5 * np.mean(before)
