"""The description of the service is true: Schemathesis asks every operation, with values that fit it and values that do not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from managed_kit import Managed

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_headers_conformance",
    "response_schema_conformance", "negative_data_rejection", "unsupported_method", "ignored_auth",
)  # fmt: skip
# A value that fits the description may still be refused for what it says (an expression that names no column): so no check that all
# such values are taken. These take what does not fit on purpose: events are judged row by row, and logging out twice is no fault.
LENIENT = {"POST /v1/events", "POST /v1/segment", "POST /v1/ga4", "DELETE /v1/session"}
TAKEN = {("GET", "/v1/customers/{customer}/erasure")}  # that nothing is left of a stranger is true
ODD = [
    "x" * 300,
    "%00",
    "a%00b",
    "..%2f..%2fetc%2fpasswd",
    "%E2%80%AE",
    "%F0%9F%8D%B5",
    "'%20OR%201=1--",
    "%7B%7B7*7%7D%7D",
    "%0d%0aX:1",
]


@pytest.fixture(scope="module")
def asked(managed: Managed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Managed]:
    made = managed.copy(tmp_path_factory.mktemp("asked") / "shop")
    campaign = {"name": "spring", "goal": "x", "from": "2026-01-01", "until": "2026-12-31", "channels": ["email"]}
    made.post("campaigns", {"campaign": campaign}, 201)
    yield made
    made.close()


def known(asked: Managed) -> dict[str, str]:
    """Ids that are there, by the name of the path parameter."""
    model = asked.get("models", name="recommend")["rows"][0]
    return {
        "plan_id": asked.shop.plans.newest(), "budget": asked.shop.plans.newest(), "customer": "C0000001", "campaign": "spring",
        "item": asked.get("demand/items")["rows"][0]["item"], "load_id": asked.get("data/loads")["rows"][0]["load_id"],
        "message_id": asked.get("outbox/messages", state="accepted")["rows"][0]["message_id"], "name": "recommend",
        "version": model["version"], "component": "en.action.more", "rule": "large", "experiment": "banner", "channel": "email",
    }  # fmt: skip


def fault(operation: Any, mode: Any, ids: dict[str, str], checks: list[Any], headers: dict[str, str]) -> str:
    """What is wrong with the answers of one operation; empty when nothing is."""
    from hypothesis import HealthCheck, Phase, given, seed, settings

    @seed(1)
    @settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate], database=None)
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        for name in ids.keys() & (case.path_parameters or {}).keys():
            case.path_parameters[name] = ids[name]
        case.call_and_validate(headers=headers, checks=checks, timeout=300)

    try:
        ask()
    except Exception as error:  # noqa: BLE001 - every fault of every operation is told at once
        if type(error).__name__ != "Unsatisfiable":
            return "; ".join(str(one) for one in getattr(error, "exceptions", (error,)))[:800]
    return ""


def test_every_answer_is_as_described(asked: Managed) -> None:
    """No 5xx, no status and no shape that the description does not name, for values that fit, for ids that are there, for nonsense."""
    schemathesis = pytest.importorskip("schemathesis")
    schemathesis.checks.load_all_checks()
    checks = {name: schemathesis.checks.CHECKS.get_one(name) for name in CHECKS}
    fits, odd = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
    headers, there = {"Authorization": asked.client.headers["authorization"]}, known(asked)
    faults, operations = [], 0
    for found in schemathesis.openapi.from_asgi("/openapi.json", asked.app).get_all_operations():
        operation = found.ok()
        label = f"{operation.method.upper()} {operation.path}"
        # What is wrong in a query may be read as a text, and in a header it is replaced by the key.
        strict = label not in LENIENT and label.startswith(("POST", "PUT"))
        wanted = [check for name, check in checks.items() if strict or name != "negative_data_rejection"]
        operations += 1
        for mode, ids in ((fits, {}), (fits, there), (odd, {})):
            if (not ids or "{" in label) and (told := fault(operation, mode, ids, wanted, headers)):
                faults.append(f"{label} {mode.name}: {told}")
    assert operations > 100
    assert not faults, "\n\n".join(faults)


def paths(asked: Managed) -> list[tuple[str, str]]:
    described = asked.client.get("/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, methods in described.items() if "{" in path for method in methods]


def test_odd_ids_are_refused_in_one_shape(asked: Managed) -> None:
    """Too long, with NUL, with a path, in other scripts: 404 or 422 as a problem, and never what lies outside."""
    before = {path.name for path in asked.folder.iterdir()}
    assert len(paths(asked)) > 40
    for method, path in paths(asked):
        for odd in ODD:
            at = path
            while "{" in at:
                at = at[: at.index("{")] + odd + at[at.index("}") + 1 :]
            answer = asked.client.request(method, at, json={} if method in ("POST", "PUT") else None)
            assert answer.status_code in (404, 405, 409, 422) or (method, path) in TAKEN, (method, at, answer.status_code, answer.text)
            if answer.status_code >= 400:
                told = answer.json()
                assert answer.headers["content-type"] == "application/problem+json"
                assert told["status"] == answer.status_code
                assert told["detail"]
            assert "root:" not in answer.text
    assert {path.name for path in asked.folder.iterdir()} == before


@pytest.mark.parametrize("path", ["plans", "customers", "audit", "outbox/messages", "data/loads", "reviews", "demand/orders", "budgets"])
def test_pages_have_bounds(asked: Managed, path: str) -> None:
    for limit in ("0", "-1", "501", "9" * 40, "1e3", "x", ""):
        assert asked.get(path, 422, limit=limit)["error"] == "InputError"
    for after in ("nobody", "-1", "99999999999999999999:x", "\u202e", "0:0", "a" * 200):
        answer = asked.client.get(f"/v1/{path}", params={"after": after})
        assert answer.status_code in (200, 404), answer.text
        if answer.status_code == 200:
            assert answer.json()["next"] is None or path == "customers"
    assert asked.get(path, 422, after="a\0b")["error"] == "InputError"


def test_foreign_ids_are_not_found(asked: Managed) -> None:
    for path in (
        "plans/none", "plans/none/report", "plans/none/decisions", "plans/none/messages", "customers/none", "customers/none/timeline",
        "customers/none/why", "campaigns/none", "campaigns/none/history", "campaigns/none/trigger", "budgets/none", "demand/items/none",
        "data/loads/none", "outbox/messages/none", "jobs/none",
    ):  # fmt: skip
        assert asked.get(path, 404)["error"] == "NotFound", path


def test_bodies_of_odd_kinds_are_refused(asked: Managed) -> None:
    for body in (b"", b"null", b"[]", b'"x"', b"{", b"\xff\xfe", b'{"expression": "\\ud800"}', b'{"expression": "\\u0000"}', b"[" * 5000):
        answer = asked.client.post("/v1/segments/evaluate", content=body, headers={"content-type": "application/json"})
        assert answer.status_code in (400, 422), (body[:40], answer.status_code, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    deep = '{"campaign": ' + '{"a": ' * 200 + "1" + "}" * 200 + "}"
    answer = asked.client.post("/v1/campaigns/check", content=deep, headers={"content-type": "application/json"})
    assert answer.status_code in (200, 422)


def test_the_docs_list_every_operation(asked: Managed) -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "http.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([A-Z]+ /v1/[^`]*)` \|", text, flags=re.MULTILINE))
    described = asked.client.get("/openapi.json").json()["paths"]
    assert listed == {f"{method.upper()} {path}" for path, methods in described.items() for method in methods}


def test_every_operation_says_what_it_is(asked: Managed) -> None:
    """Names, words and a tag for every operation; a shape for every answer."""
    told = asked.client.get("/openapi.json").json()
    names = []
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            names.append(operation["operationId"])
            assert operation["description"], (method, path)
            assert len(operation["tags"]) == 1, (method, path)
            for status, answer in operation["responses"].items():
                content = answer.get("content", {})
                assert (status == "204") == (not content), (method, path, status)
                assert all(one.get("schema") for one in content.values()), (method, path, status)
    assert len(set(names)) == len(names)
    assert not [name for name in told["components"]["schemas"] if "__" in name], "two topics call different things alike"
