"""Groups compared: known ratios, intervals that hold together, and what cannot be judged."""

from __future__ import annotations

import numpy as np
import pytest

from tradewind.errors import InputError
from tradewind.stats.fairness import compare


def test_ratios_by_hand() -> None:
    found = compare([1.0] * 30 + [3.0] * 30 + [0.0] * 30, ["a"] * 30 + ["b"] * 30 + ["c"] * 30)
    assert [share.mean.value for share in found] == [1, 3, 0]
    ratios = [share.ratio for share in found]
    assert [round(one.value, 4) for one in ratios if one] == [round(1 / 1.5, 4), 6.0, 0.0]
    assert ratios[2] is not None
    assert ratios[2].high == pytest.approx(3 / 30 * 3 / 2)


def test_the_intervals_of_all_ratios_hold_together() -> None:
    rng, groups = np.random.default_rng(0), ["a"] * 300 + ["b"] * 200 + ["c"] * 100
    together = 0
    for _ in range(300):
        found = compare(rng.gamma(0.5, 2.0, 600), groups)
        together += all(share.ratio is not None and share.ratio.covers(1.0) for share in found)
    assert together / 300 >= 0.92


def test_small_groups_are_shown_and_not_judged() -> None:
    few = compare([1.0] * 10 + [2.0] * 100, ["few"] * 10 + ["many"] * 100)
    assert [share.ratio for share in few] == [None, None]
    assert "fewer than 30" in few[0].why
    nothing = compare([1.0] * 40 + [0.0] * 40, ["some", *["some"] * 39, *["none"] * 40])
    assert nothing[1].why == "all other groups get nothing"
    with pytest.raises(InputError, match="one group only"):
        compare([1.0, 2.0], ["a", "a"])
    with pytest.raises(InputError, match="0 or more"):
        compare([1.0, -2.0], ["a", "b"])
