"""Tastes for words: neutral unless asked for, multiplicative on clicks, and known in closed form."""

from __future__ import annotations

import json
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tradewind.errors import InputError
from tradewind.simulate import wording
from tradewind.simulate.respond import CONTACTS, respond
from tradewind.simulate.truth import true_profit
from tradewind.simulate.world import World

WARM, PLAIN = json.dumps(["tone=warm", "question", "question"]), json.dumps(["tone=plain"])


def world(copy: float = 0.0, seed: int = 5) -> World:
    return World.make("tiny", seed=seed, start=date(2026, 1, 5), days=28, copy=copy)


def contacts(of: World, copy: str | None = None) -> pa.Table:
    n = of.customers
    table = pa.table(
        {
            "decision_id": [f"d{i}" for i in range(n)],
            "customer": [f"C{i:07d}" for i in range(n)],
            "offer": ["pick"] * n,
            "item": pa.nulls(n, pa.string()),
            "channel": ["inapp"] * n,
            "send_at": [of.end + timedelta(hours=3)] * n,
            "offer_kind": ["product"] * n,
            "terms": ["{}"] * n,
        }
    ).cast(CONTACTS)
    return table if copy is None else table.append_column("copy", pa.array([copy] * n))


def clicks(of: World, table: pa.Table) -> np.ndarray:
    return np.asarray(true_profit(of, table, start=of.end, days=7)["p_click"])


def test_a_world_that_is_deaf_to_words_answers_byte_for_byte_as_before() -> None:
    deaf = world()
    plain, told = (respond(deaf, contacts(deaf, copy), start=deaf.end, days=7, seed=3) for copy in (None, WARM))
    assert plain.equals(told)
    keen = world(copy=2.0)
    assert respond(keen, contacts(keen), start=keen.end, days=7, seed=3).equals(plain)  # no words told


def test_words_multiply_the_click_rate_and_tastes_differ_between_archetypes_and_people() -> None:
    keen = world(copy=2.0)
    base, warm, plain = clicks(keen, contacts(keen)), clicks(keen, contacts(keen, WARM)), clicks(keen, contacts(keen, PLAIN))
    people = keen.people(0)
    names = tuple(wording.number(name) for name in json.loads(WARM))
    factor = np.exp(wording.log_factor(people, np.arange(keen.customers), names, copy=2.0, seed=keen.seed))
    opened = true_profit(keen, contacts(keen), start=keen.end, days=7)["p_open"].to_numpy()
    assert warm == pytest.approx(opened * np.minimum(base / opened * factor, 0.95))
    assert np.std(np.log(plain / base)) > 0.01
    assert len(np.unique(people.kind)) > 3


def test_the_mean_factor_is_one_over_many_customers_and_names() -> None:
    keen = world(copy=1.0)
    people, rows = keen.people(0), np.arange(keen.customers)
    means = [np.exp(wording.log_factor(people, rows, (wording.number(f"w{i}"),), copy=3.0, seed=1)).mean() for i in range(400)]
    assert np.mean(means) == pytest.approx(1.0, abs=4 * np.std(means) / 20)


def test_drawn_clicks_have_the_closed_form_rate() -> None:
    keen = world(copy=3.0)
    table, truth = contacts(keen, WARM), clicks(keen, contacts(keen, WARM))
    drawn = np.array(
        [
            pc.sum(pc.equal(respond(keen, table, start=keen.end, days=7, seed=seed, browse=False)["kind"], "click")).as_py()
            for seed in range(12)
        ]
    )
    assert abs(drawn.mean() - truth.sum()) < 4 * (truth * (1 - truth)).sum() ** 0.5 / 12**0.5


def test_a_world_remembers_how_much_it_cares(tmp_path) -> None:  # type: ignore[no-untyped-def]
    world(copy=1.5).save(tmp_path / "w.json")
    assert World.load(tmp_path / "w.json") == world(copy=1.5)


@pytest.mark.parametrize("bad", ["warm", '{"tone": 1}', "[1]"])
def test_words_that_are_no_list_of_names_are_refused(bad: str) -> None:
    keen = world(copy=1.0)
    with pytest.raises(InputError, match="no JSON list of names"):
        clicks(keen, contacts(keen, bad))
