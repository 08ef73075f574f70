"""The files that start a service somewhere else name commands, flags, paths and packages that exist."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml  # type: ignore[import-untyped]

from tradewind.cli import app

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
CI = os.environ.get("CI", "").lower() in ("true", "1")


def parsed(words: list[str]) -> None:
    """Fail where the command line would not be understood."""
    name, *rest = words
    commands: Any = typer.main.get_command(app)
    command = commands.commands[name]
    command.make_context(name, rest, resilient_parsing=False)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_units_start_commands_that_exist(unit: Path, tmp_path: Path) -> None:
    start = re.search(r"^ExecStart=(.+)$", unit.read_text(), re.MULTILINE)
    assert start is not None
    program, *words = shlex.split(start[1])
    assert Path(program).name == "tradewind"
    parsed(words)
    checker = shutil.which("systemd-analyze")
    if checker is None:
        if CI:
            pytest.fail("systemd-analyze is not installed; continuous integration needs it")
        pytest.skip("systemd-analyze is not installed")
    there = tmp_path / unit.name
    there.write_text(unit.read_text().replace(program, "/bin/true"))
    done = subprocess.run([checker, "verify", str(there)], capture_output=True, text=True, check=False, timeout=60)
    assert [line for line in done.stderr.splitlines() if unit.name in line] == []


def test_the_compose_file_fits_the_image() -> None:
    told = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = told["services"]
    for name in ("service", "worker"):
        parsed(services[name]["command"])
        assert (ROOT / "deploy" / services[name]["build"]["context"] / services[name]["build"]["dockerfile"]).is_file()
    named = {volume.partition(":")[0] for service in services.values() for volume in service.get("volumes", ())}
    assert named == set(told["volumes"])
    assert {secret for service in services.values() for secret in service.get("secrets", ())} == set(told["secrets"])
    assert all(port.startswith("127.0.0.1:") for port in services["service"]["ports"]), "nothing listens to the world without a proxy"


def test_the_image_installs_extras_that_exist_and_starts_a_command_that_exists() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    extras = re.search(r"tradewind-\*\.whl\)\[([\w,]+)\]", text)
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras is not None
    assert set(extras[1].split(",")) <= set(known)
    command = re.search(r"^CMD (\[.+\])$", text, re.MULTILINE)
    assert command is not None
    parsed(yaml.safe_load(command[1]))
    targets = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if re.match(r"^[a-z]+:", line)}
    assert set(re.findall(r"\bmake ([a-z]+)", text)) <= targets
    assert "USER tradewind" in text
