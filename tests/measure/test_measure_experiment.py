"""Experiments in files: hand-made errors are found, named and counted; what may not change the answer does not change it."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from tradewind.cli import app
from tradewind.errors import InputError, NotFound
from tradewind.measure.experiment import BETTER, FEW, HARMED, SAFE, UNKNOWN, WORSE, Analysis, analyse
from tradewind.measure.experiment_report import report
from tradewind.measure.files import on_file
from tradewind.measure.report import to_html, to_json, to_markdown, to_text
from tradewind.measure.trial import Metric, Trial
from tradewind.stats.means import Shape, compare
from tradewind.stats.moments import Moments

START = datetime(2026, 3, 2)  # noqa: DTZ001 - a table of a shop often has no zone
N = 2_000


def columns(n: int = N, *, effect: float = 3.0, seed: int = 1) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    arm = rng.permutation(np.arange(n) % 2)
    before = rng.gamma(2, 5, n)
    return {
        "unit": np.array([f"u{at:05d}" for at in range(n)]),
        "arm": np.where(arm == 1, "new", "old"),
        "revenue": before + rng.gamma(1, 4, n) + effect * arm,
        "orders": rng.poisson(1 + 0.5 * arm, n),
        "sessions": rng.poisson(3, n) + 1,
        "bought": rng.random(n) < 0.2 + 0.1 * arm,
        "complaints": rng.poisson(0.2, n),
        "before": before,
        "region": np.array(["north", "south"])[rng.integers(0, 2, n)],
        "at": np.array([START + timedelta(hours=int(hour)) for hour in rng.integers(0, 24 * 14, n)], dtype="datetime64[us]"),
    }


def loaded(table: pa.Table) -> Any:
    """A DuckDB of its own that holds the table as ``t``."""
    con = ibis.duckdb.connect()
    con.con.register("given", table)
    con.con.execute("CREATE TABLE t AS SELECT * FROM given")
    return con


def run(table: pa.Table | dict[str, np.ndarray], *metrics: str, **options: object) -> Analysis:
    con = loaded(table if isinstance(table, pa.Table) else pa.table(table))
    trial = Trial("arm", "old", tuple(map(Metric.read, metrics or ("revenue",))), **options)  # type: ignore[arg-type]
    return analyse(con.table("t"), con.to_pyarrow, trial)


def codes(found: Analysis) -> dict[str, int]:
    return {fault.code: fault.count for fault in found.prepared.faults}


def test_one_pass_of_the_engine_equals_arrays() -> None:
    data = columns()
    found = run(data, "revenue", "orders/sessions", "revenue~before", "bought", strata=("region",))
    effects = {effect.metric.name: effect for effect in found.effects}
    names = ("revenue", "before", "orders", "sessions")
    values = np.column_stack([data[name] for name in names])
    sides = [
        [Moments.of(values[(data["arm"] == arm) & (data["region"] == region)]) for region in ("north", "south")] for arm in ("new", "old")
    ]
    for name, shape in (("revenue", Shape(0)), ("orders/sessions", Shape(2, 3)), ("revenue~before", Shape(0, None, ((1, None),)))):
        expected = compare(sides[0], sides[1], shape)
        assert effects[name].fixed.value == pytest.approx(expected.value)
        assert effects[name].p == pytest.approx(expected.p)
    assert effects["revenue~before"].explained > 0.5
    assert effects["bought"].share
    assert {effect.verdict for effect in found.effects} == {BETTER}
    assert not found.broken


def test_whole_numbers_are_added_exactly_and_huge_ones_by_the_engine() -> None:
    found = columns()
    for scale, queries in ((1, 1), (10**9 + 7, 2)):
        told = pa.table({"arm": found["arm"], "orders": found["orders"] * scale, "sessions": found["sessions"] * scale + scale})
        con = loaded(told)
        asked: list[Any] = []

        def count(expression: Any, con: Any = con, asked: list[Any] = asked) -> pa.Table:
            asked.append(expression)
            return con.to_pyarrow(expression)

        one = analyse(con.table("t"), count, Trial("arm", "old", (Metric("orders"), Metric("orders", "sessions"))))
        assert len(asked) == queries  # squares beyond 2^53 would lose digits, so the covariances are asked for after all
        for arm in ("new", "old"):
            values = np.column_stack([told[name].to_numpy() for name in ("orders", "sessions")])[found["arm"] == arm]
            (part,) = one.tally.moments(arm, ["orders", "sessions"], one.tally.strata)
            np.testing.assert_allclose(part.mean, values.mean(axis=0), rtol=1e-14)
            np.testing.assert_allclose(part.cov, np.cov(values.T.astype(float)), rtol=1e-11)


def test_only_means_need_one_query_and_quantiles_one_more() -> None:
    con = loaded(pa.table(columns()))
    asked: list[str] = []

    def told(expr: ibis.Table) -> pa.Table:
        asked.append(str(ibis.to_sql(expr)))
        return con.to_pyarrow(expr)

    trial = Trial("arm", "old", tuple(map(Metric.read, ("revenue", "orders/sessions"))), covariates=("before",), strata=("region",))
    analyse(con.table("t"), told, trial)
    assert len(asked) == 1
    analyse(con.table("t"), told, Trial("arm", "old", (Metric.read("revenue@0.5"),)))
    assert len(asked) == 3


def test_names_of_arms_and_an_arm_that_nobody_got_change_nothing() -> None:
    data = columns()
    one = run(data, "revenue", shares={"old": 1, "new": 1})
    renamed = run(data | {"arm": np.where(data["arm"] == "new", "zebra", "old")}, "revenue")
    assert renamed.effects[0].fixed.value == one.effects[0].fixed.value
    assert renamed.effects[0].p == one.effects[0].p
    with pytest.raises(NotFound, match='no arm "ghost"'):
        run(data, "revenue", shares={"old": 1, "new": 1, "ghost": 0})
    with pytest.raises(InputError, match="no share was given for arm new"):
        run(data, "revenue", shares={"old": 1})


def test_less_is_better_turns_the_verdict_and_nothing_else() -> None:
    data = columns()
    con = loaded(pa.table(data))

    def verdict(metric: Metric) -> str:
        return analyse(con.table("t"), con.to_pyarrow, Trial("arm", "old", (metric,))).effects[0].verdict

    assert verdict(Metric("revenue")) == BETTER
    assert verdict(Metric("revenue", lower_is_better=True)) == WORSE
    assert verdict(Metric("revenue", lower_is_better=True, guard=0.05)) == HARMED
    assert verdict(Metric("revenue", guard=0.05)) == SAFE
    assert verdict(Metric("complaints", lower_is_better=True)) == UNKNOWN
    assert verdict(Metric("complaints", lower_is_better=True, guard=0.01)) == UNKNOWN


def test_a_unit_in_two_arms_and_a_doubled_exposure_are_found_and_left_out() -> None:
    table = pa.table(columns())
    moved = table.slice(0, 5).set_column(1, "arm", pa.array(["old" if a == "new" else "new" for a in table["arm"].to_pylist()[:5]]))
    dirty = pa.concat_tables([table, moved, table.slice(10, 7), table.slice(10, 7)])
    clean = run(table.slice(5), "revenue", unit="unit")
    once = run(dirty, "revenue", unit="unit", once=True)
    assert codes(once) == {"copies": 14, "two_arms": 5}
    assert once.effects[0].fixed.value == pytest.approx(clean.effects[0].fixed.value)
    assert once.effects[0].fixed.n == clean.effects[0].fixed.n
    added = run(dirty, "revenue", unit="unit")
    assert codes(added) == {"two_arms": 5, "several_rows": 7}
    other = table.slice(20, 3).set_column(2, "revenue", pa.array([1.0, 2.0, 3.0]))
    assert codes(run(pa.concat_tables([table, other]), "revenue", unit="unit", once=True)) == {"doubled": 3}
    assert run(pa.concat_tables([table, table.slice(0, 90).set_column(1, "arm", pa.array(["new", "old"] * 45))]), unit="unit").broken


def test_outcomes_before_their_decision_and_foreign_money_are_found() -> None:
    data = columns()
    late = data["at"] + np.timedelta64(1, "D")
    late[:9] = data["at"][:9] - np.timedelta64(1, "D")
    data |= {"done": late, "currency": np.array(["CNY"] * (N - 4) + ["USD"] * 4)}
    found = run(data, "revenue", unit="unit", at="at", outcome_at="done", currency="currency")
    assert codes(found) == {"early": 9, "currency": 4}
    zeroed = data["revenue"].copy()
    zeroed[:9] = 0
    expected = {name: values[: N - 4] for name, values in (data | {"revenue": zeroed}).items()}
    assert found.effects[0].fixed.value == pytest.approx(run(expected, "revenue").effects[0].fixed.value)
    assert any("evenly over the days" in check.text for check in found.checks)


def test_missing_values_are_counted_by_arm_and_an_unequal_loss_is_broken() -> None:
    data = columns()
    data["revenue"][:3] = np.nan
    table = pa.table(data | {"arm": pa.array([None, *data["arm"][1:].tolist()])})
    found = run(table, "revenue")
    assert codes(found) == {"arm": 1}
    assert sum(found.tally.missing.values()) == 2
    assert not found.broken
    data["revenue"][data["arm"] == "new"] = np.where(np.arange(sum(data["arm"] == "new")) < 40, np.nan, 1.0)
    assert run(data, "revenue").broken


def test_a_broken_split_what_differed_before_and_shared_homes_are_said() -> None:
    data = columns()
    kept = np.flatnonzero((data["arm"] == "old") | (np.arange(N) % 5 != 0))
    lost = run({name: values[kept] for name, values in data.items()}, "revenue")
    assert lost.broken
    assert "Find out why first" in to_text(report(lost, at=START, title="x"))
    skewed = run(data | {"before": data["before"] + 5 * (data["arm"] == "new")}, "revenue", covariates=("before",))
    assert [check.name for check in skewed.checks if check.level == "FAIL"] == ["balance"]
    homes = run(data | {"home": np.arange(N) // 2}, "revenue", cluster="home")
    assert any(check.name == "interference" and check.level == "WARN" for check in homes.checks)
    late = data | {"at": np.where(data["arm"] == "new", data["at"], data["at"] + np.timedelta64(7, "D"))}
    assert any(check.name == "calendar" and check.level == "WARN" for check in run(late, "revenue", at="at").checks)


def test_a_bandits_log_is_weighed_by_its_propensities() -> None:
    rng = np.random.default_rng(9)
    worth = rng.random(20_000)  # who is worth more gets the new arm more often: plain means mistake that for an effect
    chance = 0.1 + 0.8 * worth
    new = rng.random(20_000) < chance
    data = {"arm": np.where(new, "new", "old"), "revenue": worth + 0.05 * new, "p": np.where(new, chance, 1 - chance), "before": worth}
    naive, found = run(data, "revenue"), run(data, "revenue", "revenue~before", propensity="p")
    assert naive.effects[0].fixed.low > 0.2  # type: ignore[operator]
    for effect in found.effects:
        assert effect.fixed.covers(0.05)
    assert found.effects[1].fixed.value == pytest.approx(0.05, abs=1e-3)
    assert not found.broken
    wrong = run(data | {"p": np.where(new, 0.5, 0.5)}, "revenue", propensity="p")
    assert wrong.effects[0].fixed.low > 0.2  # type: ignore[operator]
    lied = run(data | {"p": np.where(new, 0.9, 0.9)}, "revenue", propensity="p")
    assert [check.name for check in lied.checks if check.level == "FAIL"] == ["propensities"]
    gone = run(data | {"p": np.where(np.arange(20_000) < 3, 0.0, data["p"])}, "revenue", propensity="p")
    assert sum(gone.tally.missing.values()) == 3
    with pytest.raises(InputError, match="not weighed"):
        run(data, "revenue@0.5", propensity="p")


def test_too_few_units_get_no_verdict() -> None:
    data = {name: values[:120] for name, values in columns(effect=50.0).items()}
    found = run(data, "revenue")
    assert found.effects[0].verdict == FEW
    assert found.effects[0].always is None


def test_the_report_prints_itself_in_every_form() -> None:
    data = columns() | {"<script>": columns()["orders"]}
    told = report(run(data, "revenue", "bought", "revenue@0.9", "<script>"), at=START, title="An <experiment>")
    bundle = told._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/markdown", "text/html"}
    assert set(told._repr_mimebundle_(include=["text/plain"])) == {"text/plain"}
    assert str(told) == to_text(told)
    assert "<script" not in to_html(told)
    assert "<html" not in bundle["text/html"]
    assert "Better than old" in to_markdown(told)
    values = json.loads(to_json(told))
    named = {e["name"]: e for section in values["sections"] for e in section["estimates"]}
    assert named["revenue: new minus old"]["low"] == told["revenue: new minus old"].low


@pytest.mark.parametrize(
    ("metrics", "options", "message"),
    [
        (("nothing",), {}, 'no column "nothing"'),
        (("region",), {}, "not numbers"),
        (("revenue", "revenue"), {}, "named twice"),
        (("revenue@0.5~before",), {}, "none"),
        (("revenue",), {"once": True}, "--once needs --unit"),
        (("revenue",), {"outcome_at": "at"}, "--outcome-at needs --at"),
        (("revenue",), {"at": "region"}, "not times"),
        (("revenue",), {"covariates": ("before@0.5",)}, "not a quantile"),
        (("revenue",), {"level": 1.5}, "level must be"),
        (("revenue",), {"strata": ("unit",)}, "Collect more, or merge strata"),
    ],
)
def test_bad_questions_are_refused_with_words(metrics: tuple[str, ...], options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        run(columns(), *metrics, **options)


def test_the_command_analyses_a_file_and_plans_one(tmp_path: Path) -> None:
    path = tmp_path / "shop.parquet"
    pq.write_table(pa.table(columns()), path)
    asked = [str(path), "--metric", "revenue", "--ratio", "orders/sessions", "--guard", "complaints=0.5", "--lower-is-better", "complaints"]
    done = CliRunner().invoke(app, ["experiment", *asked, "--arm", "arm", "--control", "old", "--json", "--html", str(tmp_path / "r.html")])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["meta"]["units"] == {"new": 1000, "old": 1000}
    assert (tmp_path / "r.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    done = CliRunner().invoke(app, ["experiment", *asked, "--power", "--effect", "0.05", "--covariate", "before"])
    assert "units for 5 %" in done.stdout
    for wrong, message in (
        (["--arm", "arm"], "--control is missing"),
        (["--share", "half"], "NAME=NUMBER"),
        (["--lower-is-better", "x"], "no metric"),
    ):
        with pytest.raises(InputError, match=message):
            CliRunner().invoke(app, ["experiment", str(path), "--metric", "revenue", *wrong], catch_exceptions=False)
    with pytest.raises(InputError, match="There is no file"), on_file(tmp_path / "none.csv"):
        pass


DATA = Path(os.environ.get("TRADEWIND_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


@pytest.mark.skipif(not (DATA / "hillstrom").is_dir(), reason="Hillstrom's trial is not in TRADEWIND_DATA")
def test_known_effects_of_public_experiments_are_reproduced() -> None:
    with on_file(DATA / "hillstrom" / "hillstrom_email_experiment.csv") as source:
        found = source.experiment(Trial("segment", "No E-Mail", (Metric("visit"), Metric("spend"))))
    for name, value in (
        ("visit: Mens E-Mail", 0.1828 - 0.1062),
        ("visit: Womens E-Mail", 0.1514 - 0.1062),
        ("spend: Mens E-Mail", 1.423 - 0.653),
    ):
        assert found[f"{name} minus No E-Mail"].value == pytest.approx(value, abs=1e-3)
    with on_file(DATA / "cookie_cats" / "cookie_cats.csv") as source:
        found = source.experiment(Trial("version", "gate_30", (Metric("retention_7"),), unit="userid"))
    assert found["retention_7: gate_40 minus gate_30"].value == pytest.approx(0.1820 - 0.1902, abs=1e-4)
