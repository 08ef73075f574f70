"""The tiled softmax over the catalogue: the textbook's value and gradients, whatever the tile."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from tradewind.learn import _softmax  # noqa: E402


def both(
    tile: int, monkeypatch: pytest.MonkeyPatch, *, items: int = 37, scale: float = 1.0, half: bool = False
) -> tuple[list[object], list[object]]:
    draw = torch.Generator().manual_seed(3)
    hidden = torch.randn(11, 8, generator=draw) * scale
    table, bias = torch.randn(items, 8, generator=draw), torch.randn(items, generator=draw)
    row = torch.tensor([0, 0, 1, 2, 4, 5, 6, 7, 8, 9, 9, 9, 10])  # row 3 wants nothing, rows 0 and 9 several items
    item = torch.randint(items, (len(row),), generator=draw)
    weight = torch.rand(len(row), generator=draw)
    monkeypatch.setattr(_softmax, "CELLS", tile * items)
    results = []
    for ours in (True, False):
        leaves = [part.clone().requires_grad_() for part in (hidden, table, bias)]
        if ours:
            loss = _softmax.catalogue_loss(leaves[0], leaves[1], leaves[2], row, item, weight, half=half)
        else:
            logits = leaves[0] @ leaves[1].T + leaves[2]
            loss = (weight * (torch.logsumexp(logits, dim=1)[row] - logits[row, item])).sum()
        (loss / 3).backward()  # type: ignore[no-untyped-call]
        results.append([loss.detach(), *(leaf.grad for leaf in leaves)])
    return results[0], results[1]


@pytest.mark.parametrize("tile", [1, 4, 100])
def test_value_and_gradients_are_the_textbooks(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for mine, known in zip(*both(tile, monkeypatch), strict=True):
        torch.testing.assert_close(mine, known, rtol=1e-5, atol=1e-5)


def test_bfloat16_factors_are_near_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    for mine, known in zip(*both(4, monkeypatch, half=True), strict=True):
        assert not torch.equal(mine, known)
        torch.testing.assert_close(mine, known, rtol=0.03, atol=0.03)


def test_large_logits_do_not_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    for mine, known in zip(*both(4, monkeypatch, scale=200.0), strict=True):
        assert torch.isfinite(mine).all()
        torch.testing.assert_close(mine, known, rtol=1e-4, atol=1e-4)


def test_one_item_leaves_nothing_to_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    (loss, *gradients), _ = both(4, monkeypatch, items=1)
    torch.testing.assert_close(loss, torch.tensor(0.0), atol=1e-6, rtol=0)
    for gradient in gradients:
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-5, rtol=0)


def test_the_estimated_normaliser_is_right_on_average() -> None:
    draw = torch.Generator().manual_seed(1)
    items, wide = 50, 6
    hidden, table, bias = torch.randn(3, wide, generator=draw), torch.randn(items, wide, generator=draw), torch.randn(items, generator=draw)
    item, row, weight = torch.tensor([4, 9, 30]), torch.arange(3), torch.ones(3)
    share = torch.rand(items, generator=draw) ** 3
    share /= share.sum()
    logits = hidden @ table.T + bias
    rest = logits.scatter(1, item[:, None], float("-inf")).exp().sum(dim=1)
    estimates = []
    for _ in range(400):
        uniform = torch.randint(items, (64,), generator=draw)
        batch = torch.multinomial(share, 64, replacement=True, generator=draw)
        others = _softmax.negatives(uniform, batch, share)
        each = [_softmax.sampled_loss(hidden, table, bias, row[k : k + 1], item[k : k + 1], weight[:1], others) for k in range(3)]
        positive = logits[row, item]
        estimates.append((torch.stack(each) + positive).exp() - positive.exp())
    torch.testing.assert_close(torch.stack(estimates).mean(dim=0), rest, rtol=0.05, atol=0)
