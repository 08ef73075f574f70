"""Machines in the log and reviews that are not believed: the planted ones are found, people keep all of theirs."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from risk_kit import BEGAN, row, table

from tradewind.errors import InputError
from tradewind.learn.review_trust import LEAST, trust
from tradewind.learn.risk_clicks import machines

SECOND = 1 / 3600  # hours


def visit(who: str, gaps: np.ndarray, *, start: float = 0.0, session: str | None = None) -> list[dict]:  # type: ignore[type-arg]
    moments = start + np.concatenate(([0.0], np.cumsum(gaps))) * SECOND
    return [row(f"{who}-{n}-{start}", "view", float(at), who or None, session=session, item="i") for n, at in enumerate(moments)]


def test_each_kind_of_machine_is_found_and_no_reader() -> None:
    rng = np.random.default_rng(0)
    rows = visit("fast", rng.exponential(0.5, 40)) + visit("even", np.full(40, 15.0)) + visit("restless", rng.uniform(1, 9, 40))
    rows += visit("", rng.uniform(1, 9, 40), session="nobody")
    for number in range(20):
        rows += visit(f"reader{number}", rng.exponential(45, 60)) + visit(f"reader{number}", rng.uniform(1, 5, 10), start=30)
    rows += visit("rounded", np.tile([0, 0, 0, 60], 15).astype(float))
    found = machines(table(rows))
    assert found.visitors == {"c:fast": "fast", "c:even": "regular", "c:restless": "restless", "s:nobody": "restless"}
    assert found.customers == {"fast", "even", "restless"}
    left = found.clean(table(rows))
    assert set(left["customer"].to_pylist()) == {f"reader{n}" for n in range(20)} | {"rounded"}
    assert left.num_rows == 20 * 72 + 61


def test_clicks_of_scanners_go_and_those_of_people_stay() -> None:
    rows = [row(f"s{n}", "sent", n, "ann", decision_id=f"d{n}") for n in range(12)]
    rows.append(row("hasty", "click", 0.5 * SECOND, "ann", decision_id="d0"))
    rows += [row(f"burst{n}", "click", 20 + n * SECOND, "ann", decision_id=f"d{n}") for n in range(3)]
    rows += [row(f"same{n}", "click", 30 + n * SECOND, "ann", decision_id="d5") for n in range(4)]  # one link again and again
    rows += [row(f"person{n}", "click", 40 + n, "ann", decision_id=f"d{n}") for n in range(3)]
    found = machines(table(rows))
    assert found.clicks == {"hasty": "hasty", "burst0": "burst", "burst1": "burst", "burst2": "burst"}
    assert found.visitors == {}
    assert found.clean(table(rows)).num_rows == len(rows) - 4
    rows += [row(f"again{n}", "click", 60 + n * SECOND, "ann", decision_id=f"d{n}") for n in range(5)]
    assert machines(table(rows)).visitors == {"c:ann": "burst"}


def test_an_empty_log_holds_no_machine() -> None:
    found = machines(table([]))
    assert (found.visitors, found.clicks) == ({}, {})
    assert found.clean(table([])).num_rows == 0


def test_planted_praise_is_believed_less() -> None:
    rng = np.random.default_rng(1)
    words = [
        "soft",
        "warm",
        "late",
        "cheap",
        "broken",
        "bright",
        "loose",
        "heavy",
        "plain",
        "quick",
        "dull",
        "fine",
        "odd",
        "neat",
        "tight",
    ]
    texts = [" ".join(rng.choice(words, 9)) + f" number {n}" for n in range(120)]
    items, who = [f"i{n % 4}" for n in range(120)], [f"c{n}" for n in range(120)]
    at = [BEGAN + timedelta(days=float(day)) for day in rng.uniform(0, 200, 120)]
    fake = "This is the very best thing that I have ever bought in my whole life, buy it now"
    for number in range(8):
        texts.append(fake + "!" * number)
        items.append("i0")
        who.append(f"f{number}")
        at.append(BEGAN + timedelta(days=100, hours=number))
    found = trust(texts, items, at, who)
    honest, planted = [one.weight for one in found[:120]], [one.weight for one in found[120:]]
    assert np.mean(honest) > 0.97
    assert sum(planted) < 1.5
    assert found[-1].signs == ("burst", "duplicate")
    assert min(planted) >= LEAST


def test_who_reviews_without_buying_counts_half() -> None:
    texts, at = ["good"] * 3, [BEGAN] * 3
    found = trust(texts, ["i"] * 3, at, ["ann", "ann", "bob"], orders={"ann": 1, "bob": 1})
    assert [one.weight for one in found] == [0.5, 0.5, 1.0]
    assert trust([], [], [], []) == []
    with pytest.raises(InputError, match="equally long"):
        trust(texts, [], at, [])
