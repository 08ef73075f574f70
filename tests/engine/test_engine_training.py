"""Helpers of training: who is here, shares of a batch, summed gradients over two real processes, checkpoints."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tradewind.engine.training import World, agreed, alone, device_of, load_checkpoint, require_torch, save_checkpoint, sum_gradients, world
from tradewind.errors import InputError, StateError

PROGRAM = """
import sys, torch
from tradewind.engine.training import agreed, start_equal, sum_gradients, world
with world() as place:
    assert torch.distributed.get_world_size() == place.size == 2
    with world() as inner:                       # joins, and does not leave for the outer one
        assert inner == place
    assert torch.distributed.is_initialized()
    torch.manual_seed(place.rank)
    layer = torch.nn.Linear(3, 1)
    start_equal(layer.parameters(), place)
    rows = torch.arange(12.0).reshape(4, 3)
    layer(rows[place.share(4)]).sum().backward()
    layer.bias.grad = None if place.rank else layer.bias.grad
    sum_gradients(layer.parameters(), place)
    torch.manual_seed(0)
    alone = torch.nn.Linear(3, 1)
    alone(rows).sum().backward()
    assert torch.equal(layer.weight, alone.weight), "rank 0 gives the start"
    assert torch.allclose(layer.weight.grad, alone.weight.grad)
    assert layer.bias.grad.item() == 2.0
    assert agreed(float(place.rank) + 5, place) == 5.0
assert not torch.distributed.is_initialized()
"""


def test_alone_is_rank_zero_of_one_and_touches_nothing_distributed() -> None:
    torch = require_torch()
    threads = torch.get_num_threads()
    with world(threads=1) as place:
        assert place == World(0, 1, "cpu")
        assert place.chief
        assert not torch.distributed.is_initialized()
        assert torch.get_num_threads() == 1
        assert agreed(3.5, place) == 3.5
    assert torch.get_num_threads() == threads
    with alone() as place:
        assert place.size == 1


def test_shares_are_a_partition() -> None:
    rows = list(range(11))
    shares = [rows[World(rank, 3, "cpu").share(11)] for rank in range(3)]
    assert sorted(row for share in shares for row in share) == rows
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_gradients_of_one_process_stay() -> None:
    torch = require_torch()
    layer = torch.nn.Linear(2, 1)
    sum_gradients(layer.parameters(), World(0, 1, "cpu"))
    assert layer.weight.grad is None


def test_devices() -> None:
    assert device_of("cpu") == "cpu"
    assert device_of("auto") in {"cpu", "cuda"}
    with pytest.raises(InputError, match="device must be one of"):
        device_of("gpu")


def test_checkpoints_are_whole_and_run_no_code(tmp_path: Path) -> None:
    torch = require_torch()
    place = World(0, 1, "cpu")
    path = tmp_path / "deep" / "state"
    assert load_checkpoint(path, place) is None
    save_checkpoint(path, {"weights": torch.arange(3), "done": 2}, place)
    save_checkpoint(path, {"weights": torch.arange(4), "done": 3}, place)
    found = load_checkpoint(path, place)
    assert found is not None
    assert found["done"] == 3
    assert torch.equal(found["weights"], torch.arange(4))
    assert [file.name for file in path.parent.iterdir()] == ["state"]
    torch.save({"bad": Path("x")}, path)
    with pytest.raises(Exception, match=r"(?i)weights.only"):
        load_checkpoint(path, place)
    save_checkpoint(tmp_path / "other", {"done": 1}, World(1, 1, "cpu"))
    assert not (tmp_path / "other").exists()


def test_two_copies_side_by_side_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher that announces two processes while one group of one met: the trap that trains two full copies."""
    torch = require_torch()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1)
    with pytest.raises(StateError, match="announced 2 processes and 1 met"), world():
        pass


@pytest.mark.slow
def test_two_real_processes_sum_their_gradients(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(program)]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
