"""Who may do what: keys, log-in, roles, CSRF, sizes and rates, over real requests."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from tradewind.engine import audit
from tradewind.errors import InputError, NotFound
from tradewind.serve.access import ROLES, SCOPES, Access
from tradewind.serve.routes import TOPICS
from tradewind.serve.service import service
from tradewind.serve.state import Limits
from tradewind.shop import Shop

PASSWORD = "correct horse battery"
OPEN = {"/v1/health", "/v1/ready", "/v1/session"}  # what needs no key


class Clock:
    def __init__(self) -> None:
        self.at = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shop(home_url: str, clock: Clock) -> Iterator[Shop]:
    with Shop.open(home_url, now=clock) as opened:
        yield opened


@pytest.fixture
def access(shop: Shop) -> Access:
    return Access(shop.home, now=shop.now)


@pytest.fixture
def client(shop: Shop) -> Iterator[TestClient]:
    with TestClient(service(shop)) as made:
        yield made


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_a_key_works_until_it_is_revoked_and_its_secret_is_nowhere(client: TestClient, access: Access, shop: Shop, clock: Clock) -> None:
    key = access.new_key("ci", "admin")
    assert client.get("/v1/keys", headers=bearer(key)).json()[0]["name"] == "ci"
    shown = client.get("/v1/keys", headers=bearer(key)).text
    assert key.split("_", 2)[2] not in shown
    assert "secret" not in shown
    made = client.post("/v1/keys", headers=bearer(key), json={"name": "storefront", "role": "site"})
    assert made.status_code == 201
    other = made.json()["key"]
    assert client.get("/v1/keys", headers=bearer(other)).status_code == 403
    key_id = key.split("_")[1]
    assert client.delete(f"/v1/keys/{key_id}", headers=bearer(key)).status_code == 204
    clock.at += timedelta(seconds=6)
    assert client.get("/v1/keys", headers=bearer(key)).status_code == 401
    with shop.home.ledger.read() as conn:
        assert [entry.action for entry in audit.entries(conn)] == ["key.revoke", "key.make", "key.make"]


def test_a_key_expires(client: TestClient, access: Access, clock: Clock) -> None:
    key = access.new_key("ci", "admin", expires_at=clock.at + timedelta(hours=1))
    assert client.get("/v1/keys", headers=bearer(key)).status_code == 200
    clock.at += timedelta(hours=1, seconds=6)
    assert client.get("/v1/keys", headers=bearer(key)).status_code == 401
    with pytest.raises(InputError, match="dead on arrival"):
        access.new_key("old", "site", expires_at=clock.at)


def test_wrong_keys_are_refused(access: Access) -> None:
    for key in ("", "tw", "tw__", "tw_0_", "tw_000000000000_secret", "xx_0_0", "tw_0_\x00", "tw_\x00_0", "a" * 5000):
        assert access.of_key(key) is None, key


def test_a_person_logs_in_changes_something_and_logs_out(client: TestClient, access: Access) -> None:
    access.add_user("ann", PASSWORD, "admin")
    assert client.get("/v1/session").status_code == 401
    assert client.post("/v1/session", json={"name": "ann", "password": "wrong wrong wrong"}).status_code == 401
    assert client.post("/v1/session", json={"name": "bob", "password": PASSWORD}).status_code == 401
    answer = client.post("/v1/session", json={"name": "ann", "password": PASSWORD})
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    csrf = answer.json()["csrf"]
    assert client.get("/v1/session").json()["csrf"] == csrf
    told = {"name": "x", "role": "site"}
    assert client.post("/v1/keys", json=told).status_code == 403
    assert client.post("/v1/keys", json=told, headers={"x-csrf-token": "0" * 64}).status_code == 403
    assert client.post("/v1/keys", json=told, headers={"x-csrf-token": csrf}).status_code == 201
    assert client.delete("/v1/session").status_code == 403
    assert client.delete("/v1/session", headers={"x-csrf-token": csrf}).status_code == 204
    assert client.get("/v1/session").status_code == 401


def test_another_password_ends_the_sessions(client: TestClient, access: Access) -> None:
    access.add_user("ann", PASSWORD, "viewer")
    client.post("/v1/session", json={"name": "ann", "password": PASSWORD})
    assert client.get("/v1/session").status_code == 200
    access.add_user("ann", PASSWORD + "!", "viewer")
    found = access.log_in("ann", PASSWORD + "!")
    assert found is not None
    access.disable_user("ann")
    assert access.of_session(found[0]) is None
    assert access.log_in("ann", PASSWORD + "!") is None
    with pytest.raises(NotFound, match="nobody"):
        access.disable_user("nobody")


def test_guessing_passwords_ends_soon(shop: Shop, access: Access, clock: Clock) -> None:
    access.add_user("ann", PASSWORD, "viewer")
    with TestClient(service(shop, limits=Limits(log_ins=2))) as client:
        tries = [client.post("/v1/session", json={"name": "ann", "password": f"guess {n}"}).status_code for n in range(3)]
        assert tries == [401, 401, 429]
        assert client.post("/v1/session", json={"name": "ann", "password": PASSWORD}).status_code == 429
        clock.at += timedelta(minutes=1)
        assert client.post("/v1/session", json={"name": "ann", "password": PASSWORD}).status_code == 200


def test_a_caller_may_not_ask_for_ever(shop: Shop, access: Access, clock: Clock) -> None:
    key = access.new_key("ci", "admin")
    with TestClient(service(shop, limits=Limits(per_second=2, body=1000))) as client:
        got = [client.get("/v1/keys", headers=bearer(key)) for _ in range(5)]
        assert [one.status_code for one in got] == [200] * 4 + [429]
        assert got[4].headers["retry-after"] == "1"
        clock.at += timedelta(seconds=1)
        assert client.get("/v1/keys", headers=bearer(key)).status_code == 200
        assert client.post("/v1/session", content=b"x" * 1001).status_code == 413
        assert client.post("/v1/session", content=(b"x" * 400 for _ in range(3))).status_code == 413


def scopes(dependant: Dependant) -> list[str]:
    found = [str(scope)] if (scope := getattr(dependant.call, "scope", None)) else []
    return found + [scope for inner in dependant.dependencies for scope in scopes(inner)]


def test_every_route_names_its_scope_and_refuses_strangers(shop: Shop, access: Access, client: TestClient) -> None:
    """A walk over all routes: no key, a wrong key, every role that lacks the scope."""
    keys = {role: access.new_key(role, role) for role in ROLES}
    walked = 0
    routers = [import_module(f"tradewind.serve.routes.{topic}").router for topic in TOPICS]
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    described = client.get("/openapi.json").json()["paths"]
    assert {route.path for route in routes if route.include_in_schema} == set(described)
    for route in routes:
        assert route.path.startswith("/v1/")
        asked = scopes(route.dependant)
        if route.path in OPEN:
            assert not asked
            continue
        assert len(asked) == 1, f"{route.path} needs no scope, or several"
        path = route.path.replace("{", "").replace("}", "")
        for method in route.methods or ():
            for headers in ({}, bearer("tw_000000000000_wrong"), bearer("")):
                assert client.request(method, path, headers=headers).status_code == 401, (method, path)
            for role, allowed in ROLES.items():
                if asked[0] not in allowed:
                    assert client.request(method, path, headers=bearer(keys[role])).status_code == 403, (method, path, role)
                    walked += 1
    assert walked
    assert set().union(*ROLES.values()) == set(SCOPES)
