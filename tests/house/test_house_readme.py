"""The README does what it says: its code is run, both languages carry the same code, and its links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(name: str) -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / name).read_text(encoding="utf-8"))


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def test_both_languages_say_the_same() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))
    assert blocks("README.md") == blocks("README.zh-CN.md")
    assert len(re.findall(r"^#", english, re.MULTILINE)) == len(re.findall(r"^#", chinese, re.MULTILINE))
    assert re.findall(r"^    tradewind .*$", english, re.MULTILINE) == re.findall(r"^    tradewind .*$", chinese, re.MULTILINE)


def test_links_lead_somewhere() -> None:
    for name in ("README.md", "README.zh-CN.md", "CONTRIBUTING.md", "docs/design.md"):
        page = ROOT / name
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{name} links to {target}"


def test_the_two_commands_exist() -> None:
    done = subprocess.run(["make", "--dry-run", "demo", "test"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tradewind demo" in done.stdout
    assert "pytest" in done.stdout


@pytest.mark.slow
def test_the_ten_lines_run(tmp_path: Path) -> None:
    (code,) = [text for language, text in blocks("README.md") if language == "python"]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    assert "quarantined" in done.stdout
    assert "Candidates" in done.stdout


@pytest.mark.slow
def test_the_commands_run(tmp_path: Path) -> None:
    (code,) = [text for language, text in blocks("README.md") if language == "sh" and "tradewind" in text]
    for line in code.strip().splitlines():
        done = subprocess.run(line, shell=True, cwd=tmp_path, capture_output=True, text=True, env=environment(), check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert "<svg" in (tmp_path / "earned.html").read_text(encoding="utf-8")
    report = (tmp_path / "playground" / "report.html").read_text(encoding="utf-8")
    assert "true incremental profit (simulated)" in report
