"""``tradewind demo``: one small turn of the loop, its figures beside the truth, and everything said to be simulated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import select

import tradewind as tw
from tradewind import demo as playing
from tradewind.demo import contacts_of, demo
from tradewind.engine import ledger as books
from tradewind.errors import InputError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object], list[str]]:
    folder = tmp_path_factory.mktemp("demo")
    said: list[str] = []
    patch = pytest.MonkeyPatch()
    patch.setattr(playing, "EPOCHS", 1)
    patch.setattr(playing, "HISTORY_DAYS", 60)
    try:
        found = demo(folder / "demo", size="tiny", rounds=1, seed=3, say=said.append)
    finally:
        patch.undo()
    return folder / "demo", found, said


def test_the_estimate_stands_beside_the_truth(played: tuple[Path, dict[str, object], list[str]]) -> None:
    folder, found, said = played
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    top = {estimate["name"]: estimate for estimate in report["sections"][0]["estimates"]}
    total, truth = top["incremental profit"], top["true incremental profit (simulated)"]
    assert total["low"] < total["value"] < total["high"]
    assert truth["value"] == pytest.approx(found["truth"])
    assert found["incremental_profit"] == {key: total[key] for key in ("value", "low", "high")}
    assert any("true (simulated)" in line for line in said)


def test_everything_says_that_it_is_simulated(played: tuple[Path, dict[str, object], list[str]]) -> None:
    folder, found, said = played
    assert found["simulated"] is True
    assert json.loads((folder / "report.json").read_text(encoding="utf-8"))["simulated"] is True
    assert "Simulated: customers, behaviour and answers come from a simulation" in (folder / "report.html").read_text(encoding="utf-8")
    assert "simulated" in said[0]
    with tw.Shop.open(folder / "shop") as shop:
        assert shop.home.settings.simulated
        assert shop.measure(shop.plan()).simulated


def test_what_was_delivered_is_what_was_answered(played: tuple[Path, dict[str, object], list[str]]) -> None:
    folder, found, _ = played
    with tw.Shop.open(folder / "shop") as shop:
        plan = shop.plan()
        with shop.home.ledger.read() as connection:
            rows = connection.execute(
                select(books.outbox.c.decision_id, books.outbox.c.state).where(books.outbox.c.plan_id == plan.plan_id)
            )
            accepted = {decision for decision, state in rows if state == "accepted"}
        assert set(contacts_of(shop, plan)["decision_id"].to_pylist()) == accepted
        rounds = found["rounds"]
        assert isinstance(rounds, list)
        assert rounds[0]["messages"]["accepted"] == len(accepted) > 0


def test_a_demo_is_made_anew_in_its_own_folder_only(played: tuple[Path, dict[str, object], list[str]], tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    with pytest.raises(InputError, match="no demo was made there"):
        demo(tmp_path, size="tiny", rounds=1)
    assert (played[0] / ".tradewind-demo").exists()
