# Two commands set everything up on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
export OMP_NUM_THREADS ?= 2
export OPENBLAS_NUM_THREADS ?= 1

.PHONY: demo serve console test lint bench install system clean help

help:  ## what there is
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Tradewind needs Python 3.11 or newer; found " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 demo")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

install: $(VENV)/.installed  ## the virtual environment in .venv, from the lock file

demo: install  ## the whole loop on a simulated shop; leaves demo/report.html
	$(BIN)/tradewind demo demo

CONSOLE := src/tradewind/serve/console_build/index.html
$(CONSOLE): $(shell find console -type f -not -path '*/node_modules/*' -not -name schema.d.ts) tools/console.sh | $(VENV)/.installed
	@PYTHON=$(BIN)/python ./tools/console.sh build
	@touch $@

console: $(CONSOLE)  ## the web console, built into the package; obtains Node.js where there is none

serve: install console  ## the service and its console on the simulated shop of `make demo`
	@[ -e demo/shop ] || $(BIN)/tradewind demo demo
	$(BIN)/tradewind serve --shop demo/shop

system:  ## what the tests need from the system (PostgreSQL, Chromium, Java), from Debian's packages
	@./tools/system.sh

lint: install  ## style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: install system console  ## everything that CI runs
	PYTHON=$(BIN)/python ./tools/console.sh lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --dist=loadfile

bench: install  ## every benchmark in its quick form
	@for file in bench/*.py; do case $$file in bench/_*) ;; *) echo "== $$file"; $(BIN)/python $$file --quick || exit 1;; esac; done

clean:  ## remove the environment and the demo shop
	rm -rf $(VENV) .node console/node_modules $(dir $(CONSOLE)) demo
