"""Bidding under a budget on iPinYou auctions: dual pacing against linear bidding tuned on the same file, and others.

    python bench/bidding.py [--quick] [--seed 7] [--path CAMPAIGN.validation.txt]

Protocol of rlb-dp (Cai et al. 2017, Real-time bidding by reinforcement learning in display advertising): second price, integer bids of at
most 300, episodes of N = 1000 auctions in the order of the file, budget c0 * CPM * N each, CPM and prices from the training period
(<campaign>.train-info.txt or <campaign>.info.json beside the file). A line is: click, market price, predicted click rate.

dual      tradewind.decide.pacing; eta is the package's default, the first price is such that a bid for the average click rate
          would spend the target on the training period's prices. Nothing is tuned on the file.
lin_here  bid b0 * rate / average rate, b0 CHOSEN ON THIS FILE for most clicks, for each budget: it sees the answers
rlb       the published reinforcement-learning bidder: our own solution of its dynamic program from the training period's prices
mcpc      bid rate * cost per click of the training period;  const, random: a bid for all, uniform bids; tuned like lin_here
greedy    knows every price of the episode in advance and buys by rate per price: no bidder without that knowledge is expected above
"""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _harness import ROOT, Harness

from tradewind.decide import pacing
from tradewind.stats.bootstrap import difference
from tradewind.types import Estimate

N = 1000
SHARES = (32, 16, 8, 4, 2)
HIGHEST = 300
CAMPAIGNS = ("1458", "3358", "3386")
PUBLISHED = {
    ("2997", 156_000, 32): {"rlb": 78, "ss_mdp": 80, "lin": 63, "mcpc": 48}
}  # clicks in rlb-dp's README; its file has 63 auctions more


@dataclass(frozen=True)
class Campaign:
    """Episodes x N arrays of one file, and what the training period told."""

    name: str
    click: np.ndarray
    price: np.ndarray
    rate: np.ndarray
    cpm: float  # mean cost of an auction won
    average: float  # click rate
    prices: np.ndarray  # probability of each market price


def read(path: Path) -> Campaign:
    name = path.name.split(".")[0]
    rows = [line.split() for line in path.read_text().splitlines()]
    data = np.array([row for row in rows if len(row) == 3], dtype=float)
    data = data[: len(data) // N * N].reshape(-1, N, 3)
    note, info = path.parent / f"{name}.train-info.txt", path.parent / f"{name}.info.json"
    if note.exists():
        told = dict(line.split(":", 1) for line in note.read_text().splitlines() if ":" in line)
        cpm, average = float(told["CPM"]) / 1000, float(told["avg ctr"])
        counts = np.array(told["counter"].strip().split("_"), dtype=float)
    elif info.exists():
        facts = json.loads(info.read_text())
        cpm, average = facts["cost_train"] / facts["imp_train"], facts["clk_train"] / facts["imp_train"]
        counts = np.array(facts["price_counter_train"], dtype=float)
    else:
        raise SystemExit(f"left out: neither {note.name} nor {info.name} is beside {path}")
    return Campaign(name, data[..., 0], data[..., 1].astype(int), data[..., 2], cpm, average, counts / counts.sum())


def played(camp: Campaign, bids: np.ndarray, budget: int) -> np.ndarray:
    """Clicks per episode of fixed bids (..., episodes, N), which stop where the money ends."""
    bids = np.minimum(bids, HIGHEST).astype(np.int16)
    left = np.full(bids.shape[:-1], budget)
    clicks = np.zeros(left.shape)
    for t in range(N):
        won = np.minimum(bids[..., t], left) >= camp.price[:, t]
        left = left - won * camp.price[:, t]
        clicks += won * camp.click[:, t]
    return clicks


def tuned(camp: Campaign, shape: np.ndarray, budget: int) -> np.ndarray:
    """Clicks per episode of ``factor * shape`` with the factor of most clicks on this very file."""
    factors = np.arange(2, 2 * HIGHEST + 1, 2, dtype=np.float32)
    parts = [played(camp, some[:, None, None] * shape.astype(np.float32), budget) for some in np.array_split(factors, 10)]
    results = np.concatenate(parts)
    return np.asarray(results[results.sum(axis=1).argmax()])


def first_price(camp: Campaign, budget: int) -> float:
    """Click rate per unit of money at which a bid for the average rate spends the target on the training period's prices."""
    spend = np.cumsum(np.arange(len(camp.prices)) * camp.prices)
    bid = int(np.searchsorted(spend, budget / N))
    return camp.average / max(bid, 1)


def dual(camp: Campaign, budget: int) -> np.ndarray:
    clicks = np.zeros(len(camp.click))
    begin = pacing.start(budget, N, price=first_price(camp, budget))
    for episode, (click, price, rate) in enumerate(zip(camp.click.tolist(), camp.price.tolist(), camp.rate.tolist(), strict=True)):
        pace = begin
        for hit, cost, chance in zip(click, price, rate, strict=True):
            won = min(int(pacing.bid(pace, chance)), HIGHEST) >= cost
            pace = pacing.paid(pace, cost if won else 0)
            clicks[episode] += hit if won else 0
    return clicks


def rlb(camp: Campaign, budget: int) -> np.ndarray:
    """Value of (auctions to come, money left) by dynamic programming with the average click rate, then bids that respect it."""
    worth = np.zeros((N, budget + 1), dtype=np.float32)  # row t: with t auctions to come
    for t in range(1, N):
        before, gained = worth[t - 1], np.zeros(budget + 1, dtype=np.float32)
        for price, chance in enumerate(camp.prices[: budget + 1]):
            gain = np.float32(camp.average) + before[: budget + 1 - price] - before[price:]
            if gain.max() <= 0:
                break
            gained[price:] += np.float32(chance) * np.maximum(gain, 0)
        worth[t] = before + gained
    clicks = np.zeros(len(camp.click))
    left = np.full(len(clicks), budget)
    for t in range(N):
        now, cost = worth[N - 1 - t], camp.price[:, t]
        affordable = cost <= np.minimum(left, HIGHEST)
        # The gain falls in the price, so bidding up to where it is positive is winning exactly where it is.
        won = affordable & (camp.rate[:, t] + now[np.maximum(left - cost, 0)] - now[left] >= 0)
        left = left - np.where(won, cost, 0)
        clicks += won * camp.click[:, t]
    return clicks


def greedy(camp: Campaign, budget: int) -> np.ndarray:
    clicks = np.zeros(len(camp.click))
    for episode in range(len(clicks)):
        price = camp.price[episode]
        order = np.argsort(-camp.rate[episode] / np.maximum(price, 1e-9), kind="stable")
        left = budget
        for at in order:
            if price[at] <= min(left, HIGHEST):
                left -= price[at]
                clicks[episode] += camp.click[episode, at]
    return clicks


def judge(bench: Harness, camp: Campaign, share: int) -> dict[str, np.ndarray]:
    """Clicks per episode of every bidder at budget 1/share."""
    budget = int(camp.cpm * N / share)
    rng = np.random.default_rng(bench.arguments.seed)
    found = {
        "dual": dual(camp, budget),
        "lin_here": tuned(camp, camp.rate / camp.average, budget),
        "rlb": rlb(camp, budget),
        "mcpc": played(camp, camp.rate * camp.cpm / camp.average, budget),
        "const": tuned(camp, np.ones(camp.rate.shape), budget),
        "random": tuned(camp, rng.uniform(0, 2, camp.rate.shape), budget),
        "greedy": greedy(camp, budget),
    }
    key = f"{camp.name}_1/{share}"
    bench.figure(f"{key}_clicks", ", ".join(f"{name} {clicks.sum():.0f}" for name, clicks in found.items()))
    for name, clicks in PUBLISHED.get((camp.name, camp.click.size, share), {}).items():
        bench.figure(f"{key}_published_{name}", clicks)
    for rival in ("lin_here", "rlb"):
        gap = against(bench, found, rival)
        bench.figure(f"{key}_dual_less_{rival}_per_episode", f"{gap.value:.3f} [{gap.low:.3f}, {gap.high:.3f}]")
    return found


def against(bench: Harness, found: dict[str, np.ndarray], rival: str) -> Estimate:
    """Clicks an episode by which dual is ahead, with its 95 % interval over episodes."""
    return difference(found["dual"], found[rival], name=rival, seed=bench.arguments.seed)


def main() -> None:
    bench = Harness("bidding", __doc__)
    folder = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data")) / "ipinyou_rlb"
    paths = [bench.arguments.path] if bench.arguments.path else [folder / f"{name}.validation.txt" for name in CAMPAIGNS]
    if not all(path.exists() for path in paths):
        print(f"left out: {paths[0]} is not there; set TRADEWIND_DATA or give --path")
        bench.finish()
        return
    totals: Counter[str] = Counter()
    below = worse = 0
    for path in paths[:1] if bench.quick else paths:
        camp, own = read(path), Counter()
        bench.figure(f"{camp.name}_auctions", camp.click.size)
        bench.figure(f"{camp.name}_clicks_in_file", int(camp.click.sum()))
        for share in SHARES[:2] if bench.quick else SHARES:
            found = judge(bench, camp, share)
            own.update({name: int(clicks.sum()) for name, clicks in found.items()})
            below += int(found["dual"].sum() < found["lin_here"].sum())
            worse += int((against(bench, found, "lin_here").high or 0.0) < 0)
        bench.figure(f"{camp.name}_dual_over_lin_here", own["dual"] / own["lin_here"], target=(">=", 1.0))
        bench.figure(f"{camp.name}_dual_over_rlb", own["dual"] / own["rlb"], target=(">=", 1.0))
        totals.update(own)
    for name, clicks in totals.items():
        bench.figure(f"all_{name}_clicks", clicks)
    bench.figure("all_dual_over_lin_here", totals["dual"] / totals["lin_here"], target=(">=", 1.0))
    bench.figure("budgets_with_fewer_clicks_than_lin_here", below, target=("<=", 0))
    bench.figure("budgets_worse_than_lin_here_beyond_noise", worse, target=("<=", 0))
    bench.finish()


if __name__ == "__main__":
    main()
