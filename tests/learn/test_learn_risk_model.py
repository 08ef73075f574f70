"""Risk scores: planted fraud is found with and without labels, labels are believed only when they are due, files keep scores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tradewind.errors import InputError, NotFitted, SchemaError
from tradewind.learn import _risk_metrics as metrics
from tradewind.learn.risk import SIGNALS, Risk, ripeness, truth
from tradewind.learn.risk_features import FIELDS, MODELLED, Columns, matrix
from tradewind.types import micros

NOW = datetime(2026, 5, 1, tzinfo=UTC)
DAY = 86_400_000_000


def rows(count: int, *, seed: int) -> tuple[Columns, np.ndarray, np.ndarray]:
    """Features, times and truth: fraud has many cards on a device, and mostly a large amount."""
    rng = np.random.default_rng(seed)
    fraud = (rng.random(count) < 0.08).astype(float)
    columns: Columns = {
        name: rng.poisson(0.4, count).astype(float) if kind == "number" else np.zeros(count, dtype=bool) for name, kind in FIELDS.items()
    }
    columns["device_cards"] = 1.0 + rng.poisson(0.2 + 2.5 * fraud)
    columns["amount"] = rng.lognormal(8 + 1.2 * fraud, 0.6)
    columns["neighbour_days"] = np.where(rng.random(count) < 0.5, np.nan, 30.0)
    return columns, micros(NOW) - np.sort(rng.integers(0, 100 * DAY, count))[::-1], fraud


def some(columns: Columns, part: slice) -> Columns:
    return {name: values[part] for name, values in columns.items()}


def test_labels_beat_signals_and_the_score_is_a_probability(tmp_path: Path) -> None:
    columns, at, fraud = rows(1500, seed=0)
    early, late = slice(0, 1000), slice(1000, None)
    model = Risk(trees=50).fit(some(columns, early), at[early], fraud[early])
    plain = Risk().fit(some(columns, early), at[early])
    score, points = model.score(some(columns, late)), plain.score(some(columns, late))
    assert model.labelled
    assert not plain.labelled
    assert metrics.recall_at(fraud[late], score, good_hit=0.01) > metrics.recall_at(fraud[late], points, good_hit=0.01)
    assert metrics.average_precision(fraud[late], score) > metrics.average_precision(fraud[late], points) > 1.5 * fraud[late].mean()
    assert abs(score.mean() / 100 - fraud[late].mean()) < 0.03
    assert ((score >= 0) & (score <= 100)).all()
    for each in (model, plain):
        each.save(tmp_path)
        assert np.array_equal(Risk.load(tmp_path).score(some(columns, late)), each.score(some(columns, late)))


def test_one_row_scores_like_many() -> None:
    columns, at, fraud = rows(700, seed=1)
    for model in (Risk(trees=30, min_leaf=5).fit(columns, at, fraud), Risk().fit(columns, at)):
        x, whole = matrix(columns), model.score(columns)
        assert [float(model.of(x[n : n + 1])[0]) for n in range(0, 700, 70)] == whole[::70].tolist()


def test_reasons_name_what_raised_the_score() -> None:
    columns, at, fraud = rows(700, seed=2)
    for model in (Risk(trees=30).fit(columns, at, fraud), Risk().fit(columns, at)):
        worst = int(np.argmax(model.score(columns) * (columns["device_cards"] >= 5)))
        (told,) = model.reasons(some(columns, slice(worst, worst + 1)))
        assert "device_cards" in {reason.code for reason in told}
        weights = [reason.details["weight"] for reason in told]
        assert weights == sorted(weights, reverse=True)
        assert min(weights) > 0
    assert {signal.field for signal in SIGNALS} <= set(MODELLED)


def test_learning_goes_on_from_what_was_learned() -> None:
    columns, at, fraud = rows(2400, seed=3)
    first, more, late = slice(0, 900), slice(0, 1700), slice(1700, None)
    model = Risk(trees=40).fit(some(columns, first), at[first], fraud[first])
    before = metrics.average_precision(fraud[late], model.score(some(columns, late)))
    trees = model._booster.num_trees()
    model.update(some(columns, more), at[more], fraud[more])
    assert model._booster.num_trees() > trees
    assert metrics.average_precision(fraud[late], model.score(some(columns, late))) >= before - 0.02


def test_a_label_counts_once_it_is_known_and_due() -> None:
    at = micros(NOW) - np.array([40, 40, 40, 10, 10]) * DAY
    known = [NOW - timedelta(days=1), NOW + timedelta(days=1), NOW - timedelta(days=1)]
    labels = pa.table({"id": ["a", "b", "d"], "known_at": known})
    told = truth(["a", "b", "c", "d", "e"], at, labels, as_of=NOW, delay_days=30)
    assert told[:3].tolist() == [1.0, 0.0, 0.0]
    assert np.isnan(told[3:]).all()
    with pytest.raises(InputError, match="known_at"):
        truth([], at[:0], pa.table({"id": ["a"]}), as_of=NOW, delay_days=30)


def test_what_comes_out_late_is_made_up_for() -> None:
    columns, at, fraud = rows(2000, seed=5)
    rng = np.random.default_rng(6)
    delay = rng.uniform(0, 40, len(at)) * DAY
    ids = [f"o{n}" for n in range(len(at))]
    bad = np.flatnonzero(fraud)
    known_at = pa.array((at + delay)[bad].astype(np.int64)).cast(pa.timestamp("us", tz="UTC"))
    labels = pa.table({"id": [ids[n] for n in bad], "known_at": known_at})
    told = truth(ids, at, labels, as_of=NOW, delay_days=20)
    ripe = ripeness(ids, at, labels, as_of=NOW, delay_days=20)
    age = (micros(NOW) - at) / DAY
    assert np.abs(ripe[age > 5] - np.minimum(age[age > 5] / 40, 1)).max() < 0.15
    plain, better = (Risk(trees=30).fit(columns, at, told, ripe=given).score(columns).mean() / 100 / fraud.mean() for given in (None, ripe))
    assert plain < 0.93
    assert plain < better < 1.1
    assert ripeness(ids[:9], at[:9], labels, as_of=NOW, delay_days=20).tolist() == [1.0] * 9


def test_what_cannot_be_learned_says_so(tmp_path: Path) -> None:
    columns, at, _ = rows(200, seed=4)
    with pytest.raises(InputError, match="frauds and"):
        Risk().fit(columns, at, np.zeros(200))
    with pytest.raises(InputError, match="too few"):
        Risk().fit(some(columns, slice(0, 10)), at[:10])
    with pytest.raises(InputError, match="Risk: leaves"):
        Risk(leaves=1).fit(columns, at)
    for use in (lambda: Risk().score(columns), lambda: Risk().save(tmp_path), lambda: Risk().update(columns, at, np.zeros(200))):
        with pytest.raises(NotFitted):
            use()
    Risk().fit(columns, at).save(tmp_path)
    path = tmp_path / "risk" / "model.json"
    path.write_text(path.read_text().replace("device_cards", "device_kards"))
    with pytest.raises(SchemaError, match="other features"):
        Risk.load(tmp_path)


def test_metrics_on_what_can_be_counted() -> None:
    y, score = [1, 0, 1, 0, 0, 1], [9, 8, 7, 7, 1, 0]
    assert metrics.recall_at(y, score, good_hit=0.0) == pytest.approx(1 / 3)
    assert metrics.recall_at(y, score, good_hit=0.34) == pytest.approx(1 / 3)  # the next step holds a tie of fraud and good
    assert metrics.recall_at(y, score, good_hit=0.67) == pytest.approx(2 / 3)
    assert metrics.money_recall_at(y, score, [10, 1, 30, 1, 98, 60], good_money=0.02) == pytest.approx(0.4)
    assert metrics.average_precision(y, score) == pytest.approx((1 + 2 / 4 + 3 / 6) / 3)
    found = metrics.reviewed(y, score, [10] * 6, [0, 0, 0, DAY, DAY, DAY], reviews=1)
    assert found == {"recall": pytest.approx(1 / 3), "money": pytest.approx(1 / 3), "precision": 0.5}
    assert np.isnan(metrics.recall_at([0, 0], [1, 2], good_hit=0.1))
    with pytest.raises(InputError, match="0 or 1"):
        metrics.recall_at([0, np.nan], [1, 2], good_hit=0.1)
