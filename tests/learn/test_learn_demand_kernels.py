"""Kernels of demand: known answers, unknown periods that move nothing, and the same row by row as all at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.learn import _demand_kernels as smooth
from tradewind.learn._demand_select import KERNELS
from tradewind.learn._demand_sparse import ALPHA, added

NAN = float("nan")


def rows(*values: list[float]) -> np.ndarray:
    return np.array(values, dtype=np.float64)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("season", [1, 4])
def test_a_constant_is_forecast_as_itself(name: str, season: int) -> None:
    y = np.full((2, 24), 3.0)
    y[1, :6] = NAN  # begins later
    factor = 1 - ALPHA / 2 if name == "croston_sba" else 1.0
    np.testing.assert_allclose(KERNELS[name](y, 5, season=season), 3.0 * factor, rtol=1e-9)


@pytest.mark.parametrize("name", KERNELS)
def test_odd_rows_are_defined(name: str) -> None:
    y = rows([NAN] * 8, [0.0] * 8, [NAN] * 7 + [2.0], [5.0] + [NAN] * 7)
    found = KERNELS[name](y, 3, season=4)
    assert found.shape == (4, 3)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (found[:2] == 0).all()
    assert KERNELS[name](np.zeros((0, 8)), 3, season=4).shape == (0, 3)
    assert np.isfinite(KERNELS[name](rows([2.0]), 3, season=1)).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_series_do_not_know_each_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.poisson(0.7, (5, 23)).astype(float)
    y[rng.random(y.shape) < 0.2] = NAN
    for name, kernel in KERNELS.items():
        together = kernel(y, 6, season=7)
        alone = np.concatenate([kernel(row[None], 6, season=7) for row in y])
        np.testing.assert_allclose(together, alone, rtol=1e-12, err_msg=name)


def test_a_period_out_of_stock_is_not_a_period_without_demand() -> None:
    sold = np.array([4.0, 5, 3, 4, 5, 4, 3, 4, 4, 5, 4, 3])
    gone, zero = sold.copy(), sold.copy()
    gone[6:11], zero[6:11] = NAN, 0.0
    for name in ("ses", "moving_average", "tsb", "adida", "imapa"):
        masked, counted = KERNELS[name](rows(list(gone), list(zero)), 1)[:, 0]
        assert masked > 1.2 * counted, name
        assert 3 < masked < 5, name


def test_naive_and_seasonal_naive_repeat_what_was_known_last() -> None:
    y = rows([1, 2, 3, 4, 5, 6, NAN])
    assert smooth.naive(y, 2).tolist() == [[6, 6]]
    assert smooth.seasonal_naive(y, 4, season=3).tolist() == [[5, 6, 4, 5]]


def test_holt_follows_a_trend_and_theta_half_of_it() -> None:
    y = np.arange(1.0, 41.0)[None]
    assert smooth.holt_damped(y, 5)[0, 4] > 42
    ahead = smooth.theta(y, 3)[0]
    np.testing.assert_allclose(np.diff(ahead), 0.5)


def test_tsb_fades_and_croston_does_not() -> None:
    y = rows([2.0, 0, 2, 0, 2, 0, 2] + [0.0] * 30)
    assert KERNELS["tsb"](y, 1)[0, 0] < 0.1
    assert KERNELS["croston_sba"](y, 1)[0, 0] > 0.5


def test_blocks_are_counted_from_the_end_and_know_what_is_unknown() -> None:
    np.testing.assert_allclose(added(rows([9, 1, 3, NAN, 5, NAN, NAN]), 2), [[2, 5, NAN]])


def test_a_profile_finds_the_day_of_the_week_and_a_closed_day() -> None:
    week = np.array([0.0, 10, 12, 11, 10, 20, 30])
    y = np.random.default_rng(0).poisson(np.tile(week, (40, 30))).astype(float)
    ahead = smooth.seasoned(KERNELS["ses"])(y, 7, season=7)
    np.testing.assert_allclose(ahead.mean(axis=0), week, rtol=0.1, atol=0.05)
