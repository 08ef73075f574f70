"""One half-step of alternating least squares in batches: given the factors of one side, solve every row of the other.

Row u with the entries (j, a_j) has the confidence 1 + a_j where there is an entry and 1 elsewhere, and solves
    (G + reg_u 1 + sum_j a_j y_j y_j') x = sum_j (1 + a_j) y_j,    G = sum over all y y'
(Hu, Koren, Volinsky 2008, equation 4). In the eigenbasis of G the first two terms are diagonal for every reg_u, so a row with
n entries costs a system of n unknowns instead of F where n < F (the Woodbury identity); most histories are short. Longer rows are
solved by conjugate gradients (Takacs, Pilaszy, Tikk 2011, who stop after a few steps), preconditioned by that diagonal, to a residual of
1e-5: four to seven steps of 4 n F operations. Where they do not get there, the row is solved directly. Rows of like length
are stacked, padded with a zero factor, and solved together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

CELLS = 1 << 18  # factor values of one stack: fits a core's cache
PADDING = 1.15  # a stack holds rows at most this much longer than its shortest
SMALL = 16  # unknowns up to which elimination across the stack beats one LAPACK call per row
DIRECT = 24  # entries up to which a row is solved directly
STEPS = 40  # of conjugate gradients at most
RESIDUAL = 1e-5  # of them, relative, in the norm of the preconditioner


class Basis:
    """The factors ``y`` (float32 [I, F]) of the given side, turned into the eigenbasis of their Gram matrix."""

    def __init__(self, y: Floats) -> None:
        values, vectors = np.linalg.eigh((y.T @ y).astype(np.float64))
        self.turn: Floats = vectors.astype(np.float32)
        self.gram: NDArray[np.float64] = np.maximum(values, 0.0)
        self.padded: Floats = np.vstack([y @ self.turn, np.zeros((1, y.shape[1]), np.float32)])  # the last row pads


def start(by_customer: Any, by_item: Any, factors: int, *, seed: int) -> Floats:
    """Item factors float32 [I, F] to begin with: the leading subspace of the matrix, both sides divided by the root of their sums.

    Two rounds of randomised subspace iteration (Halko, Martinsson, Tropp 2011). They cost about as much as one iteration
    and save several that would turn noise in the same direction.
    """
    from scipy.sparse import csr_array

    def rooted(matrix: Any) -> NDArray[np.float64]:
        sums = np.asarray(matrix.sum(axis=1), dtype=np.float64)
        root: NDArray[np.float64] = np.where(sums > 0, sums, 1.0) ** -0.5
        return root

    customers, items = rooted(by_customer), rooted(by_item)
    data = by_customer.data * np.repeat(customers, np.diff(by_customer.indptr)) * items[by_customer.indices]
    scaled = csr_array((data.astype(np.float32), by_customer.indices, by_customer.indptr), shape=by_customer.shape)
    turned = csr_array(scaled.T)
    size = len(items)
    space: Floats = np.random.default_rng(seed).standard_normal((size, min(factors, size)), dtype=np.float32)
    for _ in range(2):
        space = np.linalg.qr(turned @ (scaled @ space))[0]
    space *= np.float32(0.3 * np.sqrt(size / factors))
    space[np.diff(by_item.indptr) == 0] = 0
    return np.pad(space, ((0, 0), (0, factors - space.shape[1])))


def solve(rows: Any, basis: Basis, penalty: NDArray[np.float64], *, threads: int = 1, turned: bool = True) -> Floats:
    """Factors float32 [U, F] of a sparse float32 [U, I] of extra confidences a > 0; a row without entries gets zeros.

    ``penalty`` float64 [U] is reg_u, above 0. Without ``turned`` the factors stay in the coordinates of the basis: scores do not
    change when both sides are turned alike, so nothing needs to be turned back until the end.
    """
    found = np.zeros((rows.shape[0], len(basis.gram)), dtype=np.float32)

    def one(members: NDArray[np.int64]) -> None:
        found[members] = _stack(rows, members, basis, penalty[members])

    _each(one, stacks(np.diff(rows.indptr), len(basis.gram)), threads)
    return found @ basis.turn.T if turned else found


def _each(work: Callable[[NDArray[np.int64]], None], parts: Iterator[NDArray[np.int64]], threads: int) -> None:
    if threads == 1:
        for part in parts:
            work(part)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, parts))


def stacks(lengths: NDArray[np.int64], factors: int) -> Iterator[NDArray[np.int64]]:
    """Rows of like length, int64 [B] each, that are solved together; rows without entries are in none."""
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order]
    start = int(np.searchsorted(ordered, 1))
    while start < len(order):
        shortest = int(ordered[start])
        limit = int(np.searchsorted(ordered, shortest * PADDING, side="right"))
        end = min(limit, start + max(1, CELLS // (shortest * factors)))
        yield order[start:end]
        start = end


def _stack(rows: Any, members: NDArray[np.int64], basis: Basis, penalty: NDArray[np.float64]) -> Floats:
    """Solutions of some rows, in the basis."""
    lengths = np.diff(rows.indptr)[members]
    width = int(lengths.max())
    place = rows.indptr[members][:, None] + np.arange(width)
    inside = np.arange(width) < lengths[:, None]
    place = np.where(inside, place, 0)
    extra: Floats = rows.data[place]
    y = basis.padded.take(np.where(inside, rows.indices[place], len(basis.padded) - 1), axis=0)
    scale = (1 / (basis.gram + penalty[:, None])).astype(np.float32)
    if width > DIRECT:
        x, near = _descend(y, extra, scale)
        if near:
            return x
    if width > len(basis.gram):
        return _primal(y, extra, scale)
    return _dual(y, extra, scale)


def _descend(y: Floats, extra: Floats, scale: Floats) -> tuple[Floats, bool]:
    """Conjugate gradients for a stack, and whether every row got near enough."""
    residual = np.matmul((1 + extra)[:, None, :], y)[:, 0]
    x, weight = np.zeros_like(residual), 1 / scale
    step = residual * scale
    size = np.einsum("bf,bf->b", residual, step)
    goal = RESIDUAL**2 * size
    for _ in range(STEPS):
        seen = np.matmul(y, step[:, :, None])[:, :, 0] * extra
        moved = step * weight + np.matmul(seen[:, None, :], y)[:, 0]
        length = (size / np.maximum(np.einsum("bf,bf->b", step, moved), 1e-30))[:, None]
        x += length * step
        residual -= length * moved
        turned = residual * scale
        before, size = size, np.einsum("bf,bf->b", residual, turned)
        if (size <= goal).all():
            return x, True
        step = turned + (size / np.maximum(before, 1e-30))[:, None] * step
    return x, False


def _dual(y: Floats, extra: Floats, scale: Floats) -> Floats:
    """x = S Y' R (1 + R Y S Y' R)^-1 R^-1 (1 + a) with R = sqrt(a): one unknown per entry."""
    root = np.sqrt(extra)
    kernel = np.matmul(y * scale[:, None, :], y.transpose(0, 2, 1))
    kernel *= root[:, :, None]
    kernel *= root[:, None, :]
    right = ((1 + extra) / root).astype(np.float32)
    weight = _one_plus(kernel, right) * root
    x: Floats = np.matmul(weight[:, None, :], y)[:, 0] * scale
    return x


def _primal(y: Floats, extra: Floats, scale: Floats) -> Floats:
    """One unknown per factor, for rows with more entries than factors."""
    right = np.matmul((1 + extra)[:, None, :], y)[:, 0]
    matrix = np.matmul(y.transpose(0, 2, 1) * extra[:, None, :], y)
    diagonal = np.arange(matrix.shape[1])
    matrix[:, diagonal, diagonal] += 1 / scale
    x: Floats = np.linalg.solve(matrix, right[:, :, None])[:, :, 0]
    return x


def _one_plus(kernel: Floats, right: Floats) -> Floats:
    """z float32 [B, n] of (1 + kernel) z = right for positive semidefinite kernels [B, n, n], which are spent."""
    n = kernel.shape[1]
    diagonal = np.arange(n)
    kernel[:, diagonal, diagonal] += 1
    if n > SMALL:
        solved: Floats = np.linalg.solve(kernel, right[:, :, None])[:, :, 0]
        return solved
    # Gaussian elimination needs no pivots here; the stack is the last axis, so every step is a long vector operation.
    a, z = np.ascontiguousarray(kernel.transpose(1, 2, 0)), np.ascontiguousarray(right.T)
    for step in range(n - 1):
        factor = a[step, step + 1 :] / a[step, step]
        a[step + 1 :, step + 1 :] -= factor[:, None] * a[step, step + 1 :]
        z[step + 1 :] -= factor * z[step]
    for step in range(n - 1, -1, -1):
        z[step] /= a[step, step]
        z[:step] -= a[:step, step] * z[step]
    return z.T
