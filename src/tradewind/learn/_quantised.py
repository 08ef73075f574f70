"""Item vectors in eight bits with a proof of how wrong they can be: the first pass of every index of this room.

Row x is stored as s c, where s = max|x| / 127 and c holds whole numbers; the query q likewise as t p. The product of the
codes is exact (32-bit integers), so by Cauchy-Schwarz the true score differs from s t (c . p) by at most
|q| |x - s c| + |q - t p| |s c|. Both residuals are measured, not assumed. What the first pass cannot rule out is scored again
in double precision, so the answer is the exact one; the shortlist grows where the bound is wide, and is never cut.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tradewind.errors import InputError

Floats = NDArray[np.float32]
STRIPE = 64  # rows whose maximum stands for all of them when the threshold is sought
ROUNDING = 1e-6  # of the float32 steps after the integer product: five roundings of 6e-8, doubled and more
CHUNK = 65_536  # rows quantised at once: bounds memory
ROWS = 32_768  # rows of one product for several queries: what it writes stays in the cache
LEAST = np.finfo(np.float32).min


class Query(NamedTuple):
    """A query: ``exact`` float64 [D], ``plain`` float32 [D], ``codes`` int8 [D] times ``scale``, its norm and that of what they miss."""

    exact: NDArray[np.float64]
    plain: Floats
    codes: NDArray[np.int8]
    scale: float
    norm: float
    rest: float

    @classmethod
    def of(cls, values: Floats) -> Query:
        """Quantise one query, float [D]."""
        plain = np.ascontiguousarray(values, dtype=np.float32)
        exact = plain.astype(np.float64)
        scale = float(np.abs(exact).max(initial=0.0)) / 127.0 or 1.0
        codes = np.rint(exact / scale)
        rest = float(np.sqrt(((exact - scale * codes) ** 2).sum()))
        return cls(exact, plain, _wide(codes.astype(np.int8)), scale, float(np.sqrt((exact * exact).sum())), rest)


@dataclass(frozen=True)
class Bound:
    """How far a first-pass score can be from the true one, for groups of rows: ``norm`` |q| + ``rest`` |q - t p| + ``fixed``."""

    norm: NDArray[np.float64]
    rest: NDArray[np.float64]
    fixed: NDArray[np.float64]

    def of(self, query: Query) -> Floats:
        """The bound for each group, float32, rounded up."""
        return ((query.norm * self.norm + query.rest * self.rest + self.fixed) * (1 + 1e-6)).astype(np.float32)

    def grouped(self, reduce: Any) -> Bound:
        """The same for larger groups: ``reduce`` takes the maxima."""
        return Bound(reduce(self.norm), reduce(self.rest), reduce(self.fixed))


def quantise(vectors: Floats, bias: Floats) -> tuple[NDArray[np.int8], Floats, Bound]:
    """Codes int8 [N, D] (at least two columns), scale float32 [N] and the bound of each row."""
    rows, width = vectors.shape
    codes, scale = np.empty((rows, width), np.int8), np.empty(rows, np.float32)
    left, length = np.empty(rows), np.empty(rows)
    for start in range(0, rows, CHUNK):
        part = slice(start, min(start + CHUNK, rows))
        exact = vectors[part].astype(np.float64)
        step = (np.abs(exact).max(axis=1, initial=0.0) / 127.0).astype(np.float32)
        step[step == 0] = 1.0
        whole = np.clip(np.rint(exact / step[:, None]), -127, 127)
        codes[part], scale[part] = whole, step
        kept = whole * step.astype(np.float64)[:, None]
        left[part] = np.sqrt(((exact - kept) ** 2).sum(axis=1))
        length[part] = np.sqrt((kept * kept).sum(axis=1))
    fixed = ROUNDING * np.where(np.isfinite(bias), np.abs(bias), 0.0)
    return _wide(codes), scale, Bound(left + ROUNDING * (left + length), length * (1 + ROUNDING), fixed)


def _wide(codes: NDArray[np.int8]) -> NDArray[np.int8]:
    """One dimension as two, the second 0: torch's product of transposed one-column matrices is wrong (2.13)."""
    return codes if codes.shape[-1] > 1 else np.concatenate((codes, np.zeros_like(codes)), axis=-1)


def unquantised(vectors: Floats, bias: Floats) -> Bound:
    """The bound of each row when the first pass is a float32 product: its rounding alone (Higham 2002, section 3.1)."""
    length = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    fixed = ROUNDING * np.where(np.isfinite(bias), np.abs(bias), 0.0)
    return Bound(length * (vectors.shape[1] + 8) * 2.0**-23, np.zeros(len(vectors)), fixed)


@cache
def integer_product() -> Any:
    """``torch._int_mm`` if this machine multiplies eight-bit numbers without overflow, else None.

    The extreme codes are tried once: instruction sets from before VNNI may saturate in the middle of a sum.
    """
    try:
        import torch
    except ImportError:
        return None
    extreme = torch.full((64, 128), 127, dtype=torch.int8)
    extreme[::2] = -127
    found = torch._int_mm(extreme[:1], extreme.T)  # noqa: SLF001 - the one integer product that torch has
    right = bool((found == extreme[:1].int() @ extreme.T.int()).all())
    return torch._int_mm if right else None  # noqa: SLF001


class IntegerProduct:
    """Products of int8 codes with the rows of a matrix, exact in 32 bits; only where :func:`integer_product` is there."""

    def __init__(self, codes: NDArray[np.int8], scale: Floats, level: Floats | None) -> None:
        import torch

        whole = torch.from_numpy(codes)
        self._columns, self._scale = whole.T, torch.from_numpy(scale)
        self._level = None if level is None else torch.from_numpy(level)
        self._parts = [whole[start : start + ROWS].T for start in range(0, len(codes), ROWS)]
        self._own = threading.local()

    def __call__(self, query: Query) -> Floats:
        """First-pass scores of one query, float32 [N]; valid until the next call on the same thread."""
        import torch

        if not hasattr(self._own, "whole"):  # memory that is written anew for every request costs more than the product
            self._own.whole = torch.empty((1, len(self._scale)), dtype=torch.int32)
            self._own.scores = torch.empty(len(self._scale))
        torch._int_mm(torch.from_numpy(query.codes)[None], self._columns, out=self._own.whole)  # noqa: SLF001
        return self._scaled(self._own.scores.copy_(self._own.whole[0]), query)

    def _scaled(self, whole: Any, query: Query) -> Floats:
        import torch

        if self._level is None:
            scores = torch.mul(whole, self._scale, out=whole).mul_(query.scale)
        else:
            scores = torch.addcmul(self._level, whole, self._scale, value=query.scale, out=whole)
        found: Floats = scores.numpy()
        return found

    def many(self, queries: list[Query]) -> list[Floats]:
        """First-pass scores of a few queries, valid until the next call; each part of the matrix is read once for all of them."""
        import torch

        asked = torch.from_numpy(np.stack([query.codes for query in queries]))
        if len(getattr(self._own, "several", ())) < len(queries):
            self._own.several = torch.empty((len(queries), len(self._scale)))
        scores = self._own.several[: len(queries)]
        for place, part in enumerate(self._parts):
            scores[:, place * ROWS : place * ROWS + part.shape[1]] = torch._int_mm(asked, part)  # noqa: SLF001
        return [self._scaled(row, query) for row, query in zip(scores, queries, strict=True)]


class IntegerCells:
    """Products of one query with runs of rows; the kernel of each length is compiled when built and not in a request."""

    def __init__(self, codes: NDArray[np.int8], start: NDArray[np.int64]) -> None:
        import torch

        whole = torch.from_numpy(codes)
        self._runs = [whole[a:b].T for a, b in zip(start[:-1].tolist(), start[1:].tolist(), strict=True)]
        for run in {run.shape[1]: run for run in self._runs}.values():
            torch._int_mm(torch.zeros((1, whole.shape[1]), dtype=torch.int8), run)  # noqa: SLF001

    def read(self, query: Query, cells: list[int]) -> Floats:
        """The products with some runs, one run after the other, float32."""
        import torch

        asked, product = torch.from_numpy(query.codes)[None], torch._int_mm  # noqa: SLF001
        found: Floats = torch.cat([product(asked, self._runs[cell]) for cell in cells], dim=1)[0].float().numpy()
        return found


def closed(allowed: NDArray[np.bool_]) -> Floats:
    """0 where allowed, minus infinity elsewhere, without a branch: ten times as fast as assigning through a mask."""
    bits = allowed.view(np.int8).astype(np.int32)
    bits -= 1
    bits &= np.int32(-(1 << 23))  # the bits of minus infinity
    return bits.view(np.float32)


def padded(array: NDArray[Any], rows: int) -> NDArray[Any]:
    """``array`` with zeros behind up to ``rows`` rows."""
    short = rows - len(array)
    return np.pad(array, ((0, short), *[(0, 0)] * (array.ndim - 1))) if short else array


def shortlist(scores: Floats, wrong: Floats, k: int) -> NDArray[np.int64]:
    """Places of all scores that may be among the k largest when each is off by at most ``wrong``; finite ones only.

    ``scores`` float32 [STRIPE x G]; place p belongs to group p mod G, and ``wrong`` holds one bound per group [G] or for all [1].
    The k-th largest (group maximum - bound) is a floor that k true scores reach; only groups that may lie above it are looked into.
    """
    table = scores.reshape(STRIPE, -1)
    top = table.max(axis=0)
    floor = _kth(top - wrong, k)
    groups = np.flatnonzero((top + wrong >= floor) & np.isfinite(top))
    inside = np.take(table, groups, axis=1)
    own = wrong[groups] if len(wrong) > 1 else np.broadcast_to(wrong, len(groups))
    flat = np.flatnonzero(inside >= np.maximum(floor - own, LEAST))
    values, column = inside.ravel()[flat], flat % max(len(groups), 1)
    keep = values + own[column] >= _kth(values - own[column], k)
    places: NDArray[np.int64] = (flat[keep] // max(len(groups), 1)) * table.shape[1] + groups[column[keep]]
    return places


def _kth(values: Floats, k: int) -> float:
    """The k-th largest value; minus infinity when there are fewer."""
    return float(np.partition(values, len(values) - k)[len(values) - k]) if 0 < k <= len(values) else -np.inf


def scored(vectors: Floats, bias: Floats, items: NDArray[np.int64], query: Query) -> Floats:
    """The scores of ``items`` in double precision, rounded to float32."""
    found: Floats = (np.einsum("nd,d->n", vectors[items], query.exact) + bias[items]).astype(np.float32)
    return found


def rescore(vectors: Floats, bias: Floats, items: NDArray[np.int64], query: Query, k: int) -> tuple[NDArray[np.int32], Floats]:
    """The k best of ``items`` by score in double precision, rounded to float32; ties by the lower item."""
    exact = scored(vectors, bias, items, query)
    order = np.lexsort((items, -exact))[:k]
    return items[order].astype(np.int32), exact[order]


def checked(vectors: Any, bias: Any, usable: Any) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Vectors float32 [I, D], bias float32 [I] and usable bool [I] as an index needs them.

    Raises
    ------
    InputError
        The shapes do not fit, or a usable item has a number that is not finite.
    """
    found = np.ascontiguousarray(vectors, dtype=np.float32)
    if found.ndim != 2 or not found.shape[0] or not found.shape[1]:
        raise InputError(f"index: vectors must have the shape [items, dimensions], at least 1 x 1; got {found.shape}.")
    count = len(found)
    level = np.zeros(count, np.float32) if bias is None else np.ascontiguousarray(bias, dtype=np.float32)
    use = np.ones(count, dtype=bool) if usable is None else np.asarray(usable, dtype=bool)
    for name, array in (("bias", level), ("usable", use)):
        if array.shape != (count,):
            raise InputError(f"index: {name} must hold one value for each of the {count} items; got the shape {array.shape}.")
    sound = np.isfinite(level)
    for start in range(0, count, CHUNK):
        sound[start : start + CHUNK] &= np.isfinite(found[start : start + CHUNK]).all(axis=1)
    if not sound[use].all():
        first = int(np.flatnonzero(use & ~sound)[0])
        raise InputError(f"index: the vector or bias of item {first} is not finite. Leave such items out with usable=...")
    if not sound.all():
        found = np.where(sound[:, None], found, np.float32(0))
    return found, np.where(sound, level, np.float32(0)), use
