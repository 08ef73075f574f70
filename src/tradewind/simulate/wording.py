"""How the words of a message change who clicks it: hidden tastes for attributes of copy. Neutral unless the world has ``copy`` above 0.

A contact may say in an optional column ``copy`` what its text is like: a JSON list of names, such as ``["tone=warm", "question",
"en.hook.look"]``; a name given twice counts twice. The click rate of customer i of archetype k is multiplied by

    exp(copy * sum over names a of (all[a] + archetype[k, a] + own[i, a]) - what makes the mean of the factor one)

with normal tastes of standard deviation ``ALL``, ``ARCHETYPE`` and ``OWN``, each a hash of the world's seed and the name. Documented in
docs/simulation.md; the law is ours.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tradewind.errors import InputError
from tradewind.simulate import rng

if TYPE_CHECKING:
    from tradewind.simulate.contacts import Contacts
    from tradewind.simulate.people import People

Floats = NDArray[np.float64]

ALL, ARCHETYPE, OWN = 0.06, 0.06, 0.05  # standard deviations of the logarithm, per name, at copy = 1
_ALL, _ARCHETYPE, _OWN = range(3)


def number(name: str) -> int:
    """The number by which the tastes for an attribute are drawn."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest())


def parse(texts: pa.ChunkedArray) -> tuple[NDArray[np.int64], tuple[tuple[int, ...], ...]]:
    """Return per row the index of its wording (-1: it says nothing), and the numbers of the names of each wording.

    Raises
    ------
    InputError
        A text is no JSON list of names.
    """
    values = texts.to_pylist()
    place = {text: index for index, text in enumerate(dict.fromkeys(text for text in values if text is not None))}
    wordings = []
    for text in place:
        try:
            names = json.loads(text)
        except json.JSONDecodeError:
            names = None
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f'copy: "{text[:80]}" is no JSON list of names. Write for example ["tone=warm", "question"], or null.')
        wordings.append(tuple(number(name) for name in names))
    return np.array([-1 if text is None else place[text] for text in values], dtype=np.int64), tuple(wordings)


def factor(people: People, row: NDArray[np.int64], contacts: Contacts, *, seed: int) -> Floats | float:
    """What the words multiply the click rate of each contact by, float64[m]; 1.0 where no words were told or the world is deaf to them."""
    if contacts.words is None or not contacts.copy:
        return 1.0
    found = np.zeros(len(row))
    for index, names in enumerate(contacts.wordings):
        mine = np.flatnonzero(contacts.words == index)
        if len(mine):
            found[mine] = log_factor(people, row[mine], names, copy=contacts.copy, seed=seed)
    return np.exp(found)


def log_factor(people: People, row: NDArray[np.int64], names: tuple[int, ...], *, copy: float, seed: int) -> Floats:
    """The logarithm of the factor of one wording for the customers ``row`` of a chunk, float64[len(row)]."""
    kind, customer = people.kind[row], people.first + row
    total = np.zeros(len(row))
    spread = ALL**2 + ARCHETYPE**2 + OWN**2
    for name in names:
        total += ALL * _normal(seed, _ALL, name, np.zeros(1, dtype=np.int64))
        total += ARCHETYPE * _normal(seed, _ARCHETYPE, name, kind)
        total += OWN * _normal(seed, _OWN, name, customer)
    return copy * total - len(names) * copy**2 * spread / 2


def _normal(seed: int, level: int, name: int, who: NDArray[np.int64]) -> Floats:
    from scipy.special import ndtri

    u = rng.uniforms(seed, rng.COPY, level, name, who)
    return np.asarray(ndtri(np.clip(u, 1e-12, 1 - 1e-12)))
