"""Attribution, fairness with its gate, other policies and quality, over a small shop whose truth is made by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from sqlalchemy import func, select

from tradewind import schema
from tradewind.decide.fairness import FILE, UNKNOWN, Rule, Unfair, Watch, gate, groups, read_rules, shares
from tradewind.decide.plan import Plan
from tradewind.deliver.channels.outbox import Outbox
from tradewind.deliver.deliver import deliver
from tradewind.engine import ledger as books
from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFound
from tradewind.measure import offpolicy as policies
from tradewind.measure.attribution import NOT_CAUSE, attribution, journeys
from tradewind.measure.fairness import fairness
from tradewind.measure.quality import quality
from tradewind.measure.report import to_html, to_text
from tradewind.measure.speak import speaker
from tradewind.stats.offpolicy import Judged, Refused, judge
from tradewind.types import Event

START = datetime(2026, 3, 1, tzinfo=UTC)
N = 400
CHINESE = re.compile("[\u4e00-\u9fff]")
LATER = START + timedelta(days=20)


def name(number: int) -> str:
    return f"c{number:04d}"


def plan_of(seed: int = 0, *, gap: float = 0.6) -> Plan:
    """Customers of even number are of group "a"; the others are exposed ``gap`` times as much."""
    rng = np.random.default_rng(seed)
    keys = ["nothing", "pick|mug|email", "ten|mug|sms"]
    rows = []
    for number in range(N):
        acts = 0.8 * (1.0 if number % 2 == 0 else gap)
        chances = [1 - acts, 0.75 * acts, 0.25 * acts]
        at = int(rng.choice(3, p=chances))
        offer, _, channel = keys[at].split("|") if at else (None, None, None)
        rows.append(
            {
                "decision_id": f"d{number}", "plan_id": "p1", "customer": name(number), "unit": name(number), "at": START,
                "variant": "holdout" if rng.random() < 0.3 else "treat", "action": keys[at], "offer": offer,
                "item": "mug" if at else None, "channel": channel, "propensity": chances[at], "mode": "policy", "value": 0.0, "cost": 0.0,
                "reserved": 0, "candidates": keys, "propensities": chances, "values": [0.0, 1.0, 2.0], "sds": [0.0] * 3,
                "costs": [0.0, 2.0, 105.0], "scores": [0.0, 3.0, 1.0], "reasons": ["[]"] * 3, "suppressed": "{}", "price": 1.0,
                "policy": "test", "model": "test", "features": "", "seed": 1, "creative": None, "send_at": None,
            }
        )  # fmt: skip
    meta = {"plan_id": "p1", "as_of": START.isoformat(), "window_days": 14, "currency": "CNY", "holdout": 0.3, "budget": 1000}
    return Plan(pa.Table.from_pylist(rows, schema=schema.PLAN), meta | {"channel_costs": {"email": 2, "sms": 5}})


def event(number: int, customer: str, day: float, kind: str, **more: object) -> Event:
    return Event(id=f"e{number}", at=START + timedelta(days=day), kind=kind, source="test", customer=customer, **more)  # type: ignore[arg-type]


def happened(plan: Plan, seed: int = 6) -> list[Event]:
    """Who really got something buys with 60 %, the others with 30 %; every order brings 1000 - 400."""
    rng = np.random.default_rng(seed)
    found: list[Event] = []
    for row in plan.table.to_pylist():
        acted = row["variant"] == "treat" and row["action"] != "nothing"
        found.append(event(len(found), row["customer"], -10 + rng.random(), "view", item="mug", session=f"s{row['customer']}"))
        if acted:
            found.append(event(len(found), row["customer"], 0.5, "sent", channel=row["channel"], decision_id=row["decision_id"]))
        if rng.random() < (0.6 if acted else 0.3):
            more = {"item": "mug", "quantity": 1.0, "value": 1000, "currency": "CNY", "order_id": f"o{len(found)}"}
            found.append(event(len(found), row["customer"], 1 + 5 * rng.random(), "purchase", **more))
    return found


def load(home: Home, table: str, rows: pa.Table) -> None:
    staging = home.log.begin(table, source="test", now=START)
    assert staging is not None
    with staging:
        con = duckdb.connect()
        con.register("rows", schema.conform(rows, schema.TABLES[table]))
        staging.replace(table, con, "SELECT * FROM rows")
        staging.commit({}, now=START)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, plan: Plan) -> Iterator[Home]:
    with Home.open(tmp_path_factory.mktemp("evidence") / "shop") as opened:
        load(opened, "items", pa.table({"item": ["mug"], "cost": pa.array([400], pa.int64()), "price": pa.array([1000], pa.int64())}))
        told = [json.dumps({"gender": "a" if number % 2 == 0 else "b"} if number < N - 4 else {}) for number in range(N)]
        load(opened, "customers", pa.table({"customer": [name(number) for number in range(N)], "attributes": told}))
        opened.log.append(happened(plan), now=START)
        opened.log.compact(now=START)
        yield opened


def test_paths_end_in_a_purchase_or_in_nothing(home: Home, plan: Plan) -> None:
    paths = journeys(home.tables, as_of=LATER, lookback=timedelta(days=30))
    assert paths.names == ("email sent", "sms sent", "visit")
    events = happened(plan)
    bought = {one.customer for one in events if one.kind == "purchase"}
    touched = {one.customer: f"{one.channel} sent" for one in events if one.kind == "sent"}
    for path, won, lost in zip(paths.steps, paths.won, paths.lost, strict=True):
        names = [paths.names[step] for step in path]
        mine = {one for one in map(name, range(N)) if ["visit", *([touched[one]] if one in touched else [])] == names}
        assert (won, lost) == (len(mine & bought), len(mine - bought))
    short = journeys(home.tables, as_of=LATER, lookback=timedelta(days=7))
    assert short.won.sum() == len(bought & touched.keys())


def test_attribution_is_labelled_and_stands_beside_the_holdout(home: Home, plan: Plan) -> None:
    report = attribution(home, plan, as_of=LATER)
    described, caused = report.sections
    assert NOT_CAUSE in described.text
    bought = sum(one.kind == "purchase" for one in happened(plan))
    for column in ("last touch", "position", "Markov", "Shapley"):
        assert sum(row[column] for row in described.rows) == pytest.approx(bought, abs=0.05)
    mail = report["orders caused by email"]
    treated = int(mail.note.split()[0])
    assert mail.covers(0.3 * treated)
    assert not mail.covers(float(next(row["last touch"] for row in described.rows if row["touch"] == "email sent")))
    assert "no causal answer" not in " ".join(caused.text)
    with pytest.raises(InputError, match="lookback_days"):
        attribution(home, None, as_of=LATER, lookback_days=0)


def test_other_policies_are_valued_by_the_log(home: Home, plan: Plan) -> None:
    log = policies.matches(home, plan, policies.choosers(plan), as_of=LATER)
    truth = {"nothing for everybody": 0.3 * 600, "always the best score": 0.6 * 600}
    for way, value in truth.items():
        found = judge(log[way], "sndr", level=0.99)
        assert isinstance(found, Judged), way
        assert found.estimate.covers(value), way
    rows = {row["way of deciding"]: row for row in policies.offpolicy(home, plan, as_of=LATER).sections[0].rows}
    assert rows["nothing for everybody"]["to"] < 0
    assert rows["always ten"]["profit per customer"] is None  # the log gave it to one in eight
    other = policies.matches(home, plan, {"other": plan_of(gap=1.0), "own": plan}, as_of=LATER)
    found = judge(other["other"], "sndr", level=0.99)
    assert isinstance(found, Judged)
    assert found.estimate.covers(0.8 * 360 + 0.2 * 180)
    same = policies.matches(home, plan, policies.choosers(plan), as_of=LATER)[policies.OWN]
    assert np.allclose(other["own"].weight, same.weight)
    at = plan.table.column_names.index("candidates")
    keys = pa.array([["nothing", "pick|mug|push", "ten|mug|sms"]] * N, plan.table.schema.field(at).type)
    strange = Plan(plan.table.set_column(at, plan.table.schema.field(at), keys), plan.meta)
    refused = judge(policies.matches(home, plan, {"push": strange}, as_of=LATER)["push"], "sndr")
    assert isinstance(refused, Refused)
    assert "could never choose" in refused.why[0]
    few = Plan(plan.table.slice(0, 40), plan.meta)
    with pytest.raises(InputError, match="50 are needed"):
        policies.offpolicy(home, few, as_of=LATER)


def test_groups_are_what_customers_declared(home: Home, plan: Plan) -> None:
    found = groups(home, plan, "gender")
    assert (found == UNKNOWN).sum() == 4
    by = {share.group: share for share in shares(plan, found, "exposure")}
    assert by["a"].mean.value == pytest.approx(0.8)
    assert by["b"].mean.value == pytest.approx(0.48)
    worth = {share.group: share.mean.value for share in shares(plan, found, "offer value")}
    assert worth["a"] == pytest.approx(0.2 * 100)
    with pytest.raises(InputError, match="shoe_size"):
        groups(home, plan, "shoe_size")


def test_the_gate_blocks_what_is_shown_to_be_unfair_and_nothing_else(home: Home, plan: Plan) -> None:
    gate(home, plan)  # no file, no rule
    rules = home.root / FILE
    try:
        rules.write_text('[[rule]]\ncolumn = "gender"\nratio = 0.8\n')
        with pytest.raises(Unfair, match=r"b gets 0\.60 times"):
            gate(home, plan)
        with pytest.raises(Unfair):
            plan.commit(home, START)
        assert not list(home.root.glob("plans/*.parquet"))
        with home.ledger.read() as connection:
            assert connection.execute(select(func.count()).select_from(books.plans)).scalar() == 0
        gate(home, plan_of(gap=1.0))
        gate(home, plan_of(gap=0.85))
        few = Plan(plan.table.slice(0, 1), plan.meta)
        gate(home, few)  # of one group only
        rules.write_text('[[rule]]\ncolumn = "gender"\nratio = 0.5\nmeasure = "offer value"\n')
        gate(home, plan)
        rules.write_text('[[rule]]\ncolumn = "gender"\nprove = true\n')
        with pytest.raises(Unfair, match="cannot be judged"):  # the four who declared nothing are too few
            gate(home, plan_of(gap=1.0))
        with pytest.raises(Unfair, match="nothing can be shown"):
            gate(home, few)
        report = fairness(home, plan, ["gender"], as_of=LATER)
        assert "was stopped" in report.sections[-1].text[0]
        assert "b: 0.60 times the others' exposure" in report.sections[0].text[1]
    finally:
        rules.unlink()


def test_rules_that_are_newer_than_a_plan_hold_its_messages_back(tmp_path: Path, plan: Plan) -> None:
    def row(number: int, plan_id: str) -> dict[str, object]:
        told = {"message_id": f"{plan_id}-{number}", "decision_id": f"d{number}", "plan_id": plan_id, "customer": name(number)}
        return told | {"channel": "email", "state": "ready", "send_at": 0, "next_at": 0, "updated_at": 0, "attempts": 0, "fence": 0}

    with Home.open(tmp_path / "shop") as shop:
        genders = ['{"gender": "a"}', '{"gender": "b"}'] * (N // 2)
        load(shop, "customers", pa.table({"customer": [name(number) for number in range(N)], "attributes": genders}))
        (shop.root / "plans").mkdir()
        for plan_id, found in (("p1", plan), ("p2", plan_of(gap=1.0))):
            (shop.root / "plans" / plan_id).write_bytes(data := found.to_bytes())
            about = {"path": f"plans/{plan_id}", "sha256": sha256(data).hexdigest(), "meta": json.dumps({**found.meta, "plan_id": plan_id})}
            with shop.ledger.write() as connection:
                books.insert_new(connection, books.plans, [{"plan_id": plan_id, "created_at": 0, "as_of": 0, **about}])
                books.insert_new(connection, books.outbox, [row(number, plan_id) for number in range(3)])
        rules = shop.root / FILE
        rules.write_text('[[rule]]\ncolumn = "gender"\nratio = 0.8\n')
        watch = Watch(shop)
        assert "0.60 times" in watch.why("p1")
        assert watch.why("p2") == ""
        assert "0.60 times" in watch.why(Plan(plan.table.slice(0, 1), {**plan.meta, "plan_id": "visit", "live_of": "p1"}))
        assert deliver(shop, channels=Outbox(), now=lambda: START).reasons["deferred: unfair"] == 3
        with shop.ledger.read() as connection:
            rows = connection.execute(select(books.outbox.c.plan_id, books.outbox.c.state)).all()
        assert {state for plan_id, state in rows if plan_id == "p1"} == {"ready"}
        assert "ready" not in {state for plan_id, state in rows if plan_id == "p2"}  # judged; they have no text
        rules.unlink()
        assert watch.why("p1") == ""
        assert "deferred: unfair" not in deliver(shop, channels=Outbox(), now=lambda: START).reasons


def test_every_sentence_of_the_evidence_is_said_in_chinese_too(home: Home, plan: Plan) -> None:
    reports = [
        policies.offpolicy(home, plan, as_of=LATER),
        attribution(home, plan, as_of=LATER),
        fairness(home, plan, ["gender"], as_of=LATER),
        quality(home, as_of=LATER, days=20),
    ]
    say = speaker("zh-CN")
    for report in reports:
        told = [report.title, *(text for section in report.sections for text in (section.title, *section.text))]
        told += [estimate.name for section in report.sections for estimate in section.estimates if " " in estimate.name]
        told += [head for section in report.sections for row in section.rows[:1] for head in row]
        assert [text for text in told if not CHINESE.search(say(text)) and text not in ("AUC", "PSI", "Shapley")] == []
        assert '<html lang="zh-CN">' in to_html(report, locale="zh-CN")
    assert to_text(reports[1]) == to_text(reports[1], locale="en") != to_text(reports[1], locale="zh-CN")


def test_rules_are_checked_when_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / FILE
    assert read_rules(path) == ()
    path.write_text('[[rule]]\ncolumn = "gender"\n')
    assert read_rules(path) == (Rule("gender"),)
    wrong = {
        "rule = 3": "and nothing else",
        "[[rule]]\nratio = 0.8": "needs column",
        '[[rule]]\ncolumn = "x"\nratoi = 0.8': "ratoi",
        '[[rule]]\ncolumn = "x"\nmeasure = "joy"': "joy",
        '[[rule]]\ncolumn = "x"\nratio = 8': "ratio",
        "[[": "no TOML",
    }
    for text, said in wrong.items():
        path.write_text(text)
        with pytest.raises((InputError, NotFound), match=said):
            read_rules(path)


def test_quality_says_what_profiles_know_and_what_has_moved(home: Home) -> None:
    report = quality(home, as_of=LATER, days=20)
    titles = [section.title for section in report.sections]
    assert titles[0] == "What profiles tell of the next purchase"
    assert 0.3 < report["AUC of all columns together"].value < 0.7  # who buys is drawn: nothing to know
    assert "No recommender was learned" in report.sections[2].text[0]
    moved = {row["column"]: row["verdict"] for row in report.sections[3].rows}
    assert moved["orders_30d"] == "shifted"
    assert report["order lines whose item has no cost"].value == 0
    assert report["events that name no customer"].value == 0
    with pytest.raises(InputError, match="days"):
        quality(home, as_of=LATER, days=0)
