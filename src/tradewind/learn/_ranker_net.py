"""The network of the deep ranker: what of the history resembles the candidate, crossed with everything else. Needs torch.

Attention over the events of the history with the candidate as the question (DIN, Zhou et al. 2018); the weights are a softmax with one
more slot for "none of them", so that a history without anything alike says so (the paper sums raw weights instead). Cross layers
x0 * (W x + b) + x (DCN v2, Wang et al. 2021) beside a plain feed-forward part. Two answers: log-odds of a click and of a purchase after
a click. The place in the list multiplies the probability of a click by how often that place is looked at, 1 at the best place (PAL, Guo et
al. 2019): a number per place, added to the log-probability, which nothing else in the network sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

HOURS, DAYS, CONTEXT = 24, 7, 4  # rows of the tables of context, and their width


@dataclass(frozen=True)
class Shape:
    """Sizes that decide the weights. ``items``, ``categories`` and ``channels`` do not count the row for "none"."""

    dim: int
    hidden: int
    crosses: int
    dropout: float
    items: int
    categories: int
    channels: int
    kinds: int
    gaps: int
    places: int
    dense: int


class Batch(NamedTuple):
    """``candidate`` int64 [B, 3] (item, category, band); ``context`` int64 [B, 3] (hour, weekday, channel); ``dense`` float [B, F];
    ``events`` int64 [B, L, 5] (item, category, band, kind, gap); ``real`` bool [B, L]; ``place`` int64 [B], 0 is the first.
    """

    candidate: Tensor
    context: Tensor
    dense: Tensor
    events: Tensor
    real: Tensor
    place: Tensor


class Net(nn.Module):
    """See the module."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        dim, hidden = shape.dim, shape.hidden
        self.what = nn.ModuleList(nn.Embedding(rows, dim) for rows in (shape.items + 1, shape.categories + 1, 6))
        self.how = nn.ModuleList(nn.Embedding(rows, dim) for rows in (shape.kinds + 1, shape.gaps))
        self.when = nn.ModuleList(nn.Embedding(rows, CONTEXT) for rows in (HOURS, DAYS, shape.channels + 1))
        self.unit = nn.Sequential(nn.Linear(3 * dim, 16), nn.PReLU(), nn.Linear(16, 1))
        wide = 3 * dim + 3 * CONTEXT + shape.dense
        self.crosses = nn.ModuleList(nn.Linear(wide, wide) for _ in range(shape.crosses))
        drop = nn.Dropout(shape.dropout)
        self.deep = nn.Sequential(nn.Linear(wide, hidden), nn.SiLU(), drop, nn.Linear(hidden, hidden // 2), nn.SiLU(), drop)
        self.heads = nn.Linear(wide + hidden // 2, 2)
        self.place = nn.Parameter(torch.zeros(shape.places - 1))  # of every place but the first
        self.drop = drop
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.05)

    def attention(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Candidate vectors [B, D], what the history says about them [B, D], and the weights of the events [B, L]."""
        asked = sum((table(batch.candidate[:, n]) for n, table in enumerate(self.what)), torch.zeros(()))
        tables = [*self.what, *self.how]
        seen = sum((table(batch.events[:, :, n]) for n, table in enumerate(tables)), torch.zeros(()))
        question = asked[:, None].expand_as(seen)
        logits = self.unit(torch.cat((seen, question, seen * question), dim=-1))[..., 0]
        logits = logits + (seen * question).sum(dim=-1) / seen.shape[-1] ** 0.5
        logits = functional.pad(logits.masked_fill(~batch.real, float("-inf")), (1, 0))  # the slot for "none" has logit 0
        weights = torch.softmax(logits, dim=1)[:, 1:]
        return asked, (weights[:, None] @ seen)[:, 0], weights

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Log-odds [B] of a click at the given place, and of a purchase after a click."""
        asked, told, _ = self.attention(batch)
        context = [table(batch.context[:, n]) for n, table in enumerate(self.when)]
        first = torch.cat((self.drop(asked), self.drop(told), self.drop(asked * told), *context, batch.dense), dim=1)
        x = first
        for cross in self.crosses:
            x = first * cross(x) + x
        click, buy = self.heads(torch.cat((x, self.deep(first)), dim=1)).unbind(dim=1)
        seen = functional.pad(self.place, (1, 0))  # log of how often a place is looked at, relative to the first
        yes = functional.logsigmoid(click) + (seen - seen.max())[batch.place]
        return yes - _none_of(yes), buy


def _none_of(yes: Tensor) -> Tensor:
    """log(1 - p) of log p."""
    return torch.log(-torch.expm1(yes.clamp(max=-1e-7)))


def loss(click: Tensor, buy: Tensor, clicked: Tensor, bought: Tensor, log_reach: Tensor, known: Tensor) -> Tensor:
    """Summed log loss of a click, and of "clicked, bought and by now known": p(click) x p(buy | click) x reach."""
    first = functional.binary_cross_entropy_with_logits(click, clicked, reduction="sum")
    yes = functional.logsigmoid(click) + functional.logsigmoid(buy) + log_reach
    return first - (known * (bought * yes + (1 - bought) * _none_of(yes))).sum()
