"""Each recommender against an answer that can be worked out by hand or by a slow loop."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recommend_worlds import CUT, END, HOUR, hour, log, of

from tradewind.errors import InputError
from tradewind.learn import _edges
from tradewind.learn._blend import either, logs, mixed, tune
from tradewind.learn._holdout import held_out
from tradewind.learn._signal import WEIGHTS, signal, table
from tradewind.learn.category import Category
from tradewind.learn.fallback import DEFAULT, Fallback
from tradewind.learn.graph import Graph
from tradewind.learn.popular import Popular
from tradewind.learn.recent import Recent
from tradewind.learn.sequences import KINDS, Sequences
from tradewind.learn.user_knn import UserKnn


def names(model: Graph | UserKnn | Popular | Recent | Category | Fallback, history: Sequences, k: int = 3) -> list[str]:
    ranking = model.recommend(history, k=k)
    return [str(model.items[item]) for item in ranking.items[0] if item >= 0]


def test_popular_halves_with_every_half_life() -> None:
    world = of(("a", "old", 0), ("b", "old", 0), ("c", "old", 0), ("a", "new", 240), ("b", "new", 240))
    model = Popular(half_life=10).fit(world, as_of=hour(240 + 24))
    scores = dict(zip(model.items, model.score(world)[0], strict=True))
    assert scores["new"] == pytest.approx(2 * 2**-0.1)
    assert scores["old"] == pytest.approx(3 * 2**-1.1)


def test_recent_sees_seven_days_and_no_more() -> None:
    world = of(("a", "edge", 100), ("a", "gone", 99), ("b", "now", 200), ("c", "now", 201))
    model = Recent().fit(world, as_of=hour(100 + 7 * 24))
    assert names(model, world.histories(["nobody"])) == ["now", "edge"]


def test_category_stays_within_the_shelves_of_the_customer() -> None:
    world = Sequences.from_arrays(
        list("aabbbcc"),
        item=["t1", "t2", "t1", "t3", "h1", "t3", "h2"],
        at=[HOUR * n for n in range(7)],
        categories={"t1": "tea", "t2": "tea", "t3": "tea", "h1": "hats", "h2": "hats"},
    )
    model = Category().fit(world, as_of=END)
    assert names(model, world.histories(["a"])) == ["t3"]
    assert model.reasons(world.histories(["a"]), row=0, item=2)[0].details["category"] == (
        "hats" if model.items[2].startswith("h") else "tea"
    )


def test_neighbours_share_taste_and_a_customer_is_not_its_own() -> None:
    rows = [
        (who, item, n) for n, (who, item) in enumerate([("a", "x"), ("a", "y"), ("b", "x"), ("b", "y"), ("b", "z"), ("c", "q"), ("c", "r")])
    ]
    model = UserKnn(neighbours=1).fit(of(*rows), as_of=END)
    assert names(model, of(*rows).histories(["a"])) == ["z"]
    assert names(model, of(("new", "q", 1))) == ["r"]
    assert model.recommend(of(*rows).histories(["c"]), k=2, exclude_seen=False).items.tolist() == [[-1, -1]]


def slow_counts(world: Sequences, window: int, decay: float, backward: float) -> dict[tuple[int, int], int]:
    """The definition of the graph's counts, pair by pair."""
    counts: dict[tuple[int, int], int] = defaultdict(int)
    weight = table(None)
    for row in range(len(world)):
        trail: list[list[float]] = []
        for event in range(int(world.offsets[row]), int(world.offsets[row + 1])):
            item, strength, at = int(world.item[event]), float(weight[world.kind[event]]), int(world.at[event])
            if item < 0 or strength <= 0:
                continue
            if trail and trail[-1][0] == item:
                trail[-1][1] = max(trail[-1][1], strength)
            else:
                trail.append([item, strength, at])
        for left in range(len(trail)):
            for right in range(left + 1, min(left + window, len(trail) - 1) + 1):
                (a, wa, ta), (b, wb, tb) = trail[left], trail[right]
                amount = int(np.rint(wa * wb * (float(right - left) ** -decay * _edges.UNIT) * 0.5)) * 2
                share = round(backward * _edges.SHARE)
                if a == b:
                    continue
                forth, back = (amount * _edges.SHARE, amount * share) if ta != tb else (amount // 2 * (_edges.SHARE + share),) * 2
                counts[int(a), int(b)] += forth
                counts[int(b), int(a)] += back
    return {pair: count for pair, count in counts.items() if count}


EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 12), st.sampled_from(["view", "cart", "purchase", "open", "refund"])),
    min_size=1,
    max_size=60,
)


def build(events: list[tuple[int, int, int, str]]) -> Sequences:
    return Sequences.from_arrays(
        [f"c{who}" for who, *_ in events],
        item=[f"i{item}" for _, item, *_ in events],
        at=[at * HOUR for *_, at, _ in events],
        kind=[kind for *_, kind in events],
        items=[f"i{n}" for n in range(7)],
    )


@settings(max_examples=40, deadline=None)
@given(EVENTS, st.integers(1, 12), st.sampled_from([2, 20]))
def test_graph_counts_are_the_definition_and_updates_are_exact(events: list[tuple[int, int, int, str]], cut: int, window: int) -> None:
    world = build(events)
    whole = Graph(window=window).fit(world, as_of=END)
    counts = whole._edges.counts.tocoo()
    got = {(int(a), int(b)): int(value) for a, b, value in zip(*counts.coords, counts.data, strict=True) if value}
    assert got == slow_counts(world, window, 0.7, 0.3)
    early, late = world.split(hour(cut))
    live = Graph(window=window).fit(early, as_of=hour(cut)).update(late)
    np.testing.assert_allclose(live.score(world), whole.score(world), rtol=1e-5)
    live._edges.compile()
    assert (live._edges.counts != whole._edges.counts).nnz == 0
    np.testing.assert_array_equal(live._edges.popularity, whole._edges.popularity)
    assert live.late == 0


def test_graph_knows_the_direction() -> None:
    world = of(*[(f"c{n}", item, step) for n in range(5) for step, item in enumerate(["kettle", "tea", "biscuit"])])
    model = Graph().fit(world, as_of=END)
    forward, backward = (model.score(of(("new", item, 0)))[0] for item in ("kettle", "tea"))
    tea, kettle = (list(model.items).index(name) for name in ("tea", "kettle"))
    assert forward[tea] > backward[kettle] > 0
    why = model.reasons(of(("new", "kettle", 0)), row=0, item=tea)
    assert [(reason.code, reason.details["item"], reason.details["share"]) for reason in why] == [("because", "kettle", 1.0)]


def test_lines_of_one_order_have_no_direction() -> None:
    world = of(("a", "x", 1), ("a", "y", 1), ("b", "x", 1), ("b", "y", 1))
    counts = Graph().fit(world, as_of=END)._edges.counts.toarray()
    assert counts[0, 1] == counts[1, 0] > 0


def test_graph_keeps_only_the_top_edges_when_scoring() -> None:
    world = log(items=30)
    model = Graph(top=3).fit(world, as_of=CUT)
    assert np.diff(model._edges.rows.indptr).max() == 3
    assert np.diff(model._edges.counts.indptr).max() > 3
    late = world.split(CUT)[1]
    model.update(late)
    np.testing.assert_allclose(model.score(world), Graph(top=3).fit(world, as_of=END).score(world), rtol=1e-5)


def test_late_events_are_counted() -> None:
    model = Graph().fit(of(("a", "x", 5), ("a", "y", 6)), as_of=END)
    model.update(of(("a", "x", 2)))
    assert model.late == 1


def test_an_update_is_cheap() -> None:
    """No timing: the work of one event is bounded by the window, however long the history is."""
    long = of(*[("a", f"i{n % 50}", n) for n in range(2000)])
    model = Graph(window=20).fit(long, as_of=END)
    model.update(of(("a", "i7", 1999), items=tuple(f"i{n}" for n in range(50))))
    assert sum(len(row) for row in model._edges.added.values()) <= 2 * 20
    assert len(model._tails.live("a")) <= 21


def test_signal_merges_a_funnel_to_its_strongest_step() -> None:
    world = build([(0, 1, 1, "view"), (0, 1, 2, "cart"), (0, 1, 3, "purchase"), (0, 2, 4, "view"), (0, 1, 5, "view"), (1, 1, 1, "view")])
    found = signal(world, table(None), merge=True)
    assert found.item.tolist() == [1, 2, 1, 1]
    assert found.weight.tolist() == [1.0, 0.3, 0.3, 0.3]
    assert found.offsets.tolist() == [0, 3, 4]
    assert set(WEIGHTS) <= set(KINDS)


def test_unknown_kinds_and_weights_are_refused() -> None:
    with pytest.raises(InputError, match='Did you mean "purchase"'):
        Popular(weights={"purchse": 1.0}).fit(log(), as_of=END)
    with pytest.raises(InputError, match="weights"):
        Popular(weights={"view": -1.0}).fit(log(), as_of=END)
    with pytest.raises(InputError, match="half_life"):
        Popular(half_life=0).fit(log(), as_of=END)


def test_fallback_says_where_every_place_came_from() -> None:
    world = Sequences.from_arrays(
        ["a", "a", "b", "b", "c", "d"],
        item=["t1", "t2", "t1", "t2", "t3", "h1"],
        at=[n * HOUR for n in (1, 2, 3, 4, 5, 900)],
        categories={"t1": "tea", "t2": "tea", "t3": "tea", "h1": "hats", "cold": "hats"},
        items=["cold"],
    )
    model = Fallback().fit(world, as_of=hour(901))
    ranking = model.recommend(replace(world.histories(["a", "zed"])), k=5, exclude_seen=False)
    shown = [[str(model.items[item]) for item in row] for row in ranking.items]
    assert ranking.sources[0].tolist() == ["graph", "graph", "category", "recent", "catalogue"]
    assert shown[0][2:] == ["t3", "h1", "cold"]
    assert ranking.sources[1].tolist() == ["recent", "popular", "popular", "popular", "catalogue"]
    assert shown[1][0] == "h1"
    assert ranking.states.tolist() == ["hot", "cold"]
    codes = [model.reasons(world.histories(["a"]), row=0, item=int(item))[0].code for item in ranking.items[0]]
    assert codes == ["because", "because", "category", "recent", "catalogue"]


def test_fallback_fills_every_row_unless_it_is_barred() -> None:
    model = Fallback().fit(log(), as_of=CUT)
    everybody = log().histories([*log().customers, "stranger"])
    assert (model.recommend(everybody, k=10, exclude_seen=False).items >= 0).all()
    allowed = np.zeros(30, dtype=bool)
    allowed[[4, 9]] = True
    ranking = model.recommend(everybody, k=10, exclude_seen=False, allowed=allowed)
    assert ((ranking.items >= 0).sum(axis=1) == 2).all()
    assert set(ranking.items[ranking.items >= 0].tolist()) == {4, 9}


def test_fallback_refreshes_its_live_parts() -> None:
    early, late = log().split(CUT)
    model = Fallback().fit(early, as_of=CUT)
    before = model.parts["graph"].score(log()).copy()
    model.refresh(late)
    whole = Graph().fit(log(), as_of=END)
    np.testing.assert_allclose(model.parts["graph"].score(log()), whole.score(log()), rtol=1e-5)
    assert not np.array_equal(before, model.parts["graph"].score(log()))
    model.refresh(of(("newcomer", "i01", 1500), ("newcomer", "no such item", 1501)))
    assert model.recommend(of(("newcomer", "i01", 1500)), k=1).states.tolist() == ["hot"]


def test_a_blend_ends_in_its_parts() -> None:
    rng = np.random.default_rng(0)
    edges, logits = rng.random((4, 9)).astype(np.float32), rng.normal(size=(4, 9)).astype(np.float32)
    edges[0, 3], logits[1, 2], edges[2, 5], logits[2, 5] = -np.inf, -np.inf, -np.inf, -np.inf
    sources, known = {"graph": logs(edges), "transformer": logs(logits, logits=True)}, either([edges, logits])
    np.testing.assert_array_equal(np.argsort(mixed(sources, {"graph": 1.0}, known)[3]), np.argsort(edges[3]))
    np.testing.assert_array_equal(np.argsort(mixed(sources, {"transformer": 2.0}, known)[3]), np.argsort(logits[3]))
    both = mixed(sources, {"graph": 0.5, "transformer": 0.5}, known)
    assert np.isneginf(both[2, 5])
    assert np.isfinite(np.delete(both.ravel(), 2 * 9 + 5)).all()


def test_tuning_finds_the_source_that_knows_and_drops_noise() -> None:
    held = held_out(log(customers=200, events=3000).before(CUT), table(None), seed=0)
    assert held is not None
    rng = np.random.default_rng(0)
    truth = rng.random((len(held.histories), 30)).astype(np.float32) * 0.1
    truth[np.repeat(np.arange(len(truth)), np.diff(held.offsets)), held.items] += 1
    sources = {"noise": logs(rng.random(truth.shape).astype(np.float32)), "truth": logs(truth)}
    weights = tune(sources, np.ones(truth.shape, dtype=bool), held)
    assert weights["truth"] > 0
    assert weights["noise"] == 0
    assert held.ndcg(mixed(sources, weights, np.ones(truth.shape, dtype=bool))) > 0.99


def test_the_held_out_stretch_is_the_last_of_the_log() -> None:
    world = log(customers=200, events=3000).before(CUT)
    held = held_out(world, table(None), seed=0)
    assert held is not None
    cut = held.train.at.max()
    assert (world.at > cut).mean() <= 0.16
    index = {name: row for row, name in enumerate(world.customers)}
    for row, name in enumerate(held.histories.customers):
        later = world.keep(world.at > cut).rows(np.array([index[name]]))
        wanted = set(held.items[held.offsets[row] : held.offsets[row + 1]].tolist())
        assert wanted == set(later.item[(later.item >= 0) & (table(None)[later.kind] > 0)].tolist())


def test_the_fallback_is_not_worse_than_its_parts_on_what_it_tuned_for() -> None:
    world = log(customers=200, events=4000)
    model = Fallback().fit(world, as_of=CUT)
    assert set(model.mix) == set(DEFAULT)
    held = held_out(world.before(CUT), table(None), seed=0)
    assert held is not None
    quick = model._quick(held.train, int(held.train.at.max()) + 1, DEFAULT)
    scores = {name: part.score(held.histories) for name, part in quick.items()}
    known = either(scores.values())
    reached = held.ndcg(mixed({name: logs(each) for name, each in scores.items()}, model.mix, known))
    assert all(reached >= held.ndcg(mixed({name: logs(each)}, {name: 1.0}, known)) for name, each in scores.items())


def test_a_given_blend_is_taken_and_a_wrong_one_refused() -> None:
    assert Fallback(blend={"graph": 1.0, "recent": 0.25}).fit(log(), as_of=CUT).mix == {"graph": 1.0, "recent": 0.25}
    for blend, words in (
        ({"grahp": 1.0}, "Did you mean"),
        ({"graph": -1.0}, "blend"),
        ({"recent": 1.0}, "at least one of"),
        ({"transformer": 1.0}, "source"),
    ):
        with pytest.raises(InputError, match=words):
            Fallback(blend=blend).fit(log(), as_of=CUT)
