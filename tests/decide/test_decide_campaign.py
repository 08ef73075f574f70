"""Campaigns through the shop: shown before done, refused when stale, restricted to audience and budget, paused and finished."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import decide_world
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sqlalchemy import func, select

import tradewind as tw
from tradewind import requested, schema
from tradewind.decide import campaign_guard, expression
from tradewind.decide.campaign_books import MOVES, campaign_allows, draft, move, newest
from tradewind.decide.campaign_file import KEYS, read_campaign
from tradewind.decide.campaign_plan import around
from tradewind.decide.holdout import held_out
from tradewind.decide.policy import decide, recompute
from tradewind.decide.request import Request
from tradewind.demo import Clock
from tradewind.engine import audit, ledger
from tradewind.engine import books_campaigns as books
from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFound, StateError
from tradewind.learn.profiles import profiles
from tradewind.simulate.world import World as SimulatedShop
from tradewind.types import NOTHING, Event, money, utc

AUDIENCE = 'frequency > 2 and stage != "new"'
Told = dict[str, Any]
WORLD = decide_world.World(n=200)


def ask(home: Home, *, offers: Any, budget: str, holdout: float, window_days: int, as_of: Any, seed: int, now: Any, **rest: Any) -> Request:
    """What the shop's tables would say, without tables; the time is the last event's, or the one asked."""
    assert rest.keys() == {"channels", "progress", "limits", "only"}
    if offers == ("nosuch",):
        raise NotFound('There is no offer or kind of offer "nosuch".')
    home.log.compact(now=now)
    moment = decide_world.AS_OF if as_of is None else utc(as_of)
    amount = 0 if budget == "0" else money(budget)[0]
    return WORLD.request(as_of=moment, budget=amount, holdout=holdout, window_days=window_days, seed=seed, currency="CNY", explore=0.1)


@pytest.fixture
def clock() -> Clock:
    return Clock(decide_world.AS_OF)


@pytest.fixture
def shop(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[tw.Shop]:
    """A shop whose requests come from a world in memory: fast; the last tests ask a real one."""
    monkeypatch.setattr("tradewind.requested.request", ask)
    with tw.Shop.open(tmp_path / "shop", now=clock) as opened:
        opened.home.save_settings(replace(opened.home.settings, currency="CNY"))
        yield opened


@pytest.fixture
def told() -> Told:
    now = decide_world.AS_OF
    return {
        "name": "spring", "goal": "Sell more of what was looked at", "audience": AUDIENCE, "budget": "80 CNY",
        "holdout": 0.2, "from": (now - timedelta(days=1)).isoformat(), "until": (now + timedelta(days=20)).isoformat(),
    }  # fmt: skip


def started(shop: tw.Shop, told: Told) -> None:
    shop.campaigns.plan(told)
    shop.campaigns.approve(told["name"], by="Ann")
    shop.campaigns.apply(told, by="Bo")


def count(shop: tw.Shop, state: str) -> int:
    with shop.home.ledger.read() as conn:
        return int(conn.execute(select(func.count()).where(ledger.outbox.c.state == state)).scalar_one())


def budget(shop: tw.Shop) -> Any:
    with shop.home.ledger.read() as conn:
        return conn.execute(select(ledger.budgets).where(ledger.budgets.c.budget == "campaign:spring")).one()


def test_a_plan_shows_everything_and_commits_nothing(shop: tw.Shop, told: Told) -> None:
    shown = shop.campaigns.plan(told, by="Ann")
    s = shown.summary
    assert 0 < s["audience"] < s["customers"] == 200
    assert s["treated"] + sum(s["left_out"].values()) == s["audience"], (
        "everybody in the audience is sent something or left out for a reason"
    )
    assert s["left_out"]["holdout"] == s["holdout"] > 0
    assert sum(s["channels"].values()) == s["treated"] > 0
    assert 0 < s["reserved"] <= s["budget"] == 8_000
    for text in (f"audience: {s['audience']:,} of 200", "held out", "Next: tradewind campaign approve spring"):
        assert text in str(shown)
    with shop.home.ledger.read() as conn:
        for table in (ledger.plans, ledger.outbox, ledger.budgets, books.campaign_plans):
            assert conn.execute(select(func.count()).select_from(table)).scalar() == 0


def inside() -> set[str]:
    people = WORLD.profiles()
    return set(people["customer"].filter(pa.array(expression.matches(AUDIENCE, people))).to_pylist())


def agrees(shop: tw.Shop, summary: Any, members: set[str], until: Any) -> None:
    """The applied plan is the one that was shown, for the audience alone, and its log can be recomputed."""
    plan = shop.plan()
    assert set(plan.table["customer"].to_pylist()) == members
    assert plan.summary()["channels"] == summary["channels"]
    assert plan.summary()["reserved"] == summary["reserved"] == budget(shop).reserved
    assert count(shop, "planned") == plan.summary()["treated"] == summary["treated"] > 0
    np.testing.assert_array_equal(recompute(plan), plan.table["propensities"].combine_chunks().flatten().to_numpy())
    held = {row["customer"] for row in plan.table.to_pylist() if row["variant"] == "holdout"}
    assert not held & {row["customer"] for row in outbox(shop)}
    assert {utc(one["ends_at"]) for one in plan.meta["offers"].values()} == {utc(until)}, "nothing is sent after the window"


def test_what_is_applied_is_what_was_shown_for_the_audience_alone(shop: tw.Shop, told: Told) -> None:
    shown = shop.campaigns.plan(told)
    shop.campaigns.approve("spring", by="Ann")
    assert shop.campaigns.apply(told, by="Bo").state == "running"
    agrees(shop, shown.summary, inside(), told["until"])


def outbox(shop: tw.Shop) -> list[dict[str, Any]]:
    with shop.home.ledger.read() as conn:
        return [dict(row) for row in conn.execute(select(ledger.outbox)).mappings()]


def test_the_averages_of_the_shop_do_not_depend_on_the_audience(shop: tw.Shop, told: Told) -> None:
    """A candidate's value for one customer is that of a plan for everybody: the audience restricts, it does not distort."""
    started(shop, told)
    narrow = shop.plan()
    wide = decide(WORLD.request(budget=8_000, holdout=0.2, window_days=14))
    values = [dict(zip(row["candidates"], row["values"], strict=True)) for row in wide.table.to_pylist()]
    by_name = dict(zip(wide.table["customer"].to_pylist(), values, strict=True))
    checked = 0
    for row in narrow.table.to_pylist():
        for key, value in zip(row["candidates"], row["values"], strict=True):
            if key != NOTHING and key in by_name[row["customer"]]:
                assert value == by_name[row["customer"]][key]
                checked += 1
    assert checked > 20


def test_nothing_is_applied_that_was_not_shown_and_approved(shop: tw.Shop, told: Told) -> None:
    campaigns = shop.campaigns
    with pytest.raises(NotFound, match="no campaign"):
        campaigns.apply(told, by="Bo")
    campaigns.plan(told)
    with pytest.raises(StateError, match=r"is planned, not approved\. Approve it: tradewind campaign approve spring"):
        campaigns.apply(told, by="Bo")
    campaigns.approve("spring", by="Ann")
    with pytest.raises(StateError, match="file of campaign spring changed since version 1"):
        campaigns.apply({**told, "holdout": 0.3}, by="Bo")
    assert count(shop, "planned") == 0
    campaigns.plan(told)
    with pytest.raises(StateError, match="is planned, not approved"):
        campaigns.apply(told, by="Bo")


def test_a_campaigns_plan_answers_no_single_visit_and_says_why(shop: tw.Shop, told: Told) -> None:
    started(shop, told)
    with pytest.raises(StateError, match='is of the campaign "spring"'):
        shop.live(shop.plan())


def test_pause_holds_finish_takes_back_and_the_budget_is_free(shop: tw.Shop, told: Told) -> None:
    started(shop, told)
    plan, sent = shop.plan(), count(shop, "planned")

    def allowed() -> bool:
        with shop.home.ledger.read() as conn:
            return campaign_allows(conn, plan.plan_id)

    assert allowed()
    with shop.home.ledger.read() as conn:
        assert campaign_allows(conn, "a plan of no campaign")
    shop.campaigns.pause("spring", by="Ann", why="a wrong price")
    assert not allowed()
    assert count(shop, "planned") == sent
    shop.campaigns.resume("spring", by="Ann")
    assert allowed()
    assert budget(shop).reserved > 0
    shop.campaigns.finish("spring", by="Ann")
    assert not allowed()
    assert (count(shop, "planned"), count(shop, "suppressed")) == (0, sent)
    assert (budget(shop).reserved, budget(shop).spent) == (0, 0)
    moves = [(row["by"], row["action"]) for row in shop.campaigns.history("spring")]
    assert moves == [
        ("person:unnamed", "campaign.draft"), ("person:unnamed", "campaign.planned"), ("person:Ann", "campaign.approved"),
        ("person:Bo", "campaign.running"), ("person:Ann", "campaign.paused"),
        ("person:Ann", "campaign.running"), ("person:Ann", "campaign.done"),
    ]  # fmt: skip
    assert shop.campaigns.history("spring")[4]["why"] == "a wrong price"
    with shop.home.ledger.read() as conn:
        assert audit.verify(conn).sound


def test_only_legal_moves_are_made(shop: tw.Shop, told: Told) -> None:
    campaign, now = read_campaign(told, currency=str(shop.home.settings.currency)), shop.now()
    for before, legal in MOVES.items():
        for after in MOVES:
            with shop.home.ledger.write() as conn:
                conn.execute(books.campaigns.delete())
                draft(conn, campaign, by="person:x", now=now)
                conn.execute(books.campaigns.update().values(state=before))
                one = newest(conn, "spring")
                if after in legal:
                    move(conn, one, after, by="person:x", now=now)
                else:
                    with pytest.raises(StateError, match=f"is {before}; from there it goes to"):
                        move(conn, one, after, by="person:x", now=now)
                assert newest(conn, "spring").state == (after if after in legal else before)


def test_a_move_that_somebody_else_made_is_not_made_again(shop: tw.Shop, told: Told) -> None:
    shop.campaigns.plan(told)
    with shop.home.ledger.read() as conn:
        seen = newest(conn, "spring")
    shop.campaigns.approve("spring", by="Ann")
    with pytest.raises(StateError, match="is not planned any more"), shop.home.ledger.write() as conn:
        move(conn, seen, "approved", by="person:x", now=shop.now())


def test_a_new_version_shows_what_changes_and_replaces_the_old_one(shop: tw.Shop, told: Told, clock: Clock) -> None:
    started(shop, told)
    clock.at += timedelta(hours=1)
    first = shop.plan()
    with pytest.raises(StateError, match="running with this very file"):
        shop.campaigns.plan(told)
    wider = {**told, "audience": "frequency > 0", "holdout": 0.3}
    shown = shop.campaigns.plan(wider)
    assert shown.version == 2
    assert set(shown.diff["file"]) == {"audience", "holdout"}
    assert (shown.diff["version"], shown.diff["enter"], shown.diff["leave"]) == (1, shown.summary["audience"] - len(first), 0)
    assert "enter the audience" in str(shown)
    with shop.home.ledger.read() as conn:
        assert campaign_allows(conn, first.plan_id), "the first version runs until the second is applied"
    shop.campaigns.approve("spring", by="Ann")
    before = budget(shop).reserved
    shop.campaigns.apply(wider, by="Bo")
    assert {one.version: one.state for one in shop.campaigns.all()} == {1: "done", 2: "running"}
    assert {row["plan_id"] for row in outbox(shop) if row["state"] == "planned"} == {shop.campaigns.show("spring")["plans"][-1]}
    assert 0 < budget(shop).reserved <= budget(shop).amount - before, "the second plan fits what the first had left"
    assert shop.campaigns.plan({**wider, "audience": AUDIENCE}).diff["leave"] == shown.diff["enter"]


def test_a_budget_below_what_is_held_is_refused_and_nothing_changes(shop: tw.Shop, told: Told) -> None:
    started(shop, told)
    small = {**told, "budget": f"0.05 {shop.home.settings.currency}"}
    shop.campaigns.plan(small)
    shop.campaigns.approve("spring", by="Ann")
    with pytest.raises(StateError, match="holds or spent"):
        shop.campaigns.apply(small, by="Bo")
    assert {one.version: one.state for one in shop.campaigns.all()} == {1: "running", 2: "approved"}


def test_the_window_is_kept(shop: tw.Shop, told: Told, clock: Clock) -> None:
    later = {**told, "from": (shop.now() + timedelta(days=2)).isoformat()}
    shop.campaigns.plan(later)
    shop.campaigns.approve("spring", by="Ann")
    with pytest.raises(StateError, match="begins at"):
        shop.campaigns.apply(later, by="Bo")
    started(shop, told)
    sent = count(shop, "planned")
    assert shop.campaigns.tick()[0]["state"] == "running"
    clock.at += timedelta(days=21)
    assert shop.campaigns.tick()[0]["state"] == "done"
    assert (count(shop, "planned"), count(shop, "suppressed")) == (0, sent)
    assert shop.campaigns.tick() == []


def test_nobody_in_the_audience_is_shown_and_refused(shop: tw.Shop, told: Told) -> None:
    nobody = {**told, "audience": "frequency > 100000"}
    assert shop.campaigns.plan(nobody).summary["audience"] == 0
    shop.campaigns.approve("spring", by="Ann")
    with pytest.raises(StateError, match="Nobody is in the audience"):
        shop.campaigns.apply(nobody, by="Bo")


def test_a_campaign_with_a_trigger_on_each_ledger(home_url: str, told: Told, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tradewind.requested.request", ask)
    with tw.Shop.open(home_url, now=clock) as shop:
        shop.home.save_settings(replace(shop.home.settings, currency="CNY"))
        started(shop, triggered(told))
        clock.at += timedelta(hours=2)
        carts(shop, 12)
        assert shop.campaigns.tick()[0]["decided"] == 12
        sent = count(shop, "planned")
        assert sent > 0
        shop.campaigns.pause("spring", by="Ann")
        shop.campaigns.finish("spring", by="Ann")
        assert (count(shop, "planned"), count(shop, "suppressed")) == (0, sent)
        assert (budget(shop).reserved, shop.campaigns.show("spring")["state"]) == (0, "done")


def test_why_somebody_is_in_the_audience_is_answered_by_values(shop: tw.Shop, told: Told) -> None:
    shop.campaigns.plan(told)
    members = inside()
    rows = {row["customer"]: row for row in WORLD.profiles().to_pylist()}
    for customer in [min(members), min(rows.keys() - members)]:
        why = shop.campaigns.why("spring", customer)
        assert why.inside == (customer in members)
        assert [part.value for part in why.parts] == [rows[customer]["frequency"], rows[customer]["stage"]]
        assert [part.holds for part in why.parts] == [rows[customer]["frequency"] > 2, rows[customer]["stage"] != "new"]
    with pytest.raises(NotFound, match="no customer"):
        shop.campaigns.why("spring", "nobody")


def test_live_segments_follow_the_running_campaigns(shop: tw.Shop, told: Told) -> None:
    started(shop, triggered(told, audience="orders_30d > 1"))
    now = shop.now()
    shop.home.log.append([Event(f"v{n}", now - timedelta(days=1), "purchase", "t", customer="c1") for n in range(2)], now=now)
    live = shop.campaigns.segments()
    assert live.members("spring") == ["c1"]
    assert shop.campaigns.segments({"asleep": "recency_days > 3"}).members("asleep") == []
    with pytest.raises(InputError, match='"stage" hangs on more'):
        shop.campaigns.segments({"new": 'stage == "new"'})


# -- guard-rails ------------------------------------------------------------------------------------------------------


def test_complaints_above_the_limit_pause_it_and_below_do_not(shop: tw.Shop, told: Told) -> None:
    started(shop, {**told, "guard": {"complaint_rate": 0.05, "least_messages": 20}})
    with shop.home.ledger.write() as conn:
        conn.execute(ledger.outbox.update().values(state="accepted"))
    rows = outbox(shop)
    assert len(rows) >= 20
    moment = shop.now() + timedelta(hours=-1)
    most = next(k for k in range(len(rows)) if campaign_guard.above(k + 1, len(rows), 0.05) < 0.05)
    assert most > 0.05 * len(rows), "one more than the limit is no evidence yet"

    def complain(first: int, last: int) -> None:
        events = [
            Event(f"k{n}", moment, "complaint", "t", customer=rows[n]["customer"], decision_id=rows[n]["decision_id"])
            for n in range(first, last)
        ]
        shop.home.log.append(events, now=moment)

    complain(0, most)
    shop.home.log.append([Event("other", moment, "complaint", "t", customer="x", decision_id="of another plan")], now=moment)
    assert shop.campaigns.tick()[0]["state"] == "running"
    complain(most, most + 1)
    row = shop.campaigns.tick()[0]
    assert row["state"] == "paused"
    assert "complaint_rate" in row["why"]
    assert shop.campaigns.history("spring")[-1]["by"] == "policy:campaign"
    assert shop.campaigns.show("spring")["guard"][0]["exceeded"]


def test_spend_of_a_day_and_a_loss_that_may_be_too_large_pause_it(
    shop: tw.Shop, told: Told, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    currency = "CNY"
    started(shop, {**told, "guard": {"spend_per_day": f"0.01 {currency}", "max_loss": f"1 {currency}"}})
    found = {one["name"]: one for one in shop.campaigns.show("spring")["guard"]}
    assert found["spend_per_day"]["value"] == budget(shop).reserved > 1
    assert found["spend_per_day"]["exceeded"]
    assert found["max_loss"]["value"] is None
    clock.at += timedelta(days=2)
    plan = shop.plan()
    rows = plan.table.to_pylist()
    margins = [1_000 + 10 * (n % 7) if row["variant"] == "holdout" else 100 + 10 * (n % 5) for n, row in enumerate(rows)]
    outcomes = {
        "decision_id": [row["decision_id"] for row in rows], "plan_id": [plan.plan_id] * len(rows),
        "customer": [row["customer"] for row in rows],
        "at": [shop.now() - timedelta(hours=1)] * len(rows), "margin": margins, "cost": [0] * len(rows), "orders": [0] * len(rows),
        "clicked": [False] * len(rows), "matured": [True] * len(rows),
    }  # fmt: skip
    shop.collect(schema.conform(pa.table(outcomes), schema.OUTCOMES))
    found = {one["name"]: one for one in shop.campaigns.show("spring")["guard"]}
    assert not found["spend_per_day"]["exceeded"], "that was two days ago"
    assert found["max_loss"]["value"] is None, "too few are held out for a confidence sequence"
    assert "100 of each are needed" in found["max_loss"]["note"]
    treated, control = margins_of(rows, margins)
    monkeypatch.setattr(campaign_guard, "_outcomes", lambda _home, _plans: (treated * 100, control * 100))
    found = {one["name"]: one for one in shop.campaigns.show("spring")["guard"]}
    assert found["max_loss"]["value"] == pytest.approx(900 * 100 * len(treated), rel=0.05)
    assert shop.campaigns.tick()[0]["state"] == "paused"


def margins_of(rows: list[dict[str, Any]], margins: list[int]) -> tuple[list[float], list[float]]:
    pairs = [(row["variant"], float(margin)) for row, margin in zip(rows, margins, strict=True)]
    return [margin for variant, margin in pairs if variant == "treat"], [margin for variant, margin in pairs if variant == "holdout"]


# -- triggers ---------------------------------------------------------------------------------------------------------


def carts(shop: tw.Shop, number: int = 60, item: str = "i7") -> list[str]:
    """Some customers put an item into the cart an hour ago; returns them."""
    moment = shop.now() - timedelta(hours=1)
    people = WORLD.customers[:number]
    events = [Event(f"{moment}-{who}", moment, "cart", "t", customer=who, item=item, value=100) for who in people]
    shop.home.log.append(events, now=shop.now())
    return people


def triggered(told: Told, **more: Any) -> Told:
    return {key: value for key, value in told.items() if key != "audience"} | {
        "trigger": {"kind": "abandoned_cart", "wait_hours": 0.5, "grace_minutes": 0}
    } | more  # fmt: skip


def test_firings_become_decisions_with_holdout_once(shop: tw.Shop, told: Told, clock: Clock) -> None:
    rule = triggered(told)
    clock.at -= timedelta(hours=5)
    carts(shop, 30)
    clock.at += timedelta(hours=5)
    shown = shop.campaigns.plan(rule)
    assert shown.summary["firings"] == 30 == shown.summary["audience"], "what it would have done"
    shop.campaigns.approve("spring", by="Ann")
    shop.campaigns.apply(rule, by="Bo")
    assert count(shop, "planned") == 0, "nothing has fired yet"
    clock.at += timedelta(hours=2)
    people = carts(shop)
    row = shop.campaigns.tick()[0]
    assert (row["fired"], row["decided"]) == (60, 60)
    plan = shop.plan()
    assert set(plan.table["customer"].to_pylist()) == set(people)
    held = plan.table.filter(pc.equal(plan.table["variant"], "holdout")).num_rows
    assert 0 < held < 30
    assert row["messages"] == count(shop, "planned") > 0
    chosen = [one["item"] for one in plan.table.to_pylist() if one["variant"] == "treat" and one["item"] is not None]
    assert set(chosen) == {"i7"}, "what lies in the cart"
    assert all(one["send_at"] - shop.now() < timedelta(hours=12) for one in plan.table.to_pylist() if one["send_at"])
    again = shop.campaigns.tick()[0]
    assert (again["fired"], again["decided"]) == (0, 0)
    assert shop.campaigns.show("spring")["firings"] == {"decided": 60}
    buyer = outbox(shop)[0]["customer"]
    clock.at += timedelta(minutes=10)
    shop.home.log.append(
        [Event("b1", shop.now() - timedelta(minutes=1), "purchase", "t", customer=buyer, item="any", value=5)], now=shop.now()
    )
    shop.home.log.compact(now=shop.now())
    from tradewind.decide.withdraw import withdraw_done

    assert withdraw_done(shop.home, now=shop.now()) == 1, "a purchase is the exit"


def test_every_plan_of_a_trigger_draws_its_holdout_from_the_shops_salt(
    shop: tw.Shop, told: Told, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As every plan does (docs/adr/0004): what was before a plan is then before its treatment, and plans can be pooled."""

    def salted(home: Home, **more: Any) -> Request:
        request = ask(home, **more)
        return replace(request, salt=f"{home.settings.salt}/{request.as_of.isoformat()}")

    monkeypatch.setattr("tradewind.requested.request", salted)
    rule = triggered(told)
    rule["trigger"]["cooldown_days"] = 0
    started(shop, rule)
    variants = []
    for _ in range(2):
        clock.at += timedelta(hours=30)
        carts(shop)
        shop.campaigns.tick()
        plan = shop.plan()
        variants.append(dict(zip(plan.table["customer"].to_pylist(), plan.table["variant"].to_pylist(), strict=True)))
        expected = held_out(list(variants[-1]), salt=f"{shop.home.settings.salt}/{shop.now().isoformat()}", share=0.2)
        assert [variant == "holdout" for variant in variants[-1].values()] == expected.tolist()
    assert variants[0].keys() == variants[1].keys()
    assert variants[0] != variants[1]


def test_killed_between_firing_and_decision_nothing_is_lost_or_doubled(
    shop: tw.Shop, told: Told, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tradewind.decide import campaign_tick

    started(shop, triggered(told))
    clock.at += timedelta(hours=2)
    carts(shop, 20)
    real = campaign_tick._mark

    class Killed(BaseException):
        pass

    def dies(*args: Any, **more: Any) -> None:
        real(*args, **more)
        raise Killed

    monkeypatch.setattr(campaign_tick, "_mark", dies)
    with pytest.raises(Killed):
        shop.campaigns.tick()
    assert shop.campaigns.show("spring")["firings"] == {"pending": 20}
    assert count(shop, "planned") == 0
    monkeypatch.setattr(campaign_tick, "_mark", real)
    clock.at += timedelta(minutes=5)
    assert shop.campaigns.tick()[0]["decided"] == 20
    sent = [row["customer"] for row in outbox(shop)]
    assert len(sent) == len(set(sent))


def test_one_campaign_that_cannot_go_on_does_not_stop_the_others(shop: tw.Shop, told: Told, clock: Clock) -> None:
    started(shop, triggered(told, offers=["coupon"]))
    started(shop, triggered(told, name="other"))
    with shop.home.ledger.write() as conn:  # an offer that the shop had when the campaign began is gone
        gone = {**shop.campaigns.show("spring")["spec"], "offers": ["nosuch"]}
        conn.execute(books.campaigns.update().where(books.campaigns.c.campaign == "spring").values(spec=json.dumps(gone)))
    clock.at += timedelta(hours=2)
    carts(shop, 10)
    rows = {row["campaign"]: row for row in shop.campaigns.tick()}
    assert "nosuch" in rows["spring"]["error"]
    assert rows["other"]["decided"] == 10
    assert shop.campaigns.show("spring")["firings"] == {"pending": 10}, "they wait"


def test_outside_the_audience_and_too_old_is_dropped_with_its_reason(shop: tw.Shop, told: Told, clock: Clock) -> None:
    started(shop, triggered(told, audience="frequency > 100000"))
    clock.at += timedelta(hours=2)
    carts(shop, 5)
    assert shop.campaigns.tick()[0]["dropped"] == {"audience": 5}
    shop.campaigns.pause("spring", by="Ann")
    clock.at += timedelta(days=1)
    shop.home.log.append([Event("later", shop.now(), "cart", "t", customer="c9", item="a", value=1)], now=shop.now())
    clock.at += timedelta(days=3)
    assert shop.campaigns.tick() == [], "a paused one hears nothing"
    shop.campaigns.resume("spring", by="Ann")
    assert shop.campaigns.tick()[0]["dropped"] == {"stale": 1}
    assert shop.campaigns.show("spring")["firings"] == {"dropped": 6}


@pytest.fixture(scope="module")
def opened_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tw.Shop]:
    with tw.Shop.open(tmp_path_factory.mktemp("idle") / "shop", now=Clock(decide_world.AS_OF)) as opened:
        opened.home.save_settings(replace(opened.home.settings, currency="CNY"))
        yield opened


@pytest.fixture
def idle(opened_once: tw.Shop, monkeypatch: pytest.MonkeyPatch) -> tw.Shop:
    """A shop in which nothing is ever stored."""
    monkeypatch.setattr("tradewind.requested.request", ask)
    return opened_once


# -- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audiens": "x"}, 'no "audiens". Did you mean "audience"'),
        ({"name": "Spring Sale"}, "name must be 1 to 63 of a-z"),
        ({"name": 3}, "name must be a text"),
        ({"goal": " "}, "goal must be a text"),
        ({"audience": "frequency >"}, r"audience: Eligibility expression: expected a number"),
        ({"audience": "frequenzy > 3"}, 'no column "frequenzy". Did you mean "frequency"'),
        ({"audience": 3}, "audience must be a text with an expression"),
        ({"budget": 2000}, "budget must be money in"),
        ({"budget": "2000 XTS"}, "budget must be money in"),
        ({"budget": "-5 XTS"}, "negative"),
        ({"holdout": 1.5}, "holdout must be a number from 0 to 0.9"),
        ({"holdout": True}, "holdout must be a number"),
        ({"window_days": 0}, "window_days must be a whole number"),
        ({"offers": "coupon"}, "offers must be a list of texts"),
        ({"offers": []}, "offers must be a list of texts"),
        ({"offers": ["nosuch"]}, 'no offer or kind of offer "nosuch"'),
        ({"channels": ["emial"]}, 'no channel "emial". Did you mean "email"'),
        ({"channels": {"email": -1}}, "email must be a whole number"),
        ({"from": "soon"}, 'from: "soon" is not an ISO 8601 time'),
        ({"from": 3}, "from must be a date or a time"),
        ({"until": "2020-01-01"}, "until must lie after from"),
        ({"limits": {"budget": "5 EUR"}}, r"\[limits\] has a budget"),
        ({"limits": {"chanels": {}}}, 'no "chanels"'),
        ({"limits": 3}, r"\[limits\] must be a table"),
        ({"guard": {"complain_rate": 0.1}}, 'no "complain_rate". Did you mean "complaint_rate"'),
        ({"guard": {"complaint_rate": 2}}, "complaint_rate must be a number from 0 to 1"),
        ({"guard": {"spend_per_day": 5}}, "spend_per_day must be money"),
        ({"guard": {"least_messages": 0}}, "least_messages must be a whole number"),
        ({"trigger": {"kind": "abandonned_cart"}}, 'Did you mean "abandoned_cart"'),
        ({"trigger": 3}, r"\[trigger\] must be a table"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(idle: tw.Shop, told: Told, change: Told, message: str) -> None:
    with pytest.raises(InputError, match=message):
        idle.campaigns.plan({**told, **change})
    assert idle.campaigns.all() == []


@pytest.mark.parametrize("key", ["name", "goal", "from", "until"])
def test_what_a_file_needs_is_named(idle: tw.Shop, told: Told, key: str) -> None:
    with pytest.raises(InputError, match=f"{key} must be"):
        idle.campaigns.plan({name: value for name, value in told.items() if name != key})
    assert key in KEYS


def test_who_acts_must_have_a_name(shop: tw.Shop, told: Told) -> None:
    shop.campaigns.plan(told)
    with pytest.raises(InputError, match="Say who acts"):
        shop.campaigns.approve("spring", by=" ")
    with pytest.raises(NotFound, match=r'no campaign "sprung"\. Did you mean "spring"'):
        shop.campaigns.approve("sprung", by="Ann")


def test_a_stranger_at_the_command_line(
    shop: tw.Shop, told: Told, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tradewind.cli import main

    shop.close()
    file = tmp_path / "spring.toml"
    file.write_text(
        f'name = "spring"\ngoal = "Go"\naudience = """{AUDIENCE}"""\nbudget = "{told["budget"]}"\nfrom = 2026-01-01\nuntil = 2100-01-01\n',
        encoding="utf-8",
    )

    def said(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["tradewind", "campaign", *words, "--shop", str(tmp_path / "shop")])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    for words, code, text in (
        (("list",), 0, "No campaign yet"),
        (("plan", str(tmp_path / "none.toml")), 2, "Cannot read"),
        (("plan", str(file), "--by", "Ann"), 0, "nothing is committed"),
        (("apply", str(file), "--by", "Bo"), 3, "not approved"),
        (("approve", "spring", "--by", "Ann"), 0, "version 1: approved"),
        (("apply", str(file), "--by", "Bo"), 0, "version 1: running"),
        (("resume", "spring", "--by", "Bo"), 3, "only a paused one is resumed"),
        (("pause", "spring", "--by", "Bo"), 0, "paused"),
        (("resume", "spring", "--by", "Bo"), 0, "running"),
        (("tick",), 0, "spring: 0 fired"),
        (("why", "spring", WORLD.customers[0]), 0, "frequency > 2: "),
        (("show", "spring"), 0, "held"),
        (("list",), 0, "running"),
        (("finish", "spring", "--by", "Bo", "--why", "enough"), 0, "done"),
        (("history", "spring"), 0, "enough"),
        (("show", "sprung"), 2, 'Did you mean "spring"'),
    ):
        got, out, err = said(*words)
        assert text in out + err, (words, out, err)
        assert got == code, words


# -- a real shop ------------------------------------------------------------------------------------------------------


@pytest.fixture
def real(tmp_path: Path) -> Iterator[tw.Shop]:
    """A tiny shop that has learned."""
    world = SimulatedShop.make(60, seed=6, start=date(2026, 1, 5), days=30)
    world.write(tmp_path / "export")
    with tw.Shop.open(tmp_path / "real", now=Clock(world.end)) as shop:
        shop.collect(tmp_path / "export", mapping=tmp_path / "export" / "mapping.toml")
        shop.learn(recommend="popular")
        yield shop


def test_on_a_real_shop_what_is_stale_is_refused_and_what_is_fresh_is_applied(real: tw.Shop) -> None:
    now, campaigns = real.now(), real.campaigns
    told = {
        "name": "spring", "goal": "Sell", "audience": "views_30d > 3", "budget": f"60 {real.home.settings.currency}", "holdout": 0.2,
        "from": (now - timedelta(days=1)).isoformat(), "until": (now + timedelta(days=20)).isoformat(),
    }  # fmt: skip
    campaigns.plan(told)
    campaigns.approve("spring", by="Ann")
    items = real.home.tables.to_arrow(real.home.tables.get("items"))
    real.collect(items.set_column(items.schema.get_field_index("price"), "price", pc.add(items["price"], 1)))
    with real.home.ledger.write() as conn:
        conn.execute(ledger.consents.insert().values(customer="x", channel="email", at=0, granted=True, source="test"))
    real.home.log.append([Event("n1", now - timedelta(hours=1), "view", "t", customer="x1")], now=now)
    with pytest.raises(StateError, match=r"stale: .*customers, catalogue, consents.* changed since it was shown"):
        campaigns.apply(told, by="Bo")
    assert count(real, "planned") == 0
    pinned = campaigns.plan(told, as_of=now - timedelta(minutes=30))
    campaigns.approve("spring", by="Ann")
    real.home.log.append([Event("n2", now - timedelta(minutes=10), "view", "t", customer="x1")], now=now)
    assert campaigns.apply(told, by="Bo").state == "running", "what comes after the pinned moment does not matter"
    people = profiles(real.home.tables, as_of=now - timedelta(minutes=30))
    agrees(real, pinned.summary, set(people["customer"].filter(pc.greater(people["views_30d"], 3)).to_pylist()), told["until"])
    handed_off_only_while_it_runs(real)


def handed_off_only_while_it_runs(shop: tw.Shop) -> None:
    """The transaction that hands a message off asks the campaign; the clock goes on, so that every message is due."""
    from tradewind.deliver.channels.outbox import Outbox

    plan, clock = shop.plan(), shop.now
    assert isinstance(clock, Clock)
    clock.at = max(row["send_at"] for row in plan.table.to_pylist() if row["send_at"]) + timedelta(minutes=1)
    shop.compose(plan)
    shop.campaigns.pause("spring", by="Ann")
    with Outbox() as sink:
        assert "accepted" not in shop.deliver(plan, dry_run=False, to=sink).states
        clock.at += timedelta(minutes=6)
        shop.campaigns.resume("spring", by="Ann")
        assert shop.deliver(plan, dry_run=False, to=sink).states["accepted"] > 0


def test_a_tick_reads_those_who_fired_and_a_sample_of_the_others(real: tw.Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    now, asked = real.now(), []
    told = {
        "name": "cart", "goal": "Sell", "budget": f"60 {real.home.settings.currency}",
        "trigger": {"kind": "abandoned_cart", "grace_minutes": 0},
        "from": (now - timedelta(days=1)).isoformat(), "until": (now + timedelta(days=20)).isoformat(),
    }  # fmt: skip
    real.campaigns.plan(told)
    real.campaigns.approve("cart", by="Ann")
    real.campaigns.apply(told, by="Bo")
    clock = real.now
    assert isinstance(clock, Clock)
    events = real.home.tables.to_arrow(real.home.tables.events())
    people = sorted(pc.unique(events["customer"].drop_null()).to_pylist())
    fired, item = people[:4], events["item"].drop_null()[0].as_py()
    real.home.log.append(
        [Event(f"k{who}", now + timedelta(minutes=1), "cart", "t", customer=who, item=item, value=100) for who in fired],
        now=now + timedelta(minutes=2),
    )
    clock.at += timedelta(hours=2)
    ask = requested.request

    def noted(*arguments: Any, **named: Any) -> Request:
        asked.append(ask(*arguments, **named))
        return asked[-1]

    monkeypatch.setattr("tradewind.requested.request", noted)
    monkeypatch.setattr("tradewind.decide.campaign_plan.OTHERS", 10)
    (row,) = real.campaigns.tick()
    assert (row["fired"], row["decided"]) == (4, 4)
    (request,) = asked
    names = set(request.profiles["customer"].to_pylist())
    assert names >= set(fired)
    assert 4 < len(names) < 30 < len(people), "a sample of about ten"
    assert request.shortlist is not None
    assert set(request.shortlist["customer"].to_pylist()) <= names
    assert around(real.home, fired, as_of=clock.at) == frozenset(names)
    monkeypatch.setattr("tradewind.decide.campaign_plan.OTHERS", 1_000)
    assert around(real.home, fired, as_of=clock.at) is None, "a small shop is read whole"
