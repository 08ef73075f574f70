"""Reads a randomised trial from a CSV file of any column names for bench/uplift.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv

from tradewind.decide.learners.trial import Trial, shares
from tradewind.errors import InputError, unknown

ARM = ("segment", "arm", "treatment", "treated", "treat", "treatment_flg", "group", "variant", "campaign", "condition", "version")
OUTCOME = ("visit", "outcome", "conversion", "converted", "target", "response", "responded", "purchase", "y", "revenue", "spend", "value")
# Measured after the arm was given: never a feature.
AFTER = (*OUTCOME, "exposure", "exposed", "click", "clicked", "clicks", "opened", "opens", "visits", "conversions", "sales", "profit")
CONTROL = ("no e-mail", "no email", "control", "nothing", "none", "no", "placebo", "untreated", "holdout", "false", "0", "0.0")
LEVELS = 30  # categories of a column that get an indicator of their own
MOST_ARMS = 20


@dataclass(frozen=True)
class Read:
    """The trial, the logged cost per customer, and the names of what was read."""

    trial: Trial
    cost: NDArray[np.float64]
    arms: tuple[str, ...]  # name of each arm, control first
    outcome: str
    features: tuple[str, ...]


def read(path: Path, asked: Any, seed: int) -> Read:
    """The trial in ``path`` (CSV, may be compressed) with the columns that the flags name, or the likely ones."""
    convert = csv.ConvertOptions(strings_can_be_null=True)
    table = csv.read_csv(path, csv.ReadOptions(block_size=1 << 24), csv.ParseOptions(newlines_in_values=True), convert)
    if table.num_rows > asked.rows:
        kept = np.sort(np.random.default_rng(seed).choice(table.num_rows, asked.rows, replace=False))
        print(f"{table.num_rows:,} rows in the file; {asked.rows:,} of them drawn at random (--rows)")
        table = table.take(kept)
    arm_column = column_of(table, asked.arm, ARM, "--arm")
    outcome_column = column_of(table, asked.outcome, OUTCOME, "--outcome")
    y = number(table, outcome_column)
    known = np.isfinite(y) & table[arm_column].is_valid().to_numpy()
    if not known.all():
        print(f"{int((~known).sum()):,} rows without an arm or an outcome are left out")
        table, y = table.filter(pa.array(known)), y[known]
    labels = table[arm_column].cast(pa.string())
    arms = names_of(labels, asked.control, arm_column)
    arm = pc.index_in(labels, pa.array(arms)).to_numpy().astype(np.int64)
    used = {arm_column, outcome_column, *(asked.drop or ())}
    propensity, named = propensities(table, asked.propensity, arm, arms)
    cost = number(table, asked.cost) if asked.cost else (arm > 0).astype(np.float64)
    used |= named | ({asked.cost} if asked.cost else set())
    x, features = encode(table, asked.features, used)
    return Read(Trial.of(x, arm, y, propensity), cost, arms, outcome_column, features)


def column_of(table: pa.Table, asked: str | None, likely: tuple[str, ...], flag: str) -> str:
    if asked:
        if asked not in table.column_names:
            raise unknown(f"column for {flag}", asked, table.column_names)
        return asked
    for name in likely:
        for column in table.column_names:
            if column.lower() == name:
                return str(column)
    raise InputError(
        f"Which column is it? None is named like {', '.join(likely[:6])} or so. Say {flag} with one of: {', '.join(table.column_names)}."
    )


def names_of(labels: pa.ChunkedArray, control: str | None, column: str) -> tuple[str, ...]:
    found = sorted(pc.unique(labels).to_pylist())
    if not 2 <= len(found) <= MOST_ARMS:
        raise InputError(f'Column "{column}" has {len(found)} different values; a trial has 2 to {MOST_ARMS} arms. Name another by --arm.')
    if control is None:
        control = next((name for likely in CONTROL for name in found if name.lower() == likely), None)
        if control is None:
            raise InputError(f"Which arm is the control? Say --control with one of: {', '.join(found)}.")
    elif control not in found:
        raise unknown("arm for --control", control, found)
    return (control, *(name for name in found if name != control))


def number(table: pa.Table, name: str) -> NDArray[np.float64]:
    if name not in table.column_names:
        raise unknown("column", name, table.column_names)
    values = table[name]
    if pa.types.is_boolean(values.type):
        values = values.cast(pa.int8())
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        raise InputError(f'Column "{name}" holds {values.type}, not numbers, for example {values[0].as_py()!r}.')
    return np.asarray(values.cast(pa.float64()).to_numpy())


def propensities(table: pa.Table, asked: str | None, arm: NDArray[np.int64], arms: tuple[str, ...]) -> tuple[NDArray[np.float64], set[str]]:
    """Every arm's probability: the shares of the arms, one column per arm ("p_{arm}"), or one of the arm that was given."""
    chance = shares(arm)
    if not asked:
        return chance, set()
    if "{arm}" in asked:
        columns = [asked.replace("{arm}", name) for name in arms]
        return np.column_stack([number(table, name) for name in columns]), set(columns)
    given, rows = number(table, asked), np.arange(len(arm))
    if not ((given > 0) & (given < 1)).all():
        raise InputError(f'Column "{asked}" must hold the probability of the arm that was given, between 0 and 1.')
    # The probabilities of the other arms are not logged; they share the rest like their sizes.
    chance *= ((1 - given) / (1 - chance[rows, arm]))[:, None]
    chance[rows, arm] = given
    return chance, {asked}


def encode(table: pa.Table, asked: list[str] | None, used: set[str]) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Numbers as they are, categories as indicators; identifiers and what is measured after the arm are left out."""
    after = [name for name in table.column_names if name.lower() in AFTER and name not in used]
    if after and not asked:
        print(f"not features, since they look measured after the arm was given: {', '.join(after)}")
    chosen = asked or [name for name in table.column_names if name not in used and name not in after]
    columns: dict[str, NDArray[np.float64]] = {}
    for name in chosen:
        if name not in table.column_names:
            raise unknown("column for --features", name, table.column_names)
        values, kind = table[name], table[name].type
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            numbers = number(table, name)
            if not (pa.types.is_integer(kind) and len(np.unique(numbers)) == len(numbers)):  # not an identifier
                columns[name] = numbers
            continue
        counts = sorted(pc.value_counts(values.cast(pa.string())).to_pylist(), key=lambda each: (-each["counts"], str(each["values"])))
        if len(counts) > table.num_rows / 10:
            print(f'"{name}" looks like an identifier and is left out')
            continue
        for level in (each["values"] for each in counts[:LEVELS]):
            hit = pc.equal(values.cast(pa.string()), level) if level is not None else pc.is_null(values)
            columns[f"{name}={level}"] = hit.fill_null(False).to_numpy().astype(np.float64)
    if not columns:
        raise InputError("No feature is left; name columns by --features.")
    return np.column_stack(list(columns.values())), tuple(columns)
