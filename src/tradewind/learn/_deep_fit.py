"""The training loop: search for the number of epochs on a held-out part, then train on everything for that many.

Every epoch draws from its own seed, so that a killed run which goes on from its last checkpoint ends with exactly the
weights of a run that was never killed (the started epoch is done again).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tradewind.engine.training import World, agreed, load_checkpoint, save_checkpoint, start_equal, sum_gradients
from tradewind.learn._deep_data import Windows, gather, grouped
from tradewind.learn._deep_net import Net, Shape
from tradewind.learn._softmax import Negatives, catalogue_loss, halves, negatives, sampled_loss

CELLS = 32_000_000  # logits of one step: bounds memory
TOKENS = 1024  # padded events of one step at most
STEPS = 100  # of one epoch at least, while a step has more than a handful of events
FULL = 30_000  # items up to which the softmax is full
HALF = 2048  # items from which the softmax multiplies in bfloat16, where the processor does
NOISE = 0.01  # standard deviation around the vectors that training starts from
NEGATIVES = 2048  # shared by one step, above that


@dataclass(frozen=True)
class Plan:
    """How to train: ``epochs`` at most, ``patience`` epochs without a better validation, ``sampled`` softmax or full."""

    lr: float
    epochs: int
    patience: int
    seed: int
    sampled: bool
    checkpoint: str | None = None


Validate = Callable[[Net], float]


def build(windows: Windows, shape: Shape, plan: Plan, place: World, start: NDArray[np.float32]) -> Averaged:
    """A fresh network whose items start at ``start`` [I, dim], the same on every process, and its optimiser."""
    torch.manual_seed(plan.seed)
    net = Net(shape)
    # Starting from popularity saves the epochs that would learn only that.
    wanted = np.bincount(windows.item, windows.weight, minlength=net.count)
    with torch.no_grad():
        net.bias.copy_(torch.from_numpy(np.log(wanted + 1) - np.log(wanted + 1).mean()))
        net.items.copy_(torch.from_numpy(start) + NOISE * torch.randn(net.items.shape))
    net = net.to(place.device)
    start_equal(net.parameters(), place)
    return Averaged(net, _optimiser(net, plan))


def _optimiser(net: Net, plan: Plan) -> torch.optim.Optimizer:
    return torch.optim.AdamW(net.parameters(), lr=plan.lr, betas=(0.9, 0.98), weight_decay=1e-3, fused=True)


class Averaged:
    """A network in training and the running mean of its weights over about the last epoch, which is what is used in the end.

    The mean follows the weights at a constant learning rate as the last part of a decayed one would (Polyak and Juditsky 1992).
    """

    def __init__(self, net: Net, optimiser: torch.optim.Optimizer) -> None:
        self.net, self.optimiser, self.mean, self.steps = net, optimiser, deepcopy(net), 0

    def step(self, window: int) -> None:
        """One step of the optimiser; the mean reaches ``window`` steps back."""
        self.optimiser.step()
        self.steps += 1
        with torch.no_grad():
            kept = [each.detach() for each in self.mean.parameters()]
            torch._foreach_lerp_(kept, [each.detach() for each in self.net.parameters()], 1 / min(self.steps + 1, max(window, 1)))

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds of it."""
        states = {"net": self.net.state_dict(), "mean": self.mean.state_dict(), "optimiser": self.optimiser.state_dict()}
        return {**states, "steps": self.steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.net.load_state_dict(state["net"])
        self.mean.load_state_dict(state["mean"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps = int(state["steps"])


def train(
    windows: Windows,
    shape: Shape,
    plan: Plan,
    place: World,
    *,
    start: NDArray[np.float32],
    phase: str,
    validate: Validate | None = None,
) -> tuple[Net, int, list[float]]:
    """Train up to ``plan.epochs``; with ``validate`` return the best network, else the last, with its epochs and the curve."""
    model = build(windows, shape, plan, place, start)
    mark = _mark(windows, shape, plan, phase)
    path = None if plan.checkpoint is None else Path(f"{plan.checkpoint}.{phase}")
    best, done, curve = _copy(model.mean), 0, list[float]()
    stored = load_checkpoint(path, place) if path else None
    if stored and stored["mark"] == mark:
        model.restore(stored)
        best, done, curve = stored["best"], int(stored["done"]), [float(value) for value in stored["curve"]]
    while done < plan.epochs and not _stop(curve, plan.patience):
        epoch(model, windows, plan, place, number=done)
        done += 1
        if validate:
            curve.append(agreed(validate(model.mean), place))
            if curve[-1] >= max(curve):
                best = _copy(model.mean)
        if path:
            save_checkpoint(path, {"mark": mark, **model.state(), "best": best, "done": done, "curve": curve}, place)
    if validate:
        model.mean.load_state_dict(best)
        done = len(curve) - int(np.argmax(curve[::-1]))  # the last of equals, as kept
    return model.mean.eval(), done, curve


def epoch(model: Averaged, windows: Windows, plan: Plan, place: World, *, number: int) -> None:
    """One pass over all windows."""
    seed = [plan.seed, number]
    rng = np.random.default_rng(seed)
    torch.manual_seed(int(rng.integers(2**62)) + place.rank)
    draw = torch.Generator().manual_seed(int(rng.integers(2**62)))
    net = model.net.train()
    tokens = int(min(TOKENS, max(256, CELLS // (NEGATIVES if plan.sampled else net.count)), max(64, windows.length.sum() // STEPS)))
    batches = list(windows.batches(tokens, rng))
    for batch in batches:
        total = windows.mass(batch)
        others = _others(windows, batch, net, draw, place) if plan.sampled else None
        mine = batch[place.share(len(batch))]
        model.optimiser.zero_grad(set_to_none=True)
        if len(mine):
            loss(net, windows, mine, others, place).div(total).backward()  # type: ignore[no-untyped-call]
        sum_gradients(net.parameters(), place)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        model.step(len(batches))


def go_on(net: Net, windows: Windows, shape: Shape, plan: Plan, place: World, *, since: int, replay: float, joined: Any) -> Net:
    """Train a fitted network on the windows with events from ``since`` (microseconds) on and on a ``replay`` share of the others."""
    torch.manual_seed(plan.seed)
    wider = Net(shape)
    state, fresh = net.state_dict(), wider.state_dict()
    for name, weights in state.items():
        fresh[name][: len(weights)] = weights  # vocabularies grow at their end
    items, none = fresh["tables.item.weight"], state["tables.item.weight"][-1]
    old = net.count
    means = joined @ items[:old].numpy()
    items[old:-1] = torch.from_numpy(means) + NOISE * torch.randn(wider.count - old, shape.dim)
    items[-1] = none
    fresh["bias"][old:] = net.bias.detach().min()
    wider.load_state_dict(fresh)
    last = windows.events[-1][windows.start + windows.length]  # in seconds: what followed the last question
    rng = np.random.default_rng([plan.seed, since])
    chosen = (last >= since // 1_000_000) | (rng.random(len(last)) < replay)
    part = replace(windows, start=windows.start[chosen], length=windows.length[chosen])
    wider = wider.to(place.device)
    start_equal(wider.parameters(), place)
    model = Averaged(wider, _optimiser(wider, plan))
    for number in range(plan.epochs):
        epoch(model, part, plan, place, number=number)
    return model.mean.eval().cpu()


def _others(windows: Windows, batch: NDArray[np.int64], net: Net, draw: torch.Generator, place: World) -> Negatives:
    """Half of the shared negatives from all items alike, half from what the whole batch wants; the same on every process."""
    wanted = torch.from_numpy(windows.wanted(batch))
    picked = wanted[torch.randint(len(wanted), (NEGATIVES // 2,), generator=draw)]
    uniform = torch.randint(net.count, (NEGATIVES // 2,), generator=draw)
    found = negatives(uniform, picked, torch.from_numpy(windows.shares))
    return Negatives(*(part.to(place.device) for part in found))


def loss(net: Net, windows: Windows, batch: NDArray[np.int64], others: Negatives | None, place: World) -> Tensor:
    """Weighted sum of the cross-entropies of a batch; the softmax runs over all items or is estimated from ``others``."""
    events, pairs = windows.padded(batch)
    places, row, item, weight = (torch.from_numpy(part).to(place.device) for part in pairs)
    with torch.autocast("cuda", torch.bfloat16, enabled=place.device.startswith("cuda")):
        hidden = net(torch.from_numpy(events).to(place.device))[places]
        if others is not None:
            return sampled_loss(hidden, net.items, net.bias, row, item, weight, others)
    return catalogue_loss(hidden.float(), net.items, net.bias, row, item, weight, half=_half(net))


def _half(net: Net) -> bool:
    return net.count >= HALF and (net.items.is_cuda or halves())


def vectors(net: Net, events: NDArray[np.int64], offsets: NDArray[np.int64], place: World) -> NDArray[np.float32]:
    """The customer vector after the last event of each history, float32 [U, dim]; zeros for an empty one."""
    lengths = np.minimum(np.diff(offsets), net.length)
    start = offsets[1:] - lengths
    out = np.zeros((len(lengths), net.items.shape[1]), dtype=np.float32)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    net.eval()
    with torch.inference_mode():
        for group in grouped(lengths[order], TOKENS):
            rows = order[group]
            padded, size, _, _ = gather(events, start[rows], lengths[rows])
            hidden = net(torch.from_numpy(padded).to(place.device))
            out[rows] = hidden[torch.arange(len(rows)), torch.from_numpy(size - 1)].float().cpu().numpy()
    return out


def _copy(net: Net) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def _stop(curve: list[float], patience: int) -> bool:
    return len(curve) > patience and max(curve[-patience:]) <= max(curve[:-patience])


def _mark(windows: Windows, shape: Shape, plan: Plan, phase: str) -> str:
    """What a checkpoint belongs to: these windows, these settings. Another mark starts anew."""
    digest = hashlib.sha256(json.dumps([asdict(shape), asdict(plan), phase]).encode())
    arrays: tuple[NDArray[Any], ...] = (windows.events, windows.offsets, windows.item, windows.weight, windows.start, windows.length)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
