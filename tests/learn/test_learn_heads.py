"""Heads on the customer vector: worlds in which what comes next is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from recommend_worlds import HOUR

from tradewind.errors import InputError, NotFitted
from tradewind.learn.heads import Heads
from tradewind.learn.sequences import KINDS, Sequences
from tradewind.types import from_micros

pytest.importorskip("torch")

from tradewind.learn.transformer import Transformer

DAYS = 120
AS_OF = from_micros(DAYS * 24 * HOUR)


def world(*, customers: int = 200) -> Sequences:
    """Even customers buy every 7 days at 20 o'clock, odd ones view every 3 days at 9 and every fourth of those has left after 50 days."""
    rows: list[tuple[str, str, int, str]] = []
    rng = np.random.default_rng(0)
    for number in range(customers):
        step, hour, kind = (7, 20, "purchase") if number % 2 == 0 else (3, 9, "view")
        stop = 50 if number % 4 == 3 else DAYS
        for place, day in enumerate(range(int(rng.integers(step)), stop, step)):
            rows.append((f"c{number:03d}", f"i{(number + place) % 9}", (day * 24 + hour) * HOUR, kind))
    who, what, at, kind_of = zip(*rows, strict=True)
    return Sequences.from_arrays(list(who), item=list(what), at=list(at), kind=list(kind_of))


@pytest.fixture(scope="module")
def fitted() -> tuple[Transformer, Sequences, Heads]:
    log = world()
    model = Transformer(size="tiny", epochs=1, early_stopping=False).fit(log, as_of=from_micros(60 * 24 * HOUR))
    return model, log, Heads(horizon_days=14, cuts=3).fit(model, log, as_of=AS_OF)


def test_each_head_finds_its_answer(fitted: tuple[Transformer, Sequences, Heads]) -> None:
    model, log, heads = fitted
    found = heads.predict(model, log, as_of=AS_OF)
    number = np.array([int(name[1:]) for name in log.customers])
    buyer, gone = number % 2 == 0, number % 4 == 3
    assert found.purchase[buyer].mean() > 0.9
    assert found.purchase[~buyer].mean() < 0.1
    assert found.churn[gone].mean() > 0.9
    assert found.churn[~gone].mean() < 0.1
    assert (found.best_hour[buyer] == 20).mean() > 0.95
    assert (found.best_hour[~buyer & ~gone] == 9).mean() > 0.95
    assert (found.kinds[buyer].argmax(axis=1) == KINDS.index("purchase")).mean() > 0.95
    assert np.isnan(found.days[~buyer]).mean() > 0.9
    assert 1 < np.nanmedian(found.days[buyer]) < 7
    for shares in (found.kinds, found.hours):
        np.testing.assert_allclose(shares.sum(axis=1), 1)


def test_nothing_from_as_of_on_is_looked_at(fitted: tuple[Transformer, Sequences, Heads]) -> None:
    model, log, heads = fitted
    cut = from_micros(100 * 24 * HOUR)
    whole, before = (Heads(horizon_days=14, cuts=2).fit(model, each, as_of=cut) for each in (log, log.before(cut)))
    one, two = (each.predict(model, log, as_of=cut) for each in (whole, before))
    np.testing.assert_array_equal(one.purchase, two.purchase)
    np.testing.assert_array_equal(heads.predict(model, log, as_of=cut).hours, heads.predict(model, log.before(cut), as_of=cut).hours)


def test_a_customer_without_history_is_average(fitted: tuple[Transformer, Sequences, Heads]) -> None:
    model, log, heads = fitted
    known = heads.predict(model, log, as_of=AS_OF)
    new = heads.predict(model, log.histories(["nobody"]), as_of=AS_OF)
    assert known.purchase.min() < new.purchase[0] < known.purchase.max()
    assert new.purchase[0] == pytest.approx(0.55, abs=0.1)  # half of all, more among those who were still there


def test_saved_heads_answer_alike(fitted: tuple[Transformer, Sequences, Heads], tmp_path: Path) -> None:
    model, log, heads = fitted
    heads.save(tmp_path / "heads")
    again = Heads.load(tmp_path / "heads")
    one, two = (each.predict(model, log, as_of=AS_OF) for each in (heads, again))
    for name in ("purchase", "churn", "days", "kinds", "hours"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_what_cannot_be_learned_is_said(fitted: tuple[Transformer, Sequences, Heads]) -> None:
    model, log, heads = fitted
    with pytest.raises(NotFitted, match="Call fit"):
        Heads().predict(model, log, as_of=AS_OF)
    with pytest.raises(InputError, match="longer log or a shorter horizon"):
        Heads(horizon_days=365).fit(model, log, as_of=AS_OF)
    with pytest.raises(InputError, match="horizon_days"):
        Heads(horizon_days=0).fit(model, log, as_of=AS_OF)
    other = Transformer(size="small", epochs=1, early_stopping=False).fit(log, as_of=from_micros(20 * 24 * HOUR))
    with pytest.raises(InputError, match="another size"):
        heads.predict(other, log, as_of=AS_OF)
