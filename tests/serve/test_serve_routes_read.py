"""What the people of a shop look at over HTTP: true figures, whole pages, and nothing is changed by looking."""

from __future__ import annotations

from typing import Any

import pytest
from managed_kit import Managed

LOOKS = [
    "earned", "plans", "customers", "campaigns", "copy/reviews", "copy/versions", "copy/lines", "copy/report", "experiments",
    "experiments/power", "attribution", "budgets", "model-budgets", "segments", "segments/columns", "demand/items", "demand/totals",
    "demand/orders", "data/tables", "data/loads", "data/quarantine", "data/quality", "models", "models/gates", "policies", "audit",
    "audit/verify", "settings", "offers", "channels", "reviews", "reviews/summary", "outbox", "outbox/messages", "outbox/gates",
    "risk/checks", "risk/reviews", "risk/rules", "risk/trusted", "jobs", "schedules",
    "plans/PLAN", "plans/PLAN/earned", "plans/PLAN/report", "plans/PLAN/decisions", "plans/PLAN/messages", "plans/PLAN/longer",
    "plans/PLAN/offpolicy", "plans/PLAN/fairness?by=locale", "budgets/PLAN", "customers/C0000001", "customers/C0000001/timeline",
    "customers/C0000001/why", "customers/C0000001/why?reader=auditor&locale=zh-CN", "segments/why?expression=frequency>0&customer=C0000001",
]  # fmt: skip


@pytest.fixture(scope="module")
def plan(managed: Managed) -> str:
    return managed.shop.plans.newest()


def test_looking_answers_and_changes_nothing(managed: Managed, plan: str) -> None:
    before = managed.dump()
    for path in LOOKS:
        managed.get(path.replace("PLAN", plan))
    assert managed.dump() == before


def test_what_was_earned_is_what_measure_says(managed: Managed, plan: str) -> None:
    (found,) = managed.get("earned")["rows"]
    report = managed.shop.measure(managed.shop.plan(plan))
    total = report["incremental profit"]
    assert (found["profit"]["value"], found["profit"]["low"], found["profit"]["high"]) == (total.value, total.low, total.high)
    assert found["profit"]["unit"] == "minor"
    assert found["final"] is True
    assert total.low is not None
    assert total.high is not None
    code = "earned" if total.low > 0 else "lost" if total.high < 0 else "unsure"
    assert found["verdict"]["code"] == code
    assert found["verdict"]["en"] == report.sections[0].text[0]
    assert found["verdict"]["zh"] != found["verdict"]["en"]
    assert not found["verdict"]["zh"].isascii()
    assert [one["code"] for one in found["next"]][-1] == "smallest"
    assert found["contact_cost"]["value"] == report["contact cost"].value
    told = managed.get(f"plans/{plan}/report")
    assert told["simulated"] is True
    assert [part["title"] for part in told["parts"]] == [section.title for section in report.sections]


def test_a_plan_and_its_decisions_add_up(managed: Managed, plan: str) -> None:
    found, whole = managed.get(f"plans/{plan[:12]}"), managed.shop.plan(plan)
    rows = managed.pages(f"plans/{plan}/decisions", limit=61)
    assert [row["customer"] for row in rows] == whole.table["customer"].to_pylist()
    treated = [row for row in rows if row["variant"] == "treat"]
    assert found["treated"] == sum(row["action"] != "nothing" for row in treated)
    assert sum(found["actions"].values()) == len(treated)
    assert found["reserved"] == sum(row["reserved"] for row in rows)
    one = next(row for row in treated if row["offer"])
    assert one in managed.pages(f"plans/{plan}/decisions", limit=50, action=one["offer"], variant="treat")
    assert managed.get(f"plans/{plan}/decisions", customer=one["customer"])["rows"] == [one]
    messages = managed.pages(f"plans/{plan}/messages", limit=40)
    assert len(messages) == sum(found["messages"].values())
    assert all(message["parts"] for message in messages)
    assert "@" not in str([message["parts"].get("to") for message in messages])


def test_customers_are_found_and_their_time_is_in_order(managed: Managed) -> None:
    everybody = managed.pages("customers", limit=47)
    names = [row["customer"] for row in everybody]
    assert names == sorted(set(names))
    assert [row["customer"] for row in managed.get("customers", find="C000001")["rows"]] == [n for n in names if n.startswith("C000001")]
    customer = max(everybody, key=lambda row: row["frequency"])["customer"]
    shown = managed.get(f"customers/{customer}")
    assert shown["profile"]["frequency"] > 0
    assert shown["simulated"] is True
    assert all(0 <= tag["confidence"] <= 1 for tag in shown["tags"])
    pages = managed.pages(f"customers/{customer}/timeline", limit=7)
    places = [(row["at"], row["id"]) for row in pages]
    assert places == sorted(set(places), reverse=True)
    assert {row["sort"] for row in pages} >= {"event", "decision"}
    assert len(pages) == len(managed.get(f"customers/{customer}/timeline", limit=500)["rows"])
    assert managed.post("customers/find", {"address": f"{customer.lower()}@example.com"}) == {"customers": [customer]}
    assert "@" not in str(everybody)


def test_why_is_what_was_logged(managed: Managed, plan: str) -> None:
    logged = managed.shop.plan(plan).explain("C0000001")
    told = managed.get("customers/C0000001/why", plan=plan, reader="customer")
    assert [one["propensity"] for one in told["candidates"]] == [one.propensity for one in logged.candidates]
    assert told["text"] == logged.text(reader="customer")
    assert told["recomputed"] is True
    channel = next(one["action"] for one in told["candidates"] if one["action"] != "nothing").split("|")[2]
    other = managed.post("customers/C0000001/what-if", {"changes": [f"without={channel}"], "locale": "zh-CN"})
    assert not other["now"].endswith(channel)
    assert managed.post("customers/C0000001/what-if", {"changes": ["without=fax"]}, 404)["error"] == "NotFound"


def test_segments_have_the_size_of_their_members(managed: Managed) -> None:
    found = managed.get("segments")
    everybody = len(managed.pages("customers", limit=500))
    for kind in ("rfm", "stage"):
        assert sum(one["customers"] for one in found if one["kind"] == kind) == everybody
    some = managed.post("segments/evaluate", {"expression": "frequency > 0"})
    inside = [row["customer"] for row in managed.pages("customers", limit=500) if row["frequency"] > 0]
    assert some["customers"] == len(inside)
    assert managed.get("segments/why", expression="frequency > 0", customer=inside[0])["inside"] is True
    assert "^" in managed.post("segments/evaluate", {"expression": "frequenzy > 0"}, 422)["detail"]
    assert "frequency" in {column["name"] for column in managed.get("segments/columns")}


def test_money_of_a_budget_adds_up(managed: Managed, plan: str) -> None:
    (line,) = managed.get("budgets")["rows"]
    found = managed.get(f"budgets/{plan}")
    assert {key: found[key] for key in line} == line
    assert found["left"] == found["amount"] - found["reserved"] - found["spent"]
    assert sum(day["held"] for day in found["days"]) == found["held"]["amount"] == found["reserved"]
    assert sum(day["spent"] for day in found["days"]) == found["spent"] == found["paid"]["amount"]


def test_demand_has_bands_and_orders_have_reasons(managed: Managed) -> None:
    items = managed.pages("demand/items", limit=29)
    assert items == sorted(items, key=lambda row: (-row["expected"], row["item"]))
    (series,) = managed.get(f"demand/items/{items[0]['item']}")
    assert sum(band["expected"] for band in series["bands"]) == pytest.approx(items[0]["expected"])
    assert all(band["q5"] <= band["q25"] <= band["q50"] <= band["q75"] <= band["q95"] for band in series["bands"])
    orders = managed.pages("demand/orders", limit=500, service=0.99)
    assert orders
    assert all(line["order"] > 0 and line["reasons"] and not line["reasons"][0]["zh"].isascii() for line in orders)
    assert managed.get("demand/items/nothing", 404)["error"] == "NotFound"


def test_data_tell_what_was_wrong(managed: Managed) -> None:
    load = next(row for row in managed.get("data/loads")["rows"] if row["warned"] is not None)
    report = managed.get(f"data/loads/{load['load_id']}")
    assert sum(count["quarantined"] for count in report["counts"]) == load["rows_quarantined"] > 0
    waiting = managed.pages("data/quarantine", limit=5)
    assert len(waiting) == load["rows_quarantined"]
    assert all(row["reason"] for row in waiting)
    assert len(managed.get("data/quarantine", rule=waiting[0]["rule"])["rows"]) <= len(waiting)


def test_reviews_have_evidence(managed: Managed) -> None:
    rows = {row["id"]: row for row in managed.pages("reviews", limit=6)}
    told = managed.get("reviews/summary")
    assert told["reviews"] == len(rows)
    for aspect in told["aspects"]:
        for clause in (*aspect["praised"], *aspect["blamed"]):
            assert clause["words"] in rows[clause["review"]]["text"]


def test_settings_keep_what_is_secret(managed: Managed) -> None:
    assert managed.shop.home.settings.salt not in managed.client.get("/v1/settings").text
    assert managed.get("settings")["name"] == "Harbour"
    reach = {one["channel"]: one["reachable"] for one in managed.get("channels")}
    assert reach["email"] > 0
    assert {offer["offer"] for offer in managed.get("offers")["rows"]} >= {"coupon-10"}


def test_nobody_learns_more_than_the_role_allows(managed: Managed) -> None:
    key = managed.access.new_key("look", "viewer")
    asked: dict[str, Any] = {"headers": {"authorization": f"Bearer {key}"}}
    assert managed.client.get("/v1/customers/C0000001", **asked).status_code == 200
    assert managed.client.post("/v1/customers/C0000001/export", **asked).status_code == 403
    assert managed.client.post("/v1/plans", json={}, **asked).status_code == 403
