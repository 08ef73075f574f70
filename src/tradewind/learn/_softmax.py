"""Cross-entropy over the whole catalogue without ever holding all its logits.

The logits of a training step are large (positions x items) and are read and written many times by the textbook chain of
product, log-sum-exp and backward pass: memory, not arithmetic, sets the pace. Here a tile of positions small enough for the
cache goes through all of it at once, gradients included, and is forgotten (the idea of cut cross-entropy, Wijmans et al. 2025,
arXiv 2411.09009, and of fused linear cross-entropy kernels; written for CPUs and for any catalogue that fits in memory).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

CELLS = 1_600_000  # logits of a tile: they and the gradient of the items, which every tile adds to, pass through the cache
WIDER = 16  # times as many on a GPU, where a small tile leaves most of it idle


def halves() -> bool:
    """Whether this processor multiplies bfloat16 natively; else it would only emulate it, slowly."""
    found = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


class CatalogueSoftmax(torch.autograd.Function):
    """Sum over pairs q of ``weight[q] * (logsumexp(z[row[q]]) - z[row[q], item[q]])`` with ``z = hidden @ items.T + bias``.

    ``hidden`` float [P, D], ``items`` float [I, D], ``bias`` float [I]; ``row`` and ``item`` int64 [Q], ``weight`` float [Q].
    The forward pass computes the gradients as well; the backward pass only scales them. With ``half`` the factors of the three
    products are rounded to bfloat16; sums, exponentials and the logits of what was wanted keep the precision that came in.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, items: Tensor, bias: Tensor, row: Tensor, item: Tensor, weight: Tensor, half: bool) -> Tensor:
        """The sum, as a scalar tensor."""
        kind = torch.bfloat16 if half else hidden.dtype
        mass = torch.zeros(len(hidden), dtype=hidden.dtype, device=hidden.device).index_add_(0, row, weight)
        d_hidden, d_items, d_bias = torch.empty_like(hidden), torch.zeros_like(items), torch.zeros_like(bias)
        normaliser = torch.empty_like(mass)
        near, table = hidden.to(kind), items.to(kind)
        across = table.T
        cells = CELLS * (WIDER if hidden.is_cuda else 1)
        tile = max(1, cells // max(len(items), 1))
        for start in range(0, len(hidden), tile):
            part = slice(start, start + tile)
            logits = torch.mm(near[part], across).to(hidden.dtype).add_(bias)
            top = logits.amax(dim=1, keepdim=True)
            sums = logits.sub_(top).exp_().sum(dim=1)
            normaliser[part] = sums.log() + top[:, 0]
            logits.mul_((mass[part] / sums)[:, None])
            d_bias += logits.sum(dim=0)
            share = logits.to(kind)
            d_hidden[part] = torch.mm(share, table)
            d_items += torch.mm(share.T, near[part])
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
        return d_hidden * scale[0], d_items * scale[0], d_bias * scale[0], None, None, None, None


def catalogue_loss(hidden: Tensor, items: Tensor, bias: Tensor, row: Tensor, item: Tensor, weight: Tensor, *, half: bool) -> Tensor:
    """See :class:`CatalogueSoftmax`."""
    total: Tensor = CatalogueSoftmax.apply(hidden, items, bias, row, item, weight, half)  # type: ignore[no-untyped-call]
    return total


class Negatives(NamedTuple):
    """Items that stand for the whole catalogue in one step, shared by all its positions.

    ``items`` int64 [S], some of them often; ``expected`` float [S]: log of how often each was to be expected among them.
    """

    items: Tensor
    expected: Tensor


def negatives(uniform: Tensor, batch: Tensor, share: Tensor) -> Negatives:
    """``uniform`` draws int64 [U] from all items, ``batch`` int64 [M] of what is wanted; ``share`` float [I]: how often each is wanted."""
    drawn = torch.cat((uniform, batch))
    return Negatives(drawn, (len(uniform) / len(share) + len(batch) * share[drawn]).log())


def sampled_loss(hidden: Tensor, items: Tensor, bias: Tensor, row: Tensor, item: Tensor, weight: Tensor, others: Negatives) -> Tensor:
    """The sum of :class:`CatalogueSoftmax` with its normaliser estimated from ``others``.

    Each negative counts as one over how often it was expected, which makes the estimate of the sum over all other items unbiased.
    What is wanted is always there, so nothing is taken from its own score (Yi et al. 2019, corrected as in Khrylchenko et al. 2025,
    arXiv 2507.09331).
    """
    positive = (hidden[row] * items[item]).sum(dim=1) + bias[item]
    scores = (hidden @ items[others.items].T + bias[others.items] - others.expected)[row]
    scores = scores.masked_fill(others.items == item[:, None], float("-inf"))
    each = torch.logsumexp(torch.cat((positive[:, None], scores), dim=1).float(), dim=1) - positive.float()
    total: Tensor = (each * weight).sum()
    return total
