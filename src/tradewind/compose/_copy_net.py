"""A small causal Transformer over the characters of templates: slots are single tokens, conditions a prefix (Vaswani et al. 2017)."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tradewind.compose._copy_corpus import CONDITIONS, Sentence
from tradewind.engine.training import alone

PAD, END = "<pad>", "<end>"
_TOKEN = re.compile(r"\{[a-z_]+\}|.", re.DOTALL)
UNKNOWN = "=any"
Past = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Size:
    """Of the net, and how long it learns."""

    width: int = 96
    heads: int = 4
    layers: int = 3
    length: int = 160  # tokens of a template, conditions included
    steps: int = 300
    batch: int = 32
    rate: float = 2e-3
    dropout: float = 0.1


class Layer(nn.Module):
    """Causal attention and a feed-forward net, each normed before and added after. ``past``: keys and values of earlier tokens."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.heads, self.dropout = size.heads, size.dropout
        self.before, self.between = nn.LayerNorm(size.width), nn.LayerNorm(size.width)
        self.attend, self.out = nn.Linear(size.width, 3 * size.width), nn.Linear(size.width, size.width)
        self.feed = nn.Sequential(
            nn.Linear(size.width, 4 * size.width), nn.GELU(), nn.Linear(4 * size.width, size.width), nn.Dropout(size.dropout)
        )

    def forward(self, x: Tensor, past: Past | None = None) -> tuple[Tensor, Past]:
        """Outputs [batch, time, width], and keys and values for what comes after."""
        batch, time, width = x.shape
        query, key, value = (
            part.view(batch, time, self.heads, width // self.heads).transpose(1, 2) for part in self.attend(self.before(x)).chunk(3, -1)
        )
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        drop = self.dropout if self.training else 0.0
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, dropout_p=drop, is_causal=past is None)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, time, width))
        return x + self.feed(self.between(x)), (key, value)


class CopyNet(nn.Module):
    """Gives the logits of the next token. ``vocabulary``: every token, ``PAD`` first."""

    def __init__(self, vocabulary: Sequence[str], size: Size) -> None:
        super().__init__()
        self.vocabulary, self.size = tuple(vocabulary), size
        self.place = {token: number for number, token in enumerate(self.vocabulary)}
        self.tokens, self.positions = nn.Embedding(len(self.vocabulary), size.width), nn.Embedding(size.length, size.width)
        self.layers, self.norm = nn.ModuleList(Layer(size) for _ in range(size.layers)), nn.LayerNorm(size.width)
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=0.05)

    def forward(self, tokens: Tensor, past: list[Past] | None = None) -> tuple[Tensor, list[Past]]:
        """Logits [batch, time, vocabulary] for tokens [batch, time] after ``past``; the output weights are those of the embedding."""
        start = past[0][0].shape[2] if past else 0
        x = self.tokens(tokens) + self.positions(torch.arange(start, start + tokens.shape[1], device=tokens.device))
        kept: list[Past] = []
        for number, layer in enumerate(self.layers):
            x, pair = layer(x, past[number] if past else None)
            kept.append(pair)
        return self.norm(x) @ self.tokens.weight.T, kept

    def card(self) -> dict[str, Any]:
        """What :func:`restored` needs besides the weights."""
        return {"vocabulary": list(self.vocabulary), "size": asdict(self.size)}

    def prefix(self, sentence: Sentence) -> list[int]:
        """The conditions as numbers; one that was never seen counts as "any"."""
        return [self.place.get(c, self.place[c.partition("=")[0] + UNKNOWN]) for c in sentence.conditions]

    @alone()
    @torch.inference_mode()
    def sample(self, sentence: Sentence, *, count: int, slots: Sequence[str], temperature: float, seed: int) -> list[str]:
        """Write ``count`` templates under the conditions of ``sentence``; only ``slots`` may appear, and never a condition or a digit."""
        self.eval()
        allowed = torch.tensor([self._may(token, slots) for token in self.vocabulary])
        generator = torch.Generator().manual_seed(seed)
        step, past = torch.tensor([self.prefix(sentence)] * count), None
        rows, done = step, torch.zeros(count, dtype=torch.bool)
        while rows.shape[1] < self.size.length and not bool(done.all()):
            logits, past = self(step, past)
            masked = logits[:, -1].masked_fill(~allowed, float("-inf")) / temperature
            chosen = torch.multinomial(torch.softmax(masked, -1), 1, generator=generator)[:, 0]
            chosen[done] = self.place[PAD]
            done |= chosen == self.place[END]
            step = chosen[:, None]
            rows = torch.cat([rows, step], 1)
        ended = [row for row, end in zip(rows[:, len(CONDITIONS) :].tolist(), done.tolist(), strict=True) if end]
        return ["".join(self.vocabulary[n] for n in row if self.vocabulary[n] not in (PAD, END)) for row in ended]

    @staticmethod
    def _may(token: str, slots: Sequence[str]) -> bool:
        if token == END:
            return True
        if token.startswith("{"):
            return token[1:-1] in slots
        return len(token) == 1 and not token.isdigit()


@alone()
def learned(sentences: Sequence[Sentence], *, size: Size, seed: int) -> tuple[CopyNet, float]:
    """Learn from ``sentences`` on one core; return the net and its last training loss, nats per token."""
    conditions = {c for s in sentences for c in s.conditions} | {name + UNKNOWN for name in CONDITIONS}
    pieces = {token for s in sentences for token in _TOKEN.findall(s.text)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = CopyNet([PAD, END, *sorted(conditions), *sorted(pieces)], size)
        rows = [encoded(net, sentence) for sentence in sentences]
        optimiser = torch.optim.AdamW(net.parameters(), lr=size.rate, weight_decay=0.05)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, size.rate, total_steps=size.steps)
        rng, last = random.Random(seed), 0.0
        net.train()
        for _ in range(size.steps):
            loss = _loss(net, padded([rng.choice(rows) for _ in range(size.batch)]))
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            last = float(loss.item())
    return net.eval(), last


@alone()
@torch.inference_mode()
def loss_on(net: CopyNet, sentences: Sequence[Sentence]) -> float:
    """Nats per token on sentences; characters that the net never saw are left out."""
    return float(_loss(net.eval(), padded([encoded(net, s) for s in sentences])).item())


def restored(card: dict[str, Any], state: dict[str, Any]) -> CopyNet:
    """The inverse of :meth:`CopyNet.card` and ``state_dict``."""
    net = CopyNet(card["vocabulary"], Size(**card["size"]))
    net.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    return net.eval()


def encoded(net: CopyNet, sentence: Sentence) -> list[int]:
    """Conditions, text and end as numbers, cut to the net's length."""
    text = [net.place[token] for token in _TOKEN.findall(sentence.text) if token in net.place]
    return [*net.prefix(sentence), *text, net.place[END]][: net.size.length]


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of one length, ``PAD`` (0) at the end."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *([0] * (longest - len(row)))] for row in rows])


def _loss(net: CopyNet, rows: Tensor) -> Tensor:
    start = len(CONDITIONS)
    logits = net(rows[:, :-1])[0][:, start - 1 :]
    return nn.functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), rows[:, start:].reshape(-1), ignore_index=0)
