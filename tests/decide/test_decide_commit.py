"""Committing a plan: one transaction, idempotent, and a shared budget that nobody overspends (invariant 4)."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from decide_world import AS_OF, World
from sqlalchemy import Table, func, select, update

from tradewind.decide import commit as commits
from tradewind.decide.commit import message_id, settle
from tradewind.decide.plan import Plan
from tradewind.decide.policy import decide
from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFound, StateError
from tradewind.types import NOTHING, micros

WORLD = World(n=150)
NOW = AS_OF + timedelta(minutes=5)


def plan_of(seed: int, *, budget: int = 1_500, budget_id: str | None = "spring") -> Plan:
    return decide(WORLD.request(seed=seed, budget=budget, budget_id=budget_id))


def rows(home: Home, table: Table) -> list[dict[str, Any]]:
    with home.ledger.read() as conn:
        return [dict(row) for row in conn.execute(select(table)).mappings()]


def test_commit_writes_everything_once(each_home: Home) -> None:
    plan = plan_of(1)
    assert plan.commit(each_home, NOW)
    assert not plan.commit(each_home, NOW + timedelta(days=1))
    held = {row["decision_id"]: row["amount"] for row in rows(each_home, books.reservations)}
    logged = {row["decision_id"]: row for row in plan.table.to_pylist()}
    assert held == {name: row["reserved"] for name, row in logged.items() if row["reserved"]}
    (budget,) = rows(each_home, books.budgets)
    assert budget == {"budget": "spring", "currency": "CNY", "amount": 1_500, "reserved": sum(held.values()), "spent": 0}
    messages = rows(each_home, books.outbox)
    acting = {name for name, row in logged.items() if row["variant"] == "treat" and row["action"] != NOTHING}
    assert {message["decision_id"] for message in messages} == acting
    for message in messages:
        row = logged[str(message["decision_id"])]
        assert message["state"] == "planned"
        assert message["send_at"] == message["next_at"] == micros(row["send_at"])
        assert message["message_id"] == message_id(row["decision_id"], row["channel"])
    loaded = Plan.load(each_home, plan.plan_id)
    assert loaded.to_bytes() == plan.to_bytes()
    assert loaded.features is not None
    assert loaded.features.equals(plan.features)


def test_a_full_budget_refuses_the_whole_plan(each_home: Home) -> None:
    plan_of(1).commit(each_home, NOW)
    before = rows(each_home, books.budgets), rows(each_home, books.outbox)
    second = plan_of(2)
    with pytest.raises(StateError, match=r'Budget "spring" has \d+ of 1500 minor units left; the plan reserves'):
        second.commit(each_home, NOW)
    assert (rows(each_home, books.budgets), rows(each_home, books.outbox)) == before
    with pytest.raises(NotFound):
        Plan.load(each_home, second.plan_id)
    assert plan_of(2, budget_id=None).commit(each_home, NOW)
    with pytest.raises(StateError, match="is in CNY, the plan in EUR"):
        decide(WORLD.request(currency="EUR", budget_id="spring", budget=1_500)).commit(each_home, NOW)


def test_a_failure_in_the_middle_leaves_nothing_and_the_next_try_succeeds(each_home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(3)

    def broken(_plan: Plan, _now: int) -> None:
        raise RuntimeError("the machine stops here")

    with monkeypatch.context() as patch:
        patch.setattr(commits, "_messages", broken)
        with pytest.raises(RuntimeError):
            plan.commit(each_home, NOW)
    for table in (books.plans, books.budgets, books.reservations, books.outbox):
        assert rows(each_home, table) == []
    assert plan.commit(each_home, NOW)


def test_threads_cannot_overspend_a_shared_budget(each_home: Home) -> None:
    plans = [plan_of(seed, budget=1_500) for seed in range(6)]
    shared = [Plan(plan.table, {**plan.meta, "budget": 4_000}, plan.features) for plan in plans]

    def attempt(plan: Plan) -> bool:
        try:
            return plan.commit(each_home, NOW)
        except StateError:
            return False

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(attempt, shared + shared))
    (budget,) = rows(each_home, books.budgets)
    held = [row["amount"] for row in rows(each_home, books.reservations)]
    committed = {row["plan_id"] for row in rows(each_home, books.plans)}
    assert budget["reserved"] == sum(held) <= 4_000
    assert sum(done) == len(committed)
    assert 1 <= len(committed) < 6
    expected = sum(plan.summary()["reserved"] for plan in shared if plan.plan_id in committed)
    assert sum(held) == expected


def _commit_in_process(url: str, seed: int) -> bool:
    plan = plan_of(seed)
    with Home.open(url) as home:
        try:
            return Plan(plan.table, {**plan.meta, "budget": 4_000}, plan.features).commit(home, NOW)
        except StateError:
            return False


@pytest.mark.slow
def test_processes_cannot_overspend_a_shared_budget(home_url: str) -> None:
    Home.open(home_url).close()
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        done = pool.starmap(_commit_in_process, [(home_url, seed) for seed in range(5)])
    with Home.open(home_url) as home, home.ledger.read() as conn:
        total = conn.execute(select(func.sum(books.reservations.c.amount))).scalar_one()
        budget = conn.execute(select(books.budgets.c.reserved)).scalar_one()
    assert total == budget <= 4_000
    assert 1 <= sum(done) < 5


def test_settling_moves_money_once(each_home: Home) -> None:
    plan = plan_of(1)
    plan.commit(each_home, NOW)
    first, second = [row for row in plan.table.to_pylist() if row["reserved"]][:2]
    before = rows(each_home, books.budgets)[0]
    with each_home.ledger.write() as conn:
        assert settle(conn, first["decision_id"], spent=405)
        assert settle(conn, second["decision_id"], spent=0)
        assert not settle(conn, first["decision_id"], spent=1)
        assert not settle(conn, "unknown", spent=1)
    after = rows(each_home, books.budgets)[0]
    assert after["spent"] == 405
    assert after["reserved"] == before["reserved"] - first["reserved"] - second["reserved"]
    states = {row["decision_id"]: row["state"] for row in rows(each_home, books.reservations)}
    assert states[first["decision_id"]] == "spent"
    assert states[second["decision_id"]] == "released"
    with pytest.raises(InputError, match="0 or more"), each_home.ledger.write() as conn:
        settle(conn, first["decision_id"], spent=-1)


def test_a_changed_or_lost_file_is_noticed(home: Home) -> None:
    plan = plan_of(1)
    plan.commit(home, NOW)
    path = Path(home.root) / "plans" / f"{plan.plan_id}.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(StateError, match="not the one that was committed"):
        Plan.load(home, plan.plan_id)
    path.unlink()
    with pytest.raises(StateError, match="is gone"):
        Plan.load(home, plan.plan_id)
    with pytest.raises(NotFound, match=f"Known: {plan.plan_id}"):
        Plan.load(home, "no-such-plan")


def test_offers_that_end_expire_their_messages(home: Home) -> None:
    ends = AS_OF + timedelta(days=3)
    offers = [replace(offer, ends_at=ends) for offer in WORLD.request().offers]
    decide(WORLD.request(offers=offers)).commit(home, NOW)
    assert {row["expires_at"] for row in rows(home, books.outbox)} == {micros(ends)}


def test_a_raised_budget_lets_the_plan_in(home: Home) -> None:
    plan_of(1).commit(home, NOW)
    second = plan_of(2)
    with home.ledger.write() as conn:
        conn.execute(update(books.budgets).values(amount=10_000))
    assert second.commit(home, NOW)
