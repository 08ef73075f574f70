"""The joints of the shop: limits, what its tables say, live decisions, versions of the policy, messages that lost their purpose."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import select

import tradewind as tw
from tradewind import requested, schema
from tradewind.decide import known, versions
from tradewind.decide.fairness import FILE, Unfair
from tradewind.decide.withdraw import withdraw_done
from tradewind.demo import Clock
from tradewind.engine import ledger as books
from tradewind.errors import InputError, NotFound, StateError
from tradewind.simulate.world import World
from tradewind.types import NOTHING, Event, Offer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World]:
    """A tiny shop that has learned, with a customer who is blocked."""
    folder = tmp_path_factory.mktemp("joints")
    world = World.make(120, seed=5, start=date(2026, 1, 5), days=45)
    world.write(folder / "export")
    with tw.Shop.open(folder / "shop", now=Clock(world.end)) as shop:
        shop.collect(folder / "export", mapping=folder / "export" / "mapping.toml")
        shop.learn(recommend="popular")
    return folder / "shop", world


@pytest.fixture
def shop(made: tuple[Path, World], tmp_path: Path) -> Iterator[tw.Shop]:
    shutil.copytree(made[0], tmp_path / "shop")
    with tw.Shop.open(tmp_path / "shop", now=Clock(made[1].end)) as opened:
        yield opened


def test_limits_of_a_file_hold_and_are_printed(shop: tw.Shop, tmp_path: Path) -> None:
    file = tmp_path / "limits.toml"
    currency = shop.home.settings.currency
    file.write_text(f'budget = "40 {currency}"\n[channels]\nemail = 6\npush = 4\n[contact]\nmessages_30d = 5\n', encoding="utf-8")
    plan = shop.decide(limits=file, holdout=0.2)
    assert plan.meta["budget"] == 4_000
    assert plan.meta["limits"]["messages_30d"] == 5
    assert plan.meta["certificate"]["violation"] == 0
    sent = plan.table.filter(pa.compute.equal(plan.table["variant"], "treat"))["channel"].to_pylist()
    days = len({str(name).rpartition(":")[2] for name in plan.meta["caps"]})
    assert sent.count("email") <= 6 * days
    assert sent.count("push") <= 4 * days


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"chanels": {}}, 'no "chanels".*did you mean "channels"|no "chanels"'),
        ({"channels": 3}, r"\[channels\] must be a table"),
        ({"channels": {"email": "many"}}, "channels.email must be a whole number"),
        ({"offers": {"x": 500}}, "offers.x must be money"),
        ({"offers": {"x": "5 XTS"}}, "offers.x must be money in"),
        ({"budget": 5}, "budget must be a text"),
        ({"exposure": {"column": "stage"}}, "needs a column and floors"),
        ({"exposure": {"column": "stage", "floors": {"new": 0.8, "lapsed": 0.8}}}, r"add up to 1\.60"),
        ({"contact": {"quiet_form": 3}}, 'no "quiet_form"'),
        ({"contact": {"quiet_from": 8, "quiet_until": 12}}, "default_hour 10 lies in the quiet hours"),
        ({"blocked": {"customers": "c1"}}, "must be a list"),
        ("nowhere.toml", "cannot read nowhere.toml"),
    ],
)
def test_a_limit_that_cannot_be_read_is_named(shop: tw.Shop, told: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        shop.decide(limits=told)  # type: ignore[arg-type]


def test_contradictions_name_both_sides(shop: tw.Shop) -> None:
    currency = shop.home.settings.currency
    with pytest.raises(InputError, match='file says budget = "5'):
        shop.decide(budget=f"6 {currency}", limits={"budget": f"5 {currency}"})
    with pytest.raises(NotFound, match='no channel "sms"'):
        shop.decide(budget=f"6 {currency}", channels=["email"], limits={"channels": {"sms": 3}})
    some = shop.decide(budget=f"6 {currency}").meta["offers"]
    with pytest.raises(InputError, match="but the budget is 0"):
        shop.decide(limits={"offers": {next(iter(some)): f"5 {currency}"}})


def test_the_tables_say_who_is_blocked_who_holds_and_what_ends(shop: tw.Shop) -> None:
    now, tables = shop.now(), shop.home.tables
    people = tables.to_arrow(tables.get("customers"))["customer"].to_pylist()
    shop.collect(schema.conform(pa.table({"campaign": [known.BLOCKED], "customer": [people[0]]}), schema.AUDIENCES))
    assert known.blocked(shop.home) == {people[0]}
    plan = shop.decide(budget=f"50 {shop.home.settings.currency}")
    worth = {name for name, one in plan.meta["offers"].items() if one["kind"] not in ("product", "post")}
    assert worth
    assert not any(key.split("|")[0] in worth for key in plan.row(people[0])["candidates"])
    stacked = [Offer("first", "coupon", {"percent": 5, "stack": "spring"}), Offer("alone", "coupon", {"percent": 5})]
    shop.home.log.append(
        [
            Event("g1", now - timedelta(days=2), "coupon", "test", customer=people[1], offer="first"),
            Event("g2", now - timedelta(days=2), "coupon", "test", customer=people[2], offer="first"),
            Event("g3", now - timedelta(days=1), "redeem", "test", customer=people[2], offer="first"),
            Event("g4", now - timedelta(days=1), "coupon", "test", customer=people[3], offer="alone"),
        ],
        now=now,
    )
    shop.home.log.compact(now=now)
    held = known.held(shop.home, stacked, as_of=now)
    assert held is not None
    assert held.to_pylist() == [{"customer": people[1], "offer": "first"}]
    assert known.held(shop.home, stacked[1:], as_of=now) is None


def test_what_will_be_sold_out_is_not_promoted(shop: tw.Shop) -> None:
    items = shop.home.tables.to_arrow(shop.home.tables.get("items"))
    events = shop.home.tables.events()
    bought = shop.home.tables.to_arrow(
        events.filter(events.kind == "purchase").group_by("item").aggregate(n=lambda t: t.count())
    ).to_pylist()
    seller = max(bought, key=lambda row: row["n"])["item"]
    scarce = items.set_column(
        items.schema.get_field_index("stock"), "stock", pa.array([1 if one == seller else 10**6 for one in items["item"].to_pylist()])
    )
    ends = {row["item"]: row["stock_ends"] for row in known.with_stock_ends(shop.home, scarce, as_of=shop.now()).to_pylist()}
    assert ends[seller] is not None
    assert shop.now() <= ends[seller] <= shop.now() + timedelta(days=28)
    assert all(at is None or at > shop.now() + timedelta(days=300) for item, at in ends.items() if item != seller)


def test_a_live_decision_is_the_plans_and_a_visit_is_held(shop: tw.Shop) -> None:
    plan = shop.decide(budget=f"50 {shop.home.settings.currency}", limits={"channels": {"email": 30}})
    door = shop.live()
    rows = {row["customer"]: row for row in plan.table.to_pylist()}
    for name in list(rows)[:40]:
        if rows[name]["mode"] == "policy":
            assert {**door.decide(name).row, "plan_id": ""} == {**rows[name], "plan_id": ""}
    paced = shop.live(visits=200)
    with shop.home.ledger.read() as conn:
        before = conn.execute(select(books.budgets.c.reserved)).scalar_one()
    kept = [paced.decide(name, visit=f"v-{name}", now=shop.now()) for name in list(rows)[:30]]
    assert [one.row["price"] for one in kept] != [plan.meta["price"]] * 30, "the price of the budget follows the spend"
    with shop.home.ledger.read() as conn:
        after = conn.execute(select(books.budgets.c.reserved)).scalar_one()
    assert after - before == sum(one.row["reserved"] for one in kept if one.row["variant"] == "treat")
    with pytest.raises(NotFound, match="no customer"):
        door.decide("nobody")
    with pytest.raises(InputError, match="together"):
        door.decide(next(iter(rows)), visit="x")
    rules = shop.home.root / FILE
    rules.write_text('[[rule]]\ncolumn = "shoe_size"\nprove = true\n')
    try:
        with pytest.raises(Unfair, match="nothing can be shown"):  # rules that were written while the door is open
            door.decide(next(iter(rows)))
    finally:
        rules.unlink()
    assert door.decide(next(iter(rows))).customer == next(iter(rows))


def test_a_service_goes_on_when_the_shop_changes_after_the_plan(shop: tw.Shop) -> None:
    plan = shop.decide(budget=f"50 {shop.home.settings.currency}", holdout=0.3)
    rows = {row["customer"]: row for row in plan.table.to_pylist()}
    open_ = next(name for name, row in rows.items() if row["action"] != NOTHING and row["variant"] == "treat")
    shop.consents.withdraw(open_, str(rows[open_]["channel"]), source="test")
    shop.learn(recommend="recent")
    with pytest.raises(StateError, match="Decide again"):
        shop.live(plan)
    door = requested.door(shop.home, plan, visits=None, now=shop.now(), exact=False)
    drawn = {name: door.draw(name, visit="v", now=shop.now()) for name in rows}
    assert {name: one.row["variant"] for name, one in drawn.items()} == {name: row["variant"] for name, row in rows.items()}
    assert {one.row["price"] for one in drawn.values()} == {plan.meta["price"]}
    assert drawn[open_].row["channel"] != rows[open_]["channel"]
    assert all(one.meta["decided_from"] != plan.meta["inputs"] for one in drawn.values())
    assert len({one.action for one in drawn.values()}) > 1
    with pytest.raises(NotFound, match="no customer"):
        door.draw("somebody new", visit="v", now=shop.now())
    fresh = door.draw("somebody new", visit="v", now=shop.now(), channels=["inapp"], newcomer=True)
    assert sum(fresh.row["propensities"]) == pytest.approx(1)
    assert fresh.customer == "somebody new"


def test_a_policy_is_replayed_byte_for_byte_and_rolled_back(shop: tw.Shop) -> None:
    money = f"50 {shop.home.settings.currency}"
    first = shop.decide(budget=money, limits={"channels": {"email": 30}}, seed=4)
    version = first.meta["policy_version"]
    before = versions.current(shop.home)
    shop.learn(recommend="recent")
    assert versions.current(shop.home) != before
    other = shop.decide(budget=money, seed=5)
    assert other.meta["policy_version"] != version
    again = shop.decide(policy=version[:8], as_of=first.meta["as_of"])
    assert again.to_bytes() == first.to_bytes()
    assert [one.version for one in shop.policies.all()].count(version) == 1
    with pytest.raises(InputError, match="brings its own budget, seed"):
        shop.decide(policy=version, budget=money, seed=5)
    with pytest.raises(NotFound, match="policy version"):
        shop.decide(policy="zzz")
    assert shop.policies.rollback(version).active
    assert versions.current(shop.home) == before
    assert version in str(shop.policies)


def test_other_code_is_not_replayed(shop: tw.Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    version = shop.decide(seed=4).meta["policy_version"]
    monkeypatch.setattr(versions, "code", lambda: "other")
    with pytest.raises(StateError, match="made by other code"):
        shop.decide(policy=version)


def test_a_purchase_withdraws_what_it_made_pointless(shop: tw.Shop) -> None:
    plan = shop.decide(budget=f"50 {shop.home.settings.currency}", holdout=0.0)
    rows = [row for row in plan.table.to_pylist() if row["action"] != NOTHING and row["item"] and row["reserved"]]
    one, other = rows[0], rows[1]
    now = plan.table["at"][0].as_py() + timedelta(hours=1)
    sold = shop.home.tables.to_arrow(shop.home.tables.get("items"))["item"].to_pylist()
    wrong = next(item for item in sold if item != other["item"])
    shop.home.log.append(
        [
            Event("b1", now, "purchase", "test", customer=one["customer"], item=one["item"], quantity=1.0, value=100, currency="CNY"),
            Event("b2", now, "purchase", "test", customer=other["customer"], item=wrong, quantity=1.0, value=100, currency="CNY"),
        ],
        now=now,
    )
    shop.home.log.compact(now=now)
    with shop.home.ledger.read() as conn:
        reserved = conn.execute(select(books.budgets.c.reserved)).scalar_one()
    assert withdraw_done(shop.home, now=now) == 1
    assert withdraw_done(shop.home, now=now) == 0, "once is enough"
    with shop.home.ledger.read() as conn:
        state = dict(conn.execute(select(books.outbox.c.decision_id, books.outbox.c.state)).all())
        left = conn.execute(select(books.budgets.c.reserved)).scalar_one()
        promises = conn.execute(select(books.promises.c.thing).where(books.promises.c.decision_id == one["decision_id"])).all()
    assert state[one["decision_id"]] == "suppressed"
    assert state[other["decision_id"]] == "planned"
    assert reserved - left == one["reserved"]
    assert not promises


def test_a_cart_reminder_goes_with_any_purchase(shop: tw.Shop) -> None:
    from tradewind.decide.policy import decide
    from tradewind.requested import request

    asked = request(
        shop.home, offers=None, channels=None, budget="0", holdout=0.0, window_days=14, as_of=None, seed=1, now=shop.now(),
        progress=lambda _share, _what: None,
    )  # fmt: skip
    plan = decide(replace(asked, offers=(Offer("remind", "product", campaign="abandoned_cart"),)))
    plan.commit(shop.home, shop.now())
    rows = [row for row in plan.table.to_pylist() if row["action"] != NOTHING]
    now = asked.as_of + timedelta(hours=1)
    shop.home.log.append([Event("c1", now, "purchase", "test", customer=rows[0]["customer"], value=5, currency="CNY")], now=now)
    shop.home.log.compact(now=now)
    assert withdraw_done(shop.home, now=now) == 1


def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command line."""
    from tradewind.cli import main

    monkeypatch.setattr("sys.argv", ["tradewind", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def test_a_stranger_at_the_command_line(
    made: tuple[Path, World], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(made[0], tmp_path / "shop")
    at = ("--shop", str(tmp_path / "shop"))
    file = tmp_path / "limits.toml"
    file.write_text('budget = "40 CNY"\n[channels]\nemail = 5\n', encoding="utf-8")
    code, out, _ = said(capsys, monkeypatch, "decide", *at, "--limits", str(file), "--offer", "product")
    assert code == 0
    assert "exceeded by 0" in out
    assert "channel:email:" in out
    version = versions_of(tmp_path)[0]
    code, out, _ = said(capsys, monkeypatch, "decide", *at, "--policies")
    assert code == 0
    assert f"* {version}" in out
    with tw.Shop.open(tmp_path / "shop") as shop:
        someone = shop.plan().table["customer"][0].as_py()
    code, out, _ = said(capsys, monkeypatch, "decide", *at, "--customer", someone)
    assert code == 0
    assert f"Customer {someone}" in out
    for words, exit_code, text in (
        (("--limits", str(tmp_path / "none.toml")), 2, "cannot read"),
        (("--limits", str(file), "--budget", "50 CNY"), 2, 'file says budget = "40 CNY"'),
        (("--limits", str(file), "--channel", "push"), 2, 'no channel "email"'),
        (("--policy", "nosuch"), 2, "no policy version"),
        (("--rollback", "nosuch"), 2, "no policy version"),
        (("--customer", "nobody"), 2, 'no customer "nobody"'),
    ):
        code, _, err = said(capsys, monkeypatch, "decide", *at, *words)
        assert text in err, words
        assert code == exit_code, words


def versions_of(folder: Path) -> list[str]:
    with tw.Shop.open(folder / "shop") as shop:
        return [one.version for one in shop.policies.all()]


def test_extremes_through_the_shop_have_a_plan_and_a_reason(shop: tw.Shop) -> None:
    """No money, one offer, nobody eligible, goods dearer than their price: everybody has a row that says why."""
    money = f"50 {shop.home.settings.currency}"
    free = shop.decide(budget="0", channels={"email": 5})
    assert set(free.table["action"].to_pylist()) == {NOTHING}
    single = shop.decide(budget=money, offers="product")
    kinds = {key.split("|")[0] for keys in single.table["candidates"].to_pylist() for key in keys} - {NOTHING}
    assert len(kinds) == 1
    nobody = shop.decide(budget=money, limits={"contact": {"messages_30d": 0}})
    assert set(nobody.table["action"].to_pylist()) == {NOTHING}
    assert all("messages_cap" in text or "no_consent" in text for text in nobody.table["suppressed"].to_pylist())
    items = shop.home.tables.to_arrow(shop.home.tables.get("items"))
    dear = items.set_column(items.schema.get_field_index("cost"), "cost", pa.compute.add(pa.compute.multiply(items["price"], 2), 1))
    shop.collect(dear)
    loss = shop.decide(budget=money)
    discounts = {name for name, one in loss.meta["offers"].items() if one["kind"] == "coupon"}
    assert not any(key.split("|")[0] in discounts and key.split("|")[1] for keys in loss.table["candidates"].to_pylist() for key in keys)
    assert loss.meta["expected_profit"] <= 0 or set(loss.table["action"].to_pylist()) == {NOTHING}
