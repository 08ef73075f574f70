"""Titles that are nearly the same: likely one product entered twice, or two variants of one product, and what tells them apart.

MinHash (Broder 1997) with bands (Leskovec, Rajaraman and Ullman 2014, chapter 3) finds pairs that share many n-grams without
comparing all with all; each such pair is then compared exactly: cosine of its n-grams weighted by rarity. Two alike titles that
disagree - 300 ml and 500 ml, red and blue - are variants, not duplicates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.learn._product_words import lexicon
from tradewind.learn._text_grams import HAN, Grams, normalise, words

BANDS, ROWS = 40, 3  # a pair that shares half of its n-grams is compared with probability .995
CROWD = 50  # titles of one bucket that are all compared with each other; beyond it each with so many neighbours
ALIKE = 0.65  # cosine from which titles are nearly the same
KNOWN = (
    3  # titles that have a word that is no slip of the keys; a Chinese one below does not count: where it is cut depends on its neighbours
)
SLIP = 0.75  # similarity from which two words are one, mistyped (Ratcliff and Obershelp 1988)
BLANK = re.compile(rf"(?<={HAN.pattern}) +| +(?={HAN.pattern})")  # Chinese titles are written with blanks and without
NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
SIZES = frozenset({"xxs", "xs", "s", "m", "l", "xl", "xxl", "2xl", "3xl", "4xl", "5xl"})

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two items; ``differs`` is empty for likely duplicates, else names where they disagree: variants. ``similarity`` 0-1."""

    one: str
    other: str
    similarity: float
    differs: tuple[str, ...]

    @property
    def kind(self) -> str:
        """``duplicate`` or ``variant``."""
        return "variant" if self.differs else "duplicate"


def near_duplicates(titles: Mapping[str, str], *, alike: float = ALIKE, seed: int = 0) -> list[Pair]:
    """Pairs of items with nearly the same title, the most alike first; an item without a title is in none.

    When not to use: as proof. Two sellers may offer different things under one title; a person decides what to merge.

    Raises
    ------
    InputError
        ``alike`` is not within 0.3 to 1: below, too few pairs are found by their hashes.
    """
    if not 0.3 <= alike <= 1:
        raise InputError(f"near_duplicates: alike must be from 0.3 to 1; got {alike}.")
    plain = {item: text for item, title in titles.items() if (text := _compared(title))}
    items, texts = list(plain), list(plain.values())
    rows = Grams(chars=3, words=1).rows(texts)
    first, second = candidates(rows, seed=seed)
    seen = np.bincount(rows.indices, minlength=1)
    weight = np.log1p(len(texts) / np.maximum(seen, 1)).astype(np.float32)
    close = similarity(rows, weight, first, second)
    kept = np.flatnonzero(close >= alike)
    common = Counter(word for text in texts for word in set(words(text)))
    traits = {at: told_apart(texts[at], common) for at in {*first[kept].tolist(), *second[kept].tolist()}}
    found = [
        Pair(min(items[a], items[b]), max(items[a], items[b]), round(float(close[at]), 4), differing(traits[a], traits[b], common))
        for at, a, b in zip(kept.tolist(), first[kept].tolist(), second[kept].tolist(), strict=True)
    ]
    return sorted(found, key=lambda pair: (bool(pair.differs), -pair.similarity, pair.one, pair.other))


def candidates(rows: Any, *, seed: int) -> tuple[Ints, Ints]:
    """Pairs of rows of which some band of MinHashes is equal, each pair once, int64 [P] twice."""
    filled = np.flatnonzero(np.diff(rows.indptr) > 0)
    if len(filled) < 2:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    rng = np.random.default_rng(seed)
    columns, starts = rows.indices.astype(np.uint64), rows.indptr[filled]
    pairs: list[Ints] = []
    count = rows.shape[0]
    for _ in range(BANDS):
        key = np.zeros(len(filled), np.uint64)
        for _ in range(ROWS):
            step, shift = (np.uint64(each) for each in rng.integers(1, 2**63, 2, dtype=np.int64) | 1)
            hashed = (columns * step + shift) ^ (columns >> np.uint64(7)) * shift
            key = key * np.uint64(0x9E3779B97F4A7C15) + np.minimum.reduceat(hashed, starts)
        order = np.argsort(key, kind="stable")
        same = key[order]
        for back in range(1, CROWD):
            equal = np.flatnonzero(same[back:] == same[:-back])
            if not len(equal):
                break
            a, b = filled[order[equal]], filled[order[equal + back]]
            pairs.append(np.minimum(a, b) * count + np.maximum(a, b))
    both = np.unique(np.concatenate(pairs)) if pairs else np.empty(0, np.int64)
    return both // count, both % count


def similarity(rows: Any, weight: NDArray[np.float32], first: Ints, second: Ints, *, chunk: int = 20_000) -> NDArray[np.float64]:
    """Cosine of pairs of rows whose columns count by ``weight``, float64 [P]."""
    from sklearn.preprocessing import normalize

    if not len(first):
        return np.empty(0)
    scaled = rows.copy()
    scaled.data = scaled.data * weight[scaled.indices]
    scaled = normalize(scaled)
    parts = [
        np.asarray(scaled[first[at : at + chunk]].multiply(scaled[second[at : at + chunk]]).sum(axis=1)).ravel()
        for at in range(0, len(first), chunk)
    ]
    return np.concatenate(parts).astype(np.float64)


def _compared(title: str) -> str:
    """What of a title is compared: normalised, without advertising; a title of nothing else stays as it is."""
    whole, advert = normalise(title), lexicon().advert
    kept = " ".join(advert.sub(" ", whole).split()) if advert is not None else whole
    return BLANK.sub("", kept or whole)


def told_apart(text: str, common: Mapping[str, int]) -> dict[str, frozenset[str]]:
    """What of a normalised title may make it another product: attributes of the lexicon, sizes, numbers, and its words (in Chinese
    those that several titles have, ``common``).
    """
    found: dict[str, set[str]] = {}
    for each in lexicon().find(text):
        found.setdefault(each.attribute, set()).add(each.value)
    told = words(text)
    found["number"] = set(NUMBER.findall(text))
    found["word"] = {word for word in told if common[word] >= KNOWN or not HAN.search(word)}
    found["size"] = found.get("size", set()) | (SIZES & set(told))
    return {name: frozenset(values) for name, values in found.items() if values}


def differing(one: Mapping[str, frozenset[str]], other: Mapping[str, frozenset[str]], common: Mapping[str, int]) -> tuple[str, ...]:
    """Where both say something and each says what the other does not; "word" only where nothing else tells them apart."""
    found = [name for name in sorted(one.keys() & other.keys() - {"word"}) if one[name] - other[name] and other[name] - one[name]]
    mine, theirs = (a.get("word", frozenset()) - b.get("word", frozenset()) for a, b in ((one, other), (other, one)))
    if not found and _unmatched(mine, theirs, common) and _unmatched(theirs, mine, common):
        found.append("word")
    return tuple(found)


def _unmatched(some: frozenset[str], others: frozenset[str], common: Mapping[str, int]) -> list[str]:
    """Words that are not one of the others, mistyped. Of two words that several titles have neither is a slip."""

    def slip(word: str, other: str) -> bool:
        return min(common[word], common[other]) < KNOWN and SequenceMatcher(None, word, other).ratio() >= SLIP

    return [word for word in some if not any(slip(word, other) for other in others)]


def titles(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The title of each item of a catalogue that has one: the plain one, else the Chinese, else the English."""
    found = ((row["item"], row.get("title") or row.get("title_zh") or row.get("title_en")) for row in rows)
    return {item: title for item, title in found if title}
