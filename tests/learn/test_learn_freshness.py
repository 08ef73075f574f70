"""Learning on between two fits, and the gate that compares a candidate with the serving model."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from recommend_worlds import END, HOUR, of

from tradewind.errors import InputError
from tradewind.learn.evaluate import Targets
from tradewind.learn.freshness import compare
from tradewind.learn.popular import Popular
from tradewind.learn.sequences import Sequences
from tradewind.types import from_micros, micros

pytest.importorskip("torch")

from tradewind.learn.transformer import Transformer

LATER = END + timedelta(days=30)


def walks(step: int, *, customers: int, start: int, items: int = 12, prefix: str = "c") -> list[tuple[str, str, int]]:
    """Customers who walk round a ring of items by ``step``; hours from ``start`` on."""
    rng = np.random.default_rng(step)
    rows = []
    for number in range(customers):
        first = int(rng.integers(items))
        rows += [(f"{prefix}{number}", f"i{(first + step * place) % items:02d}", start + place) for place in range(8)]
    return rows


def log(rows: list[tuple[str, str, int]]) -> Sequences:
    return Sequences.from_arrays([who for who, _, _ in rows], item=[item for _, item, _ in rows], at=[at * HOUR for _, _, at in rows])


def questions(world: Sequences, step: int, items: int = 12) -> Targets:
    """What comes after item i when the walk goes by ``step``."""
    asked = log([(f"q{code:02d}", f"i{code:02d}", 1) for code in range(items)])
    histories = asked.histories([f"q{code:02d}" for code in range(items)])
    number = {item: code for code, item in enumerate(histories.items.tolist())}
    wanted = np.array([number[f"i{(code + step) % items:02d}"] for code in range(items)])
    return Targets(histories, np.arange(items + 1), wanted)


NOW = from_micros(1_000 * HOUR)


def test_learning_on_follows_the_change_and_knows_new_items() -> None:
    old, new = walks(1, customers=80, start=1), walks(5, customers=80, start=900, prefix="n")
    more = [(f"m{number}", item, 950 + place) for number in range(20) for place, item in enumerate(("i03", "new", "i04"))]
    model = Transformer(size="tiny", epochs=6, early_stopping=False).fit(log(old), as_of=from_micros(800 * HOUR))
    before = compare(model, model, questions(log(old), 5))
    assert before.serving.value < 0.4
    assert before.overlap == before.same_first == 1.0
    assert "new" not in model.items
    model.fit_partial(log(old + new + more), as_of=NOW, epochs=4, replay=0.0)
    assert model.as_of == micros(NOW)
    after = compare(model, model, questions(log(old), 5))
    assert after.serving.value > before.serving.value + 0.3
    histories = of(("x", "i03", 1))
    scores = model.score(histories)[0]
    assert np.isfinite(scores[list(model.items).index("new")])
    assert model.states(log(more)).tolist() == ["hot"] * 20


def test_replay_keeps_more_of_the_past() -> None:
    old, new = walks(1, customers=80, start=1), walks(5, customers=80, start=900, prefix="n")
    kept = []
    for replay in (0.0, 1.0):
        model = Transformer(size="tiny", epochs=6, early_stopping=False).fit(log(old), as_of=from_micros(800 * HOUR))
        model.fit_partial(log(old + new), as_of=NOW, epochs=4, replay=replay)
        kept.append(compare(model, model, questions(log(old), 1)).serving.value)
    assert kept[1] > kept[0]


def test_a_model_that_went_on_is_saved_whole(tmp_path: object) -> None:
    old, new = walks(1, customers=50, start=1), walks(1, customers=20, start=900, items=14, prefix="n")
    model = Transformer(size="tiny", epochs=2, early_stopping=False).fit(log(old), as_of=from_micros(800 * HOUR))
    model.fit_partial(log(old + new), as_of=NOW)
    again = Transformer.from_state(*model.state())
    np.testing.assert_array_equal(again.score(log(new)), model.score(log(new)))


def test_going_back_in_time_is_refused() -> None:
    model = Transformer(size="tiny", epochs=1, early_stopping=False).fit(log(walks(1, customers=20, start=1)), as_of=NOW)
    with pytest.raises(InputError, match="lies before"):
        model.fit_partial(log(walks(1, customers=20, start=1)), as_of=from_micros(HOUR))
    with pytest.raises(InputError, match="replay"):
        model.fit_partial(log(walks(1, customers=20, start=1)), as_of=NOW, replay=2.0)


def test_the_gate_lets_the_better_one_pass_and_not_the_worse() -> None:
    world = log(walks(1, customers=120, start=1))
    good = Transformer(size="tiny", epochs=6, early_stopping=False).fit(world, as_of=NOW)
    bad = Popular().fit(world, as_of=NOW)
    asked = questions(world, 1)
    up, down = compare(bad, good, asked), compare(good, bad, asked)
    assert up.passes()
    assert not down.passes()
    assert not down.passes(tolerance=0.2)
    assert down.passes(tolerance=1.0)
    assert up.difference.value == pytest.approx(-down.difference.value)
    assert "of the places alike" in str(up)


def test_nothing_asked_is_refused() -> None:
    world = log(walks(1, customers=20, start=1))
    model = Popular().fit(world, as_of=NOW)
    with pytest.raises(InputError, match="nothing to ask"):
        compare(model, model, Targets(world.rows(np.arange(2)), np.zeros(3, np.int64), np.empty(0, np.int64)))
