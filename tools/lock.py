"""Write requirements.lock: every package that README and CI install, pinned. Run after a change of dependencies.

    python tools/lock.py

It asks pip for a fresh resolution of this project with all its extras, without installing anything. torch is pinned to the
version whose CPU build we test with.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = "torch==2.13.0"
EXTRAS = "deep,spark,postgres,serve,local,dev"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        constraint = Path(folder) / "constraints.txt"
        constraint.write_text(TORCH + "\n")
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", str(report)]
        subprocess.run([*command, "--constraint", str(constraint), TORCH, f"{ROOT}[{EXTRAS}]"], check=True)
        found = json.loads(report.read_text())["install"]
    pins = {row["metadata"]["name"].lower().replace("_", "-"): row["metadata"]["version"].partition("+")[0] for row in found}
    pins.pop("tradewind")
    lines = ["# Written by tools/lock.py. Do not edit by hand.", *(f"{name}=={version}" for name, version in sorted(pins.items()))]
    (ROOT / "requirements.lock").write_text("\n".join(lines) + "\n")
    print(f"{len(pins)} packages pinned in requirements.lock")


if __name__ == "__main__":
    main()
