"""The live bandit: its propensities are the truth, its log replays, and it learns what there is to learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tradewind.decide import _bandit_learner
from tradewind.decide._bandit_odds import Floors, Odds
from tradewind.decide._bandit_posterior import Prior, posterior
from tradewind.decide.bandit import Bandit, Record, pooled_rates
from tradewind.errors import InputError, NotFound

ACTIONS = {f"{offer}-{channel}": {"offer": offer, "channel": channel} for offer in "abc" for channel in ("email", "push")}
COLUMNS = ("one", "two", "three")
SLOPES = np.random.default_rng(5).standard_normal((6, 3))


def truth(context: np.ndarray) -> np.ndarray:
    return np.asarray(0.3 * SLOPES @ context)


def play(bandit: Bandit, rounds: int, *, seed: int = 0, reward: Any = truth, names: tuple[str, ...] = tuple(ACTIONS)) -> list[Record]:
    rng = np.random.default_rng(seed)
    records = []
    for context in rng.standard_normal((rounds, len(bandit.columns))):
        record = bandit.decide(context)
        noise = float(rng.standard_normal()) * 0.3
        bandit.learn([record], [float(reward(context)[names.index(record.action)]) + noise])
        records.append(record)
    return records


def fresh(seed: int = 1, **options: Any) -> Bandit:
    return Bandit(ACTIONS, columns=COLUMNS, seed=seed, **options)


def test_the_logged_propensity_is_the_frequency_of_the_draw() -> None:
    bandit = fresh()
    play(bandit, 300)
    records = bandit.decide_many(np.tile([0.4, -0.2, 0.9], (20_000, 1)))
    assert len({record.propensities for record in records}) == 1
    logged = np.array(records[0].propensities)
    counts = np.array([sum(record.action == name for record in records) for name in records[0].actions])
    assert ((counts - 20_000 * logged) ** 2 / (20_000 * logged)).sum() < 25.7  # the .9999 quantile of chi-square with 5 degrees
    assert max(logged) > 0.3


def test_a_log_replays_byte_for_byte_and_another_seed_does_not() -> None:
    assert repr(play(fresh(), 400)) == repr(play(fresh(), 400))
    assert repr(play(fresh(), 400)) != repr(play(fresh(2), 400))


def test_many_at_once_are_the_decisions_one_by_one() -> None:
    one, many = fresh(), fresh()
    play(one, 500)
    play(many, 500)
    contexts = np.random.default_rng(3).standard_normal((1_500, 3))
    assert [one.decide(row) for row in contexts] == many.decide_many(contexts)


def test_saved_and_loaded_it_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    for rounds in (0, 7, 100, 700):
        bandit = fresh(floors={"channel": 0.2})
        waiting = bandit.decide([0.1, 0.2, 0.3])
        play(bandit, rounds)
        bandit.save(tmp_path)
        loaded = Bandit.load(tmp_path)
        for each in (bandit, loaded):
            each.learn([waiting], [1.0])
        assert repr(play(bandit, 300, seed=1)) == repr(play(loaded, 300, seed=1))
    with pytest.raises(NotFound, match=r"bandit\.npz is missing"):
        Bandit.load(tmp_path / "nowhere")


@settings(max_examples=60, deadline=None)
@given(
    scores=st.lists(st.lists(st.floats(-5, 5), min_size=6, max_size=6), min_size=2, max_size=2),
    keep=st.sets(st.sampled_from(sorted(ACTIONS)), min_size=1),
    floor=st.floats(0, 0.1),
    channel=st.floats(0, 0.25),
    offer=st.floats(0, 0.15),
    u=st.floats(0, 1, exclude_max=True),
)
def test_propensities_are_floored_and_sum_to_one(
    scores: list[list[float]], keep: set[str], floor: float, channel: float, offer: float, u: float
) -> None:
    names = tuple(sorted(keep))
    weights = np.random.default_rng(0).standard_normal((64, 6, 2)) + np.array(scores).T
    floors = Floors(floor, {"channel": channel, "offer": offer}, ACTIONS)
    kept, chances, at = Odds(names, weights[:, : len(names)], floors, bent=False).one(np.array([1.0, 0.5]), u)
    assert kept == names
    assert sum(chances) == pytest.approx(1, abs=1e-12)
    assert min(chances) >= floor
    assert chances[at] > 0
    for attribute, least in (("channel", channel), ("offer", offer)):
        for value in {ACTIONS[name][attribute] for name in names}:
            had = sum(chance for name, chance in zip(names, chances, strict=True) if ACTIONS[name][attribute] == value)
            assert had >= least - 1e-12


def test_the_least_propensity_is_the_floor_exactly() -> None:
    records = play(fresh(), 600)
    assert min(min(record.propensities) for record in records) == 0.01
    assert all(record.propensity == record.propensities[record.actions.index(record.action)] for record in records)


def test_of_many_actions_the_ten_that_win_are_the_shortlist_and_floored_values_are_on_it(tmp_path: Path) -> None:
    actions = {f"{offer}{hour}": {"offer": offer, "hour": str(hour)} for offer in "abcde" for hour in range(4)}
    bandit = Bandit(actions, columns=("x",), seed=3, floors={"hour": 0.05})
    names = tuple(actions)

    def best_is_early(context: np.ndarray) -> np.ndarray:
        return np.array([float(attributes["hour"] == "0") + 0.1 * float(attributes["offer"] == "a") for attributes in actions.values()])

    last = play(bandit, 800, reward=best_is_early, names=names)[-1]
    assert len(last.actions) == len(last.propensities) == 10
    assert {"a0", "b0", "c0", "d0", "e0"} <= set(last.actions)
    for hour in range(4):
        had = sum(chance for name, chance in zip(last.actions, last.propensities, strict=True) if actions[name]["hour"] == str(hour))
        assert had >= 0.05 - 1e-12
    bandit.save(tmp_path)
    assert Bandit.load(tmp_path).decide_many(np.array([last.context])) == [bandit.decide(last.context)]


def test_it_learns_a_linear_law_and_a_bent_one() -> None:
    def bent(context: np.ndarray) -> np.ndarray:
        return np.array([(context[0] > 0) * (context[1] > 0), (context[0] <= 0) * (context[1] > 0), abs(context[2]) < 0.6, 0.3, 0.3, 0.3])

    for law, share in ((truth, 0.85), (bent, 0.7)):
        bandit = fresh()
        late = play(bandit, 4_000, reward=law)[-1_000:]
        means = np.array([law(np.array(record.context)) for record in late])
        had = means[np.arange(1_000), [list(ACTIONS).index(record.action) for record in late]].mean()
        assert had > means.mean() + share * (means.max(axis=1).mean() - means.mean())
    assert bandit.expected([1.0, 1.0, 2.0])["a-email"][0] > bandit.expected([-1.0, 1.0, 2.0])["a-email"][0] + 0.3


def test_order_and_delay_of_rewards_do_not_change_what_is_believed() -> None:
    early, late = fresh(), fresh()
    contexts = np.random.default_rng(2).standard_normal((600, 3))
    for bandit, rest in ((early, list(range(256, 600))), (late, (256 + np.random.default_rng(1).permutation(344)).tolist())):
        records = bandit.decide_many(contexts)
        rewards = {record.number: float(truth(np.array(record.context))[list(ACTIONS).index(record.action)]) for record in records}
        bandit.learn(records[:256], [rewards[at] for at in range(256)])  # from these the standardisation is taken
        bandit.flush()
        bandit.learn([records[at] for at in rest], [rewards[at] for at in rest])
        bandit.flush()
    assert np.allclose(early._learner.information, late._learner.information, rtol=1e-9)
    assert np.allclose(early._learner.vector, late._learner.vector, rtol=1e-9, atol=1e-9)


def test_a_new_action_begins_with_what_its_attributes_predict() -> None:
    def by_channel(context: np.ndarray) -> np.ndarray:
        return np.array([context[0] if attributes["channel"] == "push" else -context[0] for attributes in ACTIONS.values()])

    bandit = fresh()
    play(bandit, 1_500, reward=by_channel)
    bandit.add("d-push", {"offer": "d", "channel": "push"})
    bandit.add("e-sms", {"offer": "e", "channel": "sms"})
    found = bandit.expected([1.5, 0.0, 0.0])
    assert found["d-push"][0] > 0.7 > found["e-sms"][0]
    assert found["d-push"][1] > found["a-push"][1]  # and it is less certain
    chosen = bandit.decide_many(np.array([[1.5, 0.0, 0.0], [-1.5, 0.0, 0.0]]), eligible=["d-push", "a-email"])
    assert chosen[0].propensities[0] > 0.9
    assert chosen[1].propensities[1] > 0.9


def test_forgetting_follows_drift_and_costs_a_stationary_stream_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def share(law: Any) -> float:
        """Of what the best actions earn: what was earned in the last of 2,000 rounds after 2,000 of the first law."""
        bandit = fresh()
        play(bandit, 2_000)
        late = play(bandit, 2_000, seed=9, reward=law)[-700:]
        means = np.array([law(np.array(record.context)) for record in late])
        had = means[np.arange(700), [list(ACTIONS).index(record.action) for record in late]]
        return float(had.sum() / means.max(axis=1).sum())

    same, turned = share(truth), share(lambda context: -truth(context))
    monkeypatch.setattr(_bandit_learner, "MEMORIES", (np.inf,))
    assert same > share(truth) - 0.03
    assert turned > share(lambda context: -truth(context)) + 0.2


def test_its_state_does_not_grow() -> None:
    bandit = fresh(waiting=50)
    play(bandit, 600)
    size = bandit._learner.information.nbytes + bandit._learner.vector.nbytes
    bandit.decide_many(np.zeros((500, 3)))
    play(bandit, 1_200)
    assert bandit._learner.information.nbytes + bandit._learner.vector.nbytes == size
    assert len(bandit._pending) <= 50
    assert bandit.dropped >= 450
    assert not bandit._learner.warm
    assert len(bandit._gathered) < 512
    rng = np.random.default_rng(0)
    for _ in range(100):
        bandit.decide([0.0, 0.0, 0.0], eligible=rng.permutation(list(ACTIONS)).tolist())
    assert len(bandit._open) <= 64


def test_extreme_and_constant_columns_do_no_harm() -> None:
    bandit = Bandit({"a": {}, "b": {}}, columns=("x", "constant", "late"), seed=1)
    rng = np.random.default_rng(0)
    for number in range(1_500):
        x = float(rng.standard_normal())
        record = bandit.decide([1e6 + x, 7.0, 0.0 if number < 1_000 else 1e12])
        bandit.learn([record], [x if record.action == "a" else -x])
    assert bandit.decide([1e6 + 2, 7.0, 1e12]).propensities[0] > 0.9
    assert bandit.decide([1e6 - 2, 7.0, 1e12]).propensities[0] < 0.1


@pytest.mark.slow
def test_a_million_outcomes_leave_it_sound() -> None:
    members = np.array([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
    learner = _bandit_learner.Learner(2, members, seed=1)
    rng = np.random.default_rng(0)
    theta = np.array([[2.0, -1.0], [0.5, 0.25]])
    for block in range(250):
        x, actions = rng.standard_normal((4_000, 2)), rng.integers(0, 2, 4_000)
        rewards = 100.0 + (theta[actions] * x).sum(axis=1) + rng.standard_normal(4_000)
        learner.learn(x, actions, rewards, np.arange(4_000) + 4_000 * block)
    mean = learner.means[0][0]
    assert np.allclose(mean[:, 1:] / learner.features.scaling.scale, theta, atol=0.01)
    assert np.linalg.eigvalsh(learner.information[0]).min() > 0
    assert np.isfinite(learner.draws(rng, 32)).all()
    assert learner.centers[0] + mean[:, 0] @ [0.5, 0.5] == pytest.approx(100, abs=0.1)


def test_the_posterior_is_that_of_the_joint_model() -> None:
    """Block elimination against the whole covariance, written down plainly."""
    rng = np.random.default_rng(0)
    members = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1]], dtype=float)
    prior, plain, width, unit = Prior(), 2, 3, 1.3
    f = [rng.standard_normal((n, width)) for n in (4, 0, 7)]
    y = [rng.standard_normal(len(rows)) for rows in f]
    information = np.stack([rows.T @ rows for rows in f])
    vector = np.stack([rows.T @ each for rows, each in zip(f, y, strict=True)])
    found = posterior(information[None], vector[None], members, [prior], np.array([unit]), plain=plain, evidence=True)
    level = np.zeros((width, width))
    level[:plain, :plain] = unit**2 * np.diag(prior.level(plain))
    covariance = np.kron(members @ members.T, level) + np.kron(np.eye(3), unit**2 * np.diag(prior.action(plain, width)))
    design = np.zeros((11, 9))
    design[:4, :3], design[4:, 6:] = f[0], f[2]
    outcome = np.concatenate(y)
    whole = design @ covariance @ design.T + np.eye(11)
    mean = covariance @ design.T @ np.linalg.solve(whole, outcome)
    assert np.allclose(found.mean.ravel(), mean)
    evidence = -0.5 * outcome @ np.linalg.solve(whole, outcome) - 0.5 * np.linalg.slogdet(whole)[1]
    assert found.log_evidence[0] == pytest.approx(evidence + 0.5 * outcome @ outcome)
    after = covariance - covariance @ design.T @ np.linalg.solve(whole, design @ covariance)
    draws = found.draw(0, np.random.default_rng(1), 40_000).reshape(40_000, 9)
    assert np.allclose(np.cov(draws.T) / np.cov(draws.T)[0, 0], after / after[0, 0], atol=0.05)


def test_bad_input_is_refused_and_leaves_no_trace() -> None:
    bandit = fresh()
    record = bandit.decide([0.1, 0.2, 0.3])
    for context in ([0.1, 0.2], [0.1, float("nan"), 0.3], ["a", 1, 2], None, np.zeros((2, 3))):
        with pytest.raises(InputError, match="3 finite numbers"):
            bandit.decide(context)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="row 1 is not finite"):
        bandit.decide_many(np.array([[0, 0, 0], [0, np.inf, 0]]))
    with pytest.raises(InputError, match="no action is eligible"):
        bandit.decide([0, 0, 0], eligible=[])
    with pytest.raises(InputError, match='Did you mean "a-push"'):
        bandit.decide([0, 0, 0], eligible=["a-pusj"])
    with pytest.raises(InputError, match="one reward per record"):
        bandit.learn([record], [])
    with pytest.raises(InputError, match="finite rewards"):
        bandit.learn([record], [float("nan")])
    with pytest.raises(InputError, match="twice in one call"):
        bandit.learn([record, record], [1, 1])
    with pytest.raises(InputError, match="did not write decision 99"):
        bandit.learn([record._replace(number=99)], [1])
    for forged in (record._replace(id="other"), record._replace(context=(1.0,)), record._replace(action="z")):
        with pytest.raises(InputError, match="did not write decision 0"):
            bandit.learn([forged], [1])
    bandit.learn([record], [1.0])
    with pytest.raises(InputError, match="has its reward already"):
        bandit.learn([record], [1.0])
    assert bandit._decided == 1


def test_settings_that_cannot_hold_are_refused() -> None:
    with pytest.raises(InputError, match=r"6 actions ask for 1\.2 in all"):
        fresh(floor=0.2)
    with pytest.raises(InputError, match=r"ask for 1\.8 in all"):
        fresh(floors={"offer": 0.6})
    with pytest.raises(InputError, match=r'no attribute "chanel".*Did you mean "channel"'):
        fresh(floors={"chanel": 0.1})
    with pytest.raises(InputError, match="actions must be"):
        Bandit({}, columns=COLUMNS, seed=1)
    with pytest.raises(InputError, match="already"):
        fresh().add("a-push", {})


def test_pooled_rates_follow_the_data_as_far_as_they_go() -> None:
    rng = np.random.default_rng(0)
    segment = np.arange(400) % 2
    segments = np.array([[0.2, 0.5], [0.4, 0.1]])
    own = np.clip(segments[segment] + 0.15 * rng.standard_normal((400, 2)), 0.01, 0.99)
    tries = rng.integers(0, 30, (400, 2)).astype(float)
    hits = rng.binomial(tries.astype(int), own).astype(float)
    found = pooled_rates(hits, tries, segment)
    raw = np.where(tries > 0, hits / np.maximum(tries, 1), (hits.sum() / tries.sum()))
    assert ((found - own) ** 2).mean() < 0.7 * min(((raw - own) ** 2).mean(), ((segments[segment] - own) ** 2).mean())
    assert np.allclose(found[(tries == 0)[:, 0] & (segment == 0), 0], 0.2, atol=0.05)
    same = rng.binomial(10, 0.3, (400, 2)).astype(float)
    assert pooled_rates(same, np.full((400, 2), 10.0), segment).std() < 0.02  # no differences: everybody is alike
    with pytest.raises(InputError, match="0 <= hits <= tries"):
        pooled_rates(tries + 1, tries, segment)
