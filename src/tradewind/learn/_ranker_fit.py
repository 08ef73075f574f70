"""Impressions as batches, and the training loop of the deep ranker.

Every epoch draws its order and its negatives from its own seed; all processes draw the same and take their share of each batch, so
that two processes take the steps of one (up to the order of float sums; with dropout each process draws its own masks).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tradewind.engine.training import World, agreed, start_equal, sum_gradients
from tradewind.learn._ranker import Given, Values, sampled
from tradewind.learn._ranker_features import place
from tradewind.learn._ranker_net import Batch, Net, Shape, loss
from tradewind.learn._ranker_rows import DAY, NONE

GAPS = 34  # log2 of seconds between an event and the impression
ANSWERS = 4096  # rows answered at once
BINS = 8  # of each dense feature
STEADY = 0.99  # of the moving average of the weights that answers: single steps move the level of all probabilities


@dataclass(frozen=True)
class Plan:
    """How to train: at most ``epochs``, stopping after ``patience`` without a better validation; ``negatives`` is the share kept."""

    lr: float
    epochs: int
    patience: int
    batch: int
    seed: int
    negatives: float


@dataclass(frozen=True)
class Scale:
    """Mean, standard deviation and quantiles [BINS + 1, F] of the dense features, and the items that are shown often enough to have a
    vector of their own.
    """

    mean: NDArray[np.float32]
    spread: NDArray[np.float32]
    edges: NDArray[np.float32]
    known: NDArray[np.bool_]

    @classmethod
    def of(cls, given: Given, items: int, rare: int) -> Scale:
        shown = np.bincount(given.rows.item[given.rows.item >= 0], minlength=items)
        spread = np.maximum(given.dense.std(axis=0), 1e-6).astype(np.float32)
        edges = np.quantile(given.dense, np.linspace(0, 1, BINS + 1), axis=0).astype(np.float32)
        return cls(given.dense.mean(axis=0), spread, edges, shown >= rare)

    def encoded(self, dense: NDArray[np.float32]) -> NDArray[np.float32]:
        """The features, standardised, and how far each has come through each of its quantile bins (0 to 1): float32 [N, F (1 + BINS)].

        Piecewise linear encoding (Gorishniy et al. 2022): what trees see for nothing, a network has to be shown.
        """
        parts = [np.clip((dense - self.mean) / self.spread, -5, 5)]
        for low, high in pairwise(self.edges):
            wide = high - low > 1e-6
            along = np.clip((dense - low) / np.where(wide, high - low, 1), 0, 1)
            parts.append(np.where(wide, along, dense >= high) - 0.5)
        return np.concatenate(parts, axis=1, dtype=np.float32)


class Source:
    """Batches of rows as tensors."""

    def __init__(self, given: Given, scale: Scale, *, longest: int, as_shown: bool = True) -> None:
        rows, items = given.rows, len(scale.known)
        log = rows.log
        self.rows, self.longest = rows, longest
        named = np.append(np.where(scale.known, np.arange(items), items), items)
        self.candidate = np.column_stack([named[rows.item], rows.shelf + 1, rows.band + 1]).astype(np.int64)
        self.context = np.column_stack([rows.at // (DAY // 24) % 24, rows.at // DAY % 7, rows.channel + 1]).astype(np.int64)
        self.dense = scale.encoded(given.dense)
        self.place = place(rows.position) if as_shown else np.zeros(len(rows), np.int64)
        events = np.column_stack([named[log.item], log.category + 1, log.band + 1, log.kind + 1]).astype(np.int64)
        self.events = events if len(events) else np.array([[items, 0, 0, 0]])
        self.times = log.at if len(events) else np.zeros(1, np.int64)

    def batch(self, index: NDArray[np.int64], device: str) -> Batch:
        """The rows at ``index``."""
        places, real = self.rows.window(index, self.longest)
        gap = np.log2(np.maximum(self.rows.at[index, None] - self.times[places], 0) / 1e6 + 1).astype(np.int64)
        events = np.concatenate((self.events[places], np.minimum(gap, GAPS - 1)[..., None]), axis=2)
        arrays = (self.candidate[index], self.context[index], self.dense[index], events, real, self.place[index])
        return Batch(*(torch.from_numpy(array).to(device) for array in arrays))


def train(
    source: Source, shape: Shape, plan: Plan, world: World, effects: NDArray[np.float64], validate: Callable[[Net], float]
) -> tuple[Net, int, list[float]]:
    """The network that was best by ``validate`` (lower is better), after how many epochs, and the curve.

    ``effects`` (logs, per place, 0 for the first) is where the effect of the place starts: else what it means goes into the items first.
    """
    torch.manual_seed(plan.seed)
    net = Net(shape)
    with torch.no_grad():
        net.heads.bias.copy_(torch.tensor(start(source)))
        net.place.copy_(torch.from_numpy(effects[1:]))
    net = net.to(world.device)
    start_equal(net.parameters(), world)
    steady = Net(shape).to(world.device)
    steady.load_state_dict(net.state_dict())
    rest = [parameter for name, parameter in net.named_parameters() if name != "place"]
    groups: list[dict[str, Any]] = [{"params": rest}, {"params": [net.place], "lr": 5 * plan.lr, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=plan.lr, weight_decay=1e-2)
    best, curve = copied(steady), list[float]()
    for number in range(plan.epochs):
        epoch(net, steady, optimiser, source, plan, world, number)
        curve.append(agreed(validate(steady.eval()), world))
        if curve[-1] <= min(curve):
            best = copied(steady)
        if number + 1 - int(np.argmin(curve)) > plan.patience:
            break
    steady.load_state_dict(best)
    return steady.eval(), int(np.argmin(curve)) + 1, curve


def start(source: Source) -> list[float]:
    """Log-odds of the rates of clicks and of purchases after them: saves the steps that would learn only that."""
    rows = source.rows
    clicks, buys = rows.click.sum(), rows.conversion.sum()
    known = (rows.reach > NONE) & (rows.click > 0)
    return [float(np.log((clicks + 1) / (len(rows) - clicks + 1))), float(np.log((buys + 1) / max(rows.reach[known].sum() - buys, 1.0)))]


def epoch(net: Net, steady: Net, optimiser: torch.optim.Optimizer, source: Source, plan: Plan, world: World, number: int) -> None:
    """One pass over all clicks and a fresh draw of the other rows; ``steady`` follows as a moving average."""
    rng = np.random.default_rng([plan.seed, number])
    chosen = rng.permutation(sampled(source.rows.click, plan.negatives, rng))
    torch.manual_seed(int(rng.integers(2**62)) + world.rank)
    net.train()
    moving: list[Tensor] = list(net.parameters())
    following: list[Tensor] = list(steady.parameters())
    for first in range(0, len(chosen), plan.batch):
        whole = chosen[first : first + plan.batch]
        mine = whole[world.share(len(whole))]
        optimiser.zero_grad(set_to_none=True)
        if len(mine):
            losses(net, source, mine, world.device, plan.negatives).div(len(whole)).backward()  # type: ignore[no-untyped-call]
        sum_gradients(net.parameters(), world)
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        done = number * len(chosen) + first
        with torch.no_grad():
            torch._foreach_lerp_(following, moving, 1 - min(STEADY, (plan.batch + done) / (10 * plan.batch + done)))


def losses(net: Net, source: Source, index: NDArray[np.int64], device: str, negatives: float) -> Tensor:
    """Summed loss of some rows, of which rows without a click are only a share ``negatives``.

    The network says the true p; among the rows drawn a click has p / (p + (1 - p) x share), which is -log(share) on the log-odds.
    """
    rows = source.rows
    click, buy = net(source.batch(index, device))
    click = click - float(np.log(negatives))
    reach = rows.reach[index]
    parts = (rows.click[index], rows.conversion[index], np.log(reach), reach > NONE)
    clicked, bought, log_reach, known = (torch.from_numpy(part.astype(np.float32)).to(device) for part in parts)
    return loss(click, buy, clicked, bought, log_reach, known)


def answers(net: Net, source: Source, world: World) -> tuple[Values, Values]:
    """Log-odds float64 [N] of a click and of a purchase after a click."""
    count = len(source.rows)
    click, buy = np.empty(count), np.empty(count)
    net.eval()
    with torch.inference_mode():
        for first in range(0, count, ANSWERS):
            index = np.arange(first, min(first + ANSWERS, count))
            found = net(source.batch(index, world.device))
            click[index], buy[index] = (part.double().cpu().numpy() for part in found)
    return click, buy


def copied(net: Net) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}
