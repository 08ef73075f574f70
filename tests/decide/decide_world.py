"""A shop whose truth is a checkerboard: which offer works depends on the segment, and every true effect is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from tradewind import schema
from tradewind.decide.features import split_key
from tradewind.decide.plan import Plan
from tradewind.decide.policy import Request
from tradewind.decide.value import ValueModel
from tradewind.types import NOTHING, Offer

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
STAGES = ("new", "active", "at_risk", "lapsed")
OFFERS = (Offer("pick", "product"), Offer("ten", "coupon", {"percent": 10}))


@dataclass(frozen=True)
class World:
    """``effects``: offer -> true incremental margin per stage, before the discount, minor units."""

    n: int = 1_500
    seed: int = 0
    effects: dict[str, tuple[float, float, float, float]] = field(
        default_factory=lambda: {"pick": (300.0, -200.0, 300.0, -200.0), "ten": (-100.0, 700.0, -100.0, 700.0)}
    )
    noise: float = 600.0
    redeem: float = 0.3

    @property
    def customers(self) -> list[str]:
        return [f"c{number:05d}" for number in range(self.n)]

    @property
    def stages(self) -> np.ndarray:
        return np.random.default_rng(self.seed).choice(STAGES, self.n)

    def profiles(self) -> pa.Table:
        rng = np.random.default_rng(self.seed + 1)
        return pa.table(
            {
                "customer": self.customers,
                "stage": self.stages.tolist(),
                "frequency": rng.poisson(3, self.n),
                "tenure_days": rng.uniform(30, 400, self.n),
                "recency_days": pa.array(np.where(rng.random(self.n) < 0.1, np.nan, rng.uniform(0, 200, self.n)), from_pandas=True),
                "aov": rng.uniform(2_000, 8_000, self.n),
                "orders_30d": rng.poisson(0.4, self.n),
                "zone": rng.choice(["Asia/Shanghai", "Europe/London"], self.n).tolist(),
                "best_hour": pa.array(rng.integers(0, 24, self.n), pa.int8()),
                "hour_confidence": rng.random(self.n),
                "messages_30d": rng.poisson(1, self.n),
            }
        )

    def request(self, **changes: Any) -> Request:
        """A request about everybody with a budget of 40,000 minor units."""
        rng = np.random.default_rng(self.seed + 2)
        values: dict[str, Any] = {
            "as_of": AS_OF,
            "profiles": self.profiles(),
            "offers": OFFERS,
            "items": catalogue(20),
            "allowed": pa.table({"customer": self.customers, "channel": ["email"] * self.n}),
            "channels": {"email": 5},
            "budget": 40_000,
            "currency": "CNY",
            "salt": "0123456789abcdef",
            "seed": 11,
            "shortlist": pa.table(
                {
                    "customer": np.repeat(self.customers, 5),
                    "item": [f"i{number}" for number in rng.integers(0, 20, self.n * 5)],
                    "score": rng.random(self.n * 5),
                    "source": ["graph"] * (self.n * 5),
                }
            ),
        }
        return Request(**(values | changes))

    def truth(self, plan: Plan) -> tuple[float, float]:
        """Expected incremental profit of the treated customers under the plan's propensities, and its expected cost."""
        stages = self.stages
        profit = spend = 0.0
        for row in plan.table.select(["customer", "variant", "candidates", "propensities"]).to_pylist():
            if row["variant"] == "holdout":
                continue
            stage = STAGES.index(stages[int(row["customer"][1:])])
            for action, chance in zip(row["candidates"], row["propensities"], strict=True):
                if action != NOTHING:
                    cost = self.cost(action)
                    profit += chance * (self.effects[split_key(action)[0]][stage] - cost)
                    spend += chance * cost
        return profit, spend

    def cost(self, action: str) -> float:
        """Expected true cost: contact plus the redeemed discount of ten percent of 4,000."""
        return 5.0 + (self.redeem * 400.0 if split_key(action)[0] == "ten" else 0.0)

    def best_constant(self, spend: float) -> float:
        """Expected profit of the best policy that sends one offer to a random share of all, at the same spend."""
        counts = np.array([(self.stages == stage).sum() for stage in STAGES]) * 0.9
        earned: list[float] = [
            float((counts * (np.array(effects) - self.cost(f"{offer}||email"))).sum())
            * min(1.0, spend / (counts.sum() * self.cost(f"{offer}||email")))
            for offer, effects in self.effects.items()
        ]
        return max(0.0, *earned)

    def outcomes(self, plan: Plan, *, seed: int) -> pa.Table:
        """What a window brings: margin after discounts and before contact, as ``schema.OUTCOMES`` defines it."""
        rng = np.random.default_rng(seed)
        rows = plan.table.select(["decision_id", "customer", "variant", "action"]).to_pylist()
        stages = self.stages
        margins, costs = [], []
        for row in rows:
            action = NOTHING if row["variant"] == "holdout" else row["action"]
            stage = int(row["customer"][1:])
            margin = 800.0 + 200.0 * (stages[stage] == "active") + rng.normal(0, self.noise)
            discount = contact = 0.0
            if action != NOTHING:
                margin += self.effects[split_key(action)[0]][STAGES.index(stages[stage])]
                contact = 5.0
                if split_key(action)[0] == "ten":
                    discount = 400.0 * (rng.random() < self.redeem)
            margins.append(round(margin - discount))
            costs.append(round(contact + discount))
        ids = plan.table["decision_id"]
        return pa.table({"decision_id": ids, "margin": margins, "cost": costs, "matured": [True] * len(rows)})


def catalogue(n: int) -> pa.Table:
    """Items i0, i1, ... at 4,000 minor units with a cost of 2,000 and plenty in stock."""
    return schema.conform(
        pa.table({"item": [f"i{k}" for k in range(n)], "price": [4_000] * n, "cost": [2_000] * n, "stock": [10**6] * n}), schema.ITEMS
    )


def learned(world: World, plans: list[Plan]) -> ValueModel:
    """A model fitted to plans and their simulated outcomes."""
    return ValueModel().fit([(plan, world.outcomes(plan, seed=100 + at)) for at, plan in enumerate(plans)])
