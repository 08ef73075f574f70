#!/bin/sh
# Makes bench/peers/.venv: the libraries that benchmarks compare with, away from our own environment.
set -eu
cd "$(dirname "$0")"
"${PYTHON:-python3.11}" -m venv .venv
.venv/bin/python -m pip install --quiet "implicit==0.7.3"
