"""Guard-rails are looked at at every tick: a harmless campaign outlives all looks together, a harmful one does not outlive many."""

from __future__ import annotations

import numpy as np
import pytest

from tradewind.decide import campaign_guard
from tradewind.decide.campaign_guard import above
from tradewind.engine.home import Home
from tradewind.stats.sequential import FEW

LOOKS = np.unique(np.geomspace(100, 20_000, 40).astype(int))


def paused(rate: float, limit: float, *, runs: int, seed: int) -> tuple[float, float]:
    """The share of campaigns that any of forty looks pauses: by the test, and by comparing the plain share."""
    rng = np.random.default_rng(seed)
    steps = np.diff(LOOKS, prepend=0)
    by_test = by_share = 0
    for _ in range(runs):
        hits = np.cumsum(rng.binomial(steps, rate))
        by_share += bool((hits > limit * LOOKS).any())
        by_test += any(above(int(k), int(n), limit) < 0.05 for k, n in zip(hits, LOOKS, strict=True))
    return by_test / runs, by_share / runs


@pytest.mark.parametrize("limit", [0.003, 0.02, 0.05])
def test_forty_looks_pause_few_harmless_campaigns_and_every_harmful_one(limit: float) -> None:
    by_test, by_share = paused(limit, limit, runs=300, seed=5)
    assert by_test <= 0.05
    assert by_share > 0.6, "which is why the plain share is no judge"
    assert paused(0.8 * limit, limit, runs=200, seed=6)[0] <= 0.02, "below the limit it is rarer still"
    assert paused(2 * limit, limit, runs=200, seed=7)[0] > 0.95


def test_the_edges_of_a_share() -> None:
    assert above(0, 100, 0.0) == 1.0
    assert above(1, 100, 0.0) == 0.0
    assert above(100, 100, 1.0) == 1.0
    assert above(5, 100, 0.05) == 1.0
    assert above(100, 100, 0.05) < 1e-50


@pytest.mark.parametrize(("loss", "least", "most"), [(0.0, 0.0, 0.05), (3.0, 0.95, 1.0)])
def test_a_loss_is_one_when_every_look_says_so(home: Home, monkeypatch: pytest.MonkeyPatch, loss: float, least: float, most: float) -> None:
    """Skewed margins, twenty looks; a loss of nothing is harmless, one of 3 per customer is not."""
    rng, stopped, runs = np.random.default_rng(3), 0, 40
    for _ in range(runs):
        treated, control = rng.exponential(20, 8_000) - loss, rng.exponential(20, 8_000)
        for n in np.linspace(50, 8_000, 20).astype(int):
            monkeypatch.setattr(campaign_guard, "_outcomes", lambda *_, n=n, a=treated, b=control: (a[:n], b[:n]))
            found = campaign_guard._profit(home, [], 0)
            assert (found.value is None) == (n < FEW)
            if found.exceeded:
                stopped += 1
                break
    assert least <= stopped / runs <= most
