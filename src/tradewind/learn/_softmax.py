"""Cross-entropy over the whole catalogue without ever holding all its logits.

The logits of a training step are large (positions x items) and are read and written many times by the textbook chain of
product, log-sum-exp and backward pass: memory, not arithmetic, sets the pace. Here a tile of positions small enough for the
cache goes through all of it at once, gradients included, and is forgotten (the idea of cut cross-entropy, Wijmans et al. 2025,
arXiv 2411.09009, and of fused linear cross-entropy kernels; written for CPUs and for any catalogue that fits in memory).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CELLS = 400_000  # logits of a tile: about the second-level cache of one core
WIDER = 64  # times as many on a GPU, where a small tile leaves most of it idle


class CatalogueSoftmax(torch.autograd.Function):
    """Sum over pairs q of ``weight[q] * (logsumexp(z[row[q]]) - z[row[q], item[q]])`` with ``z = hidden @ items.T + bias``.

    ``hidden`` float [P, D], ``items`` float [I, D], ``bias`` float [I]; ``row`` and ``item`` int64 [Q], ``weight`` float [Q].
    The forward pass computes the gradients as well; the backward pass only scales them.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, items: Tensor, bias: Tensor, row: Tensor, item: Tensor, weight: Tensor) -> Tensor:
        """The sum, as a scalar tensor."""
        mass = torch.zeros(len(hidden), dtype=hidden.dtype, device=hidden.device).index_add_(0, row, weight)
        d_hidden, d_items, d_bias = torch.empty_like(hidden), torch.zeros_like(items), torch.zeros_like(bias)
        normaliser = torch.empty_like(mass)
        across = items.T
        cells = CELLS * (WIDER if hidden.is_cuda else 1)
        tile = max(1, cells // max(len(items), 1))
        for start in range(0, len(hidden), tile):
            part = slice(start, start + tile)
            logits = torch.addmm(bias, hidden[part], across)
            top = logits.amax(dim=1, keepdim=True)
            sums = logits.sub_(top).exp_().sum(dim=1)
            normaliser[part] = sums.log() + top[:, 0]
            logits.mul_((mass[part] / sums)[:, None])
            torch.mm(logits, items, out=d_hidden[part])
            d_items.addmm_(logits.T, hidden[part])
            d_bias += logits.sum(dim=0)
        wanted, where = items[item], hidden[row]
        scores = (wanted * where).sum(dim=1) + bias[item]
        down = -weight[:, None]
        d_hidden.index_add_(0, row, wanted * down)
        d_items.index_add_(0, item, where * down)
        d_bias.index_add_(0, item, -weight)
        ctx.save_for_backward(d_hidden, d_items, d_bias)
        return (weight * (normaliser[row] - scores)).sum()

    @staticmethod
    def backward(ctx: Any, *scale: Tensor) -> tuple[Tensor | None, ...]:
        """The kept gradients times that of the sum."""
        d_hidden, d_items, d_bias = ctx.saved_tensors
        return d_hidden * scale[0], d_items * scale[0], d_bias * scale[0], None, None, None


def catalogue_loss(hidden: Tensor, items: Tensor, bias: Tensor, row: Tensor, item: Tensor, weight: Tensor) -> Tensor:
    """See :class:`CatalogueSoftmax`."""
    total: Tensor = CatalogueSoftmax.apply(hidden, items, bias, row, item, weight)  # type: ignore[no-untyped-call]
    return total
