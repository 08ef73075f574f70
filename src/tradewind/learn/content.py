"""Items by what they are: words of title, brand, category, attributes and price band, pictures, and what people went on to.

Every item is a vector x of its text and its picture and never changes. A history item h asks with x_h plus a shift that the log taught:
where the customers of h went next, in words. The shift comes from a ridge regression of co-consumption on the texts of the warm
items, and its length is bounded, so that an item without events asks with its text alone. Scores are inner products, so items
that nobody has touched are ranked like any other. The idea of a frozen embedding plus a bounded trainable delta: "Let It Go?
Not Quite" (RecSys 2025, arXiv 2507.19473); closed-form maps to cold items: Gantner et al. 2010.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.learn import _store
from tradewind.learn._content_text import encode, lsa
from tradewind.learn._edges import UNIT, count
from tradewind.learn._signal import signal, table
from tradewind.learn.base import Recommender
from tradewind.learn.sequences import Sequences
from tradewind.params import Number, Rule
from tradewind.types import Reason

WINDOW, DISTANCE, LAST = 20, 0.7, 50  # pairs of events that count as co-consumption, as in ``graph``; events of a query
SHRINK = 3.0  # co-consumption of an item at which its shift reaches half of the bound: little evidence, little shift

Matrix = NDArray[np.float32]


class Content(Recommender):
    """Scores items by their text and by what texts the customer's items led to.

    ``dims`` of the text vectors; ``decay`` per moment back in the history; ``bound``: longest shift of a history item, in lengths
    of its text vector (0: text alone); ``ridge`` of the regression; ``encoder``: a local folder with a sentence-transformers
    model or a slot of :mod:`tradewind.learn.encoders`, None for hashed words and character n-grams (Chinese needs no segmentation) in
    latent semantic analysis; ``pictures``: length of an item's picture vector beside its text's, where the shop looked at pictures
    (``tradewind products images``; 0: not at all); ``seed``.

    Texts come from the log's ``catalogue``; an item without one is described by its category. ``described`` is the share of
    items that have either. An item without any is never recommended, unless that is so for all: then all score 0, and a warning
    is logged. An empty history gets what the shop's customers take, judged by words. When not to use: alone on items with many
    events, where ``graph`` knows more than words do; or without texts.
    """

    name: ClassVar[str] = "content"
    tags: ClassVar[frozenset[str]] = frozenset({"cold_customers", "cold_items"})
    rules: ClassVar[dict[str, Rule]] = {
        "dims": Number(1, 4096, whole=True),
        "decay": Number(0.01, 1),
        "bound": Number(0, 1000),
        "ridge": Number(1e-6, 1e6),
        "pictures": Number(0, 100),
        "seed": Number(0, 2**31, whole=True),
    }

    def __init__(
        self,
        *,
        dims: int = 768,
        decay: float = 0.8,
        bound: float = 2.0,
        ridge: float = 1.0,
        encoder: str | None = None,
        pictures: float = 0.5,
        seed: int = 0,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.dims, self.decay, self.bound, self.ridge = dims, decay, bound, ridge
        self.encoder, self.pictures, self.seed, self.weights = encoder, pictures, seed, weights

    @property
    def described(self) -> float:
        """Share of the items that have a text or a category, 0-1."""
        self._fitted()
        return float(self._has.mean())

    # ---- learning --------------------------------------------------------------------------------------------------

    def _fit(self, log: Sequences) -> None:
        texts = self._texts(log)
        self._has = np.array([bool(text) for text in texts])
        seen = self._seen(log)
        if not self._has.any() and seen is None:
            logging.getLogger(__name__).warning(
                "content: none of the %d items has a text or a category, so all of them look alike. Collect a catalogue.", len(texts)
            )
        if self.encoder is not None:
            if not self._has.any():
                raise InputError(f"content: encoder={self.encoder!r} was given, and no item has a text to encode. Collect a catalogue.")
            self._text = encode(texts, self.encoder)
        else:
            self._text = lsa(texts, dims=self.dims, seed=self.seed)
        self._text[~self._has] = 0
        if seen is not None:
            self._text, self._has = np.hstack([self._text, self.pictures * seen]), self._has | seen.any(axis=1)
        found = signal(log, table(self.weights), merge=True)
        taken = np.bincount(found.item, found.weight, minlength=len(self.items))
        self._query, self._crowd = self._text.copy(), self._text[self._has].mean(axis=0) if self._has.any() else self._text.sum(axis=0)
        if not (taken > 0).any():
            return
        forward = count(found, items=len(self.items), window=WINDOW, decay=DISTANCE).astype(np.float64) / UNIT
        together = forward + forward.T
        strength = together.sum(axis=1)
        root = np.where(strength > 0, np.maximum(strength, 1e-300) ** -0.5, 0.0)
        warm = self._text * (taken > 0)[:, None]
        inverse = np.linalg.inv(warm.T.astype(np.float64) @ warm + self.ridge * np.eye(warm.shape[1]))
        shift = (root[:, None] * (together @ (root[:, None] * self._text))) @ inverse
        self._query = bounded(self._text, shift, self.bound * strength / (strength + SHRINK))
        self._crowd = ((np.sqrt(taken) @ self._text) @ inverse).astype(np.float32)

    def _seen(self, log: Sequences) -> Matrix | None:
        """Vectors of the items' pictures, float32 [I, d], zeros where there is none; None where no item has one."""
        known = log.catalogue.pictures
        if not self.pictures or not any(name in known for name in log.items):
            return None
        nothing = np.zeros_like(next(iter(known.values())))
        return np.stack([known.get(name, nothing) for name in log.items]).astype(np.float32)

    @staticmethod
    def _texts(log: Sequences) -> list[str]:
        """The text of each item: from the catalogue, else the category of the catalogue or of its latest event, else ""."""
        shelf: dict[str, str] = {}
        has = np.flatnonzero((log.item >= 0) & (log.category >= 0))
        for event in has[np.argsort(log.at[has], kind="stable")].tolist():
            shelf[log.items[log.item[event]]] = log.categories[log.category[event]]
        known = log.catalogue
        return [known.texts.get(name) or known.shelves.get(name) or shelf.get(name, "") for name in log.items]

    # ---- answering -------------------------------------------------------------------------------------------------

    def _profiles(self, histories: Sequences) -> Matrix:
        """What each history asks for, float32 [U, d]: its items' queries, newer ones heavier; the crowd's where it holds none."""
        from scipy.sparse import csr_array

        found = signal(histories, table(self.weights), merge=True)
        owner = found.owner
        recent = (np.repeat(found.offsets[1:], found.lengths) - np.arange(len(found.item)) <= LAST) & self._has[found.item]
        weight = (found.weight * self.decay ** found.moments_back())[recent].astype(np.float32)
        asked = csr_array((weight, (owner[recent], found.item[recent])), shape=(len(histories), len(self.items)))
        profiles: Matrix = np.asarray(asked @ self._query, dtype=np.float32)
        empty = np.bincount(owner[recent], minlength=len(histories)) == 0
        profiles[empty] = self._crowd
        return profiles

    def _score(self, histories: Sequences) -> Matrix:
        scores: Matrix = self._profiles(histories) @ self._text.T
        if self._has.any():
            scores[:, ~self._has] = -np.inf
        return scores

    def _reasons(self, history: Sequences, item: int) -> tuple[Reason, ...]:
        """The item of the history whose text is nearest (cosine), else that the item is typical of what the shop's customers take."""
        if not self._has[item]:
            return () if self._has.any() else (Reason("catalogue", {"item": self.items[item]}),)
        items = np.unique(signal(history, table(self.weights)).item)
        items = items[self._has[items]]
        if not len(items):
            return (Reason("typical", {"similarity": round(float(cosine(self._crowd[None, :], self._text[item])[0]), 4)}),)
        near = cosine(self._text[items], self._text[item])
        best = int(np.argmax(near))
        return (Reason("similar", {"item": self.items[items[best]], "similarity": round(float(near[best]), 4)}),)

    # ---- keeping ---------------------------------------------------------------------------------------------------

    def _state(self) -> tuple[dict[str, Any], _store.Arrays]:
        return {}, {"text": self._text, "query": self._query, "crowd": self._crowd, "has": self._has}

    def _restore(self, values: dict[str, Any], arrays: _store.Arrays) -> None:  # noqa: ARG002 - all state is arrays
        self._text, self._query, self._crowd, self._has = arrays["text"], arrays["query"], arrays["crowd"], arrays["has"]


def bounded(text: Matrix, shift: NDArray[np.float64], bound: NDArray[np.float64]) -> Matrix:
    """``text`` [I, d] plus ``shift`` brought to ``bound`` [I] times the length of the text, all rescaled by 1 / (1 + bound).

    A row without a shift keeps its text as it is.
    """
    size = np.linalg.norm(shift, axis=1, keepdims=True)
    length = np.linalg.norm(text, axis=1, keepdims=True)
    moved = (text + bound[:, None] * length * shift / np.maximum(size, 1e-300)) / (1 + bound[:, None])
    found: Matrix = np.where(size > 0, moved, text).astype(np.float32)
    return found


def cosine(rows: Matrix, other: Matrix) -> NDArray[np.float64]:
    """Cosine of each row with ``other``, float64 [n]; 0 where either is all zeros."""
    size = np.linalg.norm(rows, axis=1) * np.linalg.norm(other)
    found: NDArray[np.float64] = np.where(size > 0, (rows @ other) / np.maximum(size, 1e-30), 0.0)
    return found


PLUGIN = Content
