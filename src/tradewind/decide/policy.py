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

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tradewind.decide import assemble, scarcity
from tradewind.decide.candidates import Candidates, candidates
from tradewind.decide.eligibility import CODE
from tradewind.decide.hashing import canonical, digest, digests, fingerprint, uniforms
from tradewind.decide.holdout import held_out
from tradewind.decide.plan import Plan
from tradewind.decide.request import Exposure, Limits, Request
from tradewind.decide.sampling import Choices, draw_matrix, pick, propensities, wins
from tradewind.decide.scene import Scene, scene
from tradewind.stats.allocate import bisect
from tradewind.types import micros

__all__ = ["POLICY", "Exposure", "Limits", "Request", "decide", "recompute"]

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
    inputs = fingerprint_of(request, seen)
    plan_id = digest("plan", inputs)
    ids = digests(inputs, seen.profiles["customer"].to_pylist())
    units = assemble.units(seen.profiles)
    treat = ~held_out(units, salt=request.salt, share=request.holdout)
    found, reach = _reach(request, found, ids, treat)
    draws = draw_matrix(request.seed, request.size - 1, correlation=found.correlation)
    stock = _scarce(seen, found, ids, draws, treat)
    found = scarcity.beyond(found, request, ids, stock)
    prices, price, exposed = _exposed(seen, found, draws, treat)
    choices = _choices(found, scarcity.bonus(seen, prices))
    shares, won = wins(choices, draws, price=price)
    chances = propensities(shares, found.valid, floor=request.floor)
    drawn = pick(chances, uniforms(request.seed, ids))
    reserved, over, safety = _reserve(seen, found, drawn, treat, uniforms(request.seed, ids, purpose="queue"))
    outcome = assemble.Outcome(ids, units, treat, chances, drawn, reserved, over, price, choices.scores(price))
    acting = np.flatnonzero(treat & (drawn > 0) & (over == 0))
    meta = assemble.meta(request, seen, found, plan_id=plan_id, policy=POLICY, price=price) | {
        "certificate": _certificate(request, found, choices, chances, won, treat, price),
        "safety": safety,
        "reach": reach,
        "stock_reach": stock.logged(request),
        "stock": scarcity.promised(found, seen, drawn, acting),
        "exposure_prices": prices,
        "exposure": exposed,
        "worst_cost": float(found.worst[acting, drawn[acting] - 1].sum()),
        "expected_profit": float(((chances[:, 1:] * (found.value - found.cost))[treat]).sum()),
        "inputs": inputs,
    }
    return Plan(assemble.table(request, seen, found, outcome, plan_id=plan_id, policy=POLICY), meta, assemble.features(seen, found, ids))


def again(seen: Scene, ids: list[str], meta: Mapping[str, Any], stock: scarcity.Reach) -> tuple[Candidates, Choices]:
    """The candidates of some customers under the reach and the prices of a plan that was decided before."""
    found = candidates(seen, correlation=float(meta["correlation"]))
    if meta["reach"] < 1.0:
        found = found.only(uniforms(seen.request.seed, ids, purpose="reach") < meta["reach"], CODE["budget_reach"])
    found = scarcity.beyond(found, seen.request, ids, stock)
    return found, _choices(found, scarcity.bonus(seen, meta["exposure_prices"]))


def recompute(plan: Plan) -> np.ndarray:
    """Propensities of every candidate of a plan, flat and in order, from its log and seed alone; equal to what it logged."""
    choices, size = assemble.logged_choices(plan)
    draws = draw_matrix(int(plan.meta["seed"]), size, correlation=float(plan.meta["correlation"]))
    shares, _ = wins(choices, draws, price=1.0)
    chances = propensities(shares, choices.valid, floor=float(plan.meta["floor"]))
    open_ = np.concatenate([np.ones((len(chances), 1), dtype=bool), choices.valid], axis=1)
    return np.asarray(chances[open_])


def fingerprint_of(request: Request, seen: Scene) -> str:
    """Hash of everything that the plan depends on."""
    tables = [seen.profiles, request.items, request.allowed]
    tables += [table for table in (request.shortlist, request.held) if table is not None]
    offers = [
        [one.offer, one.kind, dict(one.terms), sorted(one.items) if one.items is not None else None, str(one.starts_at), str(one.ends_at),
         one.eligible, sorted(one.audience) if one.audience is not None else None, one.campaign, dict(one.title)]
        for one in request.offers
    ]  # fmt: skip
    names = ("budget", "currency", "salt", "seed", "holdout", "floor", "window_days", "margin", "zone", "budget_id", "size", "reserve_z")
    settings = {name: getattr(request, name) for name in names} | {"channels": dict(request.channels), "limits": vars(request.limits)}
    if request.exposure is not None:
        settings["exposure"] = [request.exposure.column, dict(request.exposure.floors)]
    parts = [fingerprint(table) for table in tables]
    settings |= {"promised": dict(request.promised), "redeemed": dict(request.redeemed)}
    people = [sorted(request.impersonal), sorted(request.blocked)]
    return digest(POLICY, micros(request.as_of), canonical(offers), canonical(settings), *parts, canonical(people), seen.shelf.version)


def _choices(found: Candidates, bonus: np.ndarray | None) -> Choices:
    return Choices(found.value, found.sd, found.cost, found.valid, bonus)


def _scarce(seen: Scene, found: Candidates, ids: list[str], draws: np.ndarray, treat: np.ndarray) -> scarcity.Reach:
    """Who keeps what is scarce, by the chances of a plan without the limit."""
    request, stock = seen.request, seen.shelf.stock
    if not scarcity.scarce(found, stock, treat):
        return scarcity.Reach.none(request)
    choices = _choices(found, None)
    shares, _ = wins(choices, draws, price=_price(request, found, choices, draws, treat))
    return scarcity.cut(found, request, stock, ids, propensities(shares, found.valid, floor=request.floor), treat)


def _exposed(
    seen: Scene, found: Candidates, draws: np.ndarray, treat: np.ndarray
) -> tuple[dict[str, float], float, dict[str, dict[str, float]]]:
    """Prices of the exposure floors, the price of the budget, and the shares reached."""
    request = seen.request
    if request.exposure is None:
        return {}, _price(request, found, _choices(found, None), draws, treat), {}

    def treated(bonus: np.ndarray, price: float) -> np.ndarray:
        shares, _ = wins(_choices(found, bonus), draws, price=price)
        return np.asarray(1.0 - propensities(shares, found.valid, floor=request.floor)[:, 0])

    return scarcity.expose(seen, treat, reprice=lambda bonus: _price(request, found, _choices(found, bonus), draws, treat), treated=treated)


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
    """When even the floor costs more than the budget, a random share of the customers keeps all of its candidates.

    The share is drawn by hash and logged; the others keep what costs nothing, the rest has the reason budget_reach.
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


def reserve(found: Candidates, drawn: np.ndarray, acting: np.ndarray, *, safety: float) -> np.ndarray:
    """What the decisions of the customers ``acting`` hold of the budget: expected cost and safety, at most the worst; int64."""
    slot = drawn[acting] - 1
    cost, contact, worst = (array[acting, slot] for array in (found.cost, found.contact, found.worst))
    paid = np.maximum(cost - contact, 0.0)
    return np.asarray(np.minimum(np.ceil(cost + safety * paid - 1e-9), np.maximum(worst, cost)).astype(np.int64))


def _reserve(
    seen: Scene, found: Candidates, drawn: np.ndarray, treat: np.ndarray, queue: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """What every decision holds of the budget (int64), why it did not fit any more (``assemble.OVER``), the safety per discount."""
    request, n = seen.request, len(drawn)
    reserved, over = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int8)
    acting = np.flatnonzero(treat & (drawn > 0))
    acting = acting[np.argsort(queue[acting], kind="stable")]
    late = scarcity.overdrawn(found, seen.shelf.stock, drawn, acting)
    over[acting[late]] = 2
    acting = acting[~late]
    if not len(acting):
        return reserved, over, 0.0
    slot = drawn[acting] - 1
    cost, contact, worst = (array[acting, slot] for array in (found.cost, found.contact, found.worst))
    paid = np.maximum(cost - contact, 0.0)
    deviation = float(np.sqrt(np.maximum(paid * (worst - contact - paid), 0.0).sum()))
    safety = float(request.reserve_z * deviation / paid.sum()) if paid.sum() > 0 else 0.0
    held = reserve(found, drawn, acting, safety=safety)
    fits = np.cumsum(held) <= request.budget
    over[acting[~fits]] = 1
    reserved[acting[fits]] = held[fits]
    return reserved, over, safety


def _certificate(
    request: Request, found: Candidates, choices: Choices, chances: np.ndarray, won: np.ndarray, treat: np.ndarray, price: float
) -> dict[str, float]:
    """How far the policy is from the best with the same floor, draws and capacity: dual bound minus primal, minor units.

    The sampled problem gives every (customer, draw) one action; its weight is what the floor leaves. At the price each
    chooses its best, so the dual bound is the primal plus (price - 1) * (capacity - expected cost). ``capacity`` is the budget
    without the safety; it is the expected cost itself where the floor alone costs more. Exposure floors are further constraints
    with prices of their own, whose slack is part of the gap.
    """
    spend = _spend(found, chances, treat)
    weight = 1.0 - request.floor * (1 + found.valid.sum(axis=1))
    floored = request.floor * np.where(found.valid, found.value - found.cost, 0.0).sum(axis=1)
    primal = float((weight * won + floored)[treat].sum())
    capacity = max(request.budget - request.reserve_z * spend.deviation, spend.mean)
    gap = (price - 1.0) * (capacity - spend.mean)
    if choices.bonus is not None:
        gap += float(((1.0 - chances[:, 0]) * choices.bonus)[treat].sum())
    return {"price": price, "capacity": capacity, "expected_cost": spend.mean, "primal": primal, "bound": primal + gap, "gap": gap}
