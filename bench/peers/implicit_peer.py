"""Times the `implicit` library on a matrix that bench/collaborative.py wrote; run by the python of bench/peers/.venv.

    .venv/bin/python implicit_peer.py MATRIX.npz JSON   ->   one JSON line: cpu and wall seconds, and the lists' file

JSON: {"model": "als" | "item_knn" | "user_knn", "threads", "factors", "iterations", "neighbours", "lists": path}. The library has
neighbours of items only; "user_knn" gives it the transposed matrix, and its own scorer adds up what the neighbours took.
"""

import json
import sys
import time
import warnings

import numpy as np
from scipy.sparse import csr_matrix


def main() -> None:
    path, asked = sys.argv[1], json.loads(sys.argv[2])
    with np.load(path) as stored:
        matrix = csr_matrix((stored["data"], stored["indices"], stored["indptr"]), shape=tuple(stored["shape"]))
    warnings.simplefilter("ignore")
    import implicit.als
    import implicit.nearest_neighbours

    if asked["model"] == "als":
        model = implicit.als.AlternatingLeastSquares(
            factors=asked["factors"], iterations=asked["iterations"], num_threads=asked["threads"], use_gpu=False, random_state=7
        )
    else:
        model = implicit.nearest_neighbours.CosineRecommender(K=asked["neighbours"], num_threads=asked["threads"])
    users = asked["model"] == "user_knn"
    times = {}
    start, cpu = time.perf_counter(), time.process_time()
    model.fit(matrix.T.tocsr() if users else matrix, show_progress=False)
    times["fit_wall"], times["fit_cpu"] = time.perf_counter() - start, time.process_time() - cpu
    start, cpu = time.perf_counter(), time.process_time()
    if users:
        np.save(asked["lists"], by_users(model.similarity, matrix))
    elif asked["model"] == "item_knn":
        lists, _ = model.recommend(np.arange(matrix.shape[0]), matrix, N=20)
        np.save(asked["lists"], lists)
    times["answer_wall"], times["answer_cpu"] = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps(times))


def by_users(similar, matrix):
    """The 20 best new items of every user: rows of ``matrix`` summed over the user's neighbours, none of them the user."""
    from implicit._nearest_neighbours import NearestNeighboursScorer

    similar.setdiag(0)
    scorer = NearestNeighboursScorer(matrix.astype(np.float64))
    lists = np.full((matrix.shape[0], 20), -1, dtype=np.int32)
    for user in range(matrix.shape[0]):
        part = slice(similar.indptr[user], similar.indptr[user + 1])
        own = matrix.indices[matrix.indptr[user] : matrix.indptr[user + 1]]
        near = np.array([0, part.stop - part.start], dtype=np.int32)
        found, _ = scorer.recommend(near, similar.indices[part], similar.data[part], K=20 + len(own), remove_own_likes=False)
        new = found[~np.isin(found, own)][:20]
        lists[user, : len(new)] = new
    return lists


main()
