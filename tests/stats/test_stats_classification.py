"""AUC and friends against scikit-learn, intervals at their rate, calibration against its own noise, drift against chance."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from tradewind.errors import InputError
from tradewind.stats.classification import at_threshold, auc, calibration_error, log_loss, reliability
from tradewind.stats.drift import psi


def drawn(seed: int, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.beta(1.5, 4, n)
    return (rng.random(n) < p).astype(float), p


def test_values_are_those_of_scikit_learn() -> None:
    y, p = drawn(0)
    score = np.round(p, 1)  # ties
    assert auc(y, score).value == pytest.approx(metrics.roc_auc_score(y, score), abs=1e-12)
    assert log_loss(y, p).value == pytest.approx(metrics.log_loss(y, p), abs=1e-9)
    found = at_threshold(y, p, 0.3)
    precision, recall, f1, _ = metrics.precision_recall_fscore_support(y, p >= 0.3, average="binary")
    assert [found[name].value for name in ("precision", "recall", "F1")] == pytest.approx([precision, recall, f1])
    assert all(each.covers(each.value) for each in found.values())


def test_the_interval_of_the_auc_covers_at_its_rate() -> None:
    y, p = drawn(1, 200_000)
    truth = auc(y, p).value
    hits = [auc(*drawn(seed, 200)).covers(truth) for seed in range(300)]
    assert 0.92 <= np.mean(hits) <= 0.98


def test_calibration_error_is_judged_against_its_own_noise() -> None:
    y, p = drawn(2, 3000)
    right, wrong = calibration_error(y, p), calibration_error(y, np.sqrt(p))
    noise = float(right.note.split()[4])
    assert right.value < 2 * noise
    assert wrong.low is not None
    assert wrong.low > 3 * noise
    rows = reliability(y, p)
    assert len(rows) == 10
    assert sum(row["n"] for row in rows) == 3000
    assert sum(row["low"] <= row["said"] <= row["high"] for row in rows) >= 8


def test_drift_is_called_where_it_is_and_seldom_where_it_is_not() -> None:
    rng = np.random.default_rng(3)
    calls = [psi(rng.normal(size=300), rng.normal(size=200)).verdict for _ in range(300)]
    assert np.mean([call != "stable" for call in calls]) < 0.04
    assert psi(rng.normal(size=3000), rng.normal(0.6, 1, 2000)).verdict == "shifted"
    assert psi(rng.normal(size=100_000), rng.normal(0.05, 1, 100_000)).verdict == "moved"
    old, new = rng.choice(["a", "b", "c"], 500), rng.choice(["a", "b", "c"], 500, p=[0.1, 0.1, 0.8])
    assert psi(old, new).verdict == "shifted"
    assert psi(old, rng.permutation(old)).psi == pytest.approx(0)
    empty = np.where(rng.random(500) < 0.3, np.nan, rng.normal(size=500))
    assert psi(rng.normal(size=500), empty).verdict == "shifted"
    assert psi([None, "x"] * 50, ["x"] * 100).verdict == "shifted"
    constant = psi(np.zeros(100), np.zeros(100))
    assert (constant.psi, constant.verdict) == (0.0, "stable")


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="hold both"):
        auc([1, 1], [0.1, 0.2])
    with pytest.raises(InputError, match="Calibrate"):
        log_loss([0, 1], [0.5, 1.5])
    with pytest.raises(InputError, match="40 rows"):
        psi([1.0] * 10, [1.0] * 100, name="aov")
