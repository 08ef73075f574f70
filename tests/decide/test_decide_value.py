"""The value model: its algebra against brute force, coverage of its posterior, forgetting, saving, and its errors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from decide_world import World, learned

from tradewind.decide import learning
from tradewind.decide.linear import HETEROS, SPREADS, Surface, gram
from tradewind.decide.logs import Logged, join
from tradewind.decide.plan import Plan
from tradewind.decide.policy import decide
from tradewind.decide.value import Scorer, ValueModel
from tradewind.errors import InputError, SchemaError, StateError

NAMES = ("contact", "discount", "affinity")


def logged(n: int, *, seed: int, theta: np.ndarray, noise: float = 1.0, slots: int = 3) -> tuple[Logged, np.ndarray]:
    """Decisions with random candidates and propensities, a wild base line and the true effects ``a' theta z``."""
    rng = np.random.default_rng(seed)
    z = np.column_stack([np.ones(n), rng.normal(size=(n, theta.shape[1] - 1))])
    actions = np.stack([np.ones((n, slots)), rng.uniform(0, 0.5, (n, slots)), rng.uniform(0, 1, (n, slots))], axis=2)
    chance = rng.dirichlet(np.full(slots + 1, 1.0), n) * (1 - 0.01 * (slots + 1)) + 0.01
    choice = (rng.random((n, 1)) > np.cumsum(chance, axis=1)).sum(axis=1).clip(max=slots)
    effect = np.einsum("nsq,qp,np->ns", actions, theta, z)
    base = 5.0 + 3.0 * np.sin(2 * z[:, 1])
    y = base + np.where(choice > 0, effect[np.arange(n), choice - 1], 0.0) + rng.normal(0, noise, n)
    taken = np.arange(1, slots + 1)[None, :] == choice[:, None]
    found = Logged(
        x=z[:, 1:],
        y=y,
        cost=np.zeros(n),
        unit=np.array([f"u{k}" for k in range(n)], dtype=object),
        starts=np.arange(n + 1) * slots,
        actions=actions.reshape(-1, 3),
        chance=chance[:, 1:].ravel(),
        prior=np.zeros(n * slots),
        prior_cost=np.zeros(n * slots),
        taken=taken.ravel(),
    )
    return found, z


def test_information_is_generalised_least_squares_of_doubly_robust_outcomes() -> None:
    """The division-free sums equal the brute force: pseudo-outcomes with 1/e, weighted by their inverse covariance."""
    theta = np.array([[2.0, 1.0], [0.5, -1.0], [0.0, 0.3]])
    found, z = logged(40, seed=1, theta=theta)
    rng = np.random.default_rng(2)
    effect, base = rng.normal(size=120), rng.normal(size=40)
    acted = np.full(40, -1)
    acted[found.owner[found.taken]] = np.flatnonzero(found.taken)
    predicted = base + np.where(acted >= 0, effect[acted], 0.0)
    told = rng.uniform(0.5, 2.0, 40)  # how much each decision counts
    information, vector, _ = learning._information(found, z, effect, found.y - predicted, told)
    wanted, right = np.zeros_like(information), np.zeros_like(vector)
    for row in range(40):
        part = slice(3 * row, 3 * row + 3)
        e, e0 = found.chance[part], 1 - found.chance[part].sum()
        m = base[row] + effect[part]
        pseudo = m - base[row] + found.taken[part] / e * (found.y[row] - m) - (acted[row] < 0) / e0 * (found.y[row] - base[row])
        weight = told[row] * np.linalg.inv(np.diag(1 / e) + 1 / e0)
        phi = np.einsum("sq,p->sqp", found.actions[part], z[row]).reshape(3, -1)
        wanted += phi.T @ weight @ phi
        right += phi.T @ weight @ pseudo
    np.testing.assert_allclose(information, wanted, rtol=1e-9)
    np.testing.assert_allclose(vector, right, rtol=1e-8, atol=1e-8)


def test_gram_is_the_sum_of_kronecker_products() -> None:
    rng = np.random.default_rng(0)
    matrices, z = rng.normal(size=(5, 3, 3)), rng.normal(size=(5, 2))
    np.testing.assert_allclose(gram(matrices, z), sum(np.kron(m, np.outer(v, v)) for m, v in zip(matrices, z, strict=True)))


def test_posterior_recovers_the_effects_and_covers_them() -> None:
    """Over many logs with a wild base line the 95 % intervals of customers' effects cover the truth, and errors are small."""
    theta = np.array([[2.0, 1.0], [0.5, -1.0], [0.0, 0.3]])
    covered, errors = [], []
    for seed in range(60):
        found, z = logged(1_000, seed=seed, theta=theta)
        value = Surface.prior(NAMES, 2, 100.0)
        lesson = learning.lesson(found, z, value, np.zeros(2), folds=5)
        mean, covariance = value.learned(*lesson.value).solve()
        phi = np.einsum("rq,rp->rqp", found.actions[:60], z[found.owner[:60]]).reshape(60, -1)
        truth = phi @ theta.ravel()
        sd = np.sqrt(np.einsum("ij,jk,ik->i", phi, covariance, phi))
        error = phi @ mean.ravel() - truth
        errors.append(error.mean())
        covered.append(np.abs(error) < 1.96 * sd)
    assert abs(np.mean(errors)) < 3 * np.std(errors) / np.sqrt(60)
    assert 0.92 < np.mean(covered) < 0.99


def test_decisions_of_noisy_customers_count_less() -> None:
    """Where who buys much varies much, weights of the noise halve the squared error, and the intervals still cover."""
    theta = np.array([[2.0, 0.5], [0.5, 0.0], [0.0, 0.0]])
    errors: dict[float, list[float]] = {learning.MOST: [], 1.0: []}
    covered = []
    for seed in range(40):
        found, z = logged(1_200, seed=seed, theta=theta, noise=0.5)
        rng = np.random.default_rng(seed)
        habit = np.where(z[:, 1] > 0.5, 8.0, 0.5)  # expected margin and noise go together
        found = replace(found, y=found.y + habit + rng.normal(size=1_200) * habit)
        value = Surface.prior(NAMES, 2, 20.0)
        for most, missed in errors.items():
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(learning, "MOST", most)
                lesson = learning.lesson(found, z, value, np.zeros(2), folds=5)
            mean, covariance = value.learned(*lesson.value).solve()
            phi = np.kron([1.0, 0.25, 0.5], [1.0, -0.5])
            missed.append(float(phi @ mean.ravel() - phi @ theta.ravel()))
            if most > 1:
                covered.append(abs(missed[-1]) < 1.96 * np.sqrt(phi @ covariance @ phi))
    assert np.mean(np.square(errors[learning.MOST])) < 0.5 * np.mean(np.square(errors[1.0]))
    assert np.mean(covered) > 0.85


def test_differences_between_customers_need_strong_evidence() -> None:
    """Of the priors whose evidence is within a factor of twenty of the best, the one with the least differences is kept."""
    theta = np.zeros((3, 6))
    theta[0] = 3.0, *np.full(5, 0.6)
    kept = []
    for n, noise in ((150, 8.0), (4_000, 1.0)):
        found, z = logged(n, seed=6, theta=theta, noise=noise)
        start = Surface.prior(NAMES, 6, 10.0)
        surface = start.learned(*learning.lesson(found, z, start, np.zeros(6), folds=5).value)
        every = {(spread, hetero): replace(surface, spread=spread, hetero=hetero).evidence() for spread in SPREADS for hetero in HETEROS}
        assert every[surface.spread, surface.hetero] >= max(every.values()) - 3.0
        assert not any(found >= max(every.values()) - 3.0 for (_, hetero), found in every.items() if hetero < surface.hetero)
        kept.append(surface.hetero)
    assert kept[0] == min(HETEROS) < kept[1]


def test_a_prior_that_is_wrong_by_a_factor_is_scaled() -> None:
    """Effects are 0.4 of what was expected, of whatever action and customer: one number learns it, and the cost head has none."""
    names = (*NAMES, "prior_margin")
    theta = np.zeros((3, 2))
    found, z = logged(3_000, seed=8, theta=theta, noise=20.0)
    expected = np.random.default_rng(9).uniform(0, 60, len(found.taken))
    y = found.y.copy()
    y[found.owner[found.taken]] += 0.4 * expected[found.taken]
    told = replace(found, y=y, prior=expected, actions=np.column_stack([found.actions, expected]))
    start = Surface.prior(names, 2, 30.0)
    mean, _ = start.learned(*learning.lesson(told, z, start, np.zeros(2), folds=5).value).solve()
    effect = expected + told.actions @ mean[:, 0]
    assert np.sqrt(np.mean((effect - 0.4 * expected) ** 2)) < 0.15 * np.sqrt(np.mean((0.6 * expected) ** 2))
    assert (Surface.prior(names, 2, 30.0, trust=0.0).deviations().reshape(4, 2)[3] == 0).all()


def test_without_differences_between_customers_the_arm_mean_is_kept() -> None:
    flat = np.zeros((3, 6))
    flat[0, 0] = 3.0
    found, z = logged(1_500, seed=4, theta=flat)
    start = Surface.prior(NAMES, 6, 10.0)
    surface = start.learned(*learning.lesson(found, z, start, np.zeros(6), folds=5).value)
    mean, _ = surface.solve()
    assert surface.hetero <= 0.1
    assert np.abs(mean[:, 1:]).max() < 0.2
    assert abs(mean[0, 0] + 0.25 * mean[1, 0] + 0.5 * mean[2, 0] - 3.0) < 0.4


def test_forgetting_returns_to_the_prior_and_a_drifted_truth_is_followed() -> None:
    theta = np.array([[2.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    found, z = logged(800, seed=3, theta=theta)
    start = Surface.prior(NAMES, 2, 10.0)
    known = start.learned(*learning.lesson(found, z, start, np.zeros(2), folds=5).value)
    assert np.trace(known.decayed(0.01).solve()[1]) > 3 * np.trace(known.solve()[1])
    np.testing.assert_allclose(known.decayed(0.0).solve()[0], 0.0)


@pytest.fixture(scope="module")
def world() -> World:
    return World(n=800)


@pytest.fixture(scope="module")
def first(world: World) -> Plan:
    return decide(world.request(budget=10**6))


def test_the_holdout_and_the_propensities_enter_the_log(world: World, first: Plan) -> None:
    model = learned(world, [first])
    assert model.state is not None
    found = join(first, world.outcomes(first, seed=1), columns=model.columns, names=model.state.value.names)
    total = np.add.reduceat(found.chance, found.starts[:-1][np.diff(found.starts) > 0])
    assert (total <= 0.9).all()
    held = np.array(first.table["variant"].to_pylist()) == "holdout"
    assert not found.taken[np.isin(found.owner, np.flatnonzero(held))].any()
    weight = found.taken / found.chance
    assert abs(np.add.reduceat(weight, found.starts[:-1]).mean() - np.diff(found.starts).mean()) < 6  # mean weight one per candidate


def test_update_equals_learning_more_and_saves_without_pickle(world: World, first: Plan, tmp_path: Path) -> None:
    outcomes = world.outcomes(first, seed=1)
    model = ValueModel().fit([(first, outcomes)])
    assert model.rows == 800
    assert not model.version.startswith("prior")
    assert ValueModel().version.startswith("prior")
    model.save(tmp_path / "model")
    loaded = ValueModel.load(tmp_path / "model")
    assert loaded.version == model.version
    request = world.request(model=model)
    assert decide(request).to_bytes() == decide(replace(request, model=loaded)).to_bytes()
    second = decide(replace(request, seed=77))
    more = loaded.update(second, world.outcomes(second, seed=2))
    assert more.rows == 800 + second.table["mode"].to_pylist().count("policy")
    z = Scorer(more).features(np.zeros((1, len(more.columns))))
    pattern = np.array([name in ("contact", "kind=product", "channel=email", "offer=pick") for name in Scorer(more).names], dtype=float)
    at = [np.zeros(1), np.ones(1), np.ones(1)]
    assert Scorer(more).deviations(z, pattern, at) < Scorer(model).deviations(z, pattern, at)
    with pytest.raises(StateError, match="already"):
        more.update(second, outcomes)


def test_the_cost_head_learns_what_redemption_really_costs(world: World) -> None:
    plans = [decide(world.request(budget=10**6, seed=seed, explore=1.0)) for seed in range(4)]
    plan = decide(world.request(model=learned(world, plans)))
    costs = [
        cost
        for row in plan.table.select(["candidates", "costs"]).to_pylist()
        for action, cost in zip(row["candidates"], row["costs"], strict=True)
        if action.startswith("ten")
    ]
    assert abs(np.mean(costs) - world.cost("ten||email")) < 15


def test_immature_and_overridden_rows_are_left_out(world: World, first: Plan) -> None:
    outcomes = world.outcomes(first, seed=1)
    half = outcomes.set_column(3, "matured", pa.array([row % 2 == 0 for row in range(800)]))
    assert ValueModel().fit([(first, half)]).rows == 400
    modes = pa.array(["override" if row < 100 else "policy" for row in range(800)])
    forced = Plan(first.table.set_column(first.table.column_names.index("mode"), "mode", modes), first.meta, first.features)
    assert ValueModel().fit([(forced, outcomes)]).rows == 700
    assert ValueModel().fit([(first, outcomes.set_column(3, "matured", pa.array([False] * 800)))]).rows == 0


def test_wrong_logs_say_what_is_wrong(world: World, first: Plan) -> None:
    outcomes = world.outcomes(first, seed=1)
    with pytest.raises(InputError, match="at least one plan"):
        ValueModel().fit([])
    with pytest.raises(SchemaError, match='need the column "margin"'):
        ValueModel().fit([(first, outcomes.drop_columns(["margin"]))])
    with pytest.raises(InputError, match="No outcome belongs to plan"):
        ValueModel().fit([(first, outcomes.slice(0, 0))])
    with pytest.raises(InputError, match="twice"):
        ValueModel().fit([(first, pa.concat_tables([outcomes, outcomes]))])
    with pytest.raises(InputError, match="no features"):
        ValueModel().fit([(Plan(first.table, first.meta), outcomes)])
    with pytest.raises(InputError, match="folds must be"):
        ValueModel(folds=1).fit([(first, outcomes)])
    chances = first.table["propensities"].to_pylist()
    chances[0] = [float("nan")] * len(chances[0])
    bad = first.table.set_column(first.table.column_names.index("propensities"), "propensities", pa.array(chances))
    with pytest.raises(InputError, match="missing or impossible propensities"):
        ValueModel().fit([(Plan(bad, first.meta, first.features), outcomes)])
