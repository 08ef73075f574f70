"""What every benchmark shares: its arguments, its table for people, and its last line for machines.

    bench = Harness("collect", __doc__)        # parses --quick, --path, --seed
    bench.figure("ratio", 2.4, target=("<=", 3.0))
    bench.finish()

The last line of standard output is one JSON object; a target that is not met stays in the table and is marked.
"""

from __future__ import annotations

import argparse
import json
import operator
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COMPARE = {"<=": operator.le, ">=": operator.ge, "==": operator.eq, "<": operator.lt, ">": operator.gt}
PACKAGES = (
    "duckdb",
    "ibis-framework",
    "lightgbm",
    "numpy",
    "polars",
    "pyarrow",
    "pyspark",
    "scikit-learn",
    "sqlalchemy",
    "torch",
    "tradewind",
)


class Harness:
    """Collects figures and prints them once. ``arguments`` holds what the command line said."""

    def __init__(self, name: str, about: str | None, *, extra: dict[str, dict[str, Any]] | None = None) -> None:
        parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--quick", action="store_true", help="a smaller run that takes seconds; targets are not judged")
        parser.add_argument("--path", type=Path, help="a file or folder of the same format to read instead of the default")
        parser.add_argument("--seed", type=int, default=7)
        for flag, options in (extra or {}).items():
            parser.add_argument(flag, **options)
        self.name = name
        self.arguments = parser.parse_args()
        self.figures: dict[str, Any] = {}
        self.targets: dict[str, tuple[str, float]] = {}

    @property
    def quick(self) -> bool:
        """Whether the small run was asked for."""
        return bool(self.arguments.quick)

    def figure(self, name: str, value: Any, *, target: tuple[str, float] | None = None) -> None:
        """Record one figure, and print it at once."""
        self.figures[name] = value
        judged = ""
        if target is not None and not self.quick:
            self.targets[name] = target
            judged = f"   target {target[0]} {target[1]:g}: {'met' if COMPARE[target[0]](value, target[1]) else 'NOT MET'}"
        shown = f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
        print(f"{name:<44} {shown:>16}{judged}", flush=True)

    def finish(self) -> None:
        """Print the JSON line."""
        met = {name: bool(COMPARE[op](self.figures[name], bound)) for name, (op, bound) in self.targets.items()}
        print(
            json.dumps(
                {
                    "bench": self.name,
                    "commit": _commit(),
                    "machine": f"{platform.machine()}, {_cores()} cores, {_memory():.0f} GiB, Python {platform.python_version()}",
                    "versions": _versions(),
                    "seed": self.arguments.seed,
                    "quick": self.quick,
                    "arguments": [Path(each).name if "/" in each else each for each in sys.argv[1:]],
                    "figures": self.figures,
                    "targets": {name: list(target) for name, target in self.targets.items()},
                    "met": met,
                }
            )
        )


@contextmanager
def clock() -> Iterator[dict[str, float]]:
    """Wall and CPU seconds of a block, own threads and ended children included: ``with clock() as t: ...; t["wall"]``."""
    taken: dict[str, float] = {}
    start, cpu = time.perf_counter(), _cpu()
    yield taken
    taken["wall"], taken["cpu"] = time.perf_counter() - start, _cpu() - cpu


def peak_mib() -> float:
    """Largest resident memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alone(code: str, *arguments: str) -> dict[str, Any]:
    """Run Python ``code`` in a process of its own and return the JSON of its last line, with ``peak_mib`` added.

    Peers and we are measured alike: a fresh process each, imports outside the clock where the code says so.
    """
    tail = "\nimport json as _j, resource as _r; print(_j.dumps({**result, 'peak_mib': _r.getrusage(_r.RUSAGE_SELF).ru_maxrss / 1024}))"
    done = subprocess.run([sys.executable, "-c", code + tail, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"a measured process failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def _cpu() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _cores() -> int:
    import os

    return len(os.sched_getaffinity(0))


def _memory() -> float:
    import os

    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
