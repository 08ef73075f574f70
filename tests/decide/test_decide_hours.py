"""The hour of sending follows the answers of a segment where they differ, and the profile where they do not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from tradewind.decide.hours import FEWEST, SLOT, with_hours

STAGES = ("active", "lapsed")


def people(n: int) -> pa.Table:
    return pa.table(
        {
            "customer": [f"c{k:04d}" for k in range(n)],
            "stage": [STAGES[k % 2] for k in range(n)],
            "best_hour": pa.array([12] * n, pa.int8()),
            "hour_confidence": [0.1] * n,
        }
    )


def answers(n: int, rate: np.ndarray, *, each: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Hits and tries where a customer of stage s answers in slot t with ``rate[s, t]``."""
    rng = np.random.default_rng(seed)
    tries = np.full((n, 24 // SLOT), float(each))
    return rng.binomial(each, rate[np.arange(n) % 2]).astype(float), tries


def test_a_segment_that_answers_in_the_evening_is_written_to_in_the_evening() -> None:
    rate = np.full((2, 24 // SLOT), 0.1)
    rate[0, 6], rate[1, 3] = 0.5, 0.5
    found = with_hours(people(400), *answers(400, rate))
    hours = np.array(found["best_hour"].to_pylist())
    assert np.mean(hours[::2] == 6 * SLOT + 1) > 0.9
    assert np.mean(hours[1::2] == 3 * SLOT + 1) > 0.9
    assert found.schema.equals(people(400).schema)
    assert set(found["hour_confidence"].to_pylist()) == {1.0}


def test_without_answers_or_messages_the_profile_stays() -> None:
    none = np.zeros((50, 24 // SLOT))
    assert with_hours(people(50), none, none).equals(people(50))
    few = none.copy()
    few[0, 3] = FEWEST - 1
    assert with_hours(people(50), none, few).equals(people(50))
    same = np.full((50, 24 // SLOT), 4.0)
    assert with_hours(people(50), same / 4, same).equals(people(50)), "everybody answers alike at all times"


def test_a_slot_that_was_never_tried_is_never_chosen() -> None:
    rate = np.full((2, 24 // SLOT), 0.2)
    rate[:, 2] = 0.4
    hits, tries = answers(300, rate)
    hits[:, 5], tries[:, 5] = 0.0, 0.0
    assert 5 * SLOT + 1 not in with_hours(people(300), hits, tries)["best_hour"].to_pylist()
