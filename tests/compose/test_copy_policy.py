"""The copy policy finds what was planted, departs from the template with evidence only, and logs probabilities that are the true ones."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from compose_kit import coupon, facts, item
from copy_kit import START, library, sent

from tradewind.compose.base import Brief, Draft
from tradewind.compose.components import Components
from tradewind.compose.copy_value import copy_value, likelihood
from tradewind.compose.policy import CopyPolicy, Fixed
from tradewind.compose.sent import faded, segments, shares_of, with_history
from tradewind.errors import InputError, NotFound

EVEN = {"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0}
BEST = {"a": 0.0, "b": 0.12, "c": -0.05, "d": 0.0}
HOOKS = library()


def chances(policy: CopyPolicy, names: str = "abcd", segment: str | None = "new", seen: dict[str, float] | None = None) -> list[float]:
    return list(policy.chooser(segment=segment, seen=seen).chances("hook", tuple(names)))


class Weighted:
    """A chooser with known probabilities."""

    def chances(self, role: str, names: Sequence[str]) -> list[float]:
        weight = [number + 1 for number in range(len(names))]
        return [one / sum(weight) for one in weight]


def test_the_logged_propensity_is_the_rate_of_the_wording_under_a_chooser() -> None:
    found, runs = facts(item(), coupon(percent=20)), 4000
    counts: Counter[tuple[str, ...]] = Counter()
    told: dict[tuple[str, ...], float] = {}
    for key in range(runs):
        draft = Components().write(Brief(str(key), "push", "en", chooser=Weighted()), facts=found, seed=9)
        assert isinstance(draft, Draft)
        product = np.prod([among[name] for among in draft.shares.values() for name in among if name in {*draft.components, draft.tone}])
        assert draft.propensity == pytest.approx(product)
        counts[draft.tone, *draft.components] += 1
        told[draft.tone, *draft.components] = draft.propensity
    assert sum(told.values()) == pytest.approx(1.0, abs=0.01)
    for wording, chance in told.items():
        assert abs(counts[wording] - runs * chance) < 4.5 * (runs * chance * (1 - chance)) ** 0.5 + 1


def test_the_fixed_template_is_the_first_that_fits_for_everybody() -> None:
    drafts = [Components().write(Brief(str(key), "push", "en", chooser=Fixed()), facts=facts(item()), seed=key) for key in range(20)]
    assert len({draft.components for draft in drafts if isinstance(draft, Draft)}) == 1
    assert all(isinstance(draft, Draft) and draft.propensity == 1.0 for draft in drafts)


def test_the_policy_finds_the_best_and_keeps_every_alternative_possible() -> None:
    policy = CopyPolicy.learn(sent(4000, BEST), HOOKS.components)
    found = chances(policy)
    assert found[1] > 0.9
    assert min(found) >= policy.floor * (1 - 1e-9)
    assert sum(found) == pytest.approx(1.0)
    assert policy.effects(["b", "c"]).mean(axis=0) == pytest.approx([0.10, -0.07], abs=0.04)


def test_a_segment_departs_from_all_only_with_evidence_of_its_own() -> None:
    own = {("new", "a"): 0.2, ("active", "d"): 0.2}
    policy = CopyPolicy.learn(sent(3000, EVEN, own=own), HOOKS.components)
    assert chances(policy, segment="new")[0] > 0.8
    assert chances(policy, segment="active")[3] > 0.8
    flat = CopyPolicy.learn(sent(3000, EVEN), HOOKS.components)
    apart = np.abs(flat.effects(["a", "d"], segment="new") - flat.effects(["a", "d"])).mean()
    assert apart < 0.02


def test_who_knows_nothing_chooses_nearly_alike() -> None:
    means = np.mean([chances(CopyPolicy.learn(sent(250, EVEN, seed=seed), HOOKS.components)) for seed in range(8)], axis=0)
    assert means == pytest.approx([0.25] * 4, abs=0.1)


def test_a_log_without_segments_is_learned_for_all() -> None:
    policy = CopyPolicy.learn(sent(2000, BEST, segments=(None,)), HOOKS.components)
    assert chances(policy, segment=None) == chances(policy, segment="new")
    assert chances(policy, "bz")[0] > 0.5  # against one that nobody knows
    assert chances(policy)[1] > 0.8


def test_what_is_new_begins_with_what_its_traits_earned() -> None:
    hooks = library({"e": "And {title}?", "f": "Our own {title}"})
    rows = sent(4000, {"a": 0.0, "b": 0.15, "c": -0.15, "d": 0.0})
    policy = CopyPolicy.learn(rows, HOOKS.components).with_library(hooks.components)
    question, ours = policy.effects(["e", "f"]).mean(axis=0)
    assert question > ours
    assert policy.chooser(segment=None).chances("hook", ("e", "f"))[0] > 0.4


def test_the_same_log_gives_the_same_policy_and_it_survives_the_disk(tmp_path: Path) -> None:
    rows = sent(1000, BEST)
    one, two = (CopyPolicy.learn(rows, HOOKS.components, seed=3) for _ in range(2))
    one.save(tmp_path / "p")
    again = CopyPolicy.load(tmp_path / "p")
    assert chances(one) == chances(two) == chances(again)
    assert chances(one, segment="nobody") == chances(again, segment=None)
    with pytest.raises(NotFound, match="no copy policy"):
        CopyPolicy.load(tmp_path / "nowhere")


def test_what_was_just_seen_is_said_less_often() -> None:
    policy = CopyPolicy.learn(sent(1500, {"a": 0.0, "b": 0.03, "c": 0.0, "d": 0.0}), HOOKS.components)
    fresh, tired = chances(policy)[1], chances(policy, seen={"b": 3.0})[1]
    assert tired < fresh
    assert chances(policy, seen={"z": 9.0}) == chances(policy)  # what does not fit here changes nothing


def test_fatigue_is_learned_from_repetition() -> None:
    rng, rows = np.random.default_rng(5), []
    for row in with_history(sent(2500, EVEN, customers=25, base=0.4)):
        rate = 0.4 - 0.2 * min(row.seen.get(row.chosen["hook"], 0.0), 2.0)
        rows.append(replace(row, clicked=bool(rng.random() < rate)))
    learned = CopyPolicy.learn(rows, HOOKS.components)
    wear = float(learned.belief.mean[learned.layout.blocks["fatigue"]][0])
    none = CopyPolicy.learn(with_history(sent(6000, EVEN, customers=60, base=0.4)), HOOKS.components)
    assert wear < -0.03
    assert abs(float(none.belief.mean[none.layout.blocks["fatigue"]][0])) < 0.02


def test_memory_fades() -> None:
    history = [(START, ("a", "b")), (START + timedelta(days=14), ("a",))]
    assert faded(history, START + timedelta(days=28))["a"] == pytest.approx(np.exp(-2) + np.exp(-1))
    assert faded(history, START) == {}


def test_the_control_is_a_share_of_the_customers_for_ever() -> None:
    policy = CopyPolicy.learn(sent(300, EVEN), HOOKS.components, control=0.1)
    inside = [policy.controls(f"c{n}", salt="s") for n in range(5000)]
    assert sum(inside) / 5000 == pytest.approx(0.1, abs=0.02)
    assert inside == [policy.controls(f"c{n}", salt="s") for n in range(5000)]
    assert inside != [policy.controls(f"c{n}", salt="t") for n in range(5000)]


def test_few_messages_one_component_and_words_that_are_gone() -> None:
    with pytest.raises(InputError, match="200 messages or more"):
        CopyPolicy.learn(sent(100, EVEN), HOOKS.components)
    with pytest.raises(InputError, match="200 messages or more that had a choice"):
        CopyPolicy.learn(sent(1000, {"a": 0.0}), HOOKS.components)
    policy = CopyPolicy.learn(sent(1000, {**EVEN, "gone": 0.1}), HOOKS.components)
    assert list(policy.chooser(segment=None).chances("hook", ("a",))) == [1.0]
    assert len(chances(policy)) == 4  # what left the library is learned on, never offered
    with pytest.raises(InputError, match="floor must be a share"):
        CopyPolicy.learn(sent(300, EVEN), HOOKS.components, floor=0.7)


def test_logs_that_do_not_hold_together_are_not_learned_from() -> None:
    good = {"tone": "warm", "shares": json.dumps({"tone": {"warm": 0.5, "plain": 0.5}, "hook": {"a": 0.25, "b": 0.75}})}
    assert shares_of(good, ("a",)) == (json.loads(good["shares"]), {"tone": "warm", "hook": "a"})
    assert shares_of({}, ("a",)) is None
    assert shares_of({**good, "shares": "{"}, ("a",)) is None
    assert shares_of(good, ("z",)) is None  # what was said could not have been said
    assert shares_of({**good, "shares": json.dumps({"hook": {"a": 0.0, "b": 1.0}})}, ("a",)) is None


def test_the_off_policy_value_is_the_true_one_and_its_interval_covers() -> None:
    judged = CopyPolicy.learn(sent(3000, BEST, seed=1), HOOKS.components)
    rates = np.array([0.2 + BEST[name] for name in "abcd"])
    truth = {segment: float(np.dot(chances(judged, segment=segment), rates)) for segment in ("new", "active")}
    middle = (truth["new"] + truth["active"]) / 2
    found = [copy_value(sent(1000, BEST, seed=100 + run), judged) for run in range(24)]
    values = np.array([one.value for one in found])
    assert abs(values.mean() - middle) < 3.5 * values.std() / 24**0.5
    assert sum(one.covers(middle) for one in found) >= 20


def test_an_off_policy_value_without_support_has_no_interval() -> None:
    judged = CopyPolicy.learn(sent(3000, BEST, seed=1), HOOKS.components)
    found = copy_value(sent(60, BEST, seed=2), judged)
    assert (found.low, found.high) == (None, None)
    assert "too little support" in found.note
    rows = sent(50, BEST)
    assert likelihood(rows[0], judged.chooser(segment=rows[0].segment)) == pytest.approx(
        dict(zip("abcd", chances(judged, segment=rows[0].segment), strict=True))[rows[0].chosen["hook"]]
    )
    with pytest.raises(InputError, match="two messages or more"):
        copy_value([], judged)


def test_segments_are_read_from_what_a_plan_logged() -> None:
    table = pa.table(
        {"decision_id": ["d1", "d2"], "x:stage=new": [1.0, 0.0], "x:stage=active": [0.0, 1.0], "x:discount_affinity": [0.0, 0.8]}
    )
    assert segments(table) == {"d1": "new", "d2": "active+deals"}
    assert segments(None) == segments(table.select(["decision_id"])) == {}
