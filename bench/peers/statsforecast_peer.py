"""statsforecast on the series that bench/demand.py wrote; run by the python of bench/peers/.venv-statsforecast.

    .venv-statsforecast/bin/python statsforecast_peer.py SERIES.npz FORECASTS.npz   ->   one JSON line: CPU seconds by model

SERIES.npz: y [series, periods] without gaps, horizon, season. FORECASTS.npz: one array [series, horizon] per model. Each model runs alone
on one core, twice; the second run counts.
"""

import json
import logging
import os
import sys
import time
import warnings

os.environ["OMP_NUM_THREADS"] = "1"
warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)


def main() -> None:
    import numpy as np
    import pandas as pd
    from statsforecast import StatsForecast
    from statsforecast import models as m

    told = np.load(sys.argv[1])
    y, horizon, season = told["y"], int(told["horizon"]), int(told["season"])
    frame = pd.DataFrame(
        {"unique_id": np.repeat(np.arange(len(y)), y.shape[1]), "ds": np.tile(np.arange(y.shape[1]), len(y)), "y": y.ravel()}
    )
    models = {
        "naive": m.Naive(),
        "seasonal_naive": m.SeasonalNaive(season),
        "moving_average": m.WindowAverage(28),
        "ses": m.SimpleExponentialSmoothingOptimized(),
        "seasonal": m.SeasonalExponentialSmoothingOptimized(season),
        "croston_sba": m.CrostonSBA(),
        "tsb": m.TSB(0.1, 0.1),
        "adida": m.ADIDA(),
        "imapa": m.IMAPA(),
        "theta": m.Theta(season_length=1),
        "holt_damped": m.AutoETS(season_length=1, model="AAN", damped=True),
    }
    slow = {"theta": 300, "holt_damped": 100}  # series; they take minutes for all
    taken, found = {}, {}
    for name, model in models.items():
        some = frame[frame["unique_id"] < slow.get(name, len(y))]
        for _ in range(2 if name not in slow else 1):
            start = time.process_time()
            out = StatsForecast(models=[model], freq=1, n_jobs=1).forecast(df=some, h=horizon)
            taken[name] = (time.process_time() - start) / some["unique_id"].nunique()
        found[name] = out[out.columns[-1]].to_numpy().reshape(-1, horizon)
    np.savez(sys.argv[2], **found)
    print(json.dumps({"seconds_a_series": taken}))


main()
