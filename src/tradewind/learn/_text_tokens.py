"""Texts as rows of token numbers: known words whole, unknown Chinese words by their characters, what is left as one number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._text_grams import HAN, words

LENGTH = 128  # tokens of a text; of a longer one the first and the last half: openings and conclusions judge
MOST = 40_000  # words that are kept, the most frequent
LEAST = 2  # times that a word must occur
PAD, UNKNOWN, FIRST = 0, 1, 2


@dataclass(frozen=True)
class Rows:
    """Tokens of all texts in one int32 array; text i is ``tokens[starts[i]:starts[i + 1]]``."""

    tokens: NDArray[np.int32]
    starts: NDArray[np.int64]

    def padded(self, some: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64 [len(some), longest of them], padding behind; at least one column."""
        begin, size = self.starts[some], (self.starts[1:] - self.starts[:-1])[some]
        place = np.arange(max(int(size.max(initial=1)), 1))
        inside = place < size[:, None]
        where = np.minimum(begin[:, None] + place, max(len(self.tokens) - 1, 0))
        return np.where(inside, self.tokens[where] if len(self.tokens) else PAD, PAD).astype(np.int64)


class Tokens:
    """The vocabulary of a training set, most frequent first; its order is its numbering, from ``FIRST`` on."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        self.vocabulary = list(vocabulary)
        self._number = {word: FIRST + n for n, word in enumerate(self.vocabulary)}

    @classmethod
    def of(cls, texts: Sequence[str]) -> Tokens:
        """Of normalised texts."""
        counts: Counter[str] = Counter()
        for text in texts:
            told = words(text)
            counts.update(told)
            counts.update(letter for word in told if len(word) > 1 and HAN.search(word) for letter in word)
        kept = sorted((word for word, count in counts.items() if count >= LEAST), key=lambda word: (-counts[word], word))
        return cls(kept[:MOST])

    def __len__(self) -> int:
        return FIRST + len(self.vocabulary)

    def rows(self, texts: Sequence[str]) -> Rows:
        """Numbers of normalised texts, at most ``LENGTH`` each."""
        all_rows = [self._row(text) for text in texts]
        starts = np.concatenate(([0], np.cumsum([len(row) for row in all_rows], dtype=np.int64))).astype(np.int64)
        return Rows(np.fromiter((token for row in all_rows for token in row), dtype=np.int32, count=int(starts[-1])), starts)

    def _row(self, text: str) -> list[int]:
        row: list[int] = []
        for word in words(text):
            number = self._number.get(word)
            if number is not None:
                row.append(number)
            elif HAN.search(word):
                row += [self._number.get(letter, UNKNOWN) for letter in word]
            else:
                row.append(UNKNOWN)
        return row if len(row) <= LENGTH else row[: LENGTH // 2] + row[-LENGTH // 2 :]
