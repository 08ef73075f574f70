"""The surrogate index against a world whose long-term effect is known, and against one in which its assumption is broken."""

from __future__ import annotations

import numpy as np
import pytest

from tradewind.errors import InputError
from tradewind.stats.surrogate import effect, fit

LASTING, GAIN = 0.7, 3.0  # of the window's value, how much comes again later; what the treatment adds to the window


def world(n: int, rng: np.random.Generator, *, treated: float = 0.0, pulled: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns (window, before), the later outcome and who was treated; ``pulled``: what the treatment takes from later directly."""
    before = rng.gamma(1.0, 10.0, n)
    arm = rng.random(n) < treated
    window = 0.5 * before + rng.gamma(1.0, 5.0, n) + GAIN * arm
    later = 2 + LASTING * window + 0.4 * before + rng.normal(0, 8, n) - pulled * arm
    return np.column_stack([window, before]), later, arm


def test_the_long_term_effect_is_found_and_covered_where_the_assumption_holds() -> None:
    rng = np.random.default_rng(1)
    hits, values = [], []
    for _ in range(120):
        columns, later, _ = world(400, rng)
        index = fit(columns, later, np.arange(400))
        seen, _, arm = world(300, rng, treated=0.8)
        found = effect(index, seen[arm], seen[~arm])
        hits.append(found.covers(LASTING * GAIN))
        values.append(found.value)
    assert np.mean(values) == pytest.approx(LASTING * GAIN, abs=4 * np.std(values) / 120**0.5)
    assert 0.89 <= np.mean(hits) <= 0.99  # binomial(120, .95)


def test_little_history_makes_the_interval_wider() -> None:
    rng = np.random.default_rng(2)
    seen, _, arm = world(4000, rng, treated=0.8)
    widths = []
    for n in (80, 8000):
        columns, later, _ = world(n, rng)
        found = effect(fit(columns, later, np.arange(n)), seen[arm], seen[~arm])
        widths.append(found.high - found.low)  # type: ignore[operator]
    assert widths[0] > 1.15 * widths[1]


def test_orders_that_are_pulled_forward_break_the_assumption_and_the_index_does_not_see_it() -> None:
    rng = np.random.default_rng(3)
    columns, later, _ = world(4000, rng)
    index = fit(columns, later, np.arange(4000))
    seen, truly, arm = world(4000, rng, treated=0.5, pulled=4.0)
    assert truly[arm].mean() - truly[~arm].mean() < 0
    assert effect(index, seen[arm], seen[~arm]).low > 0  # type: ignore[operator]  # which is why every report states the assumption


def test_rows_of_the_same_customer_count_less_and_bad_input_is_named() -> None:
    rng = np.random.default_rng(4)
    columns, later, _ = world(200, rng)
    once = fit(columns, later, np.arange(200))
    twice = fit(np.tile(columns, (2, 1)), np.tile(later, 2), np.tile(np.arange(200), 2))
    np.testing.assert_allclose(twice.beta, once.beta)
    np.testing.assert_allclose(twice.covariance, once.covariance, rtol=0.01)
    with pytest.raises(InputError, match="20 for each"):
        fit(columns[:50], later[:50], np.arange(50))
    with pytest.raises(InputError, match="finite"):
        fit(columns, np.full(200, np.nan), np.arange(200))
