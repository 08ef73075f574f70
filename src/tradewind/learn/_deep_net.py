"""The networks of the deep recommenders: an encoder over a sum of event embeddings. Imported only when torch is needed.

``attention``: gated pre-norm blocks as in LiGR (Borisyuk et al. 2025) and eSASRec: x + sigmoid(W1 x) * attention(norm x),
x + sigmoid(W2 x) * SwiGLU(norm x). ``gru``, ``lstm``: a residual recurrent layer a block. ``cnn``: causal convolutions of width 3
with dilations 1, 2 and 4 a block. Where an event stands is told to the attention as a bias, by how many events and by how much time
(in powers of two) it lies before the event that asks: inverse positions that mean the same for every question of a sequence,
in training and when serving. Recurrent and convolutional encoders know the order by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

FEATURES = ("item", "kind", "band", "category", "channel", "gap")


@dataclass(frozen=True)
class Shape:
    """Sizes that decide the weights: ``tables`` rows per feature of ``FEATURES``; the item table has one row for "none"."""

    dim: int
    blocks: int
    heads: int
    length: int
    dropout: float
    tables: tuple[int, ...]
    cell: str = "attention"
    clock: bool = True  # whether time between events is told to the attention; pointless where times are only an order


class Block(nn.Module):
    """One causal block."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        dim, wide = shape.dim, shape.dim * 2
        self.heads, self.dropout = shape.heads, shape.dropout
        self.norm_a, self.norm_b = nn.LayerNorm(dim), nn.LayerNorm(dim)
        # No bias: the softmax ignores one on the keys, so its gradient would be rounding noise that Adam blows up to full steps.
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.gate_a, self.gate_b = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.up, self.down = nn.Linear(dim, 2 * wide, bias=False), nn.Linear(wide, dim, bias=False)
        self.drop = nn.Dropout(shape.dropout)
        self.back = nn.Parameter(torch.zeros(shape.heads, shape.length))  # what "n events ago" adds to the attention
        self.since = nn.Parameter(torch.zeros(shape.heads, shape.tables[-1] if shape.clock else 0))  # and "2^n seconds ago"
        nn.init.zeros_(self.out.weight)  # a block starts as a shortcut, so that good item vectors are not drowned in noise
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor, ago: Tensor | None) -> Tensor:
        x = x + torch.sigmoid(self.gate_a(x)) * self.drop(self._attend(self.norm_a(x), ago))
        value, gate = self.up(self.norm_b(x)).chunk(2, dim=-1)
        fed: Tensor = self.down(self.drop(functional.silu(gate) * value))
        out: Tensor = x + torch.sigmoid(self.gate_b(x)) * self.drop(fed)
        return out

    def _attend(self, x: Tensor, ago: Tensor | None) -> Tensor:
        rows, length, dim = x.shape
        parts = self.qkv(x).view(rows, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        step = torch.arange(length, device=x.device)
        far = step[:, None] - step
        bias = self.back[:, far.clamp(min=0)]
        if ago is not None:
            bias = bias + self.since[:, ago].transpose(0, 1)
        # Padding stands behind every real event, so hiding the future keeps it out.
        bias = bias.masked_fill(far < 0, float("-inf")).to(parts.dtype)
        mixed = functional.scaled_dot_product_attention(
            parts[0], parts[1], parts[2], attn_mask=bias, dropout_p=self.dropout if self.training else 0.0
        )
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(rows, length, dim))
        return out


class Recurrent(nn.Module):
    """One recurrent layer beside a shortcut; padding stands behind, so no real step ever sees it."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        kind = {"gru": nn.GRU, "lstm": nn.LSTM}[shape.cell]
        self.norm = nn.LayerNorm(shape.dim)
        self.layer = kind(shape.dim, shape.dim, batch_first=True)
        self.out, self.drop = nn.Linear(shape.dim, shape.dim), nn.Dropout(shape.dropout)

    def forward(self, x: Tensor, _ago: Tensor | None) -> Tensor:
        states, _ = self.layer(self.norm(x))
        out: Tensor = x + self.drop(self.out(states))
        return out


class Convolutions(nn.Module):
    """Three causal convolutions of width 3, dilated 1, 2 and 4, each beside a shortcut."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(shape.dim) for _ in range(3))
        self.layers = nn.ModuleList(nn.Conv1d(shape.dim, shape.dim, 3, dilation=2**step) for step in range(3))
        self.drop = nn.Dropout(shape.dropout)

    def forward(self, x: Tensor, _ago: Tensor | None) -> Tensor:
        for step, (norm, layer) in enumerate(zip(self.norms, self.layers, strict=True)):
            back = functional.pad(norm(x).transpose(1, 2), (2 * 2**step, 0))
            x = x + self.drop(functional.relu(layer(back)).transpose(1, 2))
        return x


CELLS = {"attention": Block, "gru": Recurrent, "lstm": Recurrent, "cnn": Convolutions}


class Net(nn.Module):
    """Events in, one vector per position out; its product with ``items`` rows plus ``bias`` scores the next item."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tables = nn.ModuleDict({name: nn.Embedding(rows, shape.dim) for name, rows in zip(FEATURES, shape.tables, strict=True)})
        for weights in self.tables.parameters():
            nn.init.normal_(weights, std=0.02)
        self.bias = nn.Parameter(torch.zeros(shape.tables[0] - 1))
        self.blocks = nn.ModuleList(CELLS[shape.cell](shape) for _ in range(shape.blocks))
        self.norm, self.drop = nn.LayerNorm(shape.dim), nn.Dropout(shape.dropout)
        self.length, self.count = shape.length, shape.tables[0] - 1
        self.clock, self.gaps = shape.clock and shape.cell == "attention", shape.tables[-1]

    @property
    def items(self) -> Tensor:
        """Item vectors [I, dim], shared by input and output."""
        table = self.tables["item"]
        assert isinstance(table, nn.Embedding)
        return table.weight[: self.count]

    def forward(self, events: Tensor) -> Tensor:
        """``events`` int64 [features + 1, B, L] (the last are seconds) with padding behind; returns [B, L, dim]."""
        x = self.drop(sum((table(codes) for table, codes in zip(self.tables.values(), events[:-1], strict=True)), torch.zeros(())))
        ago = self._ago(events[-1]) if self.clock else None
        for block in self.blocks:
            x = block(x, ago)
        out: Tensor = self.norm(x)
        return out

    def _ago(self, seconds: Tensor) -> Tensor:
        """How long before each event each other was, in powers of two: int64 [B, L, L]."""
        apart = (seconds[:, :, None] - seconds[:, None, :]).clamp(min=0)
        return torch.log2(apart + 1.0).long().clamp(max=self.gaps - 1)
