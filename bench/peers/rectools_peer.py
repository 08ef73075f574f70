"""Trains RecTools' SASRec epoch by epoch on a log that bench/train_speed.py wrote; run by the python of bench/peers/.venv-rectools.

    .venv-rectools/bin/python rectools_peer.py LOG.npz JSON   ->   one JSON line: cpu seconds of training after every epoch

LOG.npz: `user`, `item` (int), one row an event in the order of time, and `asked` users. JSON: {"epochs", "factors", "blocks", "heads",
"dropout", "length", "loss", "negatives", "batch", "threads", "seed", "lists"}; after epoch N the ten best new items of the asked users
are saved as LISTS.N.npy (item numbers, -1 where there are fewer).
"""

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd


def main() -> None:
    path, asked = sys.argv[1], json.loads(sys.argv[2])
    warnings.simplefilter("ignore")
    import torch
    from pytorch_lightning import seed_everything
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    torch.set_num_threads(asked["threads"])
    seed_everything(asked["seed"], workers=True)
    with np.load(path) as stored:
        user, item, wanted = stored["user"], stored["item"], stored["asked"]
    when = pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(len(user)), unit="s")
    frame = pd.DataFrame({Columns.User: user, Columns.Item: item, Columns.Weight: 1.0, Columns.Datetime: when})
    dataset = Dataset.construct(frame)
    model = SASRecModel(
        n_blocks=asked["blocks"],
        n_heads=asked["heads"],
        n_factors=asked["factors"],
        dropout_rate=asked["dropout"],
        session_max_len=asked["length"],
        loss=asked["loss"],
        n_negatives=asked["negatives"],
        lr=1e-3,
        batch_size=asked["batch"],
        epochs=asked["epochs"],
        recommend_torch_device="cpu",
    )
    taken, total = [], 0.0
    for epoch in range(asked["epochs"]):
        start = time.process_time()
        model.fit_partial(dataset, min_epochs=1, max_epochs=1)
        total += time.process_time() - start
        taken.append(total)
        found = model.recommend(users=wanted, dataset=dataset, k=10, filter_viewed=True)
        lists = np.full((len(wanted), 10), -1, dtype=np.int64)
        place = {int(name): row for row, name in enumerate(wanted)}
        rows = np.array([place[int(name)] for name in found[Columns.User]])
        lists[rows, found[Columns.Rank].to_numpy() - 1] = found[Columns.Item].to_numpy()
        np.save(f"{asked['lists']}.{epoch}.npy", lists)
        print(f"epoch {epoch + 1}: {total:.0f} s", file=sys.stderr, flush=True)
    print(json.dumps({"cpu": taken}))


main()
