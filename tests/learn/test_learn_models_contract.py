"""The contract of recommenders, run against every plugin of the room that is one."""

from __future__ import annotations

import inspect
import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recommend_worlds import CUT, END, HOUR, hour, log, of

from tradewind import plugins
from tradewind.errors import InputError, NotFitted
from tradewind.learn.base import TAGS, Recommender, load
from tradewind.learn.sequences import EVENT_ARRAYS, KINDS, Sequences


def found() -> list[str]:
    kinds = {name: plugins.load("learn", name) for name in plugins.names("learn")}
    return [name for name, kind in kinds.items() if inspect.isclass(kind) and issubclass(kind, Recommender)]


NAMES = found()


def make(name: str) -> Recommender:
    """The model, small enough for a test."""
    kind = plugins.load("learn", name)
    known = inspect.signature(kind).parameters
    small: dict[str, Any] = {"size": "tiny", "epochs": 2, "seed": 3}
    model: Recommender = kind(**{key: value for key, value in small.items() if key in known})
    return model


@cache
def fitted(name: str) -> Recommender:
    return make(name).fit(log(), as_of=CUT)


def past() -> Sequences:
    return log().before(CUT)


def test_every_model_of_the_issue_is_discovered() -> None:
    assert {"popular", "recent", "category", "graph", "user_knn", "transformer", "fallback"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
class TestContract:
    def test_names_and_tags_are_honest(self, name: str) -> None:
        model = make(name)
        assert model.name == name
        assert model.tags <= TAGS
        assert "When not to use" in (type(model).__doc__ or "")

    def test_scores_have_the_shape_of_the_catalogue(self, name: str) -> None:
        scores = fitted(name).score(past())
        assert scores.shape == (60, 30)
        assert scores.dtype == np.float32
        assert not np.isnan(scores).any()
        assert not np.isposinf(scores).any()

    def test_rankings_are_distinct_allowed_unseen_and_in_order(self, name: str) -> None:
        allowed = np.arange(30) % 4 != 0
        ranking = fitted(name).recommend(past(), k=7, allowed=allowed)
        assert ranking.items.shape == ranking.scores.shape == ranking.sources.shape == (60, 7)
        for row in range(60):
            shown = ranking.items[row][ranking.items[row] >= 0]
            assert len(set(shown.tolist())) == len(shown)
            assert allowed[shown].all()
            history = past().rows(np.array([row]))
            assert not set(shown.tolist()) & set(history.item.tolist())
            assert (ranking.sources[row][: len(shown)] != "").all()
            assert (ranking.items[row][len(shown) :] == -1).all()
        for source in set(ranking.sources.ravel().tolist()) - {""}:
            for row in range(60):
                same = ranking.scores[row][ranking.sources[row] == source]
                assert (np.diff(same) <= 0).all()

    def test_a_ranking_is_the_order_of_the_scores(self, name: str) -> None:
        model = fitted(name)
        ranking, scores = model.recommend(past(), k=5, exclude_seen=False), model.score(past())
        for row in range(60):
            shown = ranking.items[row][ranking.items[row] >= 0]
            picked = scores[row][shown]
            assert (np.diff(picked) <= 0).all()
            assert not len(shown) or picked[-1] >= np.delete(scores[row], shown).max(initial=-np.inf)

    def test_excluding_only_purchases_keeps_what_was_viewed(self, name: str) -> None:
        ranking = fitted(name).recommend(past(), k=30, exclude_seen=["purchase"])
        history = past()
        bought = history.keep((history.kind == KINDS.index("purchase")) & (history.item >= 0))
        for row in range(60):
            assert not set(ranking.items[row].tolist()) & set(bought.rows(np.array([row])).item.tolist())

    def test_strangers_and_empty_histories(self, name: str) -> None:
        model = fitted(name)
        stranger = past().histories(["nobody"])
        ranking = model.recommend(stranger, k=3)
        assert ranking.states.tolist() == ["cold"]
        answered = bool((ranking.items[0] >= 0).any())
        assert answered == ("cold_customers" in model.tags)

    def test_a_new_customer_with_a_history_is_warm_and_served(self, name: str) -> None:
        history = of(("new", "i03", 1), ("new", "i04", 2))
        history = replace(history, categories=past().categories, category=np.array([0, 1], np.int32))
        ranking = fitted(name).recommend(history, k=3)
        assert ranking.states.tolist() == ["warm"]
        assert (ranking.items[0] >= 0).any()

    def test_known_customers_are_hot(self, name: str) -> None:
        states = fitted(name).recommend(past(), k=1).states
        active = np.array([bool((past().rows(np.array([row])).item >= 0).any()) for row in range(60)])
        assert (states[active] == "hot").all()
        assert (states[~active] == "cold").all()

    def test_items_of_another_vocabulary_are_matched_by_id(self, name: str) -> None:
        history = of(("c001", "i05", 1), ("c001", "unheard of", 2), ("c001", "i07", 3))
        plain = of(("c001", "i05", 1), ("c001", None, 2), ("c001", "i07", 3))
        np.testing.assert_array_equal(fitted(name).score(history), fitted(name).score(plain))

    def test_the_future_changes_nothing(self, name: str) -> None:
        whole = log()
        rng = np.random.default_rng(1)
        future = np.flatnonzero(whole.at >= 700 * HOUR)
        item, kind = whole.item.copy(), whole.kind.copy()
        item[future], kind[future] = rng.integers(0, 30, len(future)), 3
        other = make(name).fit(replace(whole, item=item, kind=kind), as_of=CUT)
        np.testing.assert_array_equal(other.score(past()), fitted(name).score(past()))
        cut = make(name).fit(whole.before(CUT), as_of=CUT)
        np.testing.assert_array_equal(cut.score(past()), fitted(name).score(past()))

    def test_the_same_seed_gives_the_same_model(self, name: str) -> None:
        np.testing.assert_array_equal(make(name).fit(log(), as_of=CUT).score(past()), fitted(name).score(past()))

    def test_unsorted_histories_are_put_in_order(self, name: str) -> None:
        whole = past()
        order = np.lexsort((-whole.at, whole.owner))
        turned = replace(whole, **{column: getattr(whole, column)[order] for column in EVENT_ARRAYS})
        # Ties in time come back in the order given: only distinct times can be undone.
        row = next(row for row in range(60) if len(set(whole.rows(np.array([row])).at.tolist())) == whole.lengths[row] > 3)
        rows = np.array([row])
        np.testing.assert_array_equal(fitted(name).score(turned.rows(rows)), fitted(name).score(whole.rows(rows)))

    def test_doubled_events_are_survived(self, name: str) -> None:
        whole = past()
        twice = whole.rows(np.repeat(np.arange(60), 2))
        doubled = replace(twice, customers=whole.customers, offsets=twice.offsets[::2])
        scores = make(name).fit(doubled, as_of=CUT).score(doubled)
        assert not np.isnan(scores).any()

    def test_a_catalogue_of_one_item(self, name: str) -> None:
        one = of(("a", "x", 1), ("b", "x", 2), ("b", "x", 3))
        ranking = make(name).fit(one, as_of=END).recommend(one, k=3, exclude_seen=False)
        assert ranking.items.shape == (2, 3)
        assert set(ranking.items.ravel().tolist()) <= {0, -1}

    def test_a_log_without_items_is_refused(self, name: str) -> None:
        with pytest.raises(InputError, match="no items"):
            make(name).fit(of(), as_of=END)

    def test_a_catalogue_without_events(self, name: str) -> None:
        silent = of(items=("x", "y"))
        ranking = make(name).fit(silent, as_of=END).recommend(silent.histories(["a"]), k=2)
        assert ranking.states.tolist() == ["cold"]
        assert ("cold_items" in make(name).tags) == bool((ranking.items >= 0).all())

    def test_ten_thousand_events_of_one_customer(self, name: str) -> None:
        items = [f"i{n % 30:02d}" for n in range(10_000)]
        long = Sequences.from_arrays(["c001"] * 10_000, item=items, at=np.arange(10_000) * HOUR // 100)
        scores = fitted(name).score(long)
        assert scores.shape == (1, 30)
        assert not np.isnan(scores).any()

    def test_before_fit_everything_says_so(self, name: str, tmp_path: Path) -> None:
        model = make(name)
        for call in (
            lambda: model.score(past()),
            lambda: model.recommend(past()),
            lambda: model.reasons(past(), row=0, item=0),
            lambda: model.save(tmp_path / "m"),
        ):
            with pytest.raises(NotFitted, match="fit"):
                call()

    def test_saved_and_loaded_is_the_same(self, name: str, tmp_path: Path) -> None:
        model = fitted(name)
        model.save(tmp_path / "a")
        model.save(tmp_path / "b")
        again = load(tmp_path / "a")
        assert type(again) is type(model)
        assert again.params() == model.params()
        np.testing.assert_array_equal(again.score(past()), model.score(past()))
        first, second = again.recommend(past(), k=9), model.recommend(past(), k=9)
        np.testing.assert_array_equal(first.items, second.items)
        np.testing.assert_array_equal(first.sources, second.sources)
        np.testing.assert_array_equal(first.states, second.states)
        for file in ("model.json", "arrays.npz"):
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        with np.load(tmp_path / "a" / "arrays.npz", allow_pickle=False) as stored:
            assert all(stored[key].dtype != object for key in stored.files)

    def test_reasons_for_everything_recommended(self, name: str) -> None:
        model = fitted(name)
        rows = np.arange(12)
        ranking = model.recommend(past().rows(rows), k=3)
        for row, column in zip(*np.nonzero(ranking.items >= 0), strict=True):
            why = model.reasons(past().rows(rows), row=int(row), item=int(ranking.items[row, column]))
            assert why
            assert all(reason.code for reason in why)
        assert model.reasons(past(), row=0, item=-1) == ()
        table = model.explain(past().rows(rows), ranking)
        assert table.num_rows == (ranking.items >= 0).sum()
        assert "[]" not in table["reasons"].to_pylist()

    def test_updates_equal_a_fit_on_everything(self, name: str) -> None:
        whole, end = log(), hour(1001)
        early, late = whole.split(CUT)
        model = make(name).fit(early, as_of=CUT)
        if "incremental" not in model.tags:
            with pytest.raises(InputError, match="incremental"):
                model.update(late)
            return
        middle = hour(850)
        model.update(late.before(middle)).update(late.split(middle)[1], as_of=end)
        fresh = make(name).fit(whole, as_of=end)
        np.testing.assert_allclose(model.score(whole), fresh.score(whole), rtol=1e-5)
        np.testing.assert_array_equal(model.recommend(whole, k=5).states, fresh.recommend(whole, k=5).states)

    def test_updates_bring_new_items_and_customers(self, name: str) -> None:
        model = make(name).fit(past(), as_of=CUT)
        if "incremental" not in model.tags:
            pytest.skip("cannot learn incrementally, and says so")
        new = of(*[(f"n{n}", item, 701 + n) for n in range(8) for item in ("i01", "novelty")])
        model.update(new)
        assert model.items[-1] == "novelty"
        ranking = model.recommend(of(("guest", "i01", 800)), k=30)
        assert "novelty" in model.items[ranking.items[0][ranking.items[0] >= 0]]
        assert model.recommend(new.histories(["n0"]), k=1).states.tolist() == ["hot"]

    def test_wrong_arguments(self, name: str) -> None:
        model = fitted(name)
        for k in (0, 1.5, True):
            with pytest.raises(InputError, match="k must be"):
                model.recommend(past(), k=k)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="allowed"):
            model.recommend(past(), allowed=np.ones(7, dtype=bool))


def test_the_table_names_everything() -> None:
    model = fitted("graph")
    ranking = model.recommend(past(), k=2)
    table = model.explain(past(), ranking)
    assert table.column_names == ["customer", "item", "rank", "score", "source", "state", "reasons"]
    assert set(table["rank"].to_pylist()) == {1, 2}
    assert all("because" in text for text in table["reasons"].to_pylist())
    assert all(math.isfinite(value) for value in table["score"].to_pylist())


def test_loading_nothing_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no model in"):
        load(tmp_path)
