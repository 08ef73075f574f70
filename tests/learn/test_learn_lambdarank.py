"""The blend that learns from shown lists: it finds the source to trust and says what it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from ranker_worlds import DAY, HOUR, START, table

from tradewind.errors import InputError, NotFitted
from tradewind.learn.base import Recommender
from tradewind.learn.graph import Graph
from tradewind.learn.lambdarank import LambdaRank, compared, ndcg, ranks
from tradewind.learn.popular import Popular
from tradewind.learn.sequences import Sequences
from tradewind.types import from_micros

ITEMS = [f"i{n:02d}" for n in range(20)]
BEGIN, END = from_micros(START), from_micros(START + 30 * DAY)


def world(*, people: int = 300, rounds: int = 2, seed: int = 0) -> tuple[pa.Table, Sequences]:
    """Who had item i goes on to i + 1: in the log for some, in the lists for others. Popularity tells nothing about clicks."""
    rng = np.random.default_rng(seed)
    start = rng.integers(0, 20, people)
    walked = rng.random(people) < 0.5
    owner, item, at = [], [], []
    for n, (first, both) in enumerate(zip(start.tolist(), walked, strict=True)):
        owner += [f"p{n:03d}"] * (1 + int(both))
        item += [ITEMS[first], ITEMS[(first + 1) % 20]][: 1 + int(both)]
        at += [START - 3 * DAY, START - 2 * DAY][: 1 + int(both)]
    for _ in range(200):  # a loud item that nobody of the lists wants more than another
        owner.append(f"q{rng.integers(100):03d}")
        item.append("i00")
        at.append(START - int(rng.integers(1, 20)) * DAY)
    log = Sequences.from_arrays(owner, item=item, at=at, kind="view", items=ITEMS)
    asked = np.flatnonzero(~walked)
    rows: dict[str, list[Any]] = {name: [] for name in ("at", "customer", "item", "position", "click", "request")}
    for round_ in range(rounds):
        for n in asked.tolist():
            follows = (start[n] + 1) % 20
            others = rng.choice([i for i in range(20) if i not in (follows, start[n])], 4, replace=False)
            listed = rng.permutation(np.append(others, follows))
            for place, code in enumerate(listed):
                rows["at"].append(START + (1 + round_) * 10 * DAY + int(n) * HOUR // 10)
                rows["customer"].append(f"p{n:03d}")
                rows["item"].append(ITEMS[code])
                rows["position"].append(place + 1)
                rows["click"].append(int(rng.random() < (0.6 if code == follows else 0.15)))
                rows["request"].append(f"{round_}-{n}")
    request = rows.pop("request")
    return table(**rows, request=pa.array(request)), log


def sources(log: Sequences) -> dict[str, Recommender]:
    return {"graph": Graph().fit(log, as_of=BEGIN), "popular": Popular().fit(log, as_of=BEGIN)}


def test_it_learns_which_source_to_trust_and_files_give_it_back(tmp_path: Path) -> None:
    shown, log = world(people=500)
    model = LambdaRank(min_leaf=20).fit(shown, log, sources(log), as_of=END)
    fresh, other = world(seed=1)
    # New customers of the same shop: their histories, the old sources.
    score = model.score(fresh, other)
    request = np.unique(fresh["request"].to_pylist(), return_inverse=True)[1]
    gain = fresh["click"].to_numpy().astype(np.int64)
    popular = -np.array([item != "i00" for item in fresh["item"].to_pylist()], dtype=float)
    better = compared(score, popular, gain, request, seed=0)
    assert better.low is not None
    assert better.low > 0.1
    assert sum(share for name, share in model.importance().items() if name.startswith("graph")) > 0.6
    model.save(tmp_path / "blend")
    np.testing.assert_array_equal(LambdaRank.load(tmp_path / "blend").score(fresh, other), score)
    again = LambdaRank(min_leaf=20).fit(shown, log, sources(log), as_of=END)
    np.testing.assert_array_equal(again.score(fresh, other), score)


def test_unknown_items_and_people_are_ordered_too() -> None:
    shown, log = world(people=500)
    model = LambdaRank(min_leaf=20).fit(shown, log, sources(log), as_of=END)
    some = pa.table(
        {
            "at": shown["at"].slice(0, 3),
            "customer": pa.array(["stranger", None, "p001"]),
            "item": pa.array(["i01", "never seen", "i02"]),
        }
    )
    assert np.isfinite(model.score(some, log)).all()


def test_too_few_lists_are_said_and_what_to_use_meanwhile() -> None:
    shown, log = world(people=60)
    with pytest.raises(InputError, match=r"it needs 100 of them.*fallback"):
        LambdaRank().fit(shown, log, sources(log), as_of=END)
    with pytest.raises(InputError, match="sources is empty"):
        LambdaRank().fit(shown, log, {}, as_of=END)
    with pytest.raises(NotFitted):
        LambdaRank().score(shown, log)


def test_sources_that_know_the_answers_are_refused() -> None:
    shown, log = world()
    late = {"graph": Graph().fit(log, as_of=END)}
    with pytest.raises(InputError, match="it knows the answers"):
        LambdaRank().fit(shown, log, late, as_of=END)


def test_ndcg_is_the_textbooks() -> None:
    request = np.array([0, 0, 0, 1, 1])
    gain = np.array([0, 2, 1, 0, 0])
    score = np.array([3.0, 2.0, 1.0, 1.0, 2.0])
    found = (4 / np.log2(3) + 1 / np.log2(4)) / (4 / np.log2(2) + 1 / np.log2(3))
    np.testing.assert_allclose(ndcg(score, gain, request), [found, 1.0])
    np.testing.assert_array_equal(ranks(score, request), [1, 2, 3, 2, 1])
    # Ties are a random order, not the order of the rows.
    tied = np.zeros(5)
    np.testing.assert_array_equal(ranks(tied, request), [1, 1, 1, 1, 1])
    mean = (1 + 1 / np.log2(3) + 1 / 2) / 3
    np.testing.assert_allclose(ndcg(tied, gain, request), [5 * mean / (4 + 1 / np.log2(3)), 1.0])
    halves = np.array([1.0, 1.0, 2.0, 0.0, 0.0])
    np.testing.assert_array_equal(ranks(halves, request), [2, 2, 1, 1, 1])
    found = (1 + 4 * (1 / np.log2(3) + 1 / 2) / 2) / (4 + 1 / np.log2(3))
    np.testing.assert_allclose(ndcg(halves, gain, request), [found, 1.0])


def test_the_order_of_the_rows_says_nothing() -> None:
    shown, log = world(people=500)
    model = LambdaRank(min_leaf=20).fit(shown, log, sources(log), as_of=END)
    order = np.random.default_rng(0).permutation(shown.num_rows)
    np.testing.assert_array_equal(model.score(shown.take(order), log), model.score(shown, log)[order])
