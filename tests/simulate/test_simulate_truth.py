"""The closed form equals the mean of what the environment draws; its signs are those of the archetypes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tradewind.errors import InputError
from tradewind.simulate.respond import CONTACTS, respond
from tradewind.simulate.truth import best_action, margin_of, true_profit
from tradewind.simulate.world import World

Build = Callable[..., pa.Table]
Pick = Callable[..., list[int]]
TWENTY = '{"percent": 20}'
NAMES = ("profit", "discount", "open", "click", "redeem", "unsubscribe")


def compare(world: World, sent: pa.Table, seeds: Sequence[int]) -> dict[str, tuple[float, float, float]]:
    """Return mean over seeds, its standard error and the exact value of each quantity."""
    seen: list[list[float]] = []
    for seed in seeds:
        with_them = respond(world, sent, start=world.end, days=14, seed=seed, browse=False)
        without = respond(world, CONTACTS.empty_table(), start=world.end, days=14, seed=seed, browse=False)
        gain = [pc.sum(margin_of(world, table)["margin"]).as_py() or 0 for table in (with_them, without)]
        off = pc.sum(with_them.filter(pc.field("kind") == "purchase")["discount"]).as_py() or 0
        kinds = {row["values"]: row["counts"] for row in with_them["kind"].value_counts().to_pylist()}
        seen.append([gain[0] - gain[1], off, *(kinds.get(kind, 0) for kind in NAMES[2:])])
    truth = true_profit(world, sent, start=world.end, days=14)
    exact = [pc.sum(truth[name]).as_py() for name in ("profit", "discount", "p_open", "p_click", "p_redeem", "p_unsubscribe")]
    values = np.array(seen)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return {name: (values[:, n].mean(), error[n], exact[n]) for n, name in enumerate(NAMES)}


def agree(found: dict[str, tuple[float, float, float]], *, within: float) -> None:
    for name, (mean, error, exact) in found.items():
        assert abs(mean - exact) <= within * error + 1e-9, f"{name}: drawn {mean:.1f} +- {error:.1f}, exact {exact:.1f}"


def test_orders_caused_are_worth_what_the_closed_form_says(world: World, contacts: Build, kind_of: Pick) -> None:
    found = compare(world, contacts(world, kind_of(world, "persuadable"), channel="inapp", terms='{"percent": 10}'), range(12))
    agree(found, within=4)
    mean, error, _ = found["profit"]
    assert mean > 10 * error  # so that agreement means something


def test_discounts_given_away_cost_what_the_closed_form_says(world: World, contacts: Build, kind_of: Pick) -> None:
    found = compare(world, contacts(world, kind_of(world, "sure", "hunter", "ring"), channel="inapp", terms=TWENTY), range(20))
    agree(found, within=4)
    mean, error, _ = found["profit"]
    assert mean < -5 * error


def test_orders_annoyed_away_cost_what_the_closed_form_says(world: World, contacts: Build, kind_of: Pick) -> None:
    found = compare(world, contacts(world, kind_of(world, "sleeping")), range(12))
    agree(found, within=4)
    mean, error, _ = found["profit"]
    assert mean < -5 * error


@pytest.mark.slow
def test_any_mix_of_messages_agrees(world: World) -> None:
    draw = np.random.default_rng(0)
    count = 3 * world.customers
    kinds = [
        ("product", "{}"),
        ("coupon", TWENTY),
        ("coupon", '{"fixed": 2000, "threshold": 19900}'),
        ("coupon", '{"percent": 50, "cap": 3000}'),
    ]
    which = draw.integers(0, 4, count)
    ids = world.catalogue.ids()
    sent = pa.table(
        {
            "decision_id": [f"d{n}" for n in range(count)],
            "customer": [f"C{n % world.customers:07d}" for n in range(count)],
            "item": [ids[n] if draw.random() < 0.6 else None for n in draw.integers(0, len(ids), count)],
            "channel": draw.choice(["email", "sms", "push", "inapp"], count),
            "send_at": [world.end + timedelta(hours=float(hour)) for hour in draw.uniform(0, 14 * 24, count)],
            "offer_kind": [kinds[n][0] for n in which],
            "terms": [kinds[n][1] for n in which],
        }
    )
    agree(compare(world, sent, range(150)), within=3.5)


def test_archetypes_answer_as_intended(world: World, contacts: Build, kind_of: Pick) -> None:
    def mean(kind: str, terms: str) -> float:
        sent = contacts(world, kind_of(world, kind), terms=terms, channel="inapp")
        return float(pc.mean(true_profit(world, sent, start=world.end, days=14)["profit"]).as_py())

    assert mean("persuadable", "") > 100
    assert mean("persuadable", "") > mean("persuadable", TWENTY)
    assert abs(mean("sure", "")) < 50
    assert mean("sure", TWENTY) < -50
    assert mean("hunter", TWENTY) < -20
    assert mean("ring", TWENTY) < -20
    assert mean("sleeping", "") < -50
    assert mean("bot", TWENTY) == pytest.approx(0)


def test_nothing_works_in_the_indifferent_world(world: World, contacts: Build) -> None:
    indifferent = World(**{**vars(world), "effects": 0.0})
    everybody = range(world.customers)
    product, coupon = (
        true_profit(indifferent, contacts(world, everybody, terms=terms), start=world.end, days=14) for terms in ("", TWENTY)
    )
    assert pc.max(pc.abs(product["profit"])).as_py() == 0
    assert pc.sum(product["p_click"]).as_py() > 10
    assert pc.max(coupon["profit"]).as_py() <= 0
    assert pc.sum(coupon["profit"]).as_py() < -1000


def test_costs_of_contacts_are_taken_off(world: World, contacts: Build) -> None:
    sent = contacts(world, range(10), channel="sms")
    free, paid = (true_profit(world, sent, start=world.end, days=14, costs=costs)["profit"].to_numpy() for costs in ({}, {"sms": 8}))
    assert np.allclose(free - paid, 8)
    with pytest.raises(InputError, match='no channel "fax"'):
        true_profit(world, sent, start=world.end, days=14, costs={"fax": 1})


def test_the_best_action_is_the_best_of_single_contacts(world: World, contacts: Build) -> None:
    names = [f"C{number:07d}" for number in range(200)]
    single = [
        contacts(world, range(200), terms=terms, channel=channel) for terms, channel in (("", "email"), ("", "inapp"), (TWENTY, "inapp"))
    ]
    actions = pa.concat_tables([table.slice(0, 1).drop_columns(["customer", "decision_id"]) for table in single])
    best = best_action(world, names, actions, start=world.end, days=14)
    each = np.stack([true_profit(world, table, start=world.end, days=14)["profit"].to_numpy() for table in single], axis=1)
    assert np.allclose(np.array(best["values"].to_pylist()), each)
    assert np.allclose(best["value"].to_numpy(), np.maximum(each.max(axis=1), 0))
    assert best["best"].null_count > 0
    chosen = [(row, action) for row, action in enumerate(best["best"].to_pylist()) if action is not None]
    assert all(each[row].argmax() == action for row, action in chosen)
    assert {action for _, action in chosen} >= {0, 1}


def test_targeting_pays_and_a_coupon_for_everybody_hardly_does() -> None:
    world = World.make("small", seed=1, start=date(2026, 1, 5), days=56)
    people, shelf = world.people(0), world.window(world.end, 14).shelf
    draw = np.random.default_rng(0)
    item = shelf.draw(people, np.arange(len(people)), (draw.random(len(people)), draw.random(len(people))))
    names, ids = [f"C{number:07d}" for number in range(len(people))], world.catalogue.ids()
    per_action = {}
    for name, terms in (("product", "{}"), ("coupon", TWENTY)):
        sent = pa.table(
            {
                "decision_id": names,
                "customer": names,
                "item": [ids[number] for number in item],
                "channel": ["inapp"] * len(names),
                "send_at": [world.end + timedelta(hours=12)] * len(names),
                "offer_kind": [name] * len(names),
                "terms": [terms] * len(names),
            }
        )
        per_action[name] = true_profit(world, sent, start=world.end, days=14)["profit"].to_numpy()
    targeted = np.maximum(np.maximum(per_action["product"], per_action["coupon"]), 0).sum()
    assert targeted > 3 * max(per_action["coupon"].sum(), 0)
    assert targeted > 1.2 * per_action["product"].sum()
    assert targeted / len(names) > 100  # minor units per customer
