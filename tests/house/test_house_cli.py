"""The command line's surface is a list, and its errors are for people."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from tradewind.cli import app

SURFACE = {
    "campaign": set(),  # a group: plan, approve, apply, pause, resume, finish, tick, list, show, history
    "consent": set(),  # a group: show, grant, withdraw, request, link
    "products": set(),  # a group: attributes, duplicates, images, confirm
    "outbox": set(),  # a group: list, show, replay, resolve, cancel, stop, resume, gates
    "risk": set(),  # a group: rules, check, backtest, activate, shadow, allow, queue, settle, label, score, rings
    "keys": set(),  # a group: add, list, revoke
    "people": set(),  # a group: add, list, remove
    "jobs": set(),  # a group: submit, list, show, cancel
    "schedule": set(),  # a group: set, list, remove
    "openapi": {"--out"},
    "work": {"--shop", "--once", "--grace", "--beside"},
    "audit": {"--shop", "--verify", "--expect", "--prices", "--subject", "--action", "--limit", "--as-of", "--json"},
    "serve": {"--public", "--shop", "--base", "--host", "--port", "--keep-ip", "--create", "--worker"},
    "collect": {"--shop", "--mapping", "--json"},
    "map": {"--json"},
    "learn": {"--shop", "--recommend", "--size", "--as-of", "--evaluate", "--seed", "--json"},
    "customers": {"--shop", "--customer", "--tags", "--out", "--as-of", "--json"},
    "demand": {
        "--shop",
        "--horizon",
        "--step",
        "--region",
        "--store",
        "--out-of-stock",
        "--by",
        "--with-plan",
        "--plan",
        "--out",
        "--as-of",
        "--seed",
        "--json",
    },
    "order": {
        "--shop",
        "--lead",
        "--review",
        "--service",
        "--holding",
        "--terms",
        "--stock",
        "--backorders",
        "--with-plan",
        "--plan",
        "--locale",
        "--all",
        "--out",
        "--json",
    },
    "decide": {
        "--shop",
        "--budget",
        "--holdout",
        "--offer",
        "--channel",
        "--window-days",
        "--as-of",
        "--curve",
        "--png",
        "--limits",
        "--policy",
        "--policies",
        "--rollback",
        "--customer",
        "--seed",
        "--json",
    },
    "compose": {
        "--shop",
        "--plan",
        "--locale",
        "--writer",
        "--batch-out",
        "--batch-in",
        "--words",
        "--add",
        "--approve",
        "--retire",
        "--by",
        "--export",
        "--style",
        "--format",
        "--minutes",
        "--signals",
        "--json",
    },
    "deliver": {"--shop", "--plan", "--dry-run", "--to", "--json"},
    "feedback": {"--read", "--shop", "--json"},
    "audience": {"--to", "--shop", "--json"},
    "measure": {"--shop", "--plan", "--as-of", "--longer", "--foresee", "--html", "--locale", "--json"},
    "experiment": {
        "--arm",
        "--control",
        "--metric",
        "--ratio",
        "--lower-is-better",
        "--guard",
        "--unit",
        "--once",
        "--covariate",
        "--stratum",
        "--share",
        "--at",
        "--outcome-at",
        "--currency",
        "--cluster",
        "--propensity",
        "--planned",
        "--power",
        "--effect",
        "--holdout",
        "--html",
        "--markdown",
        "--json",
    },
    "export": {"--shop", "--find", "--to", "--json"},
    "erase": {"--shop", "--backup", "--verify", "--all", "--address", "--path", "--again", "--json"},
    "vault": {"--shop", "--rotate", "--days", "--late", "--json"},
    "backup": {"--shop", "--json"},
    "restore": {"--shop", "--keys", "--json"},
    "explain": {"--shop", "--plan", "--reader", "--locale", "--what-if", "--json"},
    "offpolicy": {"--shop", "--plan", "--against", "--as-of", "--html", "--locale", "--json"},
    "attribution": {"--shop", "--plan", "--as-of", "--lookback-days", "--html", "--locale", "--json"},
    "fairness": {"--by", "--shop", "--plan", "--as-of", "--html", "--locale", "--json"},
    "quality": {"--shop", "--as-of", "--days", "--html", "--locale", "--json"},
    "reviews": {"--shop", "--item", "--as-of", "--json"},
    "run": {"--shop", "--mapping", "--budget", "--holdout", "--recommend", "--as-of", "--locale", "--seed", "--json"},
    "demo": {"--size", "--rounds", "--seed", "--serve", "--port", "--json"},
    "doctor": {"--shop", "--json"},
}


def tradewind(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "tradewind", *arguments], cwd=cwd, capture_output=True, text=True, check=False)


def test_commands_and_flags_are_this_list() -> None:
    group = typer.main.get_command(app)
    found = {
        name: {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
        for name, command in group.commands.items()  # type: ignore[attr-defined]
    }
    assert found == SURFACE


def test_every_command_explains_itself(tmp_path: Path) -> None:
    done = tradewind("--help", cwd=tmp_path)
    assert done.returncode == 0
    for name in SURFACE:
        assert name in done.stdout


def test_an_error_says_what_to_do_and_nothing_else(tmp_path: Path) -> None:
    done = tradewind("collect", "nowhere.parquet", "--shop", "shop", cwd=tmp_path)
    assert done.returncode == 2
    assert "nowhere.parquet" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["decide", "--budget", "0", "--curve", "5 CNY", "--limits", "l.toml"], "--curve knows no --limits"),
        (["compose", "--words", "report", "--add", "w.toml"], "separate tasks"),
        (["compose", "--format", "ad", "--words", "wishes"], "separate tasks"),
    ],
)
def test_flags_that_cannot_be_served_together_are_refused(tmp_path: Path, flags: list[str], message: str) -> None:
    done = tradewind(*flags, cwd=tmp_path)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())


def test_errors_for_machines_are_json(tmp_path: Path) -> None:
    done = tradewind("decide", "--shop", "nothing-here", "--json", cwd=tmp_path)
    assert done.returncode == 2
    assert json.loads(done.stdout)["error"] == "NotFound"


def test_doctor_looks_at_a_machine_without_a_shop(tmp_path: Path) -> None:
    done = tradewind("doctor", "--shop", "nothing-here", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    findings = {row["name"]: row["level"] for row in json.loads(done.stdout)["checks"]}
    assert findings["python"] == "PASS"
    assert findings["shop"] == "WARN"
