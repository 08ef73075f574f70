"""Item vectors without training: a truncated eigendecomposition of who is consumed together.

An embedding table that starts from noise spends most of its epochs finding out which items are alike, which counting tells in a
second. The sequence models start from these vectors and learn the order and everything else on top (embeddings as an implicit
factorisation of co-occurrence counts: Levy and Goldberg 2014; the normalised Laplacian's eigenvectors: Belkin and Niyogi 2003).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._edges import UNIT, count
from tradewind.learn._signal import Signal

Averages = Any  # scipy.sparse.csr_array of float32, [new items, old items]
WINDOW, DECAY = 20, 0.7  # of the item graph
PAIRS = 20_000_000  # of events at most: a longer log tells enough with a narrower window
ITERATIONS = 4  # of the power method: the subspace, not each vector, is wanted


def item_vectors(found: Signal, *, items: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Unit vectors float32 [items, dim] whose products tell what is consumed together; rows of zeros for items never seen with another."""
    from scipy.sparse import csr_array, diags_array
    from sklearn.utils.extmath import randomized_svd

    window = int(np.clip(PAIRS // max(len(found.item), 1), 1, WINDOW))
    edges = count(found, items=items, window=window, decay=DECAY).astype(np.float32)
    together = csr_array(edges + edges.T) / np.float32(UNIT)
    degree = np.asarray(together.sum(axis=1)).ravel()
    scale = diags_array(np.where(degree > 0, np.maximum(degree, 1e-12) ** -0.5, 0.0))
    rank = min(dim, items)
    found_vectors, _, _ = randomized_svd(csr_array(scale @ together @ scale), rank, n_iter=ITERATIONS, random_state=seed)
    length = np.linalg.norm(found_vectors, axis=1, keepdims=True)
    out = np.zeros((items, dim), dtype=np.float32)
    out[:, :rank] = np.where(length > 1e-9, found_vectors / np.maximum(length, 1e-9), 0.0)
    return out


def joined(found: Signal, old: int, *, items: int) -> Averages:
    """Which of the first ``old`` items the customers of each later item had, as shares: csr float32 [items - old, old].

    Its product with the old items' vectors is where a new item starts; a row of an item that nobody touched is empty.
    """
    from scipy.sparse import csr_array, diags_array

    owner = found.owner
    by_customer = csr_array((np.ones(len(owner), np.float32), (owner, found.item)), shape=(len(found.offsets) - 1, items))
    shared = csr_array(by_customer[:, old:].T @ by_customer[:, :old])
    total = np.asarray(shared.sum(axis=1)).ravel()
    return csr_array(diags_array(np.where(total > 0, 1 / np.maximum(total, 1e-12), 0).astype(np.float32)) @ shared)
