"""What a shop's reviews say: sentiment, aspects with their evidence, what is new, and the counts that a text may quote.

``learn`` trains the sentiment on the shop's own stars where there are enough, reads every review once and stores how often
each aspect of each item was praised and blamed; ``compose`` may quote these counts and nothing else of a review.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tradewind.errors import InputError
from tradewind.learn import _store
from tradewind.learn._text_classifier import TextClassifier
from tradewind.learn._text_grams import normalise, words
from tradewind.learn.aspects import Mention, mentions_of
from tradewind.learn.registry import active, learned, publish, retire
from tradewind.learn.text_encoded import BUILTIN, stored_classifier, text_classifier
from tradewind.schema import Kind
from tradewind.stats.experiment import proportion
from tradewind.types import Estimate, Section

if TYPE_CHECKING:
    from tradewind.engine.home import Home

NAME = "reviews"  # in the registry
WEEK = timedelta(days=7)
BEFORE_WEEKS = 8  # that the last week is compared with
LEVEL = 0.05  # of the test whether a word is new
SHOWN = 10


@dataclass(frozen=True)
class Review:
    """One review and what was read in it."""

    id: str
    item: str
    at: datetime
    text: str
    rating: float | None
    mentions: tuple[Mention, ...]


@dataclass(frozen=True)
class Reviews:
    """All reviews before a moment, and who judged what the lexicon could not."""

    reviews: tuple[Review, ...]
    as_of: datetime
    model: TextClassifier | None

    def counts(self, items: Sequence[str] | None = None) -> dict[tuple[str, str], tuple[int, int]]:
        """Of each (item, aspect): how many reviews praise it, and how many praise or blame it; a review counts once."""
        found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        for review in self.reviews:
            if items is not None and review.item not in items:
                continue
            for aspect, sign in _signs(review.mentions).items():
                found[review.item, aspect][0] += sign > 0
                found[review.item, aspect][1] += 1
        return {key: (praised, count) for key, (praised, count) in sorted(found.items())}

    def aspects(self, items: Sequence[str] | None = None) -> list[Estimate]:
        """Share of praise of each aspect among the reviews that judge it, with Wilson's 95 % interval; most judged first."""
        totals: Counter[str] = Counter()
        praise: Counter[str] = Counter()
        for (_, aspect), (praised, count) in self.counts(items).items():
            totals[aspect] += count
            praise[aspect] += praised
        return [proportion(praise[aspect], count, name=aspect) for aspect, count in totals.most_common()]

    def evidence(self, aspect: str, sign: int, *, most: int = 3, items: Sequence[str] | None = None) -> list[tuple[str, str]]:
        """(review id, clause) that praise (1) or blame (-1) an aspect: the clauses most like the others of their side, each once.

        An extract, not a paraphrase: every clause stands so in the review that is named.
        """
        found = [
            (review.id, review.text[each.start : each.end].strip())
            for review in self.reviews
            if items is None or review.item in items
            for each in review.mentions
            if each.aspect == aspect and each.sign == sign
        ]
        common = Counter(word for _, clause in found for word in set(words(normalise(clause))))
        scored = [
            (sum(common[word] for word in set(split)) / math.sqrt(len(split) + 4), -len(clause), clause, name)
            for name, clause in found
            if (split := words(normalise(clause)))
        ]
        picked: dict[str, str] = {}
        for _, _, clause, name in sorted(scored, reverse=True):
            picked.setdefault(normalise(clause), name)
            if len(picked) == most:
                break
        texts = {normalise(clause): clause for _, clause in found}
        return [(name, texts[plain]) for plain, name in picked.items()]

    def new_words(self, *, most: int = SHOWN) -> list[tuple[str, int, float]]:
        """(word, reviews of the last week that have it, p) of words far more frequent than in the eight weeks before.

        Of the reviews that have a word, so many or more would be of the last week by chance with probability ``p`` (exact binomial
        test); shown are those below 0.05 after Bonferroni's correction for the number of words.
        """
        from scipy.stats import binom

        late: Counter[str] = Counter()
        both: Counter[str] = Counter()
        reviews = [review for review in self.reviews if review.at >= self.as_of - (1 + BEFORE_WEEKS) * WEEK]
        for review in reviews:
            told = set(words(normalise(review.text)))
            both.update(told)
            if review.at >= self.as_of - WEEK:
                late.update(told)
        share = sum(review.at >= self.as_of - WEEK for review in reviews) / max(len(reviews), 1)
        asked = sorted(word for word in late if len(word) > 1)
        if not asked or share == 1.0:
            return []
        chance = binom.sf([late[word] - 1 for word in asked], [both[word] for word in asked], share)
        found = [(word, late[word], float(p)) for word, p in zip(asked, chance, strict=True) if p * len(asked) < LEVEL]
        return sorted(found, key=lambda each: (each[2], each[0]))[:most]

    def trend(self) -> list[tuple[str, float, float, float]]:
        """(aspect, share of blame in the last week, in the eight weeks before, z of the difference), greatest rise first."""
        tallies: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]] = defaultdict(lambda: np.zeros((2, 2)))
        for review in self.reviews:
            if review.at < self.as_of - (1 + BEFORE_WEEKS) * WEEK:
                continue
            late = int(review.at >= self.as_of - WEEK)
            for aspect, sign in _signs(review.mentions).items():
                tallies[aspect][late] += (sign < 0, 1)
        found = []
        for aspect, ((blamed_then, n_then), (blamed, n)) in tallies.items():
            if n and n_then:
                pooled = (blamed + blamed_then + 1) / (n + n_then + 2)
                z = (blamed / n - blamed_then / n_then) / math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / n_then))
                found.append((aspect, blamed / n, blamed_then / n_then, z))
        return sorted(found, key=lambda each: -each[3])


def read(home: Home, *, as_of: datetime, model: TextClassifier | None = None) -> Reviews:
    """Every review of an item with a text before ``as_of``; ``model`` judges clauses that the lexicon leaves open."""
    return _read(_told(home, as_of), as_of, model)


def _told(home: Home, as_of: datetime) -> pa.Table:
    events = home.tables.events(as_of=as_of)
    told = events.filter((events.kind == Kind.REVIEW.value) & events.text.notnull())
    return home.tables.to_arrow(told.select("id", "item", "at", "text", "rating")).sort_by([("at", "ascending"), ("id", "ascending")])


def _read(told: pa.Table, as_of: datetime, model: TextClassifier | None) -> Reviews:
    rows = told.filter(pc.is_valid(told["item"])).to_pylist()
    texts = list(dict.fromkeys(row["text"] for row in rows))
    known = {text: tuple(found) for text, found in zip(texts, mentions_of(texts, model=model), strict=True)}
    made = (Review(row["id"], row["item"], row["at"], row["text"], row["rating"], known[row["text"]]) for row in rows)
    return Reviews(tuple(made), as_of, model)


def learn(home: Home, *, as_of: datetime, now: datetime, seed: int = 0) -> Section:
    """Train on the shop's stars, read all reviews and publish the counts; says what could not be done and why."""
    title, told = "What reviews say", _told(home, as_of)
    if not told.num_rows:
        retire(home, NAME)
        return Section(title, ("There are no reviews with a text.",))
    rated = told.filter(pc.is_valid(told["rating"]))
    model: TextClassifier | None = None
    slot = home.settings.text_model
    judge = text_classifier(slot, seed=seed)
    try:
        model = judge.fit_stars(rated["text"].to_pylist(), rated["rating"].to_numpy())
        by = f"Sentiment learned from the shop's own stars{'' if slot == BUILTIN else f' by {slot}'}."
    except InputError as error:
        by = f"Sentiment not learned ({error}); clauses are judged by the lexicon alone."
    found = _read(told, as_of, model)
    card = {"reviews": len(found.reviews), "sentiment": model is not None}
    publish(home, NAME, lambda path: _save(path, found), as_of=as_of, card=card, now=now)
    return Section(title, (f"{len(found.reviews):,} reviews read. {by}",), tuple(found.aspects()))


def _save(path: Path, found: Reviews) -> None:
    counts = found.counts()
    values = {"items": [item for item, _ in counts], "aspects": [aspect for _, aspect in counts]}
    _store.write(path / "counts", values, {"counts": np.array(list(counts.values()), dtype=np.int64).reshape(-1, 2)})
    if found.model is not None:
        found.model.save(path)


def praise(home: Home, *, before: datetime) -> Mapping[str, Mapping[str, tuple[int, int]]]:
    """Of each item and aspect: reviews that praise it, and that praise or blame it; empty unless learned from before ``before``."""
    if not learned(home, NAME) or active(home, NAME).as_of > before:
        return {}
    values, arrays = _store.read(active(home, NAME).path / "counts")
    found: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
    for item, aspect, (praised, count) in zip(values["items"], values["aspects"], arrays["counts"].tolist(), strict=True):
        found[item][aspect] = (praised, count)
    return found


def loaded(home: Home, *, as_of: datetime) -> Reviews:
    """The reviews before ``as_of``, judged by the sentiment learned last where there is one."""
    model = None
    if learned(home, NAME):
        version = active(home, NAME, before=as_of)
        model = stored_classifier(version.path) if version.card["sentiment"] else None
    return read(home, as_of=as_of, model=model)


def report(found: Reviews, items: Sequence[str] | None = None) -> list[Section]:
    """Aspects with intervals, their evidence with the reviews that it stands in, trends and what is new this week."""
    shares = found.aspects(items)
    rows = [
        {"aspect": share.name, "says": "praise" if sign > 0 else "blame", "review": name, "words": clause}
        for share in shares[:SHOWN]
        for sign in (1, -1)
        for name, clause in found.evidence(share.name, sign, most=2, items=items)
    ]
    sections = [
        Section("Aspects: share of praise among the reviews that judge them", (), tuple(shares)),
        Section("In their own words", (), (), tuple(rows)),
    ]
    if items is None:
        trend = [
            {"aspect": name, "blame last week": f"{late:.0%}", "8 weeks before": f"{then:.0%}", "z": f"{z:+.1f}"}
            for name, late, then, z in found.trend()[:SHOWN]
        ]
        fresh = [{"word": word, "reviews": count, "p": f"{p:.1e}"} for word, count, p in found.new_words()]
        sections += [Section("Blame, last week and before", (), (), tuple(trend)), Section("New this week", (), (), tuple(fresh))]
    return sections


def _signs(found: Sequence[Mention]) -> dict[str, int]:
    """One sign per aspect that a review judges; an aspect that is both praised and blamed in it counts as blamed."""
    signs: dict[str, int] = {}
    for each in found:
        if each.sign:
            signs[each.aspect] = min(signs.get(each.aspect, 1), each.sign)
    return signs
