"""A tiny shop that has learned and decided, copied for each test; its service, asked over HTTP without a socket."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
from fastapi.testclient import TestClient

from tradewind import schema
from tradewind.engine.home import Home
from tradewind.learn.graph import Graph
from tradewind.learn.registry import Version, publish
from tradewind.learn.sequences import sequences
from tradewind.serve.hot import Hot
from tradewind.serve.service import description, service
from tradewind.shop import Shop

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ITEMS = [f"i{number:02d}" for number in range(24)]
PEOPLE = [f"c{number:02d}" for number in range(30)]
OFFERS = {"offer": ["look", "ten"], "kind": ["product", "coupon"], "terms": ["{}", '{"percent": 10}']}


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> datetime:
        return self.at


@cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    """Removed when the process ends."""
    return tempfile.TemporaryDirectory(prefix="tw-hot-")


@cache
def made() -> Path:
    """The folder of the shop; made once in a process."""
    folder = Path(_kept().name) / "shop"
    with Shop.open(folder, now=Clock()) as shop:
        shop.home.save_settings(replace(shop.home.settings, name="tiny", currency="CNY"))
        told = {
            "item": ITEMS,
            "title": ITEMS,
            "price": [1_000] * 24,
            "cost": [500] * 24,
            "stock": [0, *[50] * 23],
            "category": ["tea"] * 24,
        }
        shop.collect(schema.conform(pa.table(told), schema.ITEMS))
        shop.collect(schema.conform(pa.table(_log()), schema.EVENTS))
        yes = {"customer": PEOPLE, "channel": ["inapp"] * 30, "granted": [True] * 30, "at": [NOW] * 30, "source": ["test"] * 30}
        shop.collect(pa.table(yes, schema=schema.CONSENTS))
        shop.collect(schema.conform(pa.table(OFFERS), schema.OFFERS))
        learn(shop.home)
        shop.decide(channels=["inapp"], budget="3 CNY", holdout=0.2, as_of=NOW)
    return folder


def _log() -> dict[str, Any]:
    """Everybody walks along the items, two steps a day, and bought the first one."""
    rows = [(who, step) for who in range(30) for step in range(8)]
    return {
        "id": [f"past{who}-{step}" for who, step in rows],
        "at": pa.array([NOW - timedelta(days=10) + timedelta(hours=12 * step, minutes=who) for who, step in rows], schema.TIME),
        "customer": [PEOPLE[who] for who, _ in rows],
        "kind": ["purchase" if step == 0 else "view" for _, step in rows],
        "item": [ITEMS[(who + step) % 24] for who, step in rows],
        "value": [1_000 if step == 0 else None for _, step in rows],
        "currency": ["CNY"] * len(rows),
        "source": ["test"] * len(rows),
    }


def learn(home: Home, **parameters: Any) -> Version:
    """Publish a graph; other parameters make another version."""
    model = Graph(**parameters).fit(sequences(home.tables, as_of=NOW), as_of=NOW)
    return publish(home, "recommend", model.save, as_of=NOW, card={}, now=NOW)


class Asked:
    """The service of a shop and a client with a key for everything. Upkeep turns only when a test says so."""

    def __init__(self, shop: Shop, clock: Clock, client: TestClient, hot: Hot) -> None:
        self.shop, self.clock, self.client, self.hot = shop, clock, client, hot

    def post(self, path: str, body: Any, status: int = 200) -> Any:
        answer = self.client.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def get(self, path: str, status: int = 200, **query: Any) -> Any:
        answer = self.client.get(path, params=query)
        assert answer.status_code == status, answer.text
        return answer.json()

    def items(self, customer: str, **more: Any) -> list[str]:
        return [one["item"] for one in self.post("/v1/recommend", {"customer": customer, **more})["items"]]

    def turn(self) -> list[str]:
        return self.hot.upkeep.turn(everything=True)


@contextmanager
def asked(folder: Path) -> Iterator[Asked]:
    """Serve a copy of the shop."""
    shutil.copytree(made(), folder / "shop")
    clock = Clock()
    with Shop.open(folder / "shop", now=clock) as shop:
        app = service(shop, console=False)
        held = app.state.serving
        key = held.access.new_key("test", "admin")
        with TestClient(app, headers={"authorization": f"Bearer {key}"}) as client:
            hot = cast("Hot", held.parts["hot"])
            hot.upkeep.pause()
            yield Asked(shop, clock, client, hot)


@cache
def described() -> dict[str, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about routes of others: the tests of the description look at those
        return description()


def fits(value: Any, path: str, method: str = "post") -> None:
    """The answer is what the OpenAPI description says, without anything that it does not say."""
    answer = described()["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
    _fits(value, answer, path)


def _fits(value: Any, told: Mapping[str, Any], where: str) -> None:
    if "$ref" in told:
        told = described()["components"]["schemas"][told["$ref"].rpartition("/")[2]]
    if "anyOf" in told:
        faults = []
        for one in told["anyOf"]:
            try:
                return _fits(value, one, where)
            except AssertionError as error:
                faults.append(str(error))
        raise AssertionError(faults)
    kinds: dict[str, Any] = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool}
    kind = told.get("type")
    if kind == "null":
        assert value is None, where
    elif kind is not None:
        assert isinstance(value, kinds[kind]), f"{where}: {value!r} is no {kind}"
        assert kind == "boolean" or not isinstance(value, bool), where
    if "enum" in told:
        assert value in told["enum"], f"{where}: {value!r}"
    if kind == "array":
        for place, one in enumerate(value):
            _fits(one, told.get("items", {}), f"{where}.{place}")
    if kind == "object" and "properties" in told:
        assert set(told.get("required", ())) <= set(value), f"{where}: lacks {set(told.get('required', ())) - set(value)}"
        assert set(value) <= set(told["properties"]), f"{where}: nobody told of {set(value) - set(told['properties'])}"
        for name, one in value.items():
            _fits(one, told["properties"][name], f"{where}.{name}")
    return None


def run(work: Any) -> Any:
    return asyncio.run(work)
