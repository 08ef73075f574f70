"""Run as a program by the tests: one fit, alone or under torchrun, perhaps to be killed after an epoch.

python transformer_runs.py OUT [--checkpoint PATH] [--kill-after N]
"""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

import numpy as np
from recommend_worlds import CUT, log

from tradewind.learn import _deep_fit
from tradewind.learn.transformer import Transformer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkpoint")
    parser.add_argument("--kill-after", type=int)
    asked = parser.parse_args()
    if asked.kill_after:
        _kill_after(asked.kill_after)
    dropout = 0.0 if "WORLD_SIZE" in os.environ else None
    model = Transformer(size="tiny", epochs=3, seed=5, dropout=dropout, checkpoint=asked.checkpoint)
    world = log(customers=120)
    if "WORLD_SIZE" in os.environ:
        import torch

        seen: list[int] = []
        real = _deep_fit.epoch

        def watched(*args: object, **options: object) -> None:
            seen.append(torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1)
            real(*args, **options)  # type: ignore[arg-type]

        _deep_fit.epoch = watched
        model.fit(world, as_of=CUT)
        assert set(seen) == {int(os.environ["WORLD_SIZE"])}, seen
    else:
        model.fit(world, as_of=CUT)
    _, arrays = model.state()
    rank = os.environ.get("RANK", "0")
    weights = {name: array for name, array in arrays.items() if name.startswith("net.")}
    np.savez(asked.out.with_suffix(f".{rank}.npz"), allow_pickle=False, **weights)


def _kill_after(epochs: int) -> None:
    """Die by SIGKILL in the middle of an epoch: after the first step of epoch ``epochs``, counted over both phases."""
    real, done = _deep_fit.epoch, [0]

    def deadly(*args: object, **options: object) -> None:
        if done[0] == epochs:
            os.kill(os.getpid(), signal.SIGKILL)
        real(*args, **options)  # type: ignore[arg-type]
        done[0] += 1

    _deep_fit.epoch = deadly


if __name__ == "__main__":
    main()
