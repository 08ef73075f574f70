"""What holds for every encoder: it learns, it never sees the future, and the protocol of a given validation part."""

from __future__ import annotations

import numpy as np
import pytest
from recommend_worlds import END, of

from tradewind import plugins
from tradewind.engine.training import alone
from tradewind.learn._deep import Deep
from tradewind.learn._deep_data import codes
from tradewind.learn._holdout import Holdout
from tradewind.learn.evaluate import leave_one_out
from tradewind.learn.sequences import Sequences

torch = pytest.importorskip("torch")
CELLS = ("transformer", "gru", "lstm", "cnn")


def ring(customers: int = 150, items: int = 12, length: int = 9) -> Sequences:
    """Everybody walks item n, n + 1, n + 2 ... from a random start: the next item is certain."""
    starts = np.random.default_rng(0).integers(0, items, customers)
    return of(*[(f"c{who}", f"i{(start + step) % items:02d}", step) for who, start in enumerate(starts) for step in range(length)])


def make(name: str, **given: int) -> Deep:
    model = plugins.load("learn", name)(**{"size": "tiny", "epochs": 4, **given})
    assert isinstance(model, Deep)
    return model


@pytest.mark.parametrize("name", CELLS)
def test_it_learns_a_certain_rule(name: str) -> None:
    world = ring()
    model = make(name, epochs=6).fit(world, as_of=END)
    last = world.item[world.offsets[1:] - 1]
    best = model.recommend(world, k=1, exclude_seen=False).items[:, 0]
    assert (best == (last + 1) % 12).mean() > 0.95


@pytest.mark.parametrize("name", CELLS)
def test_no_position_sees_what_comes_later(name: str) -> None:
    model = make(name, epochs=1).fit(ring(), as_of=END)
    first, second = (of(*[("n", f"i{code:02d}", step) for step, code in enumerate(walk)]) for walk in ((0, 1, 2, 3), (0, 1, 2, 9)))
    with alone(), torch.inference_mode():
        known = np.ones(len(model.items), dtype=bool)
        states = [model._net(torch.from_numpy(codes(model._aligned(walk), known)[:, None, :]))[0] for walk in (first, second)]
    torch.testing.assert_close(states[0][:3], states[1][:3])
    assert not torch.allclose(states[0][3], states[1][3], atol=1e-3)


@pytest.mark.parametrize("name", CELLS)
def test_padding_changes_nothing(name: str) -> None:
    model = make(name, epochs=1).fit(ring(), as_of=END)
    short = of(("n", "i03", 1), ("n", "i04", 2))
    mixed = of(("n", "i03", 1), ("n", "i04", 2), *[("long", f"i{step % 12:02d}", step) for step in range(30)])
    alike = model.score(mixed)[list(mixed.customers).index("n")]
    np.testing.assert_allclose(model.score(short)[0], alike, atol=1e-4)


def test_a_given_validation_part_is_never_learned_from() -> None:
    world = ring()
    train, wanted = leave_one_out(world)
    other = np.roll(wanted.items, 5)  # a validation that contradicts the log
    weights = []
    for items in (wanted.items, other):
        model = make("gru", epochs=1).fit_on(Holdout(train, wanted.histories, wanted.offsets, items, repeats=False))
        weights.append({name: value.numpy() for name, value in model._net.state_dict().items()})
        assert (model.trained_epochs, len(model._curve), model.validation) == (1, 1, None)
    for name, value in weights[0].items():
        np.testing.assert_array_equal(value, weights[1][name])


def test_without_early_stopping_the_epochs_are_those_asked_for() -> None:
    model = plugins.load("learn", "gru")(size="tiny", epochs=3, early_stopping=False).fit(ring(), as_of=END)
    assert (model.trained_epochs, model._curve, model.validation) == (3, [], None)
