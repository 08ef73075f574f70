"""One trace for three readers, and what would have been: every number and name in every text is in the log."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from decide_world import AS_OF, OFFERS, World

from tradewind.decide.plan import Plan
from tradewind.decide.policy import Limits, decide
from tradewind.decide.readers import LOCALES, READERS, words
from tradewind.decide.what_if import under, without
from tradewind.engine.home import Home
from tradewind.errors import InputError, NotFound, StateError
from tradewind.requested import what_if
from tradewind.types import NOTHING

WORLD = World(n=150)
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@pytest.fixture(scope="module")
def plan() -> Plan:
    allowed = pa.table({"customer": WORLD.customers[1:], "channel": ["email"] * (WORLD.n - 1)})
    offers = (OFFERS[0], replace(OFFERS[1], title={"en": "ten off", "zh-CN": "\u4e5d\u6298"}))
    return decide(WORLD.request(allowed=allowed, holdout=0.3, budget=6_000, offers=offers))


def logged(plan: Plan, row: dict[str, Any]) -> tuple[set[str], str]:
    """Every way in which a number of the log may be written, and all its text."""
    numbers = [row["price"], row["propensity"], row["value"], row["cost"], float(row["seed"])]
    numbers += [value for name in ("propensities", "values", "sds", "costs", "scores") for value in row[name]]
    told = json.dumps([row, plan.meta["offers"], plan.meta["plan_id"]], default=str, ensure_ascii=False) + " ".join(row["reasons"])
    written = {f"{value:{form}}" for value in numbers for form in (".0f", ".1f", ".3f", ".6f", ".0%", ".1%", ",.2f")}
    written |= {f"{value / 100:,.2f}" for value in numbers} | {f"{sum(row['propensities']):.6f}", str(len(row["candidates"]))}
    suppressed = json.loads(row["suppressed"])
    written |= {str(len([1 for code in suppressed.values() if code == one]) - 5) for one in suppressed.values()}
    return {part for text in written for part in NUMBER.findall(text)} | set(NUMBER.findall(told)), told


@pytest.mark.parametrize(("reader", "locale"), list(product(READERS, LOCALES)))
def test_every_number_and_name_is_in_the_log(plan: Plan, reader: str, locale: str) -> None:
    fixed = set(NUMBER.findall(json.dumps(words(locale), ensure_ascii=False)))
    names = {*plan.meta["offers"], *(f"i{number}" for number in range(20)), *WORLD.customers, "email", "sms", "push"}
    kinds = set()
    for row in plan.table.to_pylist()[:80]:
        numbers, told = logged(plan, row)
        text = plan.explain(row["customer"]).text(reader=reader, locale=locale)
        kinds.add((row["variant"], row["action"] == NOTHING))
        assert set(NUMBER.findall(text)) <= numbers | fixed, text
        said = {name for name in names if re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text, re.ASCII)}
        assert all(re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", told, re.ASCII) for name in said)
        assert "{" not in text.replace(': {"', "")
    assert len(kinds) >= 3


def test_a_customer_reads_no_money_and_an_auditor_reads_everything(plan: Plan) -> None:
    row = next(row for row in plan.table.to_pylist() if row["variant"] == "treat" and row["action"].startswith("ten"))
    told = plan.explain(row["customer"])
    customer, auditor = (told.text(reader=reader, locale="en") for reader in ("customer", "auditor"))
    assert '"ten off"' in customer
    assert "\u4e5d\u6298" in told.text(reader="customer", locale="zh-CN")
    assert "CNY" not in customer
    assert f"{row['value']:.1f}" not in customer
    for candidate, chance in zip(row["candidates"], row["propensities"], strict=True):
        assert f"{candidate}: propensity {chance:.6f}" in auditor
    assert row["decision_id"] in auditor
    assert "Recomputed from log and seed: equal." in auditor


def test_the_auditor_sees_a_log_that_was_changed(plan: Plan) -> None:
    at = plan.table.column_names.index("propensities")
    rows = plan.table["propensities"].to_pylist()
    one = next(number for number, chances in enumerate(rows) if len(chances) > 1)
    rows[one] = rows[one][::-1] if rows[one] != rows[one][::-1] else [1.0] + [0.0] * (len(rows[one]) - 1)
    forged = Plan(plan.table.set_column(at, plan.table.schema.field(at), pa.array(rows, plan.table.schema.field(at).type)), plan.meta)
    customer = plan.table["customer"][one].as_py()
    assert "NOT EQUAL" in forged.explain(customer).text(reader="auditor")
    assert "NOT EQUAL" not in plan.explain(customer).text(reader="auditor")


def test_every_reason_has_words_in_both_languages() -> None:
    from tradewind.decide.eligibility import EXPLAIN
    from tradewind.decide.explain import FULL

    for locale in LOCALES:
        assert set(words(locale)["why"]) == {*EXPLAIN, *FULL}
    assert words("en")["auditor"].keys() == words("zh-CN")["auditor"].keys()


def test_unknown_readers_and_languages_are_named(plan: Plan) -> None:
    told = plan.explain("c00001")
    with pytest.raises(NotFound, match="reader"):
        told.text(reader="boss")
    with pytest.raises(NotFound, match="zh-CN"):
        told.text(reader="customer", locale="fr")


def test_what_if_at_the_logged_price_nothing_changes_and_without_the_chosen_offer_it_does(plan: Plan) -> None:
    changed = 0
    for row in plan.table.to_pylist():
        if len(row["candidates"]) < 2:
            continue
        same = without(plan, row["customer"], price=row["price"])
        if row["mode"] == "policy":
            assert same.now == row["action"]
            assert same.chance == pytest.approx(row["propensity"])
        if row["action"] != NOTHING:
            offer = row["action"].split("|")[0]
            other = without(plan, row["customer"], names=[offer])
            assert offer not in other.now.split("|")
            changed += other.now != NOTHING
    assert changed > 0


def test_what_if_agrees_with_solving_again_at_another_price(plan: Plan) -> None:
    dear = [without(plan, row["customer"], price=50.0) for row in plan.table.to_pylist() if len(row["candidates"]) > 1]
    assert np.mean([one.now == NOTHING for one in dear]) > np.mean([one.before == NOTHING for one in dear])
    told = next(one for one in dear if one.now != one.before)
    assert str(told) == (
        f"With price = 50: {'nothing' if told.now == NOTHING else told.now} (chance {told.chance:.1%}) instead of "
        f"{'nothing' if told.before == NOTHING else told.before} (chance {told.before_chance:.1%})."
    )


def test_what_if_needs_something_to_change(plan: Plan) -> None:
    row = next(row for row in plan.table.to_pylist() if len(row["candidates"]) > 1)
    with pytest.raises(InputError, match="say what changes"):
        without(plan, row["customer"])
    with pytest.raises(InputError, match="at least 1"):
        without(plan, row["customer"], price=0.5)
    with pytest.raises(NotFound, match="carrier-pigeon"):
        without(plan, row["customer"], names=["carrier-pigeon"])


def test_what_if_the_cap_were_another(tmp_path: Path) -> None:
    """Who had had too many messages gets something under a wider cap, and the other way round; the same cap changes nothing."""
    request = WORLD.request(limits=Limits(messages_30d=2), holdout=0.0, budget=400_000)
    plan = decide(request)
    rows = {row["customer"]: row for row in plan.table.to_pylist()}
    capped = [name for name, row in rows.items() if "messages_cap" in json.loads(row["suppressed"]).values()]
    served = [name for name, row in rows.items() if row["action"] != NOTHING]
    with Home.open(tmp_path / "shop") as home:
        same = under(home, request, plan, served[0], {"messages_30d": 2})
        assert (same.now, same.chance) == (rows[served[0]]["action"], rows[served[0]]["propensity"])
        assert str(same).startswith("With messages_30d = 2 (2) nothing would be different")
        wider = [under(home, request, plan, name, {"messages_30d": 8}) for name in capped[:4]]
        assert all(one.before == NOTHING for one in wider)
        assert any(one.now != NOTHING for one in wider)
        none = [under(home, request, plan, name, {"messages_30d": 0}) for name in served[:2]]
        assert [one.now for one in none] == [NOTHING] * 2
        assert none[0].text("zh-CN").startswith("\u82e5 messages_30d = 0 (2)")
        with pytest.raises(NotFound, match="messages_week"):
            under(home, request, plan, served[0], {"messages_week": 2})


def test_changes_are_read_from_words(plan: Plan, tmp_path: Path) -> None:
    row = next(row for row in plan.table.to_pylist() if row["action"] != NOTHING)
    name, offer = row["customer"], row["action"].split("|")[0]
    with Home.open(tmp_path / "shop") as home:
        found = what_if(home, plan, name, [f"without={offer}", "price=1.5"], now=AS_OF)
        assert found == without(plan, name, names=[offer], price=1.5)
        for changes, said in ((["price"], "write a change"), (["price=cheap"], "write a change"), (["gap_hours=2", "price=2"], "alone")):
            with pytest.raises(InputError, match=said):
                what_if(home, plan, name, changes, now=AS_OF)
        with pytest.raises(StateError, match="policy version"):  # made by hand, not by a shop
            what_if(home, plan, name, ["messages_30d=2"], now=AS_OF)
