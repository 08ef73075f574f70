"""What an action earns and costs: a Bayesian linear model in closed form, learned from randomised decisions.

Two heads. ``value``: the expected margin with the action minus the expected margin with "nothing" (both before the
campaign's own discount is paid). ``cost``: the expected discount plus the contact. Profit is value minus cost; a budget
raises the weight of cost above one (the price).

The target of the value head is the cross-fitted doubly robust pseudo-outcome of every candidate j of a decision,

    G_j = m_j(x) - m_0(x) + 1{T=j} (y - m_j) / e_j - 1{T=nothing} (y - m_0) / e_0,

with the logged propensities e. Given x its covariance over j is ``s^2 (diag(1/e) + 1 1'/e_0)``. Generalised least squares
with that covariance needs only its inverse, ``diag(e) - e e'`` (Sherman and Morrison), so no division by a propensity is
left: small propensities give little information instead of large noise, and the posterior counts each decision once.
For one action this is the R-learner (Nie and Wager 2021, Quasi-oracle estimation of heterogeneous treatment effects);
the pseudo-outcomes are those of Kennedy 2023 (Towards optimal doubly robust estimation of heterogeneous effects).
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tradewind.decide import features, learning
from tradewind.decide.linear import TRUST, Surface
from tradewind.decide.logs import join
from tradewind.errors import InputError, StateError
from tradewind.params import Number, check
from tradewind.types import utc

if TYPE_CHECKING:
    from tradewind.decide.plan import Plan

ARMS = 12  # offers with an effect of their own; later ones are known by their attributes
_CHUNK = 16_384


@dataclass(frozen=True)
class ValueModel:
    """Posterior over incremental margin and cost. Values flow: ``fit`` and ``update`` return another model.

    Parameters
    ----------
    columns
        Numeric profile columns, or ``column=value`` for texts; columns of a behaviour model's vector may be added.
    half_life_days
        After this many days a logged outcome counts half; None: never forget.
    folds
        For cross-fitting.

    When not to use: outcomes of decisions without logged propensities (observational data); effects that are far from
    linear in the features.
    """

    columns: tuple[str, ...] = features.CUSTOMER
    half_life_days: float | None = None
    folds: int = 5
    state: State | None = None

    @property
    def version(self) -> str:
        """Hash of everything that the model is, after "prior-" while it has learned from nothing."""
        return ("" if self.rows else "prior-") + hashlib.sha256(self._bytes()).hexdigest()[:16]

    @property
    def rows(self) -> int:
        """How many decisions it has learned from."""
        return 0 if self.state is None else self.state.rows

    def prepared(self, x: np.ndarray, *, kinds: Iterable[str], channels: Iterable[str], offers: Sequence[str], unit: float) -> ValueModel:
        """The model with places for these actions; a new one takes its standardisation from ``x`` (rows, columns).

        ``unit`` is the money scale of the prior, minor units: what a typical customer's purchases earn in a window.
        """
        fixed = [
            "contact",
            "discount",
            "affinity",
            "prior_margin",
            *(f"kind={name}" for name in sorted(kinds)),
            *(f"channel={name}" for name in sorted(channels)),
        ]
        old = self.state
        if old is None:
            center, scale = features.moments(x)
            empty = Surface.prior((), len(self.columns) + 1, max(unit, 1.0))
            old = State(center, scale, np.zeros(len(self.columns) + 1), empty, replace(empty, trust=0.0))
        names = list(old.value.names)
        names += [name for name in fixed if name not in names]
        arms = [name for name in names if name.startswith("offer=")]
        fresh = [f"offer={name}" for name in offers if f"offer={name}" not in arms]
        names += fresh[: max(ARMS - len(arms), 0)]
        grown = tuple(names)
        return replace(self, state=replace(old, value=old.value.extended(grown), cost=old.cost.extended(grown)))

    def fit(self, logs: Sequence[tuple[Plan, pa.Table]]) -> ValueModel:
        """Learn from plans and their outcomes, from scratch, oldest first.

        Raises
        ------
        InputError
            No logs, a plan without features or propensities, or outcomes of other decisions.
        """
        check("ValueModel", {"folds": self.folds}, {"folds": Number(2, 20, whole=True)})
        if self.half_life_days is not None:
            check("ValueModel", {"half_life_days": self.half_life_days}, {"half_life_days": Number(1e-3)})
        if not logs:
            raise InputError("ValueModel.fit needs at least one plan with outcomes; got none.")
        model = replace(self, state=None)
        for plan, outcomes in sorted(logs, key=lambda pair: (pair[0].meta["as_of"], pair[0].plan_id)):
            model = model.update(plan, outcomes)
        return model

    def update(self, plan: Plan, outcomes: pa.Table) -> ValueModel:
        """Add the matured outcomes of one more plan; what was learned before serves as nuisance and is kept.

        A plan must be added once only: after that its outcomes are part of the posterior. Raises as :meth:`fit`, and
        StateError when this plan was added already.
        """
        if self.state is not None and plan.plan_id in self.state.plans:
            raise StateError(f"The model has learned from plan {plan.plan_id} already. Fit again from all plans to count late outcomes.")
        if plan.features is None:
            raise InputError(f"Plan {plan.plan_id} carries no features, so nothing can be learned from it. Load it with Plan.load.")
        kinds = {str(offer["kind"]) for offer in plan.meta["offers"].values()}
        model = self.prepared(
            features.plan_matrix(plan.features, self.columns),
            kinds=kinds,
            channels=plan.meta["channel_costs"],
            offers=list(plan.meta["offers"]),
            unit=float(plan.meta["unit"]),
        )
        state = model.state
        assert state is not None
        logged = join(plan, outcomes, columns=self.columns, names=state.value.names)
        at = utc(plan.meta["as_of"])
        if self.half_life_days is not None and state.as_of is not None:
            keep = 0.5 ** (max((at - utc(state.as_of)).total_seconds(), 0.0) / 86_400 / self.half_life_days)
            state = replace(state, value=state.value.decayed(keep), cost=state.cost.decayed(keep))
        z = features.standardise(logged.x, state.center, state.scale)
        lesson = learning.lesson(logged, z, state.value, state.base, folds=self.folds)
        state = replace(
            state,
            base=lesson.base,
            value=state.value.learned(*lesson.value),
            cost=state.cost.learned(*lesson.cost) if lesson.redeemed else state.cost,
            rows=state.rows + len(logged.y),
            noise=lesson.noise,
            as_of=max(at.isoformat(), state.as_of or ""),
            plans=(*state.plans, plan.plan_id),
        )
        return replace(model, state=state)

    def save(self, path: Path) -> None:
        """Write the model into the folder ``path`` (made if needed) as JSON and NumPy arrays; no pickle."""
        from tradewind.engine.files import atomic_write

        path.mkdir(parents=True, exist_ok=True)
        atomic_write(path / "value.npz", self._bytes())

    @classmethod
    def load(cls, path: Path) -> ValueModel:
        """The inverse of :meth:`save`."""
        with np.load(path / "value.npz", allow_pickle=False) as saved:
            card = json.loads(bytes(saved["card"]).decode())
            state = None
            if card["state"] is not None:
                value, cost = (
                    Surface(
                        tuple(card["state"]["names"]),
                        len(card["columns"]) + 1,
                        information=saved[f"{head}_information"],
                        vector=saved[f"{head}_vector"],
                        trust=TRUST if head == "value" else 0.0,
                        **card["state"][head],
                    )
                    for head in ("value", "cost")
                )
                rest = card["state"]
                state = State(
                    saved["center"],
                    saved["scale"],
                    saved["base"],
                    value,
                    cost,
                    rest["rows"],
                    rest["noise"],
                    rest["as_of"],
                    tuple(rest["plans"]),
                )
        return cls(tuple(card["columns"]), card["half_life_days"], card["folds"], state)

    def _bytes(self) -> bytes:
        card: dict[str, Any] = {"columns": self.columns, "half_life_days": self.half_life_days, "folds": self.folds, "state": None}
        arrays: dict[str, np.ndarray] = {}
        if self.state is not None:
            state = self.state
            card["state"] = {key: getattr(state, key) for key in ("rows", "noise", "as_of", "plans")} | {"names": state.value.names}
            arrays = {"center": state.center, "scale": state.scale, "base": state.base}
            for head in ("value", "cost"):
                surface: Surface = getattr(state, head)
                card["state"][head] = {key: getattr(surface, key) for key in ("unit", "spread", "hetero")}
                arrays |= {f"{head}_information": surface.information, f"{head}_vector": surface.vector}
        sink = io.BytesIO()
        arrays["card"] = np.frombuffer(json.dumps(card, sort_keys=True).encode(), dtype=np.uint8)
        np.savez(sink, allow_pickle=False, **arrays)
        return sink.getvalue()


@dataclass(frozen=True)
class State:
    """What a model has learned; ``base`` (features + 1) predicts the margin of "nothing"."""

    center: np.ndarray
    scale: np.ndarray
    base: np.ndarray
    value: Surface
    cost: Surface
    rows: int = 0
    noise: float = 0.0  # variance of the outcome around the model, squared minor units
    as_of: str | None = None
    plans: tuple[str, ...] = ()


class Scorer:
    """A solved model, ready to score candidates of customers with features ``z`` (rows, columns + 1)."""

    def __init__(self, model: ValueModel) -> None:
        assert model.state is not None
        self.names = model.state.value.names
        self.numeric = [self.names.index(name) for name in features.NUMERIC]
        self._value, self._covariance = model.state.value.solve()
        self._cost, _ = model.state.cost.solve()
        self._center, self._scale = model.state.center, model.state.scale
        self._roots: dict[bytes, np.ndarray] = {}

    def features(self, x: np.ndarray) -> np.ndarray:
        """Standardised features with an intercept, from raw ``x`` (rows, columns)."""
        return features.standardise(x, self._center, self._scale)

    def surfaces(self, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Effects per unit of each attribute on each customer, margin and cost: two arrays (rows, attributes)."""
        return z @ self._value.T, z @ self._cost.T

    def at(self, surface: np.ndarray, pattern: np.ndarray, numbers: Sequence[np.ndarray]) -> np.ndarray:
        """The effect of actions with one ``pattern`` on each row of a surface; ``numbers`` as in ``features.NUMERIC``; float64 (rows)."""
        return np.asarray(surface @ pattern + sum(each * surface[:, at] for each, at in zip(numbers, self.numeric, strict=True)))

    def deviations(self, z: np.ndarray, pattern: np.ndarray, numbers: Sequence[np.ndarray]) -> np.ndarray:
        """Posterior standard deviation of the value of actions with one ``pattern``; float64 (rows)."""
        key = pattern.tobytes()
        if key not in self._roots:
            self._roots[key] = self._root(pattern, z.shape[1])
        root = self._roots[key]
        found = np.empty(len(z))
        for start in range(0, len(z), _CHUNK):
            part = slice(start, start + _CHUNK)
            phi = np.concatenate([z[part], *(each[part, None] * z[part] for each in numbers)], axis=1)
            found[part] = np.sqrt(np.einsum("ij,ij->i", phi @ root, phi @ root))
        return found

    def spread(self, weights: np.ndarray) -> float:
        """Posterior standard deviation of a weighted sum of effects; ``weights`` (attributes, columns + 1)."""
        flat = weights.ravel()
        return float(np.sqrt(max(float(flat @ self._covariance @ flat), 0.0)))

    def correlation(self, z: np.ndarray, attributes: np.ndarray) -> float:
        """Mean posterior correlation between the values of a customer's candidates.

        ``attributes`` has the shape (rows, slots, attributes) and is zero where a slot is empty.
        """
        found: list[float] = []
        for one, actions in zip(z, attributes, strict=True):
            phi = np.einsum("ka,f->kaf", actions[actions.any(axis=1)], one).reshape(-1, self._covariance.shape[0])
            cover = phi @ self._covariance @ phi.T
            spread = np.sqrt(np.maximum(np.diag(cover), 1e-300))
            ratio = cover / np.outer(spread, spread)
            found.extend(ratio[np.triu_indices(len(ratio), 1)].tolist())
        return float(np.clip(np.mean(found), 0.0, 1.0)) if found else 0.0

    def _root(self, pattern: np.ndarray, p: int) -> np.ndarray:
        """A factor L with L L' = covariance of the effects (pattern, then ``features.NUMERIC``) x features."""
        lift = np.zeros((1 + len(self.numeric), len(self.names)))
        lift[0] = pattern
        lift[np.arange(len(self.numeric)) + 1, self.numeric] = 1.0
        cube = self._covariance.reshape(len(self.names), p, len(self.names), p)
        size = len(lift) * p
        small = np.einsum("ia,apbq,jb->ipjq", lift, cube, lift, optimize=True).reshape(size, size)
        values, vectors = np.linalg.eigh((small + small.T) / 2)
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))
