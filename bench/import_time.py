"""How long ``import tradewind`` takes: the median of fresh processes, the interpreter's own start taken off.

python bench/import_time.py [--quick]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from _harness import Harness


def seconds(code: str) -> float:
    """Wall seconds of one fresh interpreter that runs ``code``."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - start


def main() -> None:
    bench = Harness("import_time", __doc__)
    runs = 3 if bench.quick else 15
    pairs = [(seconds("pass"), seconds("import tradewind")) for _ in range(runs)]
    bench.figure("interpreter_s", statistics.median(bare for bare, _ in pairs))
    bench.figure("import_s", statistics.median(full - bare for bare, full in pairs), target=("<=", 0.3))
    bench.finish()


if __name__ == "__main__":
    main()
