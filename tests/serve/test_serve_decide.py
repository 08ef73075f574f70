"""Decisions over HTTP: in the ledger before the answer, once per visit, within budget, with consent, and a plan like any other later."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from hot_kit import NOW, PEOPLE, Asked, asked, fits
from sqlalchemy import func, select, update

from tradewind import schema
from tradewind.decide.live import gather
from tradewind.decide.plan import Plan
from tradewind.engine.books_serve import decisions
from tradewind.engine.ledger import budgets, outbox, reservations
from tradewind.serve.decisions import gather as gathered
from tradewind.serve.decisions import keep
from tradewind.serve.engines import Engines
from tradewind.serve.recent import Recent
from tradewind.types import NOTHING


def decide(shop: Asked, customer: str, **more: Any) -> Any:
    told = shop.post("/v1/decide", {"customer": customer, "visit": "first", **more})  # a visit of no name draws anew each time
    fits(told, "/v1/decide")
    return told


def kept(shop: Asked, decision_id: str) -> Any:
    with shop.shop.home.ledger.read() as conn:
        return conn.execute(select(decisions).where(decisions.c.decision_id == decision_id)).mappings().first()


def test_a_decision_is_in_the_ledger_with_its_odds_before_it_leaves(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        told = decide(shop, PEOPLE[3], visit="v1")
        row = json.loads(kept(shop, told["decision_id"])["told"])["row"]
        trace = told["trace"]
        assert [one["propensity"] for one in trace["candidates"]] == row["propensities"]
        assert abs(sum(row["propensities"]) - 1) < 1e-9
        assert trace["candidates"][0]["action"] == NOTHING
        assert told["propensity"] in row["propensities"]
        with shop.shop.home.ledger.read() as conn:
            held = conn.execute(select(reservations.c.amount).where(reservations.c.decision_id == told["decision_id"])).scalar()
        assert (held or 0) == told["reserved"]


def test_the_same_visit_gets_the_same_decision_also_when_it_is_in_a_plan(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        first = decide(shop, PEOPLE[4], visit="v1")
        assert decide(shop, PEOPLE[4], visit="v1") == first
        assert decide(shop, PEOPLE[4], visit="v2")["decision_id"] != first["decision_id"]
        assert "gather" in shop.turn()
        assert kept(shop, first["decision_id"])["told"] is None
        assert decide(shop, PEOPLE[4], visit="v1")["trace"] == first["trace"]
        looked = shop.get(f"/v1/decisions/{first['decision_id']}")
        fits(looked, "/v1/decisions/{decision_id}", "get")
        assert looked["trace"] == first["trace"]
        assert shop.get("/v1/decisions/none", status=404)["error"] == "NotFound"


def test_what_is_gathered_is_the_plan_that_decisions_make(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        first = decide(shop, PEOPLE[0])
        door = shop.hot.engines._deciding.door  # type: ignore[union-attr]
        drawn = [door.draw(name, channels=["inapp"], visit="x", now=NOW) for name in PEOPLE[5:15]]
        keep(shop.shop.home, drawn, now=NOW)
        with shop.shop.home.ledger.read() as conn:
            before = conn.execute(select(func.count()).select_from(outbox)).scalar_one()
        assert gathered(shop.shop.home, now=NOW) == 11
        assert gathered(shop.shop.home, now=NOW) == 0
        plan = Plan.load(shop.shop.home, kept(shop, drawn[0].decision_id)["plan_id"])
        assert plan.meta["live_of"] == first["plan_id"]
        wanted = gather(drawn)
        mine = plan.table.filter(pc.is_in(plan.table["decision_id"], wanted.table["decision_id"]))
        for name in wanted.table.column_names:
            if name != "plan_id":
                assert mine[name].to_pylist() == wanted.table[name].to_pylist(), name
        assert plan.features is not None and wanted.features is not None  # noqa: PT018
        assert plan.features.schema == wanted.features.schema
        acting = [row for row in plan.table.to_pylist() if row["variant"] == "treat" and row["action"] != NOTHING]
        with shop.shop.home.ledger.read() as conn:
            assert conn.execute(select(func.count()).select_from(outbox)).scalar_one() == before + len(acting)
        assert shop.shop.compose(plan, at=NOW) is not None


def test_the_budget_holds_under_concurrent_visits(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        decide(shop, PEOPLE[0])
        home, door = shop.shop.home, shop.hot.engines._deciding.door  # type: ignore[union-attr]
        visits = (door.draw(PEOPLE[number % 30], channels=["inapp"], visit=f"v{number}", now=NOW) for number in range(1_000))
        dear = list(islice((one for one in visits if one.row["reserved"] > 50 and one.row["variant"] == "treat"), 6))
        assert len(dear) == 6
        with home.ledger.write() as conn:  # other plans took the rest: one of them fits
            conn.execute(update(budgets).values(amount=budgets.c.reserved + 100))
        with ThreadPoolExecutor(6) as pool:
            rows: list[Any] = [row for found in pool.map(lambda one: keep(home, [one], now=NOW), dear) for row in found]
        with home.ledger.read() as conn:
            budget = conn.execute(select(budgets)).mappings().one()
            held = conn.execute(select(func.sum(reservations.c.amount))).scalar_one()
        assert budget["reserved"] == held <= budget["amount"]
        assert sorted(row["mode"] for row in rows) == ["override"] * 5 + ["policy"]
        assert all((row["action"] == NOTHING and row["reserved"] == 0) == (row["mode"] == "override") for row in rows)


def test_consent_counts_now_and_personalisation_off_hides_the_profile(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        decide(shop, PEOPLE[6], visit="before")
        no = {
            "customer": PEOPLE[6:8],
            "channel": ["inapp", "personalisation"],
            "granted": [False] * 2,
            "at": [NOW] * 2,
            "source": ["t"] * 2,
        }
        shop.shop.collect(pa.table(no, schema=schema.CONSENTS))
        without = decide(shop, PEOPLE[6], visit="after")
        assert [one["action"] for one in without["trace"]["candidates"]] == [NOTHING]
        assert without["action"] == NOTHING
        assert "profile" in json.dumps(decide(shop, PEOPLE[7])["trace"]["suppressed"])
        assert decide(shop, PEOPLE[8], occasion="message", channels=["email"])["action"] == NOTHING  # nobody allowed e-mail


def test_a_service_that_starts_again_goes_on_after_late_events_and_other_consents(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        first = decide(shop, PEOPLE[10], visit="v1")
        shop.post("/v1/events", {"id": "late", "at": "2026-02-27T09:00:00Z", "kind": "view", "customer": PEOPLE[10], "item": "i20"})
        no = {"customer": [PEOPLE[11]], "channel": ["inapp"], "granted": [False], "at": [NOW], "source": ["t"]}
        shop.shop.collect(pa.table(no, schema=schema.CONSENTS))
        shop.turn()
        again = Engines(shop.shop.home, Recent(), now=shop.clock)
        shop.hot.engines, old = again, shop.hot.engines
        assert decide(shop, PEOPLE[10], visit="v1")["decision_id"] == first["decision_id"]
        new = decide(shop, PEOPLE[10], visit="v2")
        assert (new["plan_id"], new["trace"]["price"]) == (first["plan_id"], first["trace"]["price"])
        assert decide(shop, PEOPLE[11], visit="v2")["action"] == NOTHING
        old.close()


def test_the_holdout_gets_nothing_and_an_ad_has_a_bid(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        plan = shop.shop.plan()
        held = [row["customer"] for row in plan.table.to_pylist() if row["variant"] == "holdout"]
        told = decide(shop, held[0])
        assert (told["variant"], told["action"], told["offer"], told["reserved"]) == ("holdout", NOTHING, None, 0)
        ads = [decide(shop, name, occasion="ad") for name in PEOPLE if name not in held]
        for one in ads:
            expected = 0 if one["action"] == NOTHING else max(0, int(one["value"] / one["trace"]["price"] - one["cost"]))
            assert one["bid"] == expected
        assert any(one["bid"] > 0 for one in ads)


def test_an_event_is_in_the_next_decision(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        before = decide(shop, PEOPLE[9], visit="v1")
        shop.post(
            "/v1/events",
            [{"id": f"e{n}", "at": "2026-02-28T23:00:00Z", "kind": "view", "customer": PEOPLE[9], "item": "i22"} for n in range(3)],
        )
        after = decide(shop, PEOPLE[9], visit="v2")
        first = {one["action"] for one in before["trace"]["candidates"]}
        assert {one["action"] for one in after["trace"]["candidates"]} != first


def test_a_newcomer_is_decided_for_and_odd_questions_are_refused(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        told = decide(shop, "stranger")
        assert told["action"] == NOTHING  # nobody who never agreed is shown anything
        assert shop.post("/v1/decide", {"customer": PEOPLE[0], "context": {"caarts": 1}}, status=422)["error"] == "InputError"
        assert shop.post("/v1/decide", {"customer": ""}, status=422)["error"] == "InputError"
