"""The blend: weights per kind of list and length of history are found where they help, refused where they do not, used as found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from recommend_worlds import CUT, END, HOUR, hour, log, of

from tradewind.errors import InputError
from tradewind.learn import _blend
from tradewind.learn._blend import AGAIN, NEW, Blend, Trials, buckets, either, hides, logs, mixed, tuned
from tradewind.learn._holdout import Holdout
from tradewind.learn.fallback import DEFAULT, SOURCES, Fallback
from tradewind.learn.repeat import Repeat
from tradewind.learn.sequences import Sequences

ITEMS = 400


def held(lengths: list[int], *, repeats: bool = False, seed: int = 0) -> Holdout:
    """Customers with histories of ``lengths`` on the first items, who want two of the others (and one again, with ``repeats``)."""
    rng = np.random.default_rng(seed)
    names = [f"i{n:03d}" for n in range(ITEMS)]
    rows = [(f"c{who:04d}", names[item], item) for who, length in enumerate(lengths) for item in range(length)]
    world = Sequences.from_arrays(
        [who for who, *_ in rows], item=[item for _, item, _ in rows], at=[(at + 1) * HOUR for *_, at in rows], items=names
    ).histories([f"c{who:04d}" for who in range(len(lengths))])
    wanted = [
        np.sort(np.append(150 + rng.choice(250, 2, replace=False), [0] if repeats and length else []).astype(np.int64))
        for length in lengths
    ]
    return Holdout(world, world, np.concatenate(([0], np.cumsum([len(each) for each in wanted]))), np.concatenate(wanted), repeats)


def knowing(holdout: Holdout, rows: NDArray[Any], *, seed: int, misled: bool = False) -> NDArray[Any]:
    """Noise, with what the customers ``rows`` want on top; ``misled``: the others get two wrong items on top."""
    scores = np.random.default_rng(seed).random((len(holdout.histories), ITEMS)).astype(np.float32) * 0.01
    owner = np.repeat(np.arange(len(scores)), np.diff(holdout.offsets))
    told = np.isin(owner, rows)
    scores[owner[told], holdout.items[told]] += 1
    if misled:
        scores[np.setdiff1d(np.arange(len(scores)), rows)[:, None], 100 + np.arange(2)] += 1
    return scores


def test_trials_measure_what_whole_rankings_would() -> None:
    holdout = held([3] * 30 + [60] * 30, repeats=True)
    scores = {"a": knowing(holdout, np.arange(20), seed=1), "b": knowing(holdout, np.arange(40, 60), seed=2)}
    scores["a"][:, 7] = -np.inf
    read, known, rows = {name: logs(each) for name, each in scores.items()}, either(scores.values()), np.arange(60)
    trials = Trials.of(read, known, holdout)
    assert trials.values.shape[2] < ITEMS
    for weights in ({"a": 1.0}, {"b": 1.0}, {"a": 0.5, "b": 2.0}):
        total = trials.total(weights, rows)
        assert trials.reached(total, (NEW, AGAIN), rows) == pytest.approx(holdout.ndcg(mixed(read, weights, known)), abs=1e-9)
    halves = [
        replace(
            holdout,
            histories=holdout.histories.rows(part),
            offsets=holdout.offsets[part[0] : part[-1] + 2] - holdout.offsets[part[0]],
            items=holdout.items[holdout.offsets[part[0]] : holdout.offsets[part[-1] + 1]],
        )
        for part in (np.arange(25), np.arange(25, 60))
    ]
    parts = [
        Trials.of({name: each[rows] for name, each in read.items()}, known[rows], half)
        for half, rows in zip(halves, (np.arange(25), np.arange(25, 60)), strict=True)
    ]
    joined, both = Trials.joined(parts), {"a": 1.0, "b": 1.0}
    for view in (NEW, AGAIN):
        found = [each.ndcg(each.total(both, rows), view, rows) for each in (joined, trials)]
        np.testing.assert_allclose(found[0], found[1])


def test_histories_of_other_length_get_their_own_weights() -> None:
    """One source knows what the short histories want, the other what the long ones want."""
    holdout = held([1] * 150 + [40] * 150)
    short, long = np.arange(150), np.arange(150, 300)
    scores = {"short": knowing(holdout, short, seed=1, misled=True), "long": knowing(holdout, long, seed=2, misled=True)}
    read, known = {name: logs(each) for name, each in scores.items()}, either(scores.values())
    blend = tuned(Trials.of(read, known, holdout), seed=0)
    found = blend.of(NEW, 0), blend.of(NEW, 4)
    assert set(blend.own) <= {"new/0", "new/4"}
    assert blend.own
    assert found[0]["short"] > 0
    assert found[1]["long"] > 0
    both = np.where(buckets(holdout.histories)[:, None] == 0, mixed(read, found[0], known), mixed(read, found[1], known))
    assert holdout.ndcg(both) > holdout.ndcg(mixed(read, blend.overall, known)) + 0.01


def test_lists_that_may_repeat_get_their_own_weights() -> None:
    holdout = held([5] * 200, repeats=True)
    again = np.full((200, ITEMS), 0.001, np.float32)
    again[:, 0] = 1
    fresh = knowing(replace(holdout, offsets=holdout.offsets), np.arange(200), seed=1)
    fresh[:, :5] = 0.0001
    scores = {"fresh": fresh, "again": again}
    trials = Trials.of({name: logs(each) for name, each in scores.items()}, either(scores.values()), holdout)
    assert trials.views == (NEW, AGAIN)
    blend = tuned(trials, seed=0)
    rows = np.arange(200)
    for view in (NEW, AGAIN):
        assert np.nanmean(trials.ndcg(trials.total(blend.of(view, 2), rows), view, rows)) > 0.99


def test_noise_gets_no_weights_of_its_own() -> None:
    """Eight worlds of pure noise, 300 customers in two buckets: an interval above 0 by chance stays rare."""
    own = 0
    for seed in range(8):
        holdout = held([1] * 150 + [40] * 150, seed=seed)
        scores = {name: knowing(holdout, np.array([]), seed=100 * seed + n) for n, name in enumerate("abc")}
        own += len(tuned(Trials.of({name: logs(each) for name, each in scores.items()}, either(scores.values()), holdout), seed=0).own)
    assert own <= 2


def test_a_small_bucket_keeps_the_weights_above_it() -> None:
    few = _blend.ENOUGH - 1
    holdout = held([1] * few + [40] * 150)
    ranges = {"short": np.arange(few), "long": np.arange(few, few + 150)}
    scores = {name: knowing(holdout, rows, seed=1, misled=True) for name, rows in ranges.items()}
    blend = tuned(Trials.of({name: logs(each) for name, each in scores.items()}, either(scores.values()), holdout), seed=0)
    assert "new/0" not in blend.own
    assert blend.of(NEW, 0) is blend.overall


def test_the_narrowest_weights_win() -> None:
    blend = Blend({"a": 1.0}, {"again": {"b": 1.0}, "again/2": {"c": 1.0}, "new/0": {"d": 0.0}})
    assert (blend.of(AGAIN, 2), blend.of(AGAIN, 1), blend.of(NEW, 2)) == ({"c": 1.0}, {"b": 1.0}, {"a": 1.0})
    assert blend.used == {"a", "b", "c"}


def test_buckets_count_events_on_items() -> None:
    world = of(*[("one", "x", 1)], *[("two", "x", n) for n in range(2)], ("none", None, 1), *[("many", "x", n) for n in range(100)])
    assert dict(zip(world.customers, buckets(world).tolist(), strict=True)) == {"none": 0, "one": 0, "two": 1, "many": 5}


def test_which_lists_hide_what_was_bought() -> None:
    world = Sequences.from_arrays(
        ["buys", "buys", "looks", "buys too", "buys too"],
        item=["x", "y", "x", "x", "y"],
        at=[1, 2, 3, 4, 5],
        kind=["purchase", "view", "view", "purchase", "purchase"],
        items=["z"],
    ).histories(["buys", "looks", "buys too", "nobody"])
    none, x = np.zeros((4, 3), dtype=bool), np.tile(world.items == "x", (4, 1))
    assert hides(world, none).tolist() == [False, False, False, True]
    assert hides(world, x).tolist() == [True, True, False, True]


# ---- the chain -----------------------------------------------------------------------------------------------------------


def shop(customers: int = 240, *, seed: int = 0) -> Sequences:
    """Each customer buys one own item every week, and walks along a ring of others."""
    rng = np.random.default_rng(seed)
    rows = []
    for who in range(customers):
        place = rng.integers(40)
        for week in range(8):
            at = week * 168 + int(rng.integers(100))
            rows += [(f"c{who:03d}", f"own{who % 20:02d}", at), (f"c{who:03d}", f"ring{(place + week) % 40:02d}", at + 1)]
    return of(*rows)


def test_the_chain_uses_the_weights_of_the_list_and_of_the_history() -> None:
    world = shop()
    model = Fallback(blend={"graph": 1.0}).fit(world, as_of=END)
    model.parts |= Fallback(sources=["graph", "repeat"]).fit(world, as_of=END).parts
    model._blend = Blend({"graph": 1.0, "repeat": 0.0}, {"again": {"graph": 0.1, "repeat": 3.0}, "new/0": {"graph": 1.0, "repeat": 1.0}})
    history, short = world.rows(np.array([0])), of(("new", "ring01", 1))
    scores = {name: model.parts[name].score(history) for name in ("graph", "repeat")}
    read, known = {name: logs(each) for name, each in scores.items()}, either(scores.values())
    again = model.recommend(history, k=3, exclude_seen=False)
    np.testing.assert_allclose(again.scores[0], np.sort(mixed(read, {"graph": 0.1, "repeat": 3.0}, known)[0])[::-1][:3], rtol=1e-6)
    assert again.sources[0].tolist() == ["graph+repeat"] * 3
    assert model.items[again.items[0, 0]] == "own00"
    new = model.recommend(history, k=3)
    assert set(new.sources[0]) == {"graph"}
    assert set(model.recommend(short, k=3).sources[0]) == {"graph+repeat"}
    assert model.explain(history, again)["reasons"].to_pylist()[0].startswith('[{"code": "repeat"')
    assert model.reasons(history, row=0, item=int(new.items[0, 0]))[0].code == "because"


def test_weights_on_the_crowd_alone_hold_for_whoever_has_a_history() -> None:
    """Not the category first: tuning found that the last days say more."""
    world = Sequences.from_arrays(
        ["a", "b", "c", "c"],
        item=["tea 1", "tea 2", "hat", "hat"],
        at=[1 * HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR],
        categories={"tea 1": "tea", "tea 2": "tea", "hat": "hats"},
    )
    model = Fallback(blend={"graph": 1.0}).fit(world, as_of=hour(5))
    model._blend = Blend({"graph": 0.0, "recent": 1.0})
    ranking = model.recommend(world.histories(["a", "nobody"]), k=1)
    assert ranking.sources[:, 0].tolist() == ["recent", "recent"]
    assert model.items[ranking.items[0, 0]] == "hat"


def test_a_shop_that_buys_again_is_weighed_by_what_its_lists_hide() -> None:
    model = Fallback().fit(shop(), as_of=hour(8 * 168))
    assert set(model.mix) == set(DEFAULT)
    assert all(where.split("/")[0] in (NEW, AGAIN) for where in model.own)
    history = shop().rows(np.arange(40))
    first = model.recommend(history, k=1, exclude_seen=False).items[:, 0]
    assert np.mean([str(model.items[item]) == f"own{row % 20:02d}" for row, item in enumerate(first)]) > 0.9


def test_strangers_see_what_strangers_took() -> None:
    """Newcomers want the old favourite although the last week belongs to a fad of the regulars."""
    rows = [(f"r{who:03d}", "favourite", 100 * visit + who % 90) for who in range(300) for visit in range(3)]
    rows += [(f"r{who:03d}", item, 600 + who % 90) for who in range(300) for item in ("fad", "other fad")]
    rows += [(f"n{who:03d}", "favourite", 670 + who % 20) for who in range(60)]
    world = of(*rows)
    model = Fallback().fit(world, as_of=hour(700))
    assert model.own["cold"]["popular"] > 0
    assert set(model.own["cold"]) == {"recent", "popular"}
    ranking = model.recommend(world.histories(["nobody"]), k=1)
    assert ranking.sources[0, 0] in ("popular", "recent+popular")


def test_models_from_before_the_buckets_load() -> None:
    model = Fallback(blend={"graph": 1.0, "user_knn": 0.5}).fit(shop(), as_of=hour(8 * 168))
    head, arrays = model.state()
    del head["state"]["own"]
    del head["params"]["sources"]
    old = Fallback.from_state(head, arrays)
    assert (old.mix, old.own, old.sources) == (model.mix, {}, None)
    np.testing.assert_array_equal(old.recommend(shop(), k=5).items, model.recommend(shop(), k=5).items)


def test_weights_of_lists_and_buckets_are_saved(tmp_path: Path) -> None:
    model = Fallback(sources=["graph", "repeat"]).fit(shop(), as_of=hour(8 * 168))
    model._blend = Blend({"graph": 1.0, "repeat": 0.5}, {"again": {"graph": 0.1, "repeat": 3.0}, "cold": {"recent": 0.5, "popular": 1.0}})
    model.parts = {name: model.parts.get(name) or Repeat().fit(shop(), as_of=hour(8 * 168)) for name in (*model.parts, "repeat")}
    model.save(tmp_path / "model")
    again = Fallback.load(tmp_path / "model")
    assert (again.mix, again.own) == (model.mix, model.own)
    for seen in (True, False):
        np.testing.assert_array_equal(
            again.recommend(shop(), k=5, exclude_seen=seen).items, model.recommend(shop(), k=5, exclude_seen=seen).items
        )


def test_sources_are_chosen_and_wrong_ones_refused() -> None:
    asked = ["als", "content", "graph", "item_knn", "popular", "recent", "repeat", "user_knn"]
    model = Fallback(sources=asked).fit(log(customers=200, events=4000), as_of=CUT)
    assert list(model.mix) == [name for name in SOURCES if name in asked]
    assert {"category", "recent", "popular"} <= set(model.parts)
    assert {name for name, weight in model.mix.items() if weight} <= set(model.parts)
    past = log().before(CUT).rows(np.arange(5))
    given = Fallback(blend={"als": 1.0, "content": 0.5}).fit(log(), as_of=CUT)
    ranking = given.recommend(past, k=3, exclude_seen=False)
    assert set(ranking.sources[0]) == {"als+content"}
    assert "[]" not in given.explain(past, ranking)["reasons"].to_pylist()
    for sources, words in (
        (["grahp"], "Did you mean"),
        (["recent", "content"], "at least one of"),
        ([], "at least one of"),
        (["graph", "transformer"], "source of the blend"),
    ):
        with pytest.raises(InputError, match=words):
            Fallback(sources=sources).fit(log(), as_of=CUT)
