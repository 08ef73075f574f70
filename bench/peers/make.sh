#!/bin/sh
# Makes the environments of bench/peers: the libraries that benchmarks compare with, away from our own.
set -eu
cd "$(dirname "$0")"
"${PYTHON:-python3.11}" -m venv .venv
.venv/bin/python -m pip install --quiet "implicit==0.7.3"
# RecTools asks for an older numpy than ours and gets an environment of its own.
"${PYTHON:-python3.11}" -m venv .venv-rectools
.venv-rectools/bin/python -m pip install --quiet "rectools[torch]==0.19.0" "torch==2.13.0"
# scikit-uplift and causalml, for bench/uplift.py.
if [ ! -d .venv-uplift ]; then
  "${PYTHON:-python3.11}" -m venv .venv-uplift
  .venv-uplift/bin/python -m pip install --quiet "causalml==0.18.0" "scikit-uplift==0.5.1" "lightgbm==4.7.0"
fi
# VowpalWabbit, for bench/bandit.py.
if [ ! -d .venv-vw ]; then
  "${PYTHON:-python3.11}" -m venv .venv-vw
  .venv-vw/bin/python -m pip install --quiet "vowpalwabbit==9.11.9" "numpy>=2"
fi
# The Open Bandit Pipeline, for bench/offpolicy.py: it declares Python below 3.11 and runs on it with the libraries of its day.
if [ ! -d .venv-obp ]; then
  "${PYTHON:-python3.11}" -m venv .venv-obp
  .venv-obp/bin/python -m pip install --quiet "numpy==1.26.4" "scipy==1.11.4" "scikit-learn==1.3.2" "pandas==2.1.4" "matplotlib==3.8.4" \
    "seaborn==0.13.2" "tqdm" "pyyaml" "torch==2.13.0"
  .venv-obp/bin/python -m pip install --quiet --no-deps --ignore-requires-python "obp==0.5.7"
fi
# statsforecast, for bench/demand.py.
if [ ! -d .venv-statsforecast ]; then
  "${PYTHON:-python3.11}" -m venv .venv-statsforecast
  .venv-statsforecast/bin/python -m pip install --quiet "statsforecast==2.1.1"
fi
# tea-tasting, for bench/experiments.py.
if [ ! -d .venv-tea ]; then
  "${PYTHON:-python3.11}" -m venv .venv-tea
  .venv-tea/bin/python -m pip install --quiet "tea-tasting==1.14.0" "ibis-framework[duckdb]==12.0.0" "duckdb==2.0.0"
fi
