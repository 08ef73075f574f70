"""An erasure that is killed, not interrupted: SIGKILL in the middle of it, and another process finishes. bench/erase.py has every step."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import privacy_kit as kit
from sqlalchemy import select

import tradewind as tw
from tradewind.collect.vault import Vault
from tradewind.engine.books_vault import erasures

PROGRAM = """
import importlib, os, signal, sys
from datetime import datetime
import tradewind as tw

folder, person, module, name, late, now = sys.argv[1:]
module = importlib.import_module(module)
real = getattr(module, name)

def cut(*arguments, **named):
    if late == "after":
        real(*arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(module, name, cut)
with tw.Shop.open(folder, create=False, now=lambda: datetime.fromisoformat(now)) as shop:
    shop.privacy.erase(person)
"""
STEPS = (  # (module, function, killed before or after it, whether the key is gone by then)
    ("tradewind.collect.erase_ledger", "forget", "after", False),  # in the transaction, with everything written but the commit
    ("tradewind.collect.erase_events", "unlink", "before", True),
)


def test_killed_in_a_step_another_process_finishes(tmp_path: Path) -> None:
    victim = kit.build(tmp_path / "built")
    folder = kit.copy(tmp_path / "built", tmp_path / "shop")
    with tw.Shop.open(folder, create=False, now=lambda: kit.LATER) as shop:
        before, _ = kit.sums(shop)
        people = [*[name for name in shop.plan().rows if name != victim][: len(STEPS) - 1], victim]
        known = {name: Vault(shop.home).address(name, "email") for name in people}
    for person, (module, name, late, gone) in zip(people, STEPS, strict=True):
        command = [sys.executable, "-c", PROGRAM, str(folder), person, module, name, late, kit.LATER.isoformat()]
        killed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        with tw.Shop.open(folder, create=False, now=lambda: kit.LATER) as shop:
            assert (Vault(shop.home).address(person, "email") is None) == (gone or known[person] is None)
            assert shop.privacy.erase(person).certificates
            assert shop.privacy.verify(person, addresses=[one for one in [known[person]] if one]).findings == ()
    with tw.Shop.open(folder, create=False, now=lambda: kit.LATER) as shop:
        assert kit.sums(shop)[0] == before
        with shop.home.ledger.read() as conn:
            assert conn.execute(select(erasures.c.subject).where(erasures.c.finished_at.is_(None))).all() == []
    for path in folder.rglob("*"):
        assert not path.is_file() or not any(person.encode() in path.read_bytes() for person in people)
