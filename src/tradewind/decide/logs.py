"""Logged decisions joined with their outcomes: what the value model learns from.

Only matured outcomes of decisions that followed the policy count; an override changed the draw, so its propensity is
not known. The holdout is a second randomisation: a decision was really "nothing" with probability
``h + (1 - h) * p(nothing)`` and really action j with ``(1 - h) * p(j)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tradewind.decide.features import NUMERIC, action_rows, plan_matrix
from tradewind.errors import InputError, SchemaError
from tradewind.types import NOTHING

if TYPE_CHECKING:
    from tradewind.decide.plan import Plan


@dataclass(frozen=True)
class Logged:
    """n decisions with R candidates besides "nothing", flat; ``starts`` (n + 1) delimits the candidates of a decision."""

    x: np.ndarray  # (n, names) raw customer features
    y: np.ndarray  # (n) margin before the campaign's own discount, minor units
    cost: np.ndarray  # (n) what the decision cost
    unit: np.ndarray  # (n) unit of randomisation
    starts: np.ndarray
    actions: np.ndarray  # (R, attributes)
    chance: np.ndarray  # (R) effective propensity of being really treated so
    prior: np.ndarray  # (R) prior mean of the effect that was used
    prior_cost: np.ndarray  # (R)
    taken: np.ndarray  # (R) bool: this is what really happened

    @property
    def owner(self) -> np.ndarray:
        """The decision of each candidate."""
        return np.repeat(np.arange(len(self.y)), np.diff(self.starts))


def join(plan: Plan, outcomes: pa.Table, *, columns: tuple[str, ...], names: tuple[str, ...]) -> Logged:
    """The usable rows of ``plan`` with their ``outcomes`` (decision_id, margin, cost, matured).

    Raises
    ------
    InputError
        The plan has no features, or no outcome belongs to it, or a propensity is missing or impossible.
    SchemaError
        ``outcomes`` lacks a column.
    """
    for column in ("decision_id", "margin", "cost", "matured"):
        if column not in outcomes.column_names:
            raise SchemaError(f'Outcomes need the column "{column}". Got: {", ".join(outcomes.column_names)}.')
    if plan.features is None:
        raise InputError(f"Plan {plan.plan_id} carries no features, so nothing can be learned from it. Load it with Plan.load.")
    ours = outcomes.filter(pc.is_in(outcomes["decision_id"], value_set=plan.table["decision_id"].combine_chunks()))
    if not ours.num_rows:
        raise InputError(f"No outcome belongs to plan {plan.plan_id}. Got {outcomes.num_rows} rows; measure this plan first.")
    if len(pc.unique(ours["decision_id"])) != ours.num_rows:
        raise InputError(f"Outcomes of plan {plan.plan_id} name a decision twice. Keep one row per decision_id.")
    at = pc.index_in(plan.table["decision_id"], value_set=ours.filter(ours["matured"])["decision_id"].combine_chunks())
    mature = ours.filter(ours["matured"])
    keep = np.flatnonzero(pc.and_(pc.is_valid(at), pc.equal(plan.table["mode"], "policy")).to_numpy())
    found = mature.take(at.take(pa.array(keep)))
    return _flat(plan, keep, found, columns=columns, names=names)


def _flat(plan: Plan, keep: np.ndarray, found: pa.Table, *, columns: tuple[str, ...], names: tuple[str, ...]) -> Logged:
    assert plan.features is not None
    rows = plan.table.take(pa.array(keep))
    features = plan.features.take(pa.array(keep))
    lists = rows["candidates"].combine_chunks()
    counts = pc.list_value_length(lists).to_numpy()
    key = np.array(lists.flatten().to_pylist(), dtype=object)
    chance = np.asarray(rows["propensities"].combine_chunks().flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
    if chance.size != key.size or not np.all(np.isfinite(chance) & (chance >= 0) & (chance <= 1)):
        raise InputError(
            f"Plan {plan.plan_id} has missing or impossible propensities; it cannot be learned from. An imported log needs one number "
            "from 0 to 1 for each candidate, the one that was chosen or not."
        )
    if len(counts) and not np.allclose(np.add.reduceat(chance, np.cumsum(counts) - counts), 1.0, atol=1e-6):
        raise InputError(
            f"Plan {plan.plan_id}: the propensities of a decision do not add up to 1. An imported log needs all its candidates, "
            '"nothing" among them.'
        )
    owner = np.repeat(np.arange(len(keep)), counts)
    active = key != NOTHING
    treated = np.array(rows["variant"].to_pylist(), dtype=object) == "treat"
    action = np.array(rows["action"].to_pylist(), dtype=object)
    share = float(plan.meta["holdout"])
    kinds = {name: str(offer["kind"]) for name, offer in plan.meta["offers"].items()}
    attributes = action_rows(key[active].tolist(), names, kinds)
    for column in NUMERIC:
        attributes[:, names.index(column)] = _nested(features, column)
    taken = (action[owner] == key) & treated[owner]
    cost = found["cost"].cast(pa.float64()).to_numpy()
    contact = np.array([float(plan.meta["channel_costs"].get(name, 0)) for name in rows["channel"].to_pylist()])
    paid = np.where(treated & (action != NOTHING), np.minimum(contact, cost), 0.0)
    return Logged(
        x=plan_matrix(features, columns),
        y=found["margin"].cast(pa.float64()).to_numpy() + cost - paid,
        cost=cost,
        unit=np.array(rows["unit"].to_pylist(), dtype=object),
        starts=np.concatenate([[0], np.cumsum(counts - 1)]),
        actions=attributes,
        chance=(1.0 - share) * chance[active],
        prior=_nested(features, "prior_margin"),
        prior_cost=_nested(features, "prior_cost"),
        taken=taken[active],
    )


def _nested(features: pa.Table, name: str) -> np.ndarray:
    return np.asarray(features[name].combine_chunks().flatten().to_numpy(zero_copy_only=False), dtype=np.float64)
