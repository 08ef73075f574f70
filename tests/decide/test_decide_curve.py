"""What other budgets would cost and earn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from decide_world import World, learned

from tradewind.decide.curve import LEVEL, Curve, Z, curve
from tradewind.decide.policy import decide
from tradewind.errors import InputError

WORLD = World(n=200)
BUDGETS = (0, 300, 3_000, 40_000)


def found() -> Curve:
    return curve(WORLD.request(), BUDGETS)


def test_every_point_is_what_a_plan_of_that_budget_expects() -> None:
    points = found().points
    assert [one.budget for one in points] == list(BUDGETS)
    assert (points[0].cost, points[0].profit, points[0].low, points[0].high) == (0.0, 0.0, 0.0, 0.0)
    for one in points:
        plan = decide(WORLD.request(budget=one.budget))
        assert one.cost == pytest.approx(plan.meta["certificate"]["expected_cost"])
        assert one.profit == pytest.approx(plan.meta["expected_profit"])
        assert one.price == plan.meta["price"]
        assert one.cost <= one.budget
        assert one.low <= one.profit <= one.high
    assert points[2].profit > points[1].profit > 0
    assert points[3].profit > 0.9 * points[2].profit  # where the budget allows it, exploring may forgo a tenth


def test_the_interval_is_the_posterior_of_the_policys_value() -> None:
    """Effects drawn from the posterior by brute force have the same spread, and more data make it narrower."""
    from tradewind.decide.candidates import candidates
    from tradewind.decide.scene import scene

    request = WORLD.request(holdout=0.0)
    point = curve(request, [40_000]).points[0]
    plan, seen = decide(request), scene(request)
    cands, scorer = candidates(seen), seen.shelf.scorer
    _, covariance = seen.shelf.model.state.value.solve()  # type: ignore[union-attr]
    rng = np.random.default_rng(0)
    drawn = rng.multivariate_normal(np.zeros(len(covariance)), covariance, size=800, method="cholesky", check_valid="ignore")
    z = scorer.features(seen.x)
    total = np.zeros(800)
    for row, told in enumerate(plan.table["propensities"].to_pylist()):
        for slot, chance in enumerate(told[1:]):
            pattern = seen.shelf.patterns[cands.offer[row, slot] * len(seen.shelf.channels) + cands.channel[row, slot]].copy()
            pattern[scorer.numeric] = cands.discount[row, slot], cands.affinity[row, slot], cands.prior_margin[row, slot]
            total += chance * (drawn @ np.kron(pattern, z[row]))
    assert (point.high - point.low) / 2 == pytest.approx(Z * total.std(), rel=0.1)
    model = learned(WORLD, [plan])
    after = curve(replace(request, model=model), [40_000]).points[0]
    assert after.high - after.low < point.high - point.low
    assert LEVEL == 0.9


def test_it_prints_and_draws(tmp_path: Path) -> None:
    made = found()
    text = str(made)
    assert "90% interval" in text
    assert len(text.splitlines()) == 1 + len(BUDGETS)
    assert f"{made.points[3].profit / 100:,.2f}" in text
    made.save(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="Cannot write"):
        made.save(tmp_path / "no" / "curve.png")


def test_wrong_budgets_are_refused() -> None:
    with pytest.raises(InputError, match="at least one budget"):
        curve(WORLD.request(), [])
    with pytest.raises(InputError, match="budget 2 must be a whole number"):
        curve(WORLD.request(), [1, -5])
