"""Consent is looked at three times - planning, rendering, hand-off - and each look alone stops a message."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import select

import tradewind as tw
from tradewind.collect.consent import Consents
from tradewind.decide.plan import Plan
from tradewind.deliver.channels.outbox import Outbox
from tradewind.demo import Clock
from tradewind.engine.ledger import contacts, outbox
from tradewind.simulate.world import World

ENDS = ("withdrawn", "suppressed:bounce", "erased")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tw.Shop:
    folder: Path = tmp_path_factory.mktemp("looks")
    world = World.make(70, seed=7, start=date(2026, 1, 5), days=42)
    world.write(folder / "export")
    opened = tw.Shop.open(folder / "shop", now=Clock(world.end))
    opened.collect(folder / "export", mapping=folder / "export" / "mapping.toml")
    opened.learn(recommend="popular")
    return opened


def stop(shop: tw.Shop, customer: str, channel: str, how: str) -> None:
    """End what allows a message, in one of three ways."""
    from tradewind.collect.vault import Vault

    if how == "withdrawn":
        shop.consents.withdraw(customer, channel, source="page")
        return
    if how == "erased":
        Vault(shop.home).erase(customer, now=shop.now())
        return
    with shop.home.ledger.read() as conn:
        query = select(contacts.c.address_hash).where(contacts.c.customer == customer, contacts.c.channel == channel)
        digest = conn.execute(query).scalar_one()
    Consents(shop.home).suppress(digest, channel, "bounce", shop.now())


def rows(shop: tw.Shop, plan: Plan) -> dict[str, tuple[str, str | None]]:
    with shop.home.ledger.read() as conn:
        found = conn.execute(select(outbox.c.customer, outbox.c.state, outbox.c.detail).where(outbox.c.plan_id == plan.plan_id))
        return {row.customer: (row.state, row.detail) for row in found}


def reached(shop: tw.Shop, plan: Plan) -> list[tuple[str, str]]:
    """Customers who get something and have an address, with the channel."""
    with shop.home.ledger.read() as conn:
        addressed = {tuple(row) for row in conn.execute(select(contacts.c.customer, contacts.c.channel))}
    sent = [(row["customer"], row["channel"]) for row in plan.table.to_pylist() if row["channel"] and row["variant"] == "treat"]
    return [pair for pair in sent if pair in addressed]


def test_each_of_the_three_looks_alone_stops_a_message(shop: tw.Shop) -> None:
    first = shop.decide(budget="90 CNY", holdout=0.0)
    rendered = reached(shop, first)[:3]
    for (customer, channel), how in zip(rendered, ENDS, strict=True):  # planned already
        assert rows(shop, first)[customer][0] == "planned"
        stop(shop, customer, channel, how)
    shop.compose(first)
    for customer, _ in rendered:
        state, detail = rows(shop, first)[customer]
        assert state == "withheld"
        assert str(detail).startswith("no consent now: ")

    ready = [pair for pair in reached(shop, first) if rows(shop, first)[pair[0]][0] == "ready"]
    handed = ready[:3]
    for (customer, channel), how in zip(handed, ENDS, strict=True):  # planned and rendered already
        stop(shop, customer, channel, how)
    sink = Outbox()
    shop.now.at = max(row["send_at"] for row in first.table.to_pylist() if row["send_at"])  # type: ignore[attr-defined]
    shop.deliver(first, dry_run=False, to=sink)
    told = {message.customer for message in sink.messages.values()}
    assert told.isdisjoint(customer for customer, _ in [*rendered, *handed])
    planned = [pair for pair in ready if pair[0] in told][:3]
    assert len(planned) == 3, "the others get theirs"
    why = [rows(shop, first)[customer] for customer, _ in handed]
    assert why == [("suppressed", "suppressed:unsubscribed"), ("suppressed", "suppressed:bounce"), ("suppressed", "erased")]

    for (customer, channel), how in zip(planned, ENDS, strict=True):
        stop(shop, customer, channel, how)
    second = shop.decide(budget="90 CNY", holdout=0.0, seed=3)
    for customer, channel in planned:
        assert not any(key.endswith(f"|{channel}") for key in second.row(customer)["candidates"])
        assert second.row(customer)["channel"] != channel
    shop.close()
