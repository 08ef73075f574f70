"""The attention encoder for one history, last position only: what a request needs, at half of the network's own time.

Same weights, same arithmetic. What is saved: the last block computes one position instead of all, the small embedding tables are
one table, the distance bias is laid out once, and no module machinery runs. :func:`lean` compares it with the network before it
hands it out: an encoder with another formula (GRU, LSTM, CNN) gets no lean one and is run as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from tradewind.engine.training import World
from tradewind.learn._deep_fit import vectors
from tradewind.learn._deep_net import Block, Net

CLOSE = 1e-4  # largest difference to the network's own answer, relative to its largest number


@dataclass(frozen=True)
class Weights:
    """One block, every matrix laid out for ``x @ w``."""

    norm_a: tuple[Tensor, Tensor]
    norm_b: tuple[Tensor, Tensor]
    qkv: Tensor
    out: tuple[Tensor, Tensor]
    gate_a: tuple[Tensor, Tensor]
    gate_b: tuple[Tensor, Tensor]
    up: Tensor
    down: Tensor
    back: Tensor  # [heads, length, length]: bias of the distance, minus infinity ahead
    since: Tensor  # [heads, gaps]: bias of the time between

    @classmethod
    def of(cls, block: Block, length: int) -> Weights:
        """The weights of ``block`` for histories of at most ``length`` events."""

        def linear(layer: nn.Linear) -> tuple[Tensor, Tensor]:
            return layer.bias.detach(), layer.weight.detach().T.contiguous()

        def norm(layer: nn.LayerNorm) -> tuple[Tensor, Tensor]:
            return layer.weight.detach(), layer.bias.detach()

        step = torch.arange(length)
        far = step[:, None] - step
        bias = block.back.detach()[:, far.clamp(min=0)].masked_fill(far < 0, float("-inf"))
        matrices = [layer.weight.detach().T.contiguous() for layer in (block.qkv, block.up, block.down)]
        return cls(
            norm_a=norm(block.norm_a),
            norm_b=norm(block.norm_b),
            qkv=matrices[0],
            out=linear(block.out),
            gate_a=linear(block.gate_a),
            gate_b=linear(block.gate_b),
            up=matrices[1],
            down=matrices[2],
            back=bias,
            since=block.since.detach(),
        )


class LastState:
    """Codes as ``_deep_data.codes`` gives them in, the state after the last event out."""

    def __init__(self, net: Net, blocks: list[Block]) -> None:
        tables = [table.weight.detach() for table in embeddings(net)]
        self._items, self._small = tables[0], torch.cat(tables[1:])
        self._base = torch.tensor(np.cumsum([0, *(len(table) for table in tables[1:-1])]))[:, None]
        self._blocks = [Weights.of(block, net.length) for block in blocks]
        self._norm = net.norm.weight.detach(), net.norm.bias.detach()
        self._heads, self.length, self._clock, self._gaps = blocks[0].heads, net.length, net.clock, net.gaps
        self._shape = (self._items.shape[1],)

    def __call__(self, events: NDArray[np.int64]) -> NDArray[np.float32]:
        """One history, codes int64 [features + 1, L]; returns float32 [dim]."""
        found: NDArray[np.float32] = self.many(events[:, None])[0]
        return found

    def many(self, events: NDArray[np.int64]) -> NDArray[np.float32]:
        """Histories of one length, codes int64 [features + 1, B, L]; returns float32 [B, dim]."""
        with torch.inference_mode():
            codes = torch.from_numpy(events[:, :, -self.length :])
            rows, length = codes.shape[1:]
            x = functional.embedding_bag((codes[1:-1].reshape(-1, rows * length) + self._base).T, self._small, mode="sum")
            x += functional.embedding(codes[0].reshape(-1), self._items)
            ago = self._ago(codes[-1]) if self._clock else None
            for block in self._blocks[:-1]:
                x = self._after(block, x, self._mixed(block, x.view(rows, length, -1), ago, length))
            block, last = self._blocks[-1], x.view(rows, length, -1)[:, -1]
            x = self._after(block, last, self._mixed(block, x.view(rows, length, -1), ago, 1))
            found: NDArray[np.float32] = functional.layer_norm(x, self._shape, *self._norm).numpy()
        return found

    def _ago(self, seconds: Tensor) -> Tensor:
        apart = (seconds[:, :, None] - seconds[:, None]).clamp_(min=0)
        return torch.log2(apart + 1.0).long().clamp_(max=self._gaps - 1)

    def _mixed(self, block: Weights, x: Tensor, ago: Tensor | None, asked: int) -> Tensor:
        """What the last ``asked`` positions of ``x`` [B, L, dim] attend to, [B * asked, dim]."""
        rows, length, dim = x.shape
        parts = (functional.layer_norm(x, self._shape, *block.norm_a) @ block.qkv).view(rows, length, 3, self._heads, dim // self._heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        bias = block.back[:, length - asked : length, :length]
        if ago is not None:
            since = block.since.index_select(1, ago[:, length - asked :].reshape(-1)).view(self._heads, rows, asked, length)
            bias = bias + since.transpose(0, 1)
        found = functional.scaled_dot_product_attention(query[:, :, length - asked :], key, value, attn_mask=bias)
        return found.transpose(1, 2).reshape(rows * asked, dim)

    def _after(self, block: Weights, x: Tensor, mixed: Tensor) -> Tensor:
        (shift, out), (level_a, gate_a), (level_b, gate_b) = block.out, block.gate_a, block.gate_b
        x = torch.addcmul(x, torch.addmm(level_a, x, gate_a).sigmoid_(), torch.addmm(shift, mixed, out))
        value, gate = (functional.layer_norm(x, self._shape, *block.norm_b) @ block.up).chunk(2, dim=-1)
        return torch.addcmul(x, torch.addmm(level_b, x, gate_b).sigmoid_(), (functional.silu(gate) * value) @ block.down)


def embeddings(net: Net) -> list[nn.Embedding]:
    """The embedding tables in the order of the features."""
    return [table for table in net.tables.values() if isinstance(table, nn.Embedding)]


def lean(net: Net) -> LastState | None:
    """The lean encoder of ``net``; None when its cells are not attention or its own answer is another."""
    blocks = [block for block in net.blocks if isinstance(block, Block)]
    if not blocks or len(blocks) < len(net.blocks):
        return None
    found, draw = LastState(net, blocks), torch.Generator().manual_seed(0)
    for length in sorted({1, min(2, net.length), min(17, net.length), net.length}):
        rows = [torch.randint(table.num_embeddings, (length,), generator=draw) for table in embeddings(net)]
        seconds = torch.randint(10**6, (length,), generator=draw).cumsum(0)
        codes = torch.stack([*rows, seconds]).numpy()
        own = whole(net, codes)
        if not np.abs(found(codes) - own).max() <= CLOSE * np.abs(own).max():
            return None
    return found


def whole(net: Net, events: NDArray[np.int64]) -> NDArray[np.float32]:
    """The same from the network itself, whatever its cells."""
    found: NDArray[np.float32] = vectors(net, events, np.array([0, events.shape[1]]), World(0, 1, "cpu"))[0]
    return found
