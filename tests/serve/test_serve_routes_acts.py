"""What people do to a shop over HTTP: each act is done once, under their name, or refused with what to do next."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from managed_kit import Managed

from tradewind.engine import audit
from tradewind.engine.jobs import Jobs

SPRING = """
name = "spring"
goal = "Bring them back"
audience = 'messages_30d > 0'
offers = ["coupon"]
channels = ["email", "inapp"]
budget = "100 CNY"
holdout = 0.1
from = {begins:%Y-%m-%d}
until = {ends:%Y-%m-%d}
[guard]
complaint_rate = 0.003
"""


def spring(managed: Managed, **other: str) -> dict[str, str]:
    text = SPRING.format(begins=managed.clock.at - timedelta(days=1), ends=managed.clock.at + timedelta(days=30))
    for before, after in other.items():
        text = text.replace(before, after)
    return {"toml": text}


def actors(managed: Managed, action: str) -> list[str]:
    with managed.shop.home.ledger.read() as conn:
        return [one.actor for one in audit.entries(conn, action=action)]


def test_a_campaign_goes_its_whole_way(changed: Managed) -> None:
    told = spring(changed)
    assert changed.post("campaigns/check", told) == {"faults": []}
    assert changed.get("campaigns")["rows"] == []
    assert changed.post("campaigns", told, 201)["state"] == "draft"
    assert changed.post("campaigns", told, 201)["version"] == 1
    assert changed.post("campaigns/spring/approve", status=409)["error"] == "StateError"
    planned = changed.post("campaigns/spring/plan", {})
    assert planned["summary"]["treated"] + planned["summary"]["holdout"] <= planned["summary"]["audience"]
    assert changed.post("campaigns/spring/approve")["state"] == "approved"
    assert changed.post("campaigns/spring/apply")["state"] == "running"
    shown = changed.get("campaigns/spring")
    assert shown["shown"]["treated"] == planned["summary"]["treated"]
    assert shown["budget"]["reserved"] == planned["summary"]["reserved"]
    (made,) = shown["plans"]
    assert changed.get(f"plans/{made}")["campaign"] == "spring"
    assert next(one for one in changed.get("segments") if one["kind"] == "audience")["customers"] == planned["summary"]["audience"]
    assert changed.post("campaigns/spring/pause", {"why": "a look"})["state"] == "paused"
    assert changed.post("campaigns/spring/resume", {})["state"] == "running"
    assert changed.post("campaigns/spring/finish", {})["state"] == "done"
    assert changed.get("campaigns/spring")["budget"]["reserved"] == 0
    moves = changed.get("campaigns/spring/history")
    assert [one["action"].partition(".")[2] for one in moves] == ["draft", "planned", "approved", "running", "paused", "running", "done"]
    assert {one["by"] for one in moves} == {"person:key tests"}
    assert moves[4]["why"] == "a look"


def test_every_fault_of_a_campaign_has_its_place(changed: Managed) -> None:
    told = spring(changed, audience="audiense", **{"0.003": "3", "0.1": "2", '"coupon"': "7"})
    faults = {(one["where"], one["line"]) for one in changed.post("campaigns/check", told)["faults"]}
    assert faults == {("audiense", 4), ("offers", 5), ("holdout", 8), ("guard.complaint_rate", 12)}
    wrong = spring(changed, **{"messages_30d > 0": "mesages_30d > 0"})
    (fault,) = changed.post("campaigns/check", wrong)["faults"]
    assert (fault["where"], fault["line"]) == ("audience", 4)
    (fault,) = changed.post("campaigns/check", {"toml": "name = "})["faults"]
    assert fault["where"] == "file"
    (fault,) = changed.post("campaigns/check", spring(changed, until="from_ = 1 #"))["faults"][-1:]
    assert fault["where"] == "until"
    assert changed.post("campaigns", {}, 422)["error"] == "InputError"
    assert changed.post("campaigns", told, 422)["error"] in ("InputError", "NotFound")
    assert changed.get("campaigns")["rows"] == []


def test_a_person_is_exported_and_forgotten(changed: Managed) -> None:
    name = "C0000003"
    assert changed.get(f"customers/{name}")["profile"]
    assert changed.get("customers", find=name)["rows"]
    told = changed.post(f"customers/{name}/export")
    assert told["data"]["contacts"][0]["address"]
    assert told["data"]["events"]
    assert changed.client.delete(f"/v1/customers/{name}").status_code == 422
    assert changed.client.delete(f"/v1/customers/{name}?confirm=C0000004").status_code == 422
    assert changed.get(f"customers/{name}")["profile"]
    done = changed.client.delete(f"/v1/customers/{name}?confirm={name}")
    assert done.status_code == 200
    assert done.json()["customers"] == 1
    assert changed.get(f"customers/{name}", 404)["error"] == "NotFound"
    assert changed.get("customers", find=name)["rows"] == []
    assert changed.post("customers/find", {"address": f"{name.lower()}@example.com"}) == {"customers": []}
    assert changed.post(f"customers/{name}/export", status=404)["error"] == "NotFound"
    proof = changed.get(f"customers/{name}/erasure")
    assert proof["clean"] is True, proof
    assert actors(changed, "customer.e") == ["policy:key tests"] * 2


def test_a_consent_is_put_and_taken_back(changed: Managed) -> None:
    path, said = "/v1/customers/C0000001/consents/email", {"source": "call centre"}

    def put(channel: str, **told: Any) -> bool:
        changed.clock.at += timedelta(minutes=1)
        answer = changed.client.put(f"/v1/customers/C0000001/consents/{channel}", json=said | told)
        assert answer.status_code == 200, answer.text
        return bool({one["channel"]: one["on"] for one in answer.json()}[channel])

    assert put("personalisation", granted=False) is False
    assert put("personalisation", granted=True) is True
    assert put("email", granted=False) is False
    assert put("email", granted=True, source="a program") is False, "a suppressed address stays suppressed"
    newest = changed.get("customers/C0000001")["history"][0]
    assert (newest["channel"], newest["status"], newest["source"]) == ("email", "granted", "a program")
    assert changed.client.put("/v1/customers/C0000001/consents/fax", json=said | {"granted": True}).status_code == 422
    refused = changed.client.put(path, json=said | {"granted": True, "jurisdiction": "EU", "basis": "legitimate_interest"})
    assert refused.status_code == 422


def test_words_wait_for_a_person(changed: Managed) -> None:
    row = {"id": "own.hook.met", "role": "hook", "tone": "warm", "channels": ["email"], "text": "Have you met {title} at {price}?"}
    (entered,) = changed.post("copy", {"locale": "en", "words": [row]}, 201)
    assert entered["state"] == "checked"
    (review,) = changed.get("copy/reviews")["rows"]
    assert {one["name"]: one["kind"] for one in review["facts"]} == {"title": "name", "price": "money"}
    wrong = [row | {"id": "own.hook.ok"}, row | {"id": "own.hook.bad", "text": "Only 3 left!"}]
    assert changed.post("copy", {"locale": "en", "words": wrong}, 422)["error"] == "InputError"
    assert len(changed.get("copy/versions")["rows"]) == 1
    assert changed.post("copy/own.hook.met/approve", {"why": "good"})["state"] == "approved"
    assert changed.get("copy/reviews")["rows"] == []
    changed.post("copy", {"locale": "en", "words": [row | {"text": "Look at {title} for {price}!"}]}, 201)
    (review,) = changed.get("copy/reviews")["rows"]
    assert review["in_use"] == row["text"]
    assert changed.post("copy/own.hook.met/reject", {"version": 2})["state"] == "retired"
    assert changed.post("copy/own.hook.met/approve", {"version": 2}, 409)["error"] == "StateError"
    assert changed.post("copy/nothing/approve", {}, 404)["error"] == "NotFound"
    assert set(actors(changed, "copy.approved")) == {"person:key tests"}


def test_long_work_is_queued_with_its_arguments(changed: Managed) -> None:
    plan = changed.shop.plans.newest()
    asked: dict[str, tuple[str, Any, dict[str, Any]]] = {
        "decide": ("plans", {"budget": "20 CNY", "channels": ["email"]}, {"budget": "20 CNY", "channels": ["email"]}),
        "compose": (f"plans/{plan[:10]}/compose", {"writer": "components"}, {"plan": plan}),
        "deliver": (f"plans/{plan}/deliver", {}, {"plan": plan, "dry_run": True, "to": "file"}),
        "measure": (f"plans/{plan}/measure", None, {"plan": plan}),
        "learn": ("models/learn", {"recommend": "popular"}, {"recommend": "popular"}),
        "demand": ("demand/learn", {"horizon": 7}, {"horizon": 7}),
        "tick": ("campaigns/tick", None, {}),
    }
    for name, (path, told, args) in asked.items():
        job_id = changed.post(path, told, 202)["job_id"]
        status = Jobs(changed.shop.home.ledger).status(job_id)
        assert status.name == name
        assert {**status.args, **args} == status.args
    assert actors(changed, "job.submit") == ["policy:key tests"] * len(asked)
    assert changed.post("plans", {"budget": "20 EUR"}, 422)["error"] == "InputError"
    assert changed.post("plans", {"policy": "zz"}, 404)["error"] == "NotFound"
    assert changed.post(f"plans/{plan}/compose", {"locale": "tlh"}, 422)["error"] == "InputError"


def test_models_go_back(changed: Managed) -> None:
    first = changed.get("models", name="recommend")["rows"][0]
    changed.shop.learn(recommend="recent", as_of=changed.clock.at)
    rows = changed.get("models", name="recommend")["rows"]
    assert [one["active"] for one in rows].count(True) == 1
    back = changed.post(f"models/recommend/{first['version']}/activate")
    assert back["active"] is True
    assert changed.post("models/recommend/nothing/activate", status=404)["error"] == "NotFound"
    (policy,) = changed.get("policies")["rows"]
    assert changed.post(f"policies/{policy['version']}/rollback")["active"] is True
    assert actors(changed, "model.activate") == ["policy:key tests"]


def test_an_operator_stops_a_channel_and_looks_after_messages(changed: Managed) -> None:
    changed.post("channels/email/stop", {"why": "bounces"}, 204)
    assert changed.get("outbox/gates")[0]["stopped"] == "bounces"
    assert {one["channel"]: one["stopped"] for one in changed.get("channels")}["email"] == "bounces"
    changed.post("channels/email/resume", status=204)
    assert changed.get("outbox/gates") == []
    rows = changed.pages("outbox/messages", limit=9, state="accepted")
    assert len({row["message_id"] for row in rows}) == len(rows) == sum(one["messages"] for one in changed.get("outbox"))
    told = changed.get(f"outbox/messages/{rows[0]['message_id']}")
    assert told["parts"]
    assert changed.post("outbox/replay", {"messages": [rows[0]["message_id"]]}, 409)["error"] == "StateError"
    assert changed.post("outbox/replay", {}, 422)["error"] == "InputError"
    assert changed.post(f"outbox/messages/{rows[0]['message_id']}/resolve", {"accepted": True}, 409)["error"] == "StateError"


def test_risk_is_checked_and_settled(changed: Managed) -> None:
    asked = {"moment": "order-1", "features": {"action": "order", "amount": 90000}, "amount": 90000}
    told = changed.post("risk/check", asked)
    assert told["verdict"] == "allow", "the rule was not activated"
    assert told["held"] == ["large"]
    tested = changed.post("risk/rules/large/backtest")
    assert tested["backtest"]["rows"] > 0
    assert changed.post("risk/rules/large/activate")["acting"] is True
    changed.clock.at += timedelta(minutes=1)
    told = changed.post("risk/check", asked | {"moment": "order-2"})
    assert (told["verdict"], told["state"]) == ("review", "open")
    assert [one["check_id"] for one in changed.get("risk/reviews")] == [told["check_id"]]
    done = changed.post(f"risk/reviews/{told['check_id']}/settle", {"decision": "reject", "note": "stolen"})
    assert (done["state"], done["note"]) == ("rejected", "stolen")
    assert changed.post(f"risk/reviews/{told['check_id']}/settle", {"decision": "approve"}, 409)["error"] == "StateError"
    who = {"kind": "customer", "subject": "C0000001", "why": "our own"}
    assert changed.client.put("/v1/risk/trusted", json=who).status_code == 200
    assert [one["subject"] for one in changed.get("risk/trusted")] == ["C0000001"]
    assert changed.client.delete("/v1/risk/trusted/customer/C0000001").status_code == 204
    assert changed.get("risk/trusted") == []


def test_arms_are_the_same_for_ever(changed: Managed) -> None:
    told = {"units": ["a", "b", "c"], "shares": {"control": 0.5, "new": 0.5}}
    first = changed.post("experiments/banner/arms", told)
    assert changed.post("experiments/banner/arms", told) == first
    assert changed.post("experiments/banner/arms", told | {"shares": {"control": 0.4, "new": 0.6}}, 409)["error"] == "StateError"
    assert changed.get("experiments")["rows"] == [{"name": "banner", "shares": {"control": 0.5, "new": 0.5}}]
