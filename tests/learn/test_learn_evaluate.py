"""Evaluation: the split is what it says, the yardsticks are always there, and numbers equal a loop by hand."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from recommend_worlds import CUT, HOUR, hour, log, of

from tradewind.errors import InputError
from tradewind.learn._audit import low_branching, miscalibration
from tradewind.learn.evaluate import PER_USER, VIEWS, YARDSTICKS, evaluate, leave_one_out, measure, time_split
from tradewind.learn.graph import Graph
from tradewind.learn.popular import Popular
from tradewind.learn.sequences import KINDS, Sequences


def test_the_split_asks_everybody_who_buys_in_the_horizon_and_nobody_else() -> None:
    world = log()
    wanted, facts = time_split(world, CUT, horizon_days=5)
    bought = (world.kind == KINDS.index("purchase")) & (world.at >= 700 * HOUR) & (world.at < (700 + 120) * HOUR)
    expected = {name: set() for name in world.customers[np.unique(world.owner[bought])]}  # type: dict[str, set[int]]
    for event in np.flatnonzero(bought):
        expected[world.customers[world.owner[event]]].add(int(world.item[event]))
    got = {
        name: set(wanted.items[start:end].tolist())
        for name, start, end in zip(wanted.histories.customers, wanted.offsets[:-1], wanted.offsets[1:], strict=True)
    }
    assert got == expected
    assert wanted.histories.at.max() < 700 * HOUR
    assert facts["users"] == len(expected)


def test_the_hash_is_of_the_split() -> None:
    world = log()
    first = time_split(world, CUT, horizon_days=5)[1]["hash"]
    assert first == time_split(world, CUT, horizon_days=5)[1]["hash"]
    beyond = world.at >= (700 + 120) * HOUR
    assert first == time_split(replace(world, item=np.where(beyond, 0, world.item).astype(np.int32)), CUT, horizon_days=5)[1]["hash"]
    assert first != time_split(world, CUT, horizon_days=6)[1]["hash"]
    assert first != time_split(world, hour(690), horizon_days=5)[1]["hash"]


def test_cold_shares_are_counted() -> None:
    world = of(("a", "x", 1), ("a", "x", 60), ("b", "x", 61), ("b", "fresh", 62))
    _, facts = time_split(world, hour(50), horizon_days=1)
    assert facts["users"] == 2
    assert facts["cold_customers"] == 0.5
    assert facts["cold_items"] == pytest.approx(1 / 3)


def test_every_yardstick_has_both_views_and_intervals() -> None:
    found = evaluate([Graph(window=5), "category"], log(), CUT, k=5, horizon_days=10, draws=200)
    assert {(row.model, row.view) for row in found.rows} == {(name, view) for name in {*YARDSTICKS, "category"} for view in VIEWS}
    for row in found.rows:
        for name in PER_USER:
            estimate = row.estimates[name]
            assert estimate.low is not None
            assert estimate.high is not None
            assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
        assert 0 < row.estimates["coverage"].value <= 1
        assert 0 <= row.estimates["diversity"].value <= 1
    text = found.to_text()
    assert all(name in text for name in YARDSTICKS)
    assert found.split["hash"][:12] in text
    record = next(record for record in found.records() if record["model"] == "graph" and record["view"] == "new")
    assert record["ndcg_low"] <= record["ndcg"] <= record["ndcg_high"]


def test_a_row_equals_the_loop() -> None:
    world, k = log(), 4
    wanted, _ = time_split(world, CUT, horizon_days=10)
    past = world.before(CUT)
    model = Graph().fit(past, as_of=CUT)
    for view in VIEWS:
        row = measure(model, wanted, past, view=view, targets=["purchase"], k=k, seed=0, draws=100)
        values = []
        for user in range(len(wanted.histories)):
            history = wanted.histories.rows(np.array([user]))
            had = set(history.item[history.kind == KINDS.index("purchase")].tolist())
            scores = model.score(history)[0]
            order = [int(i) for i in np.argsort(-scores, kind="stable") if np.isfinite(scores[i]) and (view == "all" or int(i) not in had)][
                :k
            ]
            relevant = set(wanted.items[wanted.offsets[user] : wanted.offsets[user + 1]].tolist()) - (had if view == "new" else set())
            if not relevant:
                values.append(math.nan)
                continue
            gain = sum(1 / math.log2(place + 2) for place, item in enumerate(order) if item in relevant)
            values.append(gain / sum(1 / math.log2(place + 2) for place in range(min(k, len(relevant)))))
        np.testing.assert_allclose(row.values["ndcg"], values)
        assert row.estimates["ndcg"].value == pytest.approx(np.nanmean(values))


def test_calibration_by_hand() -> None:
    """Half tea, half hats: KL = sum p ln(p / (.99 q + .01 p)) of the list's shares q."""
    shelves = {"t1": "tea", "t2": "tea", "h1": "hats", "x": "other"}
    rows = [("even", "t1", 1), ("even", "h1", 2), ("even", "h1", 3), ("even", "t2", 4), ("tea", "t1", 1)]
    world = Sequences.from_arrays(
        [who for who, *_ in rows] + ["bare"],
        item=[item for _, item, _ in rows] + ["plain"],
        at=[at for *_, at in rows] + [1],
        categories=shelves,
        items=["x"],
    ).histories(["even", "even", "even", "tea", "bare", "nobody"])
    code = {name: number for number, name in enumerate(world.items)}
    shelf = np.array([list(world.categories).index(shelves[name]) if name in shelves else -1 for name in world.items], np.int32)
    lists = np.array(
        [[code[a], code[b]] for a, b in (("t1", "h1"), ("t1", "t2"), ("x", "plain"), ("t2", "t1"), ("t1", "h1"), ("t1", "h1"))]
    )
    half = [0.5 * math.log(0.5 / (0.99 * share + 0.005)) for share in (1.0, 0.5, 0.0)]
    found = miscalibration(lists.astype(np.int32), shelf, world)
    np.testing.assert_allclose(found, [2 * half[1], half[0] + half[2], 2 * half[2], 0, math.nan, math.nan], atol=1e-12)
    assert math.isnan(miscalibration(np.full((6, 2), -1, np.int32), shelf, world)[0])


def test_branching_by_hand() -> None:
    """a goes on to b and c, b to c, c to nothing; "back" repeats an item, which is no step."""
    past = of(("u", "a", 1), ("u", "b", 2), ("u", "c", 3), ("v", "a", 1), ("v", "c", 2), ("back", "c", 1), ("back", "c", 2))
    asked = of(("at a", "a", 1), ("at b", "a", 1), ("at b", "b", 2), ("at c", "c", 1), items=("b", "c")).histories(
        ["at a", "at b", "at c", "nobody"]
    )
    assert low_branching(past, asked, 1) == pytest.approx(1 / 3)
    assert low_branching(past, asked, 2) == pytest.approx(2 / 3)
    assert math.isnan(low_branching(past, asked.histories(["nobody"]), 2))


def test_a_shortcut_is_told() -> None:
    """The ring: who counts transitions knows all there is to know. Where the trained model is far ahead nothing is said."""
    found = evaluate([], log(), CUT, horizon_days=10, draws=200)
    assert any(text.startswith('Shortcut-solvable, view "new": "graph"') for text in found.warnings())
    assert all(text in found.to_text() for text in found.warnings())
    shared = found.shortcut("new")
    assert shared is not None
    assert shared[:2] == ("graph", "als")
    graph, als = (found.row(name, "new").estimates["ndcg"].value for name in ("graph", "als"))
    assert shared[2].value == pytest.approx(graph / als)
    assert shared[2].n == found.row("graph", "new").estimates["ndcg"].n  # all of them have a history here
    assert 0 <= found.split["low_branching"] <= 1

    cold = np.where(np.arange(40) < 30, np.nan, 0.1)
    deep = replace(found.row("als"), model="deep", tags=frozenset({"deep"}), values={"ndcg": np.full(40, 0.5), "ndcg_cold_customers": cold})
    weak = replace(found.row("graph"), values={"ndcg": np.full(40, 0.25), "ndcg_cold_customers": cold})
    ahead = replace(found, rows=(deep, weak))
    pair = ahead.shortcut("all")
    assert pair is not None
    assert pair[:2] == ("graph", "deep")
    assert (pair[2].value, pair[2].low, pair[2].high) == (0.5, 0.5, 0.5)
    assert ahead.warnings() == ()
    assert replace(found, rows=(weak,)).shortcut("all") is None


def test_cold_customers_and_items_are_measured_apart() -> None:
    world = of(("a", "x", 1), ("b", "x", 2), ("b", "y", 3), ("a", "x", 60), ("a", "fresh", 61), ("new", "x", 62))
    found = evaluate(["fallback"], world, hour(50), k=2, horizon_days=1, draws=100)
    row = found.row("fallback", "all")
    assert row.estimates["ndcg_cold_customers"].n == 1
    assert row.estimates["ndcg_cold_customers"].value == 1.0  # x leads the crowd's list
    assert row.estimates["ndcg_cold_items"].n == 1
    assert row.estimates["ndcg_cold_items"].value == 0.0  # a list of two has no place for what nobody has touched
    assert "ndcg_cold_items@2" in found.to_text()


def test_models_never_see_the_test() -> None:
    """A model that would look beyond the cut gets a log that ends there."""
    seen: list[int] = []

    class Peeking(Popular):
        def fit(self, log: Sequences, *, as_of: datetime) -> Any:
            seen.append(int(log.at.max()))
            return super().fit(log, as_of=as_of)

    evaluate([Peeking()], log(), CUT, horizon_days=10, draws=100)
    assert max(seen) < 700 * HOUR


def test_differences_are_paired_over_the_same_customers() -> None:
    found = evaluate([], log(), CUT, horizon_days=10, draws=200)
    gain = found.difference("graph", "popular")
    assert gain.value == pytest.approx(found.row("graph").estimates["ndcg"].value - found.row("popular").estimates["ndcg"].value)
    assert gain.value > 0  # the world is a walk along a ring: the graph must see it
    with pytest.raises(InputError, match="No row"):
        found.row("nobody")


def test_leave_one_out() -> None:
    world = of(("a", "x", 1), ("a", "y", 2), ("a", "z", 3), ("b", "x", 1), ("c", "y", 1), ("c", "z", 2))
    train, wanted = leave_one_out(world)
    assert wanted.histories.customers.tolist() == ["a", "c"]
    assert [world.items[item] for item in wanted.items] == ["z", "z"]
    assert len(train.at) == 3
    _, validation = leave_one_out(world, back=2)
    assert validation.histories.customers.tolist() == ["a"]
    assert [world.items[item] for item in validation.items] == ["y"]


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(InputError, match="Nobody has an event of kind purchase"):
        evaluate([], log(), hour(5000))
    with pytest.raises(InputError, match="Two models"):
        evaluate([Graph(), "graph"], log(), CUT)
    with pytest.raises(InputError, match="model"):
        evaluate(["grahp"], log(), CUT)
    with pytest.raises(InputError, match="horizon_days"):
        evaluate([], log(), CUT, horizon_days=0)


def test_the_document_runs() -> None:
    """Every Python block of docs/recommend.md, in order."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "recommend.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/recommend.md", "exec"), {})
