"""Response models over impressions: worlds with known answers, no look ahead, files that give models back."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import ranker_worlds as worlds
from ranker_worlds import DAY, END, HOUR, ITEMS, START

from tradewind.errors import InputError, NotFitted
from tradewind.learn._ranker import Chances, ImpressionModel, sampled
from tradewind.learn._ranker_calibration import Calibration, chance, odds
from tradewind.learn._ranker_features import DENSE, Dense, place_effects
from tradewind.learn._ranker_rows import Delay, Rows, Vocabulary, as_known
from tradewind.learn.impressions import impressions
from tradewind.learn.ranker import Ranker
from tradewind.learn.ranker_trees import TreeRanker
from tradewind.learn.sequences import Sequences
from tradewind.types import from_micros

QUICK: dict[str, Any] = {"size": "tiny", "epochs": 12, "rate": 0.02, "dropout": 0.0}


def deep(**more: Any) -> Ranker:
    return Ranker(**(QUICK | more))


def trees(**more: Any) -> TreeRanker:
    return TreeRanker(**({"trees": 60, "rate": 0.1, "min_leaf": 20} | more))


MODELS = pytest.mark.parametrize("make", [deep, trees], ids=["deep", "trees"])


def asked(customers: list[str | None], items: list[str], **more: Any) -> pa.Table:
    return pa.table(
        {
            "at": pa.array([END + timedelta(hours=1)] * len(items), pa.timestamp("us", tz="UTC")),
            "customer": pa.array(customers, pa.string()),
            "item": pa.array(items),
        }
        | more
    )


@pytest.fixture(scope="module")
def fitted() -> tuple[Ranker, TreeRanker, Sequences, pa.Table]:
    shown, log = worlds.matching(rounds=20)
    return deep(epochs=4).fit(shown, log, as_of=END), trees().fit(shown, log, as_of=END), log, shown


@pytest.mark.parametrize("which", [0, 1], ids=["deep", "trees"])
def test_what_the_history_says_decides(fitted: Any, which: int) -> None:
    model, log = fitted[which], fitted[2]
    people = [f"p{n:03d}" for n in range(60)]
    last = log.item[log.offsets[1:61] - 1] // 4
    table = asked([name for name in people for _ in ITEMS], ITEMS * len(people))
    p = model.predict(table, log).click.reshape(60, 3, 4)
    match = np.arange(3) == last[:, None]
    assert abs(p[match].mean() - 0.6) < 0.1
    assert abs(p[~match].mean() - 0.05) < 0.04
    assert (p.mean(axis=2).argmax(axis=1) == last).all()


def test_attention_goes_to_the_event_that_tells() -> None:
    shown, log = worlds.complements()
    model = deep(epochs=6).fit(shown, log, as_of=END)
    people = [f"p{n:03d}" for n in range(100)]
    kinds = np.array([name[0] for name in log.items])[log.item[:500]].reshape(100, 5)
    had_a = (kinds == "a").any(axis=1)
    for shelf, likes in (("c", had_a), ("d", ~had_a)):
        table = asked([*people], [f"{shelf}1"] * 100)
        p = model.predict(table, log).click
        assert abs(p[likes].mean() - 0.6) < 0.1
        assert abs(p[~likes].mean() - 0.05) < 0.08
        weights, places = model.attention(table, log)
        np.testing.assert_array_equal(places[:, :5], np.arange(500).reshape(100, 5))
        assert (places[:, 5:] == -1).all()
        assert (weights.sum(axis=1) <= 1 + 1e-6).all()
        telling = np.where(kinds != "f", weights[:, :5], 0).sum(axis=1)
        filling = np.where(kinds == "f", weights[:, :5], 0).sum(axis=1) / 4
        assert telling.mean() > 2 * filling.mean()


@MODELS
def test_the_first_place_does_not_make_an_item_good(make: Any) -> None:
    shown, log = worlds.placed()
    model = (deep(epochs=3) if make is deep else trees()).fit(shown, log, as_of=END)
    raw = {name: shown.filter(pa.compute.equal(shown["item"], name))["click"].to_numpy().mean() for name in ("dull", "fine")}
    assert raw["dull"] > raw["fine"]  # what counting clicks would say
    people = [f"p{n:03d}" for n in range(200)]
    table = asked([*people, *people], ["dull"] * 200 + ["fine"] * 200, position=[1] * 200 + [4] * 200)
    dull, fine = model.predict(table, log).click.reshape(2, 200).mean(axis=1)
    assert fine > 1.25 * dull
    dull, fine = model.predict(table, log, as_shown=True).click.reshape(2, 200).mean(axis=1)
    assert dull > fine
    effect = model.position_effect(shown, log, 4)
    assert effect[0] == 1
    assert 0.15 < effect[3] < 0.4  # 0.25 in truth


def test_the_effect_of_the_place_is_told_from_the_items() -> None:
    shown, log = worlds.placed(rows=40_000)
    table = impressions(shown)
    vocabulary = Vocabulary.of(log, table)
    effect = place_effects(Rows.of(table, vocabulary.aligned(log), vocabulary), 2)
    assert abs(effect[3] / effect[0] - 0.25) < 0.04


@MODELS
def test_down_sampling_is_undone(make: Any) -> None:
    shown, log = worlds.funnel(rows=20_000, days=30)
    shown = shown.drop_columns(["converted_at"])
    model = (deep(negatives=0.1, epochs=3, rate=2e-3) if make is deep else trees(negatives=0.1)).fit(shown, log, as_of=END)
    found = model.predict(worlds.later(shown, 31), log, calibrated=False)
    assert abs(found.click.mean() - 0.3) < 0.03
    assert found.conversion is not None
    assert abs(found.conversion.mean() - 0.12) < 0.02


def test_the_correction_is_the_textbooks() -> None:
    p, share = np.array([0.02, 0.3, 0.9]), 0.2
    np.testing.assert_allclose(chance(odds(p) + np.log(share)), p / (p + (1 - p) / share))
    click = np.repeat([1.0, 0.0], 5000)
    kept = sampled(click, share, np.random.default_rng(0))
    assert (click[kept] > 0).sum() == 5000
    assert abs((click[kept] == 0).sum() - 1000) < 100


@MODELS
def test_late_conversions_are_not_taken_for_none(make: Any) -> None:
    recent, log = worlds.funnel(rows=6_000, days=4)
    old, _ = worlds.funnel(rows=3_000, days=18, seed=1)
    shown = pa.concat_tables([worlds.later(old, -12), recent])
    known = pa.compute.fill_null(pa.compute.less(recent["converted_at"], pa.scalar(END, pa.timestamp("us", tz="UTC"))), False)
    naive = known.to_numpy().mean()
    assert naive < 0.08  # of the 12 % that buy, few have bought yet
    model = make(window=7.0, calibrate=0.3).fit(shown, log, as_of=END)
    found = model.predict(worlds.later(recent, 10), log)
    assert found.conversion is not None
    assert abs(found.conversion.mean() - 0.12) < 0.025
    assert (found.conversion <= found.click).all()


def test_reach_is_the_share_of_delays_that_have_passed() -> None:
    delay = Delay(np.array([1, 2, 3, 4]) * DAY, 7 * DAY)
    np.testing.assert_allclose(delay.reach(np.array([0, 2, 6, 7]) * DAY), [0.1, 0.5, 0.9, 1.0])


def test_labels_are_those_that_were_known() -> None:
    at = START + np.array([0, 0, 20, 29]) * DAY
    when = [START + DAY, START + 9 * DAY, START + 31 * DAY, START + 29 * DAY + HOUR]
    table = impressions(
        worlds.table(at, ["a"] * 4, ["x"] * 4, [1] * 4, [1] * 4, conversion=pa.array([1] * 4, pa.int8()), converted_at=when)
    )
    known, delay = as_known(table, START + 30 * DAY, 7 * DAY)
    assert known["conversion"].to_pylist() == [1, 0, 0, 1]  # in time, after the window, not yet, just now
    assert delay is not None
    assert delay.taken.tolist() == [DAY]
    with pytest.raises(InputError, match="nothing says how long"):
        as_known(table, START + 30 * DAY, 60 * DAY)


@MODELS
def test_the_future_changes_nothing(make: Any) -> None:
    shown, log = worlds.matching(people=60, rounds=40)
    cut = START + 20 * DAY
    at = shown["at"].cast(pa.int64()).to_numpy()
    flipped = np.where(at >= cut, 1 - shown["click"].to_numpy(), shown["click"].to_numpy()).astype(np.int8)
    rewritten = shown.set_column(shown.column_names.index("click"), "click", pa.array(flipped))
    more = Sequences.from_arrays(
        [*log.customers[log.owner], "p001"], item=[*log.items[log.item], "c3"], at=[*log.at, cut], kind="view",
        categories=worlds.SHELVES, items=ITEMS,
    )  # fmt: skip
    table = asked(["p001"] * 12, ITEMS).set_column(0, "at", pa.array([cut] * 12, pa.timestamp("us", tz="UTC")))
    first = make(epochs=2) if make is deep else make()
    second = make(epochs=2) if make is deep else make()
    one = first.fit(shown, log, as_of=from_micros(cut)).predict(table, log)
    two = second.fit(rewritten, more, as_of=from_micros(cut)).predict(table, more)
    np.testing.assert_array_equal(one.click, two.click)


def test_facts_are_those_before_the_moment() -> None:
    log = Sequences.from_arrays(
        ["u"] * 4, item=["a", "b", "a", "a"], at=[START - 3 * DAY, START - 2 * DAY, START, START + DAY],
        kind=["view", "purchase", "purchase", "view"], categories={"a": "s", "b": "t"},
    )  # fmt: skip
    table = impressions(worlds.table([START, START + HOUR, START + 2 * HOUR], ["u"] * 3, ["a"] * 3, [1] * 3, [0, 1, 0]))
    vocabulary = Vocabulary.of(log, table)
    rows = Rows.of(table, vocabulary.aligned(log), vocabulary)
    assert rows.end.tolist() == [2, 3, 3]  # an event of the same moment is not before it
    _, values = Dense.learn(rows, vocabulary, START + DAY)
    told = {name: values[:2, n] for n, name in enumerate(DENSE)}
    np.testing.assert_allclose(np.expm1(told["events"]), [2, 3], rtol=1e-5)
    np.testing.assert_allclose(np.expm1(told["same_item"]), [1, 2], rtol=1e-5)
    np.testing.assert_allclose(np.expm1(told["same_item_bought"]), [0, 1], atol=1e-6)
    np.testing.assert_allclose(np.expm1(told["same_item_idle"]), [3, 1 / 24], rtol=1e-4)
    np.testing.assert_allclose(told["last_category"], [0, 1])
    np.testing.assert_allclose(told["same_category_share"], [1 / 2, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(np.expm1(told["item_week"]), [1, 2], rtol=1e-5)  # boundaries lie at these two moments


@pytest.mark.parametrize("which", [0, 1], ids=["deep", "trees"])
def test_whatever_is_asked_gets_a_probability(fitted: Any, which: int, tmp_path: Path) -> None:
    model, log = fitted[which], fitted[2]
    table = asked(
        ["p001", "stranger", None, "p001", "p002"], ["a0", "a0", "a0", "never seen", "b1"], channel=["email", None, None, None, "inapp"]
    )
    found = model.predict(table, log)
    assert found.conversion is None
    assert ((found.click > 0) & (found.click < 1)).all()
    empty = Sequences.from_arrays([], item=[], at=[])
    alone = model.predict(table, empty).click
    assert np.isfinite(alone).all()
    assert alone[1] == pytest.approx(alone[2], abs=0.2)
    order = np.argsort(-model.score(table, log), kind="stable")
    assert sorted(order.tolist()) == [0, 1, 2, 3, 4]


@MODELS
def test_it_learns_without_any_event_and_without_any_name(make: Any) -> None:
    shown, _ = worlds.placed(rows=3000)
    shown = shown.set_column(1, "customer", pa.nulls(shown.num_rows, pa.string()))
    empty = Sequences.from_arrays([], item=[], at=[])
    model = (deep(epochs=1) if make is deep else trees(trees=20)).fit(shown, empty, as_of=END)
    found = model.predict(shown.slice(0, 50), empty).click
    assert ((found > 0.01) & (found < 0.5)).all()


@MODELS
def test_the_same_seed_gives_the_same_and_files_give_it_back(make: Any, tmp_path: Path) -> None:
    shown, log = worlds.matching(people=60, rounds=30)
    shown = shown.append_column("conversion", shown["click"])
    settings = {"epochs": 2} if make is deep else {}
    model: ImpressionModel = make(**settings).fit(shown, log, as_of=END)
    again: ImpressionModel = make(**settings).fit(shown, log, as_of=END)
    table = asked(["p001"] * len(ITEMS), ITEMS)
    model.save(tmp_path / "one")
    again.save(tmp_path / "two")
    for name in ("model.json", "arrays.npz"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    back = type(model).load(tmp_path / "one")
    said: Chances = model.predict(table, log)
    for each in (again.predict(table, log), back.predict(table, log)):
        np.testing.assert_array_equal(said.click, each.click)
        assert said.conversion is not None
        assert each.conversion is not None
        np.testing.assert_array_equal(said.conversion, each.conversion)
    other = TreeRanker if make is deep else Ranker
    with pytest.raises(InputError, match="not"):
        other.load(tmp_path / "one")


def test_calibration_repairs_what_is_off_and_keeps_the_order() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(-2, 1, 60_000)
    y = (rng.random(60_000) < chance(truth)).astype(float)
    said = 2 * truth + 1  # overconfident
    repaired = Calibration.fit(said[:40_000], y[:40_000])
    found = repaired(said[40_000:])
    assert np.abs(chance(found) - chance(truth[40_000:])).mean() < 0.01
    order = np.argsort(said[40_000:])
    assert (np.diff(found[order]) >= 0).all()
    ends = repaired(np.array([-60.0, -50.0, 50.0, 60.0]))
    assert ends[0] < ends[1] < ends[2] < ends[3]
    assert repaired.kind == "line"
    assert Calibration.fit(truth + 1, y).kind == "level"
    bent = Calibration.fit(np.where(truth > -2, 3 * truth + 4, truth), y)
    assert bent.kind == "isotonic"
    assert np.abs(chance(bent(np.where(truth > -2, 3 * truth + 4, truth))) - chance(truth)).mean() < 0.01
    few = Calibration.of("isotonic", said[:400], y[:400], np.ones(400))
    assert chance(few(said[:400])).sum() == pytest.approx(y[:400].sum(), rel=1e-6)
    few = Calibration.fit(said[:400], y[:400])  # two or three groups: the total must be right all the same
    assert chance(few(said[:400])).sum() == pytest.approx(y[:400].sum(), rel=1e-6)
    half = Calibration.fit(truth[:40_000], y[:40_000] * (rng.random(40_000) < 0.5), np.full(40_000, 0.5))
    assert np.abs(chance(half(truth)) - chance(truth)).mean() < 0.02


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"position": [0, 1]}, "position must be 1"),
        ({"click": [2, 0]}, "click must be 0 or 1"),
        ({"conversion": pa.array([1, 1], pa.int8())}, "conversion is 1 and click is 0"),
        ({"converted_at": pa.array([START, None]).cast(pa.timestamp("us", tz="UTC"))}, "needs conversion = 1"),
        ({"channel": ["e-mail", None]}, "channel must be one of email"),
        ({"clicks": [0, 1]}, 'Did you mean "click"'),
    ],
)
def test_a_table_that_breaks_a_rule_is_refused(change: dict[str, Any], said: str) -> None:
    table = worlds.table([START, START], ["a", "b"], ["x", "y"], [1, 2], [1, 0])
    for name, values in change.items():
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, values if isinstance(values, pa.Array) else pa.array(values))
    with pytest.raises(InputError, match=said):
        impressions(table)


def test_too_little_is_said() -> None:
    shown, log = worlds.matching(people=20, rounds=5)
    none = shown.set_column(shown.column_names.index("click"), "click", pa.array(np.zeros(shown.num_rows, np.int8)))
    with pytest.raises(InputError, match="0 clicks; it needs some with and some without"):
        trees().fit(none, log, as_of=END)
    with pytest.raises(InputError, match="at or after as_of"):
        trees().fit(shown, log, as_of=from_micros(START))
    with pytest.raises(InputError, match="negatives must be"):
        deep(negatives=0).fit(shown, log, as_of=END)
    with pytest.raises(NotFitted):
        deep().predict(shown, log)
    with pytest.raises(InputError, match="there is no row"):
        impressions(shown.slice(0, 0))


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    for size in (1, 2):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
        done = subprocess.run(
            [*launcher, str(Path(__file__).with_name("ranker_worlds.py")), str(tmp_path / f"world{size}")],
            capture_output=True, text=True, timeout=200, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
    one = np.load(tmp_path / "world1.0.npz")
    for rank in (0, 1):
        two = np.load(tmp_path / f"world2.{rank}.npz")
        for name in one.files:
            np.testing.assert_allclose(two[name], one[name], atol=1e-4, err_msg=name)
