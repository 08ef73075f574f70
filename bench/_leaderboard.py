"""Write LEADERBOARD.md from the last lines of benchmarks.

python bench/collect.py > collect.txt; python bench/features.py > features.txt; ...
python bench/_leaderboard.py *.txt > bench/LEADERBOARD.md
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HEAD = """# Leaderboard

What the benchmarks printed, and on which commit. Each row is reproduced by its command; figures move with the machine, ratios less.
A target that was not met stays here and says so. Written by `bench/_leaderboard.py` from the benchmarks' last lines.
"""


def shown(value: Any) -> str:
    """A figure as text."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def part(path: Path) -> str:
    """One benchmark as a section, or nothing when the file holds no result."""
    lines = path.read_text(encoding="utf-8").strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        return ""
    result = json.loads(lines[-1])
    command = " ".join((f"python bench/{result['bench']}.py", *result["arguments"]))
    head = f"## {result['bench']}\n\n`{command}` at {result['commit']}; {result['machine']}; seed {result['seed']}.\n"
    rows = ["| figure | value | target | |", "|---|---|---|---|"]
    for name, value in result["figures"].items():
        target = result["targets"].get(name)
        aim = f"{target[0]} {target[1]:g}" if target else ""
        verdict = {None: "", True: "met", False: "**not met**"}[result["met"].get(name)]
        rows.append(f"| {name} | {shown(value)} | {aim} | {verdict} |")
    return "\n".join([head, *rows, ""])


def main() -> None:
    sections = [text for path in sorted(map(Path, sys.argv[1:])) if (text := part(path))]
    print("\n".join([HEAD, *sections]))


if __name__ == "__main__":
    main()
