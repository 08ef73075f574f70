"""How far each review can be believed, 0-1: fake praise comes in bursts, repeats itself and comes from accounts that only praise.

Three signs, each multiplying the trust down:

- *burst*: reviews of one item come far more densely than the item's own pace (a Poisson tail over ``DAYS`` days), and the reviewer is a
  one-time one. A product that becomes popular has a burst, too, but of people who also buy and review other things.
- *near-duplicates*: the text shares ``ALIKE`` of its character 5-grams with a review by somebody else. The first of its kind is
  believed as others are; of n alike all later ones share the weight of one.
- *degree*: the reviewer wrote more reviews than they had orders, where orders are known, or a hundred times the shop's usual number.

The signs are those of Mukherjee et al., "Spotting opinion spammers using behavioral footprints", KDD 2013. Trust weighs; it never
deletes a review, and low trust is no proof. When not to use: with fewer than some dozens of reviews it finds duplicates only.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.learn._text_grams import normalise

DAYS = 3
GRAM, ALIKE, SHORTEST = 5, 0.8, 20  # characters; shorter texts ("good") are alike by chance
HASHES, BANDS = 32, 8
DENSE = 1e-4  # chance of so many at the item's own pace
LEAST = 0.05  # trust never falls below


@dataclass(frozen=True, slots=True)
class Trust:
    """Of one review: ``weight`` 0-1, and the signs that lowered it ("burst", "duplicate", "degree")."""

    weight: float
    signs: tuple[str, ...] = ()


def trust(
    texts: Sequence[str],
    items: Sequence[str],
    at: Sequence[datetime],
    customers: Sequence[str | None],
    *,
    orders: Mapping[str, int] | None = None,
) -> list[Trust]:
    """Weigh n reviews, given as columns; ``orders``: customer -> number of orders, where the shop knows them.

    Raises
    ------
    InputError
        The columns are not equally long.
    """
    if len({len(texts), len(items), len(at), len(customers)}) != 1:
        raise InputError(f"trust: the columns must be equally long; got {len(texts)}, {len(items)}, {len(at)} and {len(customers)}.")
    if not len(texts):
        return []
    signs: list[dict[str, float]] = [{} for _ in texts]
    for one, share in _duplicates(texts, at, customers).items():
        signs[one]["duplicate"] = share
    for one in _bursts(items, at, customers):
        signs[one]["burst"] = 0.4
    for one in _eager(customers, orders):
        signs[one]["degree"] = 0.5
    return [Trust(max(LEAST, float(np.prod(list(found.values())))) if found else 1.0, tuple(sorted(found))) for found in signs]


def _duplicates(texts: Sequence[str], at: Sequence[datetime], customers: Sequence[str | None]) -> dict[int, float]:
    """Later reviews of a group of near-duplicates by different people -> the share of one weight that each gets."""
    plain = [normalise(text) for text in texts]
    grams = [{text[n : n + GRAM] for n in range(len(text) - GRAM + 1)} if len(text) >= SHORTEST else set() for text in plain]
    parent = list(range(len(texts)))

    def root(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for bucket in _buckets(grams).values():
        head = bucket[0]
        for other in bucket[1:]:
            if root(head) != root(other) and len(grams[head] & grams[other]) >= ALIKE * len(grams[head] | grams[other]):
                parent[root(other)] = root(head)
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for one in range(len(texts)):
        groups[root(one)].append(one)
    found: dict[int, float] = {}
    for group in groups.values():
        if len({customers[one] for one in group}) > 1:
            later = sorted(group, key=lambda one: (at[one], one))[1:]
            found |= dict.fromkeys(later, 1 / len(later) if len(later) > 1 else 0.5)
    return found


def _buckets(grams: Sequence[set[str]]) -> dict[tuple[int, bytes], list[int]]:
    """Reviews that share a band of their MinHash signature: pairs that may be alike, without comparing all."""
    rng = np.random.default_rng(0)
    mix = rng.integers(1, 2**31 - 1, HASHES, dtype=np.uint64) | np.uint64(1)
    add = rng.integers(0, 2**31 - 1, HASHES, dtype=np.uint64)
    found: defaultdict[tuple[int, bytes], list[int]] = defaultdict(list)
    for one, told in enumerate(grams):
        if not told:
            continue
        codes = np.array([_code(gram) for gram in told], dtype=np.uint64)
        least: NDArray[np.uint64] = ((codes[:, None] * mix + add) & np.uint64(2**61 - 1)).min(axis=0)
        for band, part in enumerate(np.split(least, BANDS)):
            found[band, part.tobytes()].append(one)
    return {key: bucket for key, bucket in found.items() if len(bucket) > 1}


def _code(gram: str) -> int:
    return int.from_bytes(hashlib.blake2b(gram.encode(), digest_size=4).digest(), "little")


def _bursts(items: Sequence[str], at: Sequence[datetime], customers: Sequence[str | None]) -> list[int]:
    """Reviews by one-time reviewers in a dense stretch of their item."""
    from scipy.stats import poisson

    days = np.array([moment.timestamp() / 86_400 for moment in at])
    span = max(float(np.ptp(days)), 1.0)
    written = Counter(name for name in customers if name is not None)
    places: defaultdict[str, list[int]] = defaultdict(list)
    for one, item in enumerate(items):
        places[item].append(one)
    found = []
    for mine in places.values():
        when = np.sort(days[mine])
        for one in mine:
            low, high = np.searchsorted(when, [days[one] - DAYS, days[one] + DAYS], side="left")
            near, others = int(high - low), len(mine) - int(high - low)
            pace = max(others, 1) * 2 * DAYS / max(span - 2 * DAYS, 1.0)
            name = customers[one]
            if near >= 4 and (name is None or written[name] == 1) and poisson.sf(near - 2, pace) < DENSE:
                found.append(one)
    return found


def _eager(customers: Sequence[str | None], orders: Mapping[str, int] | None) -> list[int]:
    """Reviews by customers with more reviews than orders, or far more than anybody."""
    written = Counter(name for name in customers if name is not None)
    usual = float(np.median(list(written.values()))) if written else 0.0
    over = {name for name, count in written.items() if count > 100 * usual or (orders is not None and count > orders.get(name, 0))}
    return [one for one, name in enumerate(customers) if name in over]
