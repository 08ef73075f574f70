"""Times the `implicit` library on a matrix that bench/collaborative.py wrote; run by the python of bench/peers/.venv.

    .venv/bin/python implicit_peer.py MATRIX.npz JSON   ->   one JSON line: cpu and wall seconds, and the lists' file

JSON: {"model": "als" | "knn", "threads", "factors", "iterations", "neighbours", "lists": path}.
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
    times = {}
    start, cpu = time.perf_counter(), time.process_time()
    model.fit(matrix, show_progress=False)
    times["fit_wall"], times["fit_cpu"] = time.perf_counter() - start, time.process_time() - cpu
    start, cpu = time.perf_counter(), time.process_time()
    if asked["model"] == "knn":
        lists, _ = model.recommend(np.arange(matrix.shape[0]), matrix, N=20)
        np.save(asked["lists"], lists)
    times["answer_wall"], times["answer_cpu"] = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps(times))


main()
