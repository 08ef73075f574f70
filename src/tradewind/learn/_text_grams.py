"""Texts as sparse rows of hashed n-grams: characters for every script, words for those that have them, all at once in numpy.

A text is a row of about a hundred of four million columns. Hashing needs no vocabulary: what was never seen in training still has
a column (with no weight), and a model is one vector. Chinese words come from rjieba; other scripts are split at what is no letter
or digit. (Hashing trick: Weinberger et al. 2009; n-grams of characters for sentiment without segmentation: Zhang and LeCun 2017.)
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

BITS = 22
COLUMNS = 1 << BITS
CHARS = 3  # longest n-gram of characters
WORDS = 2  # of words
CHUNK = 4_000  # texts at once: their n-grams stay in the cache
TAG = re.compile(r"</?[a-zA-Z!][^<>]{0,200}>")
RUN = re.compile(r"(.)\1{2,}")  # three and more of a character say no more than two
SPACE = re.compile(r"\s+")
HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
WORD = re.compile(r"[^\W_]+")

_MIX = np.uint64(0x9E3779B97F4A7C15)
_STEP = np.uint64(0x100000001B3)


def normalise(text: str) -> str:
    """One spelling: NFKC (full width to half width), HTML taken off, lower case, blanks and runs of a character shortened."""
    if "<" in text or "&" in text:
        text = TAG.sub(" ", html.unescape(text))
    return SPACE.sub(" ", RUN.sub(r"\1\1", unicodedata.normalize("NFKC", text).lower())).strip()


def is_chinese(text: str) -> bool:
    """Whether a text is mainly Chinese: a fifth of its characters or more are Han."""
    return 5 * len(HAN.findall(text)) >= len(text) > 0


def words(text: str) -> list[str]:
    """The words of a normalised text; Han by rjieba's dictionary, other scripts by letters and digits."""
    if HAN.search(text):
        import rjieba

        return [word for word in rjieba.cut(text) if not word.isspace()]
    return WORD.findall(text)


@dataclass(frozen=True)
class Grams:
    """Hashed n-grams of up to ``chars`` characters and up to ``words`` words; 0 leaves a kind out."""

    chars: int = CHARS
    words: int = WORDS

    def rows(self, texts: Sequence[str]) -> csr_matrix:
        """float32 [texts, COLUMNS]: 1 + log of how often each n-gram occurs; texts must be normalised. Each row is sorted."""
        starts, columns, counts = [np.zeros(1, dtype=np.int64)], [], []
        for start in range(0, len(texts), CHUNK):
            some = texts[start : start + CHUNK]
            owner, hashed = self._hashed(some)
            # Owner and column in one integer: one sort finds what occurs how often in which text.
            key, count = np.unique(owner << BITS | hashed, return_counts=True)
            starts.append(starts[-1][-1] + np.cumsum(np.bincount(key >> BITS, minlength=len(some))))
            columns.append((key & (COLUMNS - 1)).astype(np.int32))
            counts.append((1.0 + np.log(count)).astype(np.float32))
        ends = np.concatenate(starts)
        data = np.concatenate(counts) if counts else np.empty(0, np.float32)
        found = np.concatenate(columns) if columns else np.empty(0, np.int32)
        return csr_matrix((data, found, ends), shape=(len(texts), COLUMNS))

    def _hashed(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        owners, hashes = [], []
        if self.chars:
            codes = np.frombuffer("".join(texts).encode("utf-32-le", "replace"), dtype=np.uint32).astype(np.uint64)
            owner = np.repeat(np.arange(len(texts)), [len(text) for text in texts])
            for owned, hashed in _grams(codes, owner, self.chars, salt=1):
                owners.append(owned)
                hashes.append(hashed)
        if self.words:
            known: dict[str, int] = {}
            split = [words(text) for text in texts]
            ids = np.fromiter((_code(word, known) for some in split for word in some), dtype=np.uint64)
            owner = np.repeat(np.arange(len(texts)), [len(some) for some in split])
            for owned, hashed in _grams(ids, owner, self.words, salt=101):
                owners.append(owned)
                hashes.append(hashed)
        return np.concatenate(owners), np.concatenate(hashes)


def narrow(rows: csr_matrix, columns: NDArray[np.int32]) -> csr_matrix:
    """The same rows over ``columns`` (sorted), and one more for all others."""
    place = np.searchsorted(columns, rows.indices)
    known = columns[np.minimum(place, len(columns) - 1)] == rows.indices
    found = np.where(known, place, len(columns)).astype(np.int32)
    return csr_matrix((rows.data, found, rows.indptr), shape=(rows.shape[0], len(columns) + 1))


def _code(word: str, known: dict[str, int]) -> int:
    """64 bits that stand for a word, the same in every process."""
    found = known.get(word)
    if found is None:
        import zlib

        data = word.encode("utf-8", "replace")
        found = known[word] = zlib.crc32(data) << 32 | zlib.adler32(data)
    return found


def _grams(
    codes: NDArray[np.uint64], owner: NDArray[np.int64], longest: int, *, salt: int
) -> Iterable[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Owner and column of all n-grams of 1 to ``longest`` codes that do not cross from one text into the next."""
    state = codes
    for n in range(1, longest + 1):
        if n > 1:
            if len(codes) < n:
                return
            state = state[:-1] * _STEP ^ codes[n - 1 :]
        mixed = (state + np.uint64(salt + n)) * _MIX
        mixed ^= mixed >> np.uint64(29)
        mixed *= _MIX
        whole = owner[n - 1 :] == owner[: len(owner) - n + 1]
        yield owner[n - 1 :][whole], (mixed >> np.uint64(64 - BITS)).astype(np.int64)[whole]
