"""Sentiment on the vectors of an encoder that the shop brings, and the slot that says which judge of texts a shop uses.

builtin                                 the linear judge on n-grams (``sentiment``)
cnn, lstm, transformer                  a net trained on the shop's own reviews (``text_net``)
directory:PATH, http://HOST/v1#MODEL    a logistic regression on an encoder's vectors (``encoders``)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from tradewind.errors import InputError, NotFitted, StateError
from tradewind.learn import _store
from tradewind.learn._text_classifier import Labels, TextClassifier, Values
from tradewind.learn.encoders import FOLDER, HTTP, TextEncoder, text_encoder
from tradewind.learn.sentiment import Sentiment
from tradewind.learn.text_net import CELLS, TextNet
from tradewind.params import Number, Rule

BUILTIN = "builtin"
SLOTS = (BUILTIN, *CELLS, "directory:PATH", "http://HOST/v1#MODEL")


class EncodedText(TextClassifier):
    """Praise or blame by a logistic regression on the vectors of the encoder that ``slot`` names; ``strength`` is its inverse penalty.

    When not to use: with an encoder that was never trained on the languages of the reviews.
    """

    rules: ClassVar[dict[str, Rule]] = {"strength": Number(1e-3, 1e4), **TextClassifier.rules}

    def __init__(self, slot: str, *, strength: float = 10.0, band: float = 0.1, seed: int = 0) -> None:
        self.slot, self.strength, self.band, self.seed = slot, strength, band, seed
        self._encoder: TextEncoder | None = None
        self._learned = ""  # identity of the encoder that the weights belong to
        self._weights = np.empty(0, np.float64)
        self._bias = 0.0

    @property
    def encoder(self) -> TextEncoder:
        """Opened when it is first needed."""
        if self._encoder is None:
            self._encoder = text_encoder(self.slot)
        return self._encoder

    def _learn(self, texts: list[str], y: Labels) -> None:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=self.strength, max_iter=500, random_state=self.seed).fit(self.encoder.encode(texts), y)
        self._weights, self._bias = model.coef_[0].astype(np.float64), float(model.intercept_[0])
        self._learned = self.encoder.identity

    def _log_odds(self, texts: Sequence[str]) -> Values:
        if self.encoder.identity != self._learned:
            raise StateError(f"The encoder {self.slot} is not the one that was learned with ({self._learned}). Run learn again.")
        vectors = self.encoder.encode(texts)
        if vectors.shape[1] != len(self._weights):
            raise StateError(f"The encoder {self.slot} gives {vectors.shape[1]} numbers, not {len(self._weights)}. Run learn again.")
        return np.asarray(vectors @ self._weights, dtype=np.float64) + self._bias

    def save(self, path: Path) -> None:
        """Write the weights into the folder ``path``; the encoder stays where it is."""
        if not self.fitted:
            raise NotFitted("EncodedText")
        values = {name: getattr(self, name) for name in ("slot", *self.rules)}
        _store.write(path / "text_encoded", {**values, "bias": self._bias, "learned": self._learned}, {"weights": self._weights})

    @classmethod
    def load(cls, path: Path) -> Self:
        """The inverse of :meth:`save`; the encoder is opened when the first text comes."""
        values, arrays = _store.read(path / "text_encoded")
        made = cls(values["slot"], **{name: values[name] for name in cls.rules})
        made._weights, made._bias, made._learned, made.fitted = arrays["weights"], values["bias"], values["learned"], True
        return made


def text_classifier(slot: str = BUILTIN, *, seed: int = 0) -> TextClassifier:
    """The judge that a slot names, not fitted yet; raises InputError for what is no slot."""
    if slot == BUILTIN:
        return Sentiment(seed=seed)
    if slot in CELLS:
        return TextNet(cell=slot, seed=seed)
    if slot.startswith((FOLDER, *HTTP)):
        judge = EncodedText(slot, seed=seed)
        _ = judge.encoder  # a folder without a model is told of before anything is read
        return judge
    raise InputError(f"There is no judge of texts {slot!r}. Allowed: {', '.join(SLOTS)}.")


def stored_classifier(path: Path) -> TextClassifier:
    """The judge that lies in a folder, whichever kind it is; raises InputError where there is none."""
    kinds: dict[str, type[TextClassifier]] = {"sentiment": Sentiment, "text_net": TextNet, "text_encoded": EncodedText}
    for name, kind in kinds.items():
        if (path / name).is_dir():
            return kind.load(path)
    raise InputError(f"There is no judge of texts in {path}. Run learn first, or name another folder.")
