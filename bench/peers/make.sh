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
