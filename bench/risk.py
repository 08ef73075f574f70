"""Risk: rules that two evaluators answer alike and fast; features, rings and models on a log with planted fraud.

``--only rules``: random rules over random rows, by our evaluator for one row, by ours for columns, and by SQLite; rule-rows a
second of fifty plain rules over a million rows, beside pandas.eval, DuckDB and the evaluator for one row, in the same run.
Without ``--only``: everything.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from _harness import Harness

SECTIONS = {"rules": "_risk_rules", "replay": "_risk_replay"}  # name -> file whose run(bench) measures it


def main() -> None:
    bench = Harness("risk", __doc__, extra={"--only": {"choices": sorted(SECTIONS), "help": "one part"}})
    for name, module in SECTIONS.items():
        if bench.arguments.only in (None, name):
            run: Callable[[Harness], None] = import_module(module).run
            run(bench)
    bench.finish()


if __name__ == "__main__":
    main()
