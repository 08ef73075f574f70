"""What titles and descriptions say about an item: proposals of attributes and of a category, each with its words and how sure it is.

Words come from a lexicon (``product_attributes.toml``, Chinese and English) and from what the shop's own catalogue states elsewhere:
its brands, its values of an attribute. How sure a proposal is was counted in the shop's catalogue: of the items that state the
attribute and have such a word in their text, the share for which the two agree, shrunken from the word to the attribute
(Efron and Morris 1975); one half where nothing could be counted. A proposal is no fact: it waits for a person (``product_desk``).
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError, NotFitted
from tradewind.learn._product_words import LANGUAGES, Found, Lexicon, Words, any_of, folded, lexicon
from tradewind.learn._text_classifier import platt
from tradewind.learn._text_grams import HAN, Grams, is_chinese, narrow, normalise

__all__ = ["FIELDS", "AttributeReader", "CategoryReader", "Evidence", "Proposal", "stated"]

FIELDS = ("title", "title_zh", "title_en", "description_zh", "description_en")
COLUMNS = ("item", *FIELDS, "category", "brand", "attributes")
PRIOR = 5.0  # items that the share of an attribute counts as, against those of one word
SHORT, LONG = 2, 40  # characters of a value that is looked for in texts
REPEATED = 2  # items that must state a value before it is looked for elsewhere
LEAF = 3  # items of a category before it is suggested
SURE = 0.8  # chance from which a category is suggested
STRANGE = 0.7  # share of a text's n-grams that training never saw, above which nothing is suggested
FOLDS = 4


@dataclass(frozen=True, slots=True)
class Evidence:
    """Where it stands: ``words`` are the characters from ``start`` to ``end`` of the item's ``field``; no span for a picture."""

    field: str
    words: str
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Proposal:
    """``value`` of ``attribute`` for an item; ``texts``: how it is called in a language; ``source``: who proposes it."""

    item: str
    attribute: str
    value: str
    confidence: float
    source: str
    evidence: Evidence
    texts: Mapping[str, str]


Row = Mapping[str, Any]


def stated(row: Row, known: Lexicon | None = None) -> dict[str, list[str]]:
    """What the catalogue itself states about an item, by attribute: the JSON object of its attributes, and its brand."""
    keys = {key: attribute for attribute, names in (known or lexicon()).keys.items() for key in reversed(names)}
    try:
        told = json.loads(row["attributes"] or "{}")
    except (TypeError, ValueError):
        told = {}
    found: dict[str, list[str]] = defaultdict(list)
    for key, value in told.items() if isinstance(told, dict) else ():
        name = str(key).strip().casefold()
        attribute = keys.get(name) or name.removesuffix("_zh").removesuffix("_en")
        if isinstance(value, str | int | float) and str(value).strip():
            found[attribute].append(str(value).strip())
    for brand in (row.get("brand"), *found.get("brand", ())):
        if brand and brand not in found["brand"]:
            found["brand"].append(str(brand))
    return {attribute: values for attribute, values in found.items() if values}


class AttributeReader:
    """Reads attributes in texts: :meth:`fit` on the whole catalogue, then :meth:`propose` for items that lack some.

    When not to use: for claims that a law asks a certificate for (organic, waterproof): a title is no certificate.
    """

    def __init__(self, words: Lexicon | None = None) -> None:
        self.lexicon = words or lexicon()
        self._own: tuple[Words, ...] = ()
        self._agreed: dict[tuple[str, str, bool], tuple[int, int]] = {}  # (attribute, word's value or "", one of several): agree, of
        self._fitted = False

    def fit(self, rows: Iterable[Row]) -> Self:
        """Learn the shop's own words and how often words in its texts agree with what it states."""
        kept = list(rows)
        told = [stated(row, self.lexicon) for row in kept]
        self._own = tuple(_own_words(self.lexicon, told))
        agreed: dict[tuple[str, str, bool], list[int]] = defaultdict(lambda: [0, 0])
        for row, known in zip(kept, told, strict=True):
            for attribute, values in self._found(row).items():
                if attribute in known:
                    right = frozenset().union(*(self.lexicon.codes(attribute, value) for value in known[attribute]))
                    for value in values:
                        for key in ((attribute, "", len(values) > 1), (attribute, value, len(values) > 1)):
                            agreed[key][0] += value in right
                            agreed[key][1] += 1
        self._agreed = {key: (right, count) for key, (right, count) in agreed.items()}
        self._fitted = True
        return self

    def _found(self, row: Row) -> dict[str, dict[str, Evidence]]:
        """Of each attribute the values that the texts name, with their first place."""
        found: dict[str, dict[str, Evidence]] = defaultdict(dict)
        for name in FIELDS:
            text = str(row.get(name) or "")
            for each in self.lexicon.find(text, self._own):
                found[each.attribute].setdefault(each.value, _evidence(name, text, each))
        return found

    def confidence(self, attribute: str, value: str, *, several: bool) -> float:
        """Chance that a word of this value in a text means the item has it, 0-1; ``several``: the text names other values, too."""
        right, count = self._agreed.get((attribute, "", several), (0, 0))
        mine, of = self._agreed.get((attribute, value, several), (0, 0))
        return (mine + PRIOR * (right + 1) / (count + 2)) / (of + PRIOR)

    def propose(self, rows: Iterable[Row], *, least: float = 0.0) -> list[Proposal]:
        """What texts say about attributes that the catalogue does not state, by item and attribute, the surest first.

        Raises
        ------
        NotFitted
            Before :meth:`fit`.
        """
        if not self._fitted:
            raise NotFitted("AttributeReader")
        made = []
        for row in rows:
            known = stated(row, self.lexicon)
            for attribute, values in self._found(row).items():
                if attribute in known:
                    continue
                for value, evidence in values.items():
                    sure = self.confidence(attribute, value, several=len(values) > 1)
                    if sure >= least:
                        made.append(Proposal(row["item"], attribute, value, sure, "text", evidence, self._texts(attribute, value)))
        return sorted(made, key=lambda each: (each.item, each.attribute, -each.confidence, each.value))

    def _texts(self, attribute: str, value: str) -> Mapping[str, str]:
        for words in (*self._own, *filter(None, [self.lexicon.words.get(attribute)])):
            if words.attribute == attribute and value in words.texts:
                return words.texts[value]
        return dict.fromkeys(LANGUAGES, value) if not HAN.search(value) else {"zh": value}


def _own_words(known: Lexicon, told: Sequence[Mapping[str, Sequence[str]]]) -> Iterable[Words]:
    """Values that the shop states for several items and that the lexicon does not know, to be looked for in other texts."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    names: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for each in told:
        for attribute, values in each.items():
            for value in values:
                plain = folded(value)[0].strip()
                words = known.words.get(attribute)
                long = SHORT + (not HAN.search(plain)) <= len(plain) <= LONG
                if long and not plain.replace(".", "").isdigit() and (words is None or not set(words.find(plain, stated=True))):
                    counts[attribute][plain] += 1
                    names[attribute, plain][value] += 1
    for attribute, tally in sorted(counts.items()):
        kept = sorted(value for value, count in tally.items() if count >= REPEATED)
        if kept:
            texts = {value: {_language(value): names[attribute, value].most_common(1)[0][0]} for value in kept}
            yield Words(attribute, {value: value for value in kept}, texts, any_of(kept))


def _language(text: str) -> str:
    return "zh" if is_chinese(text) else "en"


def _evidence(name: str, text: str, found: Found) -> Evidence:
    return Evidence(name, text[found.start : found.end], found.start, found.end)


# ---- categories ----------------------------------------------------------------------------------------------------


class CategoryReader:
    """Suggests a category by a linear machine on n-grams of the texts; below ``sure`` it suggests nothing.

    The chance is Platt's sigmoid of how far the best category leads, fitted on held-out folds. When not to use: where the
    categories of the catalogue are not told apart by words (by price, by supplier).
    """

    def __init__(self, *, sure: float = SURE, seed: int = 0) -> None:
        self.sure, self.seed = sure, seed
        self.categories: list[str] = []
        self._grams = Grams()
        self._columns: NDArray[np.int32] | None = None
        self._weight = np.empty(0)
        self._machine: Any = None
        self._scale = (1.0, 0.0)

    def fit(self, rows: Iterable[Row]) -> Self:
        """Learn from the items that have a category and a text.

        Raises
        ------
        InputError
            Fewer than two categories have three items with a text.
        """
        pairs = [(text, str(row["category"])) for row in rows if row.get("category") and (text := whole(row))]
        counts = Counter(category for _, category in pairs)
        pairs = [pair for pair in pairs if counts[pair[1]] >= LEAF]
        self.categories = sorted({category for _, category in pairs})
        if len(self.categories) < 2:
            raise InputError(
                f"A category can be suggested where two or more have {LEAF} items with a title; got {len(self.categories)}. "
                "Collect a catalogue with categories."
            )
        y = np.array([self.categories.index(category) for _, category in pairs])
        rows_of = self._grams.rows([text for text, _ in pairs])
        self._columns, seen = np.unique(rows_of.indices, return_counts=True)
        self._weight = np.append(1.0 + np.log(len(pairs) / seen), 1.0 + np.log(len(pairs)))  # the last: never seen, makes unsure
        vectors = self._vectors(rows_of)
        fold, leads, right = np.random.default_rng(self.seed).permutation(len(y)) % FOLDS, np.empty(len(y)), np.empty(len(y), np.int8)
        for each in range(FOLDS):
            best, leads[fold == each] = _led(self._fitted(vectors[fold != each], y[fold != each]), vectors[fold == each])
            right[fold == each] = best == y[fold == each]
        slope, shift = platt(leads, right)
        self._scale = (max(slope, 0.0), shift)  # a lead never speaks against
        self._machine = self._fitted(vectors, y)
        return self

    def _fitted(self, vectors: Any, y: NDArray[Any]) -> Any:
        from sklearn.svm import LinearSVC

        return LinearSVC(C=1.0, random_state=self.seed).fit(vectors, y)

    def _vectors(self, rows: Any) -> Any:
        """Rows over the columns of the training, weighted by rarity, of length one."""
        from sklearn.preprocessing import normalize

        assert self._columns is not None
        kept = narrow(rows, self._columns)
        kept.data = kept.data * self._weight[kept.indices]
        return normalize(kept)

    def suggest(self, rows: Iterable[Row]) -> list[Proposal]:
        """A category for each item that has none and whose text is clear enough.

        Raises
        ------
        NotFitted
            Before :meth:`fit`.
        """
        if self._machine is None:
            raise NotFitted("CategoryReader")
        asked = [(row, text) for row in rows if not row.get("category") and (text := whole(row))]
        if not asked:
            return []
        best, sure = self.chances([text for _, text in asked])
        made = []
        for (row, _), category, chance in zip(asked, best, sure.tolist(), strict=True):
            if chance >= self.sure:
                name = next(name for name in FIELDS if row.get(name))
                evidence = Evidence(name, row[name], 0, len(row[name]))
                leaf = category.split(" > ")[-1]
                made.append(Proposal(row["item"], "category", category, chance, "text", evidence, {_language(leaf): leaf}))
        return sorted(made, key=lambda each: (each.item, each.value))

    def chances(self, texts: Sequence[str]) -> tuple[list[str], NDArray[np.float64]]:
        """The best category of each text (see :func:`whole`), and how likely it is right, float64 [N]."""
        vectors = self._vectors(self._grams.rows(texts))
        best, lead = _led(self._machine, vectors)
        slope, shift = self._scale
        chance = 1.0 / (1.0 + np.exp(-(slope * lead + shift)))
        owner = np.repeat(np.arange(len(texts)), np.diff(vectors.indptr))
        unseen = vectors.indices == vectors.shape[1] - 1
        strange = np.bincount(owner[unseen], minlength=len(texts)) / np.maximum(np.diff(vectors.indptr), 1)
        return [self.categories[int(each)] for each in best], np.where(strange > STRANGE, 0.0, chance)


def _led(machine: Any, vectors: Any) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The best class of each row, and how far it leads the second."""
    margin = machine.decision_function(vectors)
    if margin.ndim == 1:
        return machine.classes_[(margin > 0).astype(int)], np.abs(margin)
    order = np.sort(margin, axis=1)
    return machine.classes_[margin.argmax(axis=1)], order[:, -1] - order[:, -2]


def whole(row: Row) -> str:
    """All texts of an item, normalised; "" where it has none."""
    return normalise(" \n".join(str(row[name]) for name in FIELDS if row.get(name)))
