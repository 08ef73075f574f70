"""The Transformer: what it learns, what its batches hold, how it survives a kill, and two processes against one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from recommend_worlds import CUT, END, HOUR, log, of

from tradewind.engine.training import alone
from tradewind.errors import InputError
from tradewind.learn import _deep_fit as fitting
from tradewind.learn._deep_data import Windows, codes, grouped
from tradewind.learn._holdout import last_moment
from tradewind.learn._signal import table
from tradewind.learn.fallback import DEFAULT, Fallback
from tradewind.learn.sequences import Sequences
from tradewind.learn.transformer import Transformer

RUNS = Path(__file__).with_name("transformer_runs.py")


def ring(customers: int = 150, items: int = 12, length: int = 9) -> Sequences:
    """Everybody walks item n, n + 1, n + 2 ... from a random start: the next item is certain."""
    rng = np.random.default_rng(0)
    rows = [
        (f"c{who}", f"i{(start + step) % items:02d}", step)
        for who, start in enumerate(rng.integers(0, items, customers))
        for step in range(length)
    ]
    return of(*rows)


def test_it_learns_a_certain_rule() -> None:
    world = ring()
    model = Transformer(size="tiny", epochs=4).fit(world, as_of=END)
    best = model.recommend(world, k=1, exclude_seen=False).items[:, 0]
    last = world.item[world.offsets[1:] - 1]
    assert (best == (last + 1) % 12).mean() > 0.95
    assert model.customer_vectors(world.histories(["c1", "nobody"])).shape == (2, 32)
    assert not model.customer_vectors(world.histories(["nobody"])).any()


def test_order_matters_to_it() -> None:
    model = Transformer(size="tiny", epochs=4).fit(ring(), as_of=END)
    up, down = (model.score(of(("n", first, 1), ("n", second, 2)))[0] for first, second in (("i03", "i04"), ("i04", "i03")))
    four, five = (list(model.items).index(name) for name in ("i04", "i05"))
    assert up[five] - up[four] > down[five] - down[four] + 1


def test_the_sampled_softmax_learns_the_same_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "FULL", 5)
    monkeypatch.setattr(fitting, "NEGATIVES", 64)
    world = ring()
    model = Transformer(size="tiny", epochs=4).fit(world, as_of=END)
    last = world.item[world.offsets[1:] - 1]
    assert (model.recommend(world, k=1, exclude_seen=False).items[:, 0] == (last + 1) % 12).mean() > 0.9


def test_items_never_seen_are_never_scored() -> None:
    world = of(("a", "x", 1), ("a", "y", 2), ("b", "x", 1), ("b", "y", 2), items=("never",))
    model = Transformer(size="tiny", epochs=1).fit(world, as_of=END)
    assert np.isneginf(model.score(world)[:, list(model.items).index("never")]).all()
    assert np.isneginf(model.score(of(("n", "never", 1)))).all()


def test_windows_ask_at_the_end_of_moments_for_all_of_the_next() -> None:
    world = of(("a", "x", 1), ("a", "y", 1), ("a", "z", 2), ("a", "x", 2), ("a", "y", 3), ("b", "z", 1))
    windows = Windows.of(world, np.ones(3, dtype=bool), table(None), longest=50)
    assert windows.start.tolist() == [0]
    assert windows.length.tolist() == [4]  # up to the last event that something follows
    events, pairs = windows.padded(np.array([0]))
    assert events.shape == (7, 1, 4)
    assert pairs.places.tolist() == [[False, True, False, True]]
    asked = {int(row): [] for row in pairs.row}  # type: dict[int, list[tuple[int, float]]]
    for row, item, weight in zip(pairs.row, pairs.item, pairs.weight, strict=True):
        asked[int(row)].append((int(item), float(weight)))
    assert sorted(asked[0]) == [(0, 0.5), (2, 0.5)]  # x and z share the weight of one moment
    assert asked[1] == [(1, 1.0)]
    assert windows.mass(np.array([0])) == pytest.approx(2.0)
    assert windows.wanted(np.array([0])).tolist() == windows.item.tolist()
    np.testing.assert_allclose(windows.shares, [1 / 3, 1 / 3, 1 / 3])
    assert not replace(windows, start=windows.start[:0], length=windows.length[:0]).shares.any()  # of these windows alone


def test_the_funnel_of_one_item_teaches_nothing_but_buying_again_does() -> None:
    funnel = Sequences.from_arrays(["a"] * 3, item=["x"] * 3, at=[1, 2, 3], kind=["view", "cart", "purchase"])
    again = Sequences.from_arrays(["a"] * 2, item=["x"] * 2, at=[1, 2], kind="purchase")
    known = np.ones(1, dtype=bool)
    assert len(Windows.of(funnel, known, table(None), longest=9).item) == 0
    assert Windows.of(again, known, table(None), longest=9).item.tolist() == [0]


def test_windows_cover_every_question_once_and_no_more_than_longest() -> None:
    world = log().before(CUT)
    known = np.ones(30, dtype=bool)
    whole, cut = (Windows.of(world, known, table(None), longest=longest) for longest in (10_000, 7))
    assert cut.length.max() <= 7
    everything = [windows.mass(np.arange(len(windows.start))) for windows in (whole, cut)]
    assert everything[0] == pytest.approx(everything[1])
    rng = np.random.default_rng(0)
    batches = list(cut.batches(64, rng))
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(cut.start)))
    assert all(len(batch) * cut.length[batch].max() <= 64 for batch in batches)


def test_groups_keep_within_their_tokens() -> None:
    lengths = np.sort(np.random.default_rng(1).integers(1, 90, 300))
    groups = grouped(lengths, 128)
    assert groups[0].start == 0
    assert groups[-1].stop == 300
    assert all(a.stop == b.start for a, b in pairwise(groups))
    assert all((group.stop - group.start) * lengths[group.stop - 1] <= 128 for group in groups)


def test_codes_fit_their_tables() -> None:
    from tradewind.learn._deep_data import tables

    world = log()
    world = replace(world, at=world.at * 10_000)  # gaps of centuries
    got = codes(world, np.arange(30) > 3)
    for row, size in zip(got[:-1], tables(30, 3), strict=True):
        assert 0 <= row.min() <= row.max() < size
    assert set(got[0][(world.item >= 0) & (world.item <= 3)].tolist()) == {30}


def test_the_answer_does_not_depend_on_the_company() -> None:
    model = Transformer(size="tiny", epochs=1).fit(log(), as_of=CUT)
    together = model.score(log())
    for row in (0, 17, 41):
        np.testing.assert_allclose(model.score(log().rows(np.array([row])))[0], together[row], atol=1e-4)


def test_training_leaves_the_callers_random_state_and_threads_alone() -> None:
    import torch

    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    before = torch.get_num_threads()
    Transformer(size="tiny", epochs=1).fit(ring(60), as_of=END)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == before


def test_the_holdout_is_the_last_moment_and_nothing_of_it_is_left() -> None:
    world = log(customers=200, events=3000).before(CUT)
    held = last_moment(world, table(None), seed=0)
    assert held is not None
    assert 80 <= len(held.histories) <= 100
    index = {name: row for row, name in enumerate(world.customers)}
    for row, name in enumerate(held.histories.customers):
        full = world.rows(np.array([index[name]]))
        rest = held.histories.rows(np.array([row]))
        assert rest.at.max() < full.at.max()
        assert len(rest.at) == (full.at < full.at.max()).sum()
        wanted = set(held.items[held.offsets[row] : held.offsets[row + 1]].tolist())
        assert wanted <= set(full.item[full.at == full.at.max()].tolist())
    assert len(held.train.at) < len(world.at)
    assert last_moment(log(customers=20, events=100), table(None), seed=0) is None


def test_a_perfect_score_on_the_holdout_is_one() -> None:
    held = last_moment(ring(200), table(None), seed=0)
    assert held is not None
    scores = np.zeros((len(held.histories), 12), np.float32)
    scores[np.repeat(np.arange(len(held.histories)), np.diff(held.offsets)), held.items] = 1
    assert held.ndcg(scores) == pytest.approx(1.0)


def test_early_stopping_keeps_the_best_epoch() -> None:
    model = Transformer(size="tiny", epochs=6).fit(ring(), as_of=END)
    assert 1 <= model._trained_epochs <= 6
    assert model._curve[model._trained_epochs - 1] == max(model._curve)
    assert all(value < max(model._curve) for value in model._curve[model._trained_epochs :])
    assert fitting._stop([0.1, 0.3, 0.2, 0.3], 2)
    assert not fitting._stop([0.1, 0.3, 0.2, 0.31], 2)


def test_fallback_tunes_its_blend_inside_the_log() -> None:
    world = ring(200)
    model = Fallback(size="tiny", epochs=3).fit(world, as_of=END)
    assert set(model.mix) == {*DEFAULT, "transformer"}
    ranking = model.recommend(world.histories(["c1", "nobody"]), k=3)
    assert set(ranking.sources[0, 0].split("+")) <= set(model.mix)
    assert ranking.sources[0, 0]
    assert set(ranking.sources[1, 0].split("+")) <= {"recent", "popular"}
    given = Fallback(size="tiny", epochs=1, blend={"graph": 1.0, "transformer": 0.5}).fit(world, as_of=END)
    assert given.recommend(world.histories(["c1"]), k=1).sources[0, 0] == "graph+transformer"


def test_wrong_settings_are_refused() -> None:
    for model, words in (
        (Transformer(size="huge"), "size must be one of"),
        (Transformer(size="tiny", epochs=0), "epochs"),
        (Transformer(size="tiny", dropout=1.0), "dropout"),
        (Transformer(device="tpu"), "device"),
        (Fallback(size="smal"), 'Did you mean "small"'),
        (Fallback(size="tiny", epochs=1, blend={"graph": 2000}), "blend"),
    ):
        with pytest.raises(InputError, match=words):
            model.fit(log(), as_of=CUT)


def test_a_missing_gpu_is_said() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match="no GPU"):
        Transformer(size="tiny", epochs=1, device="cuda").fit(log(), as_of=CUT)


@pytest.mark.gpu
def test_a_gpu_trains_the_same_rule() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    world = ring()
    model = Transformer(size="tiny", epochs=4, device="cuda").fit(world, as_of=END)
    last = world.item[world.offsets[1:] - 1]
    assert (model.recommend(world, k=1, exclude_seen=False).items[:, 0] == (last + 1) % 12).mean() > 0.95


def run(command: list[str], *arguments: str) -> int:
    environment = {key: value for key, value in os.environ.items() if key not in {"RANK", "WORLD_SIZE"}}
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(RUNS.parent)}
    return subprocess.run([*command, str(RUNS), *arguments], env=environment, check=False, timeout=240).returncode


def weights(path: Path) -> dict[str, NDArray[np.float32]]:
    with np.load(path, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


@pytest.mark.slow
@pytest.mark.parametrize("after", [2, 4])  # in the search, and in the final training
def test_a_killed_fit_goes_on_to_the_same_weights(tmp_path: Path, after: int) -> None:
    checkpoint = str(tmp_path / "state" / "fit")
    assert run([sys.executable], str(tmp_path / "straight")) == 0
    killed = run([sys.executable], str(tmp_path / "resumed"), "--checkpoint", checkpoint, "--kill-after", str(after))
    assert killed == -signal.SIGKILL
    assert not (tmp_path / "resumed.0.npz").exists()
    assert list((tmp_path / "state").iterdir())
    assert run([sys.executable], str(tmp_path / "resumed"), "--checkpoint", checkpoint) == 0
    straight, resumed = weights(tmp_path / "straight.0.npz"), weights(tmp_path / "resumed.0.npz")
    assert straight.keys() == resumed.keys()
    for name, array in straight.items():
        np.testing.assert_array_equal(array, resumed[name], err_msg=name)


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path) -> None:
    for size in (1, 2):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={size}"]
        assert run(launcher, str(tmp_path / f"world{size}")) == 0
    one = weights(tmp_path / "world1.0.npz")
    for rank in (0, 1):
        two = weights(tmp_path / f"world2.{rank}.npz")
        for name, array in one.items():
            np.testing.assert_allclose(two[name], array, atol=1e-5, err_msg=name)
    # The weights have moved far more than that, so equality means something.
    with alone():
        shape = Transformer(size="tiny", dropout=0.0, seed=5)
        shape._clock, shape._dropout = True, 0.0
        shape.items, shape.categories = log(customers=120).items, log(customers=120).categories
        import torch

        from tradewind.learn._deep_net import Net

        torch.manual_seed(5)
        start = Net(shape._shape()).state_dict()
    moved = max(float(np.abs(one[f"net.{name}"] - value.numpy()).max()) for name, value in start.items() if name != "bias")
    assert moved > 1e-2


def test_a_checkpoint_of_another_fit_is_not_taken(tmp_path: Path) -> None:
    checkpoint = str(tmp_path / "fit")
    Transformer(size="tiny", epochs=1, checkpoint=checkpoint).fit(ring(60), as_of=END)
    plain = Transformer(size="tiny", epochs=1).fit(log(), as_of=CUT)
    other = Transformer(size="tiny", epochs=1, checkpoint=checkpoint).fit(log(), as_of=CUT)
    np.testing.assert_array_equal(plain.score(log()), other.score(log()))


def test_a_gap_of_hours_is_a_different_input() -> None:
    near, far = (Sequences.from_arrays(["a", "a"], item=["x", "y"], at=[0, hours * HOUR]) for hours in (1, 500))
    known = np.ones(2, dtype=bool)
    assert codes(near, known)[5].tolist() != codes(far, known)[5].tolist()
    assert codes(near, known)[5, 0] == 0
