"""The writer that learned from the shop's own approved copy: a small conditional Transformer over delexicalised templates.

It is trained in about a minute on one core, writes only slots with facts and no digit, and is measured for what such models are bad at:
how much of what it writes is new, how close the new is to the old, and how well it predicts sentences that it never saw
(docs/writers.md has the figures). Everything that it writes is judged like any other model's answer.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tradewind.compose._copy_ask import Ask
from tradewind.compose._copy_asking import Asking
from tradewind.compose._copy_corpus import Sentence, approved, sent
from tradewind.compose.approval import Approvals, libraries
from tradewind.compose.components import Components
from tradewind.compose.guard import Guard, blocked
from tradewind.compose.template import parse
from tradewind.engine.models import LocalModel
from tradewind.engine.training import require_torch
from tradewind.errors import InputError
from tradewind.learn import _store
from tradewind.learn.registry import Version, active, learned, publish

if TYPE_CHECKING:
    from tradewind.compose._copy_net import CopyNet
    from tradewind.engine.home import Home
    from tradewind.engine.ledger import Ledger

MODEL = "copy_transformer"
CANDIDATES, TEMPERATURE = 8, 0.8
HELD_OUT = 10  # one text in so many is never trained on
NEAR = 4  # characters of the pieces by which nearness is measured


@dataclass(frozen=True, slots=True)
class Novelty:
    """What a copy model adds.

    ``new``: share of sentences that are not in its training; ``sound``: share of the new that the guard lets pass and whose every word (in
    Chinese: pair of characters) was seen in training; ``nearest``: mean overlap of the sound new ones with the training sentence
    closest to them (shared pieces of four characters, 0 to 1); ``held_out``: nats per token on sentences never trained on;
    ``trained``: on those it was trained on.
    """

    sentences: int
    new: float
    sound: float
    nearest: float
    held_out: float
    trained: float

    @property
    def memoriser(self) -> bool:
        """Whether it mostly repeats: less than a tenth of what it writes is both new and sound."""
        return self.new * self.sound < 0.1


class Transformer(Asking):
    """Writes with the model that :func:`train` stored. When not to use: without some thousand approved sentences of the shop's own."""

    name = "transformer"

    def __init__(
        self,
        version: Version,
        *,
        ledger: Ledger,
        now: datetime,
        guard: Guard | None = None,
        components: Components | None = None,
        approvals: Approvals | None = None,
    ) -> None:
        settings = LocalModel(str(version.path), device="cpu", candidates=CANDIDATES)
        super().__init__(
            settings, identity=f"{MODEL}@{version.version}", ledger=ledger, now=now, guard=guard, components=components, approvals=approvals
        )  # fmt: skip
        self._net = load(version.path)

    @classmethod
    def open(cls, home: Home, *, now: datetime) -> Self:
        """The writer of a shop; where none was trained yet it is trained now, which takes about a minute. :func:`train` trains it anew."""
        components, approvals = Components.open(home, now=now), Approvals(home)
        version = active(home, MODEL) if learned(home, MODEL) else train(home, now=now)[0]
        guard = Guard(own=home.root / "packs")
        return cls(version, ledger=home.ledger, now=now, guard=guard, components=components, approvals=approvals)

    def _answer(self, asked: Ask) -> str:
        seed = int(hashlib.sha256(asked.key(self.identity).encode()).hexdigest()[:12], 16)
        offer = "none" if asked.offer == "none" else "offer"
        texts: dict[str, list[str]] = {}
        for role, _, slots, _ in asked.roles:
            about = Sentence("", asked.locale, asked.channel, role, asked.tone or "any", offer, asked.segment or "any")
            found = self._net.sample(about, count=4 * asked.count, slots=slots, temperature=TEMPERATURE, seed=seed)
            texts[role] = list(dict.fromkeys(text for text in found if text))[: asked.count] or [""]
        rows = [{role: words[n % len(words)] for role, words in texts.items()} for n in range(asked.count)]
        self.counts["calls"] += 1
        return json.dumps({"candidates": rows}, ensure_ascii=False)


def train(home: Home, *, now: datetime, seed: int = 0, more: Iterable[Sentence] = ()) -> tuple[Version, Novelty]:
    """Learn from what the shop approved and sent, and ``more`` (:func:`_copy_corpus.read`); store the model and what it adds.

    Raises
    ------
    InputError
        PyTorch is not installed, or there is no sentence to learn from.
    """
    known = libraries(home)
    net, novelty = fitted([*approved(known.values()), *sent(home, known), *more], seed=seed)
    arrays = {name: value.numpy() for name, value in net.state_dict().items()}
    card = {**asdict(novelty), "memoriser": novelty.memoriser, "seed": seed}

    def save(folder: Path) -> None:
        _store.write(folder / "net", net.card(), arrays)

    return publish(home, MODEL, save, as_of=now, card=card, now=now), novelty


def load(folder: Path) -> CopyNet:
    """Read a stored net."""
    require_torch()
    from tradewind.compose._copy_net import restored

    card, arrays = _store.read(folder / "net")
    return restored(card, arrays)


def fitted(sentences: Sequence[Sentence], *, seed: int = 0, steps: int | None = None) -> tuple[CopyNet, Novelty]:
    """Learn from nine tenths of the texts and measure on the rest."""
    require_torch()
    from tradewind.compose import _copy_net

    texts = sorted({sentence.text for sentence in sentences}, key=lambda text: hashlib.sha256(f"{seed}|{text}".encode()).digest())
    if len(texts) < 2 * HELD_OUT:
        raise InputError(f"There are {len(texts)} approved sentences; a model needs {2 * HELD_OUT} to learn from. Approve more copy first.")
    away = set(texts[: len(texts) // HELD_OUT])
    kept = [sentence for sentence in sentences if sentence.text not in away]
    size = _copy_net.Size() if steps is None else _copy_net.Size(steps=steps)
    net, _ = _copy_net.learned(kept, size=size, seed=seed)
    return net, measured(net, kept, [sentence for sentence in sentences if sentence.text in away], seed=seed)


def measured(net: CopyNet, kept: Sequence[Sentence], away: Sequence[Sentence], *, seed: int, per_condition: int = 8) -> Novelty:
    """Write under every condition of the training and say how much of it is new, sound and near."""
    from tradewind.compose._copy_net import loss_on

    guard, seen = Guard(), {sentence.text for sentence in kept}
    conditions = {sentence.conditions: sentence for sentence in kept}
    wrote: list[tuple[str, str]] = []
    for number, (_, about) in enumerate(sorted(conditions.items())):
        slots = ("shop", "title", "brand", "category", "feature")
        found = net.sample(about, count=per_condition, slots=slots, temperature=TEMPERATURE, seed=seed + number)
        wrote += [(text, about.locale) for text in found]
    new = [(text, locale) for text, locale in wrote if text not in seen]
    words = frozenset(word for text in seen for word in _words(text))
    sound = [text for text, locale in new if words.issuperset(_words(text)) and _passes(text, locale, guard)]
    pieces = [_pieces(text) for text in sorted(seen)]
    near = [max(_overlap(_pieces(text), old) for old in pieces) for text in sound]
    return Novelty(
        len(wrote),
        len(new) / max(len(wrote), 1),
        len(sound) / max(len(new), 1),
        sum(near) / max(len(near), 1),
        loss_on(net, away) if away else float("nan"),
        loss_on(net, list(conditions.values())),
    )


def report(novelty: Novelty | Mapping[str, float]) -> str:
    """The measures as one line for people."""
    told = novelty if isinstance(novelty, Novelty) else Novelty(**{name: novelty[name] for name in Novelty.__slots__})  # type: ignore[arg-type]
    verdict = "a memoriser: components say the same for nothing" if told.memoriser else "it adds sentences of its own"
    return (
        f"{told.sentences:,} sentences written, {told.new:.0%} new, {told.sound:.0%} of those sound, their overlap with the nearest "
        f"{told.nearest:.2f}; {told.held_out:.2f} nats per token on unseen sentences, {told.trained:.2f} on seen ones: {verdict}"
    )


def _passes(text: str, locale: str, guard: Guard) -> bool:
    try:
        return not blocked(guard.template(parse(text), locale=locale))
    except InputError:
        return False


def _words(text: str) -> list[str]:
    """Words in small letters, slots, and pairs of Chinese characters."""
    found = re.findall(r"(\{[a-z_]+\}|[a-z']+)|(?=([\u4e00-\u9fff]{2}))", text.lower())
    return [word or pair for word, pair in found]


def _pieces(text: str) -> frozenset[str]:
    return frozenset(text[n : n + NEAR] for n in range(max(len(text) - NEAR + 1, 1)))


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / max(len(one | other), 1)


PLUGIN = Transformer
