"""The networks of the text classifiers and how they are trained. Imported only when torch is needed.

Words become vectors; an encoder mixes them; what it says at its strongest place and on average goes into one number, beside a plain
sum of word weights, so that what a linear model knows need not be learned by the encoder. ``cnn``: convolutions over 2, 3 and 4
words (Kim 2014). ``lstm``: one bidirectional layer. ``transformer``: two pre-norm layers with learned places.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tradewind.learn._text_tokens import LENGTH, Rows

BATCH = 64
WIDTHS = (2, 3, 4)
PATIENCE = 2  # epochs without a better validation
STEPS = 200  # that the mean of the weights reaches back


@dataclass(frozen=True)
class Recipe:
    """What to train and how; ``dim`` is the width of everything."""

    cell: str
    vocabulary: int
    dim: int
    dropout: float
    lr: float
    epochs: int
    seed: int


class Cnn(nn.Module):
    """A convolution per width, each ``dim`` filters."""

    out: int

    def __init__(self, dim: int, dropout: float) -> None:  # noqa: ARG002 - one signature for all; what leaves is dropped in the head
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(dim, dim, width, padding=width - 1) for width in WIDTHS)
        self.out = len(WIDTHS) * dim

    def forward(self, x: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        length = x.shape[1]
        found = [functional.relu(layer(x.transpose(1, 2)))[:, :, :length] for layer in self.layers]
        return torch.cat(found, dim=1).transpose(1, 2), real


class Lstm(nn.Module):
    """One layer that reads both ways."""

    out: int

    def __init__(self, dim: int, dropout: float) -> None:  # noqa: ARG002 - one signature for all; a single layer drops nothing inside
        super().__init__()
        self.layer = nn.LSTM(dim, dim, batch_first=True, bidirectional=True)
        self.out = 2 * dim

    def forward(self, x: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        # Packed: read backwards, padding would come first.
        packed = nn.utils.rnn.pack_padded_sequence(x, real.sum(1).clamp(min=1), batch_first=True, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0], batch_first=True, total_length=x.shape[1])
        return states, real


class Transformer(nn.Module):
    """Two layers of attention over all words of the text."""

    out: int

    def __init__(self, dim: int, dropout: float) -> None:
        super().__init__()
        self.place = nn.Parameter(0.02 * torch.randn(LENGTH, dim))
        layer = nn.TransformerEncoderLayer(dim, 4, 2 * dim, dropout, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(dim), enable_nested_tensor=False)
        self.out = dim

    def forward(self, x: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        real = real.clone()
        real[:, 0] = True  # attention needs one place to look at, also in an empty text
        return self.layers(x + self.place[: x.shape[1]], src_key_padding_mask=~real), real


CELLS: Mapping[str, type[Cnn | Lstm | Transformer]] = {"cnn": Cnn, "lstm": Lstm, "transformer": Transformer}


class Net(nn.Module):
    """Tokens int64 [B, L] (0 is padding, behind) to the log-odds of praise, float32 [B]."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.table = nn.Embedding(recipe.vocabulary, recipe.dim, padding_idx=0)
        nn.init.normal_(self.table.weight, std=0.1)
        self.plain = nn.Embedding(recipe.vocabulary, 1, padding_idx=0)
        nn.init.zeros_(self.plain.weight)
        with torch.no_grad():
            self.table.weight[0] = 0
        encoder = CELLS[recipe.cell](recipe.dim, recipe.dropout)
        self.encoder, self.drop = encoder, nn.Dropout(recipe.dropout)
        self.head = nn.Linear(2 * encoder.out, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        real = tokens > 0
        states, real = self.encoder(self.drop(self.table(tokens)), real)
        seen = real[:, :, None]
        strongest = states.masked_fill(~seen, float("-inf")).amax(1)
        strongest = torch.where(seen.any(1), strongest, 0.0)
        count = real.sum(1, keepdim=True).clamp(min=1)
        mean = (states * seen).sum(1) / count
        plain = self.plain(tokens).sum((1, 2)) / count[:, 0].sqrt()
        log_odds: Tensor = self.head(self.drop(torch.cat([strongest, mean], dim=1)))[:, 0] + plain
        return log_odds


def train(rows: Rows, y: NDArray[np.int8], held: NDArray[np.bool_], recipe: Recipe) -> tuple[Net, int, list[float]]:
    """The network with the least loss on the ``held`` texts, after how many epochs, and the losses of all.

    What is judged and kept is the running mean of the weights (Polyak and Juditsky 1992). The global seed is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = Net(recipe)
        mean, best = deepcopy(net).eval(), deepcopy(net.state_dict())
        optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.lr, weight_decay=1e-2)
        wanted, curve, steps = torch.from_numpy(y.astype(np.float32)), list[float](), 0
        learn, judge = np.flatnonzero(~held), np.flatnonzero(held)
        for epoch in range(recipe.epochs):
            net.train()
            for at, tokens in batches(rows, learn, seed=recipe.seed + epoch):
                optimiser.zero_grad(set_to_none=True)
                loss = functional.binary_cross_entropy_with_logits(net(tokens), wanted[at])
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimiser.step()
                steps += 1
                _follow(mean, net, 1 / min(steps + 1, STEPS))
            found = torch.from_numpy(answers(mean, rows, judge)).float()
            curve.append(float(functional.binary_cross_entropy_with_logits(found, wanted[judge])))
            if curve[-1] == min(curve):
                best = deepcopy(mean.state_dict())
            if epoch - int(np.argmin(curve)) >= PATIENCE:
                break
        mean.load_state_dict(best)
    return mean, int(np.argmin(curve)) + 1, curve


def _follow(mean: Net, net: Net, share: float) -> None:
    with torch.no_grad():
        torch._foreach_lerp_([each.detach() for each in mean.parameters()], [each.detach() for each in net.parameters()], share)


def answers(net: Net, rows: Rows, some: NDArray[np.int64]) -> NDArray[np.float64]:
    """Log-odds of praise of some texts, float64 [n]."""
    found = np.empty(len(rows.starts) - 1)
    net.eval()
    with torch.inference_mode():
        for at, tokens in batches(rows, some, seed=None):
            found[at] = net(tokens).numpy()
    return found[some]


def batches(rows: Rows, some: NDArray[np.int64], *, seed: int | None) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Texts of about one length together, so that little is padding; in an order of the ``seed``, or from short to long."""
    size = np.diff(rows.starts)[some]
    rng = np.random.default_rng(seed)
    order = some[np.argsort(size + (rng.uniform(0, 8, len(some)) if seed is not None else 0), kind="stable")]
    cuts = np.arange(0, len(order), BATCH)
    for start in rng.permutation(cuts) if seed is not None else cuts:
        at = order[start : start + BATCH]
        yield at, torch.from_numpy(rows.padded(at))
