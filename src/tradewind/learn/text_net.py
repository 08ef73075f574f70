"""Sentiment by a small neural net trained on the shop's own reviews: ``cnn``, ``lstm`` or ``transformer``, on one core.

The same contract as the linear judge (``sentiment``), so that they can be compared on the same reviews: a tenth of the texts is held
out to stop the training and to turn its answer into a probability (Platt 1999); the rest is learned from. Words are known by the
training set; there are no vectors from elsewhere. The same texts, settings and seed give the same net.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from tradewind.engine.training import alone, require_torch
from tradewind.errors import NotFitted
from tradewind.learn import _store
from tradewind.learn._text_classifier import Labels, TextClassifier, Values, platt
from tradewind.learn._text_tokens import Tokens
from tradewind.params import Number, OneOf, Rule

if TYPE_CHECKING:
    from tradewind.learn._text_net_torch import Net, Recipe

CELLS = ("cnn", "lstm", "transformer")
HELD = 10  # one text in so many


class TextNet(TextClassifier):
    """Praise or blame by a net of ``cell``; ``dim`` is its width, ``epochs`` the most that it trains.

    When not to use: in the hope of more accuracy than the linear judge. On 50,000 Chinese shop reviews it has less, at seven times
    the cost and more (docs/reviews.md); it is here to be compared on other reviews.
    """

    rules: ClassVar[dict[str, Rule]] = {
        "cell": OneOf(CELLS),
        "dim": Number(8, 1024, whole=True),
        "dropout": Number(0, 0.9),
        "lr": Number(1e-5, 1e-1),
        "epochs": Number(1, 100, whole=True),
        **TextClassifier.rules,
    }

    def __init__(
        self,
        *,
        cell: str = "cnn",
        dim: int = 64,
        dropout: float = 0.4,
        lr: float = 2e-3,
        epochs: int = 8,
        band: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.cell, self.dim, self.dropout, self.lr, self.epochs, self.band, self.seed = cell, dim, dropout, lr, epochs, band, seed
        self.curve: list[float] = []  # loss on the held-out texts after each epoch
        self.trained = 0  # epochs until the best
        self._tokens = Tokens([])
        self._net: Net | None = None
        self._scale = (1.0, 0.0)

    def _learn(self, texts: list[str], y: Labels) -> None:
        require_torch()
        from tradewind.learn import _text_net_torch as nets

        self._tokens = Tokens.of(texts)
        rows = self._tokens.rows(texts)
        held = np.zeros(len(y), dtype=bool)
        for kind in (0, 1):  # both kinds are held out, however few there are of one
            of_kind = np.random.default_rng((self.seed, kind)).permutation(np.flatnonzero(y == kind))
            held[of_kind[: max(len(of_kind) // HELD, 1)]] = True
        with alone():
            self._net, self.trained, self.curve = nets.train(rows, y, held, self._recipe())
            self._scale = platt(nets.answers(self._net, rows, np.flatnonzero(held)), y[held])

    def _recipe(self) -> Recipe:
        from tradewind.learn._text_net_torch import Recipe

        return Recipe(self.cell, len(self._tokens), self.dim, self.dropout, self.lr, self.epochs, self.seed)

    def _log_odds(self, texts: Sequence[str]) -> Values:
        from tradewind.learn import _text_net_torch as nets

        assert self._net is not None
        rows = self._tokens.rows(texts)
        with alone():
            found = nets.answers(self._net, rows, np.arange(len(texts)))
        return self._scale[0] * found + self._scale[1]

    def save(self, path: Path) -> None:
        """Write the fitted net into the folder ``path``."""
        if self._net is None:
            raise NotFitted("TextNet")
        values = {name: getattr(self, name) for name in self.rules}
        values |= {"scale": list(self._scale), "curve": self.curve, "trained": self.trained}
        weights = {f"net.{name}": value.numpy() for name, value in self._net.state_dict().items()}
        _store.write(path / "text_net", values, {**_store.pack("words", self._tokens.vocabulary), **weights})

    @classmethod
    def load(cls, path: Path) -> Self:
        """The inverse of :meth:`save`."""
        torch = require_torch()
        from tradewind.learn._text_net_torch import Net

        values, arrays = _store.read(path / "text_net")
        made = cls(**{name: values[name] for name in cls.rules})
        made.curve, made.trained, made._scale = values["curve"], values["trained"], (values["scale"][0], values["scale"][1])
        made._tokens = Tokens(_store.unpack("words", arrays).tolist())
        net = Net(made._recipe())
        net.load_state_dict({name[4:]: torch.from_numpy(value) for name, value in arrays.items() if name.startswith("net.")})
        made._net, made.fitted = net.eval(), True
        return made
