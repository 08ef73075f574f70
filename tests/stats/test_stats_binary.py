"""Metrics of probabilities against definitions, and the example of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss as reference_loss
from sklearn.metrics import roc_auc_score

from tradewind.errors import InputError
from tradewind.stats.binary import auc, calibration_error, gain, grouped_auc, judged, log_loss, normalised_entropy
from tradewind.stats.classification import reliability

DOCS = Path(__file__).resolve().parents[2] / "docs"


def world(n: int = 4000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    p = np.round(rng.beta(1, 6, n), 2).clip(0.01, 0.99)  # with ties
    return (rng.random(n) < p).astype(float), p, rng.integers(0, 300, n)


def test_metrics_are_their_definitions() -> None:
    y, p, group = world()
    once = np.ones(len(y))
    assert log_loss(y, p, once) == pytest.approx(reference_loss(y, p))
    assert normalised_entropy(y, np.full(len(y), y.mean()), once) == pytest.approx(1.0)
    assert normalised_entropy(y, p, once) < 1
    total = weight = 0.0
    for each in np.unique(group):
        mine = group == each
        if 0 < y[mine].sum() < mine.sum():
            total += mine.sum() * roc_auc_score(y[mine], p[mine])
            weight += mine.sum()
    assert grouped_auc(y, p, group, seed=0).value == pytest.approx(total / weight)


def test_a_weight_is_a_repetition() -> None:
    y, p, _ = world(400)
    weight = np.random.default_rng(2).integers(0, 4, 400)
    again = np.repeat(np.arange(400), weight)
    for metric in (log_loss, normalised_entropy, auc):
        assert metric(y, p, weight.astype(float)) == pytest.approx(metric(y[again], p[again], np.ones(len(again))))


def test_calibration_error_is_the_gap_of_bins_of_equal_mass() -> None:
    p = np.repeat(np.arange(10) / 10 + 0.05, 100)
    y = np.concatenate([np.arange(100) < 10 * n + 5 for n in range(10)]).astype(float)
    once = np.ones(1000)
    assert calibration_error(y, p, once) == pytest.approx(0.0, abs=1e-9)
    assert calibration_error(y, p - 0.03, once) == pytest.approx(0.03)
    assert calibration_error(y, np.where(np.arange(1000) < 500, p + 0.04, p - 0.04), once) == pytest.approx(0.04)  # signs do not cancel
    assert [round(row["said"] - row["was"], 9) for row in reliability(y, p)] == [0.0] * 10


def test_intervals_hold_the_value_and_better_is_better() -> None:
    y, p, group = world()
    found = judged(y, p, group, seed=0, draws=100)
    assert {"auc", "log_loss", "normalised_entropy", "ece", "predicted_over_actual", "grouped_auc"} == set(found)
    for name, estimate in found.items():
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low < estimate.high
        if name != "ece":  # biased upwards by noise, more so in resamples
            assert estimate.low <= estimate.value <= estimate.high
    worse = np.random.default_rng(3).permutation(p)
    better = gain(log_loss, y, p, worse, group, seed=0, draws=100)
    assert better.high is not None
    assert better.high < 0
    with pytest.raises(InputError, match="it needs both"):
        gain(log_loss, np.zeros(10), p[:10], p[:10], group[:10], seed=0)


def test_the_example_of_the_documentation_runs() -> None:
    [code] = re.findall(r"```python\n(.*?)```", (DOCS / "ranking.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, "ranking.md", "exec"), {})
