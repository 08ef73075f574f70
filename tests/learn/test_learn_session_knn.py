"""Session neighbours against the definition written out visit by visit, and the rules at its edges."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from recommend_worlds import CUT, END, HOUR, hour, log, of

from tradewind.errors import InputError
from tradewind.learn.sequences import KINDS, Sequences
from tradewind.learn.session_knn import SessionKnn

WEIGHTS = {"view": 0.3, "cart": 0.6, "purchase": 1.0}
PLAIN: dict[str, Any] = {"query": 1.0, "idf": 0.0, "half_life": 1e6, "sharpness": 1.0, "popularity": 0.0, "gap_hours": 10.0}


def visits(events: Sequences, row: int, gap: float) -> list[list[tuple[str, float, int]]]:
    """Visits of one customer: (item, weight, at), the same item in a row once, as its strongest event."""
    found: list[list[tuple[str, float, int]]] = []
    before = None
    for place in range(events.offsets[row], events.offsets[row + 1]):
        item, at = int(events.item[place]), int(events.at[place])
        weight = WEIGHTS.get(KINDS[events.kind[place]], 0.0)
        if item < 0 or not weight:
            continue
        if before is None or at - before > gap * HOUR:
            found.append([])
        before = at
        name = str(events.items[item])
        if found[-1] and found[-1][-1][0] == name:
            found[-1][-1] = (name, max(weight, found[-1][-1][1]), found[-1][-1][2])
        else:
            found[-1].append((name, weight, at))
    return found


def newest(current: list[tuple[str, float, int]], shared: set[str]) -> str:
    return next(item for item, _, _ in reversed(current) if item in shared)


def said(model: SessionKnn, visit: list[tuple[str, float, int]], centre: int) -> list[tuple[str, float, float]]:
    """Item, weight and nearness of every event of a neighbour within the window."""
    moments = sorted({at for _, _, at in visit})
    found = []
    for place, (item, weight, at) in enumerate(visit):
        step = moments.index(at) - moments.index(visit[centre][2])
        factor = model.forward ** max(step - 1, 0) if step >= 0 else model.backward ** (-step - 1)
        if abs(place - centre) <= model.window:
            found.append((item, weight, model.itself if place == centre else factor))
    return found


def slow(model: SessionKnn, past: Sequences, asked: Sequences, as_of: int) -> list[dict[str, float]]:
    """Scores by the docstring, in loops."""
    gap = model.gap_hours
    shop = [(name, visit) for row, name in enumerate(past.customers) for visit in visits(past, row, gap)]
    holders: dict[str, int] = defaultdict(int)
    for _, visit in shop:
        for item in {item for item, _, _ in visit}:
            holders[item] += 1
    answers = []
    for row, name in enumerate(asked.customers):
        scores: dict[str, float] = defaultdict(float)
        mine = visits(asked, row, gap)
        current = mine[-1] if mine else []
        times = sorted({at for _, _, at in current})
        query = {item: weight * model.query ** (len(times) - 1 - times.index(at)) for item, weight, at in current[-model.last :]}
        near = []
        for owner, visit in shop:
            if owner == name and current and visit[0][2] >= current[0][2]:
                continue
            shared = {item for item, _, _ in visit} & query.keys()
            if shared:
                age = (as_of - visit[-1][2]) / (24 * HOUR)
                rarity = {item: np.log1p(len(shop) / holders[item]) ** model.idf for item in shared}
                near.append((sum(query[item] * rarity[item] for item in shared) * 0.5 ** (age / model.half_life), visit, shared))
        bound = sorted((like for like, _, _ in near), reverse=True)[: model.neighbours][-1] if near else 0
        for like, visit, shared in near:
            if like < bound:
                continue
            centre = max(place for place, (item, _, _) in enumerate(visit) if item == newest(current, shared))
            for item, weight, factor in said(model, visit, centre):
                scores[item] += like**model.sharpness * factor * weight * holders[item] ** -model.popularity
        answers.append({item: score for item, score in scores.items() if score > 0})
    return answers


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gap_hours": 60.0, "half_life": 3.0, "idf": 1.0, "popularity": 0.5},
        {"gap_hours": 200.0, "neighbours": 5, "last": 3, "window": 2, "itself": 0.0, "query": 0.9},
    ],
)
def test_the_definition(settings: dict[str, Any]) -> None:
    past, model = log().before(CUT), SessionKnn(**settings).fit(log(), as_of=CUT)
    got = model.score(past)
    for row, expected in enumerate(slow(model, past, past, 700 * HOUR)):
        known = {str(name): float(score) for name, score in zip(model.items, got[row], strict=True) if np.isfinite(score)}
        assert known == pytest.approx(expected, rel=1e-4)


def test_a_visit_ends_with_the_gap() -> None:
    world = of(("a", "tea", 1), ("a", "cup", 5), ("a", "hat", 40))
    asked = of(("new", "tea", 100))
    near = SessionKnn(**PLAIN).fit(world, as_of=END)
    assert set(near.items[np.isfinite(near.score(asked)[0])]) == {"tea", "cup"}
    wide = SessionKnn(**{**PLAIN, "gap_hours": 100.0}).fit(world, as_of=END)
    assert set(wide.items[np.isfinite(wide.score(asked)[0])]) == {"tea", "cup", "hat"}


def test_only_the_last_visit_is_asked() -> None:
    model = SessionKnn(**PLAIN).fit(of(("a", "tea", 1), ("a", "cup", 2), ("b", "hat", 1), ("b", "bag", 2)), as_of=END)
    scores = model.score(of(("new", "hat", 100), ("new", "tea", 200)))[0]
    assert set(model.items[np.isfinite(scores)]) == {"tea", "cup"}


def test_nearer_in_the_visit_counts_more_and_after_more_than_before() -> None:
    model = SessionKnn(**PLAIN, forward=0.8, backward=0.5, itself=2.0).fit(
        of(*[("a", item, n) for n, item in enumerate(("b2", "b1", "tea", "f1", "f2"))]), as_of=END
    )
    scores = dict(zip(model.items, model.score(of(("new", "tea", 100)))[0].tolist(), strict=True))
    assert scores == pytest.approx({"b2": 0.5, "b1": 1.0, "tea": 2.0, "f1": 1.0, "f2": 0.8}, rel=1e-4)


def test_a_visit_is_half_as_much_after_its_half_life() -> None:
    world = of(("a", "tea", 0), ("a", "old", 0), ("b", "tea", 240), ("b", "new", 240))
    model = SessionKnn(**{**PLAIN, "half_life": 10.0}).fit(world, as_of=hour(240 + 1))
    scores = dict(zip(model.items, model.score(of(("guest", "tea", 300)))[0].tolist(), strict=True))
    assert scores["old"] == pytest.approx(scores["new"] / 2)


def test_reach_looks_at_the_newest_visits_only() -> None:
    world = of(*[row for n in range(6) for row in ((f"v{n}", "tea", 10 * n), (f"v{n}", f"with {n}", 10 * n + 1))])
    model = SessionKnn(**PLAIN, reach=2).fit(world, as_of=END)
    scores = model.score(of(("guest", "tea", 100)))[0]
    assert set(model.items[np.isfinite(scores)]) == {"tea", "with 4", "with 5"}


def test_the_own_visit_is_no_neighbour_and_an_earlier_one_is() -> None:
    world = of(("a", "tea", 1), ("a", "cup", 2), ("a", "tea", 100), ("a", "hat", 101))
    model = SessionKnn(**PLAIN).fit(world, as_of=END)
    scores = model.score(world.before(hour(101)))[0]  # asked in the middle of the second visit
    assert set(model.items[np.isfinite(scores)]) == {"tea", "cup"}


def test_reasons_are_shares_of_the_score() -> None:
    world = of(("a", "tea", 1), ("a", "pot", 2), ("b", "cup", 1), ("b", "pot", 2), ("c", "cup", 1), ("c", "pot", 2))
    model = SessionKnn(**PLAIN).fit(world, as_of=END)
    history = of(("new", "tea", 1), ("new", "cup", 2))
    why = model.reasons(history, row=0, item=list(model.items).index("pot"))
    assert [(reason.code, reason.details["item"]) for reason in why] == [("because", "cup"), ("because", "tea")]
    assert [reason.details["share"] for reason in why] == pytest.approx([2 / 3, 1 / 3], abs=1e-4)


def test_an_update_goes_on_with_an_open_visit() -> None:
    first, rest = of(("a", "tea", 1), ("b", "hat", 1)), of(("a", "cup", 2))
    model = SessionKnn(**PLAIN).fit(first, as_of=hour(2)).update(rest)
    scores = model.score(of(("new", "tea", 100)))[0]
    assert set(model.items[np.isfinite(scores)]) == {"tea", "cup"}


def test_wrong_parameters_are_refused() -> None:
    for wrong in ({"neighbours": 0}, {"gap_hours": 0.0}, {"query": 0.0}, {"forward": 1.5}, {"half_life": 0.0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            SessionKnn(**wrong).fit(of(("a", "tea", 1)), as_of=END)
