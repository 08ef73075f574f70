"""``decide``: one decision per customer, within the budget, with logged propensities; a function of its request alone.

    score = value - price * cost,    price >= 1

``value`` is the expected incremental margin before the campaign's own discount, ``cost`` the expected discount plus the
contact, so at price 1 the score is expected incremental profit. A scarce budget raises the price: ``price - 1`` is what one
more unit of budget would earn. The price makes the expected cost of the whole policy, exploration included, plus
``reserve_z`` standard deviations of draw and redemption fit the budget.

What a decision reserves is its expected cost (rounded up) plus its share of a safety for redemptions (``reserve_z``
standard deviations of the plan's total); reservations never exceed the budget. What customers redeem may still exceed
what was reserved, with about 5 % probability at 1.64 when the cost estimates are right; ``meta["worst_cost"]`` says what it would
be if everyone redeemed. Whoever needs a hard limit on redemptions sets the budget to cover that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tradewind.decide import assemble
from tradewind.decide.candidates import Candidates, Scene, candidates, scene
from tradewind.decide.eligibility import CODE
from tradewind.decide.hashing import canonical, digest, digests, fingerprint, uniforms
from tradewind.decide.holdout import held_out
from tradewind.decide.plan import Plan
from tradewind.decide.request import Limits, Request
from tradewind.decide.sampling import Choices, draw_matrix, pick, propensities, wins
from tradewind.stats.allocate import bisect
from tradewind.types import micros

__all__ = ["POLICY", "Limits", "Request", "decide", "recompute"]

POLICY = "posterior-sampling/1"
_PRICING = 2_048  # customers on whom the price is searched; all of them correct it
_DEAREST = 1e9
_ROUNDS = 4


def decide(request: Request) -> Plan:
    """Decide for every profile of ``request``: same request, same plan, byte for byte.

    Raises
    ------
    InputError
        Something in the request is wrong; the message says what, and what is allowed.
    """
    seen = scene(request)
    found = candidates(seen)
    inputs = _inputs(request, seen)
    plan_id = digest("plan", inputs)
    customers = seen.profiles["customer"].to_pylist()
    ids = digests(inputs, customers)
    units = assemble.units(seen.profiles)
    treat = ~held_out(units, salt=request.salt, share=request.holdout)
    found, reach = _reach(request, found, ids, treat)
    choices = Choices(found.value, found.sd, found.cost, found.valid)
    draws = draw_matrix(request.seed, request.size - 1, correlation=found.correlation)
    price = _price(request, found, choices, draws, treat)
    shares, won = wins(choices, draws, price=price)
    chances = propensities(shares, found.valid, floor=request.floor)
    drawn = pick(chances, uniforms(request.seed, ids))
    reserved, over, safety = _reserve(request, found, drawn, treat, uniforms(request.seed, ids, purpose="queue"))
    outcome = assemble.Outcome(ids, units, treat, chances, drawn, reserved, over, price)
    worst = float(found.worst[np.arange(len(ids)), drawn - 1][treat & (drawn > 0) & ~over].sum()) if found.worst.shape[1] else 0.0
    meta = assemble.meta(request, seen, found, plan_id=plan_id, policy=POLICY, price=price) | {
        "certificate": _certificate(request, found, chances, won, treat, price),
        "safety": safety,
        "reach": reach,
        "worst_cost": worst,
        "expected_profit": float(((chances[:, 1:] * (found.value - found.cost))[treat]).sum()),
        "inputs": inputs,
    }
    return Plan(assemble.table(request, seen, found, outcome, plan_id=plan_id, policy=POLICY), meta, assemble.features(seen, found, ids))


def recompute(plan: Plan) -> np.ndarray:
    """Propensities of every candidate of a plan, flat and in order, from its log and seed alone; equal to what it logged."""
    from tradewind.decide.assemble import logged_choices

    choices, size = logged_choices(plan)
    draws = draw_matrix(int(plan.meta["seed"]), size, correlation=float(plan.meta["correlation"]))
    shares, _ = wins(choices, draws, price=float(plan.meta["price"]))
    chances = propensities(shares, choices.valid, floor=float(plan.meta["floor"]))
    open_ = np.concatenate([np.ones((len(chances), 1), dtype=bool), choices.valid], axis=1)
    return np.asarray(chances[open_])


def _inputs(request: Request, seen: Scene) -> str:
    """Hash of everything that the plan depends on."""
    tables = [seen.profiles, request.items, request.allowed, *([request.shortlist] if request.shortlist is not None else [])]
    offers = [
        [one.offer, one.kind, dict(one.terms), sorted(one.items) if one.items is not None else None, str(one.starts_at), str(one.ends_at),
         one.eligible, sorted(one.audience) if one.audience is not None else None, one.campaign, dict(one.title)]
        for one in request.offers
    ]  # fmt: skip
    names = ("budget", "currency", "salt", "seed", "holdout", "floor", "window_days", "margin", "zone", "budget_id", "size", "reserve_z")
    settings = {name: getattr(request, name) for name in names} | {"channels": dict(request.channels), "limits": vars(request.limits)}
    parts = [fingerprint(table) for table in tables]
    people = sorted(request.impersonal)
    return digest(POLICY, micros(request.as_of), canonical(offers), canonical(settings), *parts, canonical(people), seen.model.version)


@dataclass(frozen=True)
class _Spend:
    """Expected cost of a policy over some customers, and its standard deviation."""

    mean: float
    deviation: float

    def held(self, z: float) -> float:
        return self.mean + z * self.deviation


def _spend(found: Candidates, chances: np.ndarray, which: np.ndarray) -> _Spend:
    """Expectation and deviation of the total cost: who is drawn, and who of them redeems."""
    chance, cost = chances[which][:, 1:], found.cost[which]
    contact = found.contact[which]
    paid = np.maximum(cost - contact, 0.0)
    off = np.maximum(found.worst[which] - contact, paid)
    # A coupon costs all of its discount, or nothing.
    second = np.where(found.valid[which], contact**2 + 2 * contact * paid + paid * off, 0.0)
    mean = (chance * cost).sum(axis=1)
    spread = np.maximum((chance * second).sum(axis=1) - mean**2, 0.0)
    return _Spend(float(mean.sum()), float(np.sqrt(spread.sum())))


def _reach(request: Request, found: Candidates, ids: list[str], treat: np.ndarray) -> tuple[Candidates, float]:
    """When even the floor costs more than the budget, a random share of the customers keeps its candidates.

    The share is drawn by hash and logged: for the others "nothing" is the only candidate, with reason budget_reach.
    """
    least = propensities(np.eye(1, found.valid.shape[1] + 1).repeat(len(ids), axis=0), found.valid, floor=request.floor)
    spend = _spend(found, least, treat)
    if spend.held(request.reserve_z) <= request.budget or spend.mean == 0:
        return found, 1.0
    low, high = 0.0, 1.0
    for _ in range(40):
        share = (low + high) / 2
        held = spend.mean * share + request.reserve_z * spend.deviation * np.sqrt(share)
        low, high = (share, high) if held <= request.budget / 2 else (low, share)
    inside = uniforms(request.seed, ids, purpose="reach") < low
    return found.only(inside, CODE["budget_reach"]), low


def _price(request: Request, found: Candidates, choices: Choices, draws: np.ndarray, treat: np.ndarray) -> float:
    """The smallest price at which the policy's cost, with its safety, is expected to fit the budget.

    It is searched on a sample of customers and corrected on all of them.
    """
    everyone = np.flatnonzero(treat & found.valid.any(axis=1))
    if not len(everyone):
        return 1.0
    sample = everyone[:: -(-len(everyone) // _PRICING)]
    scale = len(everyone) / len(sample)

    def spent(which: np.ndarray, price: float) -> _Spend:
        shares, _ = wins(choices.rows(which), draws, price=price)
        return _spend(found, _padded(propensities(shares, found.valid[which], floor=request.floor), which, len(treat)), which)

    correction, price, tried = 1.0, 1.0, _DEAREST
    for _ in range(_ROUNDS):

        def held(price: float, correction: float = correction) -> float:
            one = spent(sample, price)
            return _Spend(one.mean * scale * correction, one.deviation * np.sqrt(scale)).held(request.reserve_z)

        price = bisect(held, target=float(request.budget), low=1.0, high=_DEAREST)
        whole = spent(everyone, price)
        if whole.held(request.reserve_z) <= request.budget:
            tried = min(tried, price)
            if price == 1.0 or whole.held(request.reserve_z) >= 0.98 * request.budget or len(sample) == len(everyone):
                break
        correction *= whole.mean / max(spent(sample, price).mean * scale * correction, 1e-9)
    return tried if tried < _DEAREST else price


def _padded(chances: np.ndarray, which: np.ndarray, n: int) -> np.ndarray:
    full = np.zeros((n, chances.shape[1]))
    full[which] = chances
    return full


def _reserve(
    request: Request, found: Candidates, drawn: np.ndarray, treat: np.ndarray, queue: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """What every decision holds of the budget (int64), who did not fit any more (bool), and the safety per unit of discount."""
    n = len(drawn)
    reserved, over = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
    acting = np.flatnonzero(treat & (drawn > 0))
    if not len(acting):
        return reserved, over, 0.0
    slot = drawn[acting] - 1
    cost, contact, worst = (array[acting, slot] for array in (found.cost, found.contact, found.worst))
    paid = np.maximum(cost - contact, 0.0)
    deviation = float(np.sqrt(np.maximum(paid * (worst - contact - paid), 0.0).sum()))
    safety = request.reserve_z * deviation / paid.sum() if paid.sum() > 0 else 0.0
    held = np.minimum(np.ceil(cost + safety * paid - 1e-9), np.maximum(worst, cost)).astype(np.int64)
    order = np.argsort(queue[acting], kind="stable")
    fits = np.cumsum(held[order]) <= request.budget
    over[acting[order[~fits]]] = True
    reserved[acting[order[fits]]] = held[order[fits]]
    return reserved, over, float(safety)


def _certificate(
    request: Request, found: Candidates, chances: np.ndarray, won: np.ndarray, treat: np.ndarray, price: float
) -> dict[str, float]:
    """How far the policy is from the best with the same floor, draws and capacity: dual bound minus primal, minor units.

    The sampled problem gives every (customer, draw) one action; its weight is what the floor leaves. At the price each
    chooses its best, so the dual bound is the primal plus (price - 1) * (capacity - expected cost). ``capacity`` is the budget
    without the safety; it is the expected cost itself where the floor alone costs more.
    """
    spend = _spend(found, chances, treat)
    weight = 1.0 - request.floor * (1 + found.valid.sum(axis=1))
    floored = request.floor * np.where(found.valid, found.value - found.cost, 0.0).sum(axis=1)
    primal = float((weight * won + floored)[treat].sum())
    capacity = max(request.budget - request.reserve_z * spend.deviation, spend.mean)
    gap = (price - 1.0) * (capacity - spend.mean)
    return {"price": price, "capacity": capacity, "expected_cost": spend.mean, "primal": primal, "bound": primal + gap, "gap": gap}
