"""Off-policy evaluation: does it find the truth, do its intervals hold it, and is it ever worse than the Open Bandit Pipeline?

    python bench/offpolicy.py [--quick] [--runs 40] [--only PART] [--path FOLDER]

Synthetic bandits of known value in seven regimes (few and many arms, near and far policies, a truth that no linear model can say, rare
outcomes, heavy-tailed money, thin support), ranked lists, and delayed outcomes. Every estimator is run on the same draws by us (our
own cross-fitted predictions) and by the Open Bandit Pipeline (its cross-fitted regression; bench/peers/make.sh), and once more by us on
the peer's predictions, where both must give the same number. "Worse" compares squared errors run by run: a mean difference
more than 3 standard errors above zero. Coverage is of nominal 95 % intervals, over the runs that were not refused.

Then the Open Bandit logs under FOLDER (BEHAVIOUR/CAMPAIGN/CAMPAIGN.csv; with --path nothing but them): what the uniform random
policy's log says of the other policy, against that policy's own mean. The other policy is the share that its own log gives each
item at each place: the noise of that is bootstrapped together with everything else.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from _harness import ROOT, Harness
from _offpolicy_world import FLOORS, REGIMES, delayed, draws, floored, open_bandit, slates

from tradewind.stats.maturity import Maturity
from tradewind.stats.offpolicy import METHODS, Judged, Match, Refused, judge
from tradewind.stats.offpolicy_slate import cascade, position, whole
from tradewind.stats.reward_model import cross_fitted
from tradewind.stats.support import Needs

PEER = ROOT / "bench" / "peers" / ".venv-obp" / "bin" / "python"
DATA = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data")) / "open_bandit"
ANY = Needs(0.0, 1.0, np.inf)
SAME = ("ips", "snips", "dm", "dr", "sndr")  # no tuned limit: the same predictions must give the same number
BOOTSTRAPPED = ("ips", "snips", "dr", "sndr")
PARTS = ("bandits", "lists", "days", "support", "logs")
AGAIN = 3  # runs in which our formulas are tried on the predictions of the peer


def peer(arrays: dict[str, np.ndarray], names: tuple[str, ...]) -> dict[str, np.ndarray] | None:
    """What the Open Bandit Pipeline says of the same logs; None without its environment."""
    if not PEER.exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        told, found = Path(folder) / "logs.npz", Path(folder) / "out.npz"
        np.savez(told, **{name: arrays[name] for name in names})
        command = [PEER, ROOT / "bench" / "peers" / "obp_peer.py", told, found]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
        if done.returncode:
            raise SystemExit(f"the peer failed:\n{done.stderr[-2000:]}")
        return dict(np.load(found))


def triple(found: Judged | Refused) -> tuple[float, float, float]:
    assert isinstance(found, Judged)
    one = found.estimate
    return one.value, np.nan if one.low is None else one.low, np.nan if one.high is None else one.high


def matched(log: dict[str, np.ndarray], run: int, q: np.ndarray) -> Match:
    return Match.of(log["policy"][run], log["arm"][run], log["reward"][run], log["propensity"][run], q)


def error(values: np.ndarray, truth: float) -> float:
    return float(np.abs(values[:, 0] - truth).mean()) / truth


def coverage(values: np.ndarray, truth: float) -> float:
    return float(((values[:, 1] <= truth) & (truth <= values[:, 2])).mean())


def worse(mine: np.ndarray, other: np.ndarray, truth: float) -> float:
    """By how many standard errors our squared errors exceed the peer's; 0 when they are the same numbers."""
    apart = (mine[:, 0] - truth) ** 2 - (other[:, 0] - truth) ** 2
    spread = apart.std(ddof=1) / len(apart) ** 0.5
    return float(apart.mean() / spread) if np.abs(apart).max() > 1e-9 * truth**2 else 0.0


def bandits(bench: Harness, runs: int) -> list[float]:
    distances, gap, kept = [], 0.0, []
    for regime in REGIMES:
        log, truth = draws(regime, runs=runs, seed=bench.arguments.seed)
        theirs = peer(log, ("x", "arm", "reward", "propensity", "policy"))
        rows: dict[str, list[Any]] = {name: [] for name in (*METHODS, *(f"{name}/bootstrap" for name in BOOTSTRAPPED))}
        refused, effective = 0, []
        for run in range(runs):
            match = matched(log, run, cross_fitted(log["x"][run], log["arm"][run], log["reward"][run], arms=regime.arms, seed=run))
            for name in METHODS:
                rows[name].append(triple(judge(match, name, needs=ANY)))
            for name in BOOTSTRAPPED:
                rows[f"{name}/bootstrap"].append(triple(judge(match, name, interval="bootstrap", needs=ANY, seed=run)))
            effective.append(match.support.effective)
            if isinstance(judge(match), Refused):
                refused += 1
            else:
                kept.append(bool(rows["dr"][-1][1] <= truth <= rows["dr"][-1][2]))
            if theirs is not None and run < AGAIN:
                same = matched(log, run, theirs["q"][run])
                gap = max(gap, *(abs(triple(judge(same, name, needs=ANY))[0] - theirs[name][run, 0]) / truth for name in SAME))
        found = {name: np.array(each) for name, each in rows.items()}
        print(f"\n{regime.name}: {regime.arms} arms, {regime.n} decisions, true value {truth:.4g}, effective {np.median(effective):,.0f}")
        bench.figure(f"{regime.name}: refused", refused / runs)
        print(f"  {'':10}{'error':>8}{'covered':>9}{'bootstrap':>10}{'half':>8}   {'peer error':>10}{'covered':>9}{'worse (se)':>12}")
        for name in METHODS:
            mine, drawn = found[name], found.get(f"{name}/bootstrap")
            line = f"  {name:10}{error(mine, truth):>8.4f}{coverage(mine, truth):>9.2f}"
            line += f"{'' if drawn is None else format(coverage(drawn, truth), '.2f'):>10}"
            line += f"{float(np.mean(mine[:, 2] - mine[:, 1])) / 2 / truth:>8.3f}"
            bench.figures[f"{regime.name}: {name} error"] = error(mine, truth)
            bench.figures[f"{regime.name}: {name} covered"] = coverage(mine, truth)
            if theirs is not None:
                distances.append(worse(mine, theirs[name], truth))
                bench.figures[f"{regime.name}: {name} peer error"] = error(theirs[name], truth)
                line += f"   {error(theirs[name], truth):>10.4f}{coverage(theirs[name], truth):>9.2f}{distances[-1]:>12.1f}"
            print(line, flush=True)
    bench.figure("coverage of dr where not refused", float(np.mean(kept)), target=(">=", 0.93))
    if distances:
        bench.figure("same predictions, largest relative gap", gap, target=("<=", 1e-9))
    return distances


def support(bench: Harness, runs: int) -> None:
    """How much support does an interval need? Coverage over logs with ever lower floors; nothing is refused here."""
    print(f"\nwhat support an interval needs: less than {Needs().effective:g} foreseen is refused")
    for floor in FLOORS:
        regime = floored(floor)
        log, truth = draws(regime, runs=runs, seed=bench.arguments.seed + 1)
        hits: dict[str, list[bool]] = {name: [] for name in ("ips", "snips", "dr", "sndr")}
        sizes = []
        for run in range(runs):
            match = matched(log, run, cross_fitted(log["x"][run], log["arm"][run], log["reward"][run], arms=regime.arms, seed=run))
            sizes.append((match.support.foreseen, match.support.effective))
            for name, each in hits.items():
                _, low, high = triple(judge(match, name, needs=ANY))
                each.append(low <= truth <= high)
        foreseen, drawn = np.median(np.array(sizes, dtype=float), axis=0)
        rates = {name: float(np.mean(each)) for name, each in hits.items()}
        print(
            f"  floor {floor:<7g} foreseen {foreseen:>5.0f}, as drawn {drawn:>5.0f}: " + ", ".join(f"{k} {v:.2f}" for k, v in rates.items())
        )
        bench.figures |= {f"floor {floor:g}: foreseen": float(foreseen), f"floor {floor:g}: as drawn": float(drawn)}
        bench.figures |= {f"floor {floor:g}: {name} covered": rate for name, rate in rates.items()}


def lists(bench: Harness, runs: int) -> list[float]:
    log, truth = slates(runs=runs, n=3000, seed=bench.arguments.seed)
    theirs, distances = peer(log, ("clicks", "propensity", "policy")), []
    print(f"\nranked lists of three, read from the top down; true value {truth:.4g}")
    for name in ("whole", "cascade", "position"):
        mine = np.array([triple(_list(name, log, run)) for run in range(runs)])
        bench.figure(f"lists, {name}: error", error(mine, truth))
        # Each place by itself is wrong in this world, where a place feels what stands above it.
        bench.figure(f"lists, {name}: covered", coverage(mine, truth), target=None if name == "position" else (">=", 0.88))
        if theirs is not None:
            bench.figure(f"lists, {name}: peer error", error(theirs[name], truth))
            distances.append(worse(mine, theirs[name], truth))
    return distances


def _list(name: str, log: dict[str, np.ndarray], run: int) -> Judged | Refused:
    one = log["clicks"][run], log["policy"][run], log["propensity"][run]
    return judge(whole(*one), "ips", needs=ANY) if name == "whole" else {"cascade": cascade, "position": position}[name](*one, needs=ANY)


def days(bench: Harness, runs: int) -> None:
    log, truth = delayed(runs=runs, n=2000, seed=bench.arguments.seed)
    naive, mended = [], []
    for run in range(runs):
        told = [log[name][run] for name in ("policy", "arm", "seen", "propensity")]
        naive.append(triple(judge(Match.of(*told), "snips", needs=ANY)))
        reward, usable = Maturity.of(log["history"][run], window=14.0).reward(told[2], log["age"][run])
        told = [told[0][usable], told[1][usable], reward[usable], told[3][usable]]
        mended.append(triple(judge(Match.of(*told), "snips", needs=ANY)))
    print(f"\noutcomes that take days; true value {truth:.4g}")
    for name, values in (("as seen", np.array(naive)), ("weighted for maturity", np.array(mended))):
        bench.figure(f"delayed, {name}: bias", float(values[:, 0].mean()) / truth - 1)
        bench.figure(f"delayed, {name}: covered", coverage(values, truth), target=(">=", 0.9) if name != "as seen" else None)


def logs(bench: Harness, draws: int) -> None:
    """The Open Bandit logs, if they are there."""
    folder = bench.arguments.path or DATA
    found = sorted(each.parent for each in folder.glob("*/*/*.csv") if each.stem == each.parent.name and each.parts[-3] != "random")
    pairs = [(each.parent.name, each.name) for each in found if (folder / "random" / each.name / f"{each.name}.csv").exists()]
    if not pairs:
        print(f"left out: no Open Bandit logs (random/CAMPAIGN/CAMPAIGN.csv and another policy's) under {folder}")
    for other, campaign in pairs:
        one_log(bench, open_bandit(folder, "random", campaign), open_bandit(folder, other, campaign), f"{campaign}, {other}", draws)


def one_log(bench: Harness, base: dict[str, np.ndarray], told: dict[str, np.ndarray], label: str, draws: int) -> None:
    shared = np.isin(base["position"], told["position"])
    base = {name: each[shared] for name, each in base.items()}
    arms = int(max(base["arm"].max(), told["arm"].max())) + 1
    q = cross_fitted(base["x"], base["arm"], base["reward"], arms=arms, seed=bench.arguments.seed)
    on_policy, clicks = float(told["reward"].mean()), told["reward"].sum()
    print(f"\nOpen Bandit, {label}: what the random log says of it; its own mean is {on_policy:.5f} ({clicks:.0f} clicks)")
    bench.figure(f"{label}: effective sample size", _match(base, told, q, None).support.effective)
    rng = np.random.default_rng(bench.arguments.seed)
    drawn = [_values(_match(base, told, q, rng)) for _ in range(draws)]
    for name, value in _values(_match(base, told, q, None)).items():
        low, high = np.quantile([each[name] for each in drawn], [0.025, 0.975])
        bench.figures[f"{label}: {name}"] = value
        print(f"  {name:9}{value:.5f} ({low:.5f} to {high:.5f})", end="  ")
        unbiased = name in ("ips", "snips", "dr", "sndr")
        bench.figure(f"{label}: {name} covers", float(low <= on_policy <= high), target=("==", 1.0) if unbiased else None)


def _values(match: Match) -> dict[str, float]:
    return {name: triple(judge(match, name, needs=ANY))[0] for name in METHODS}


def _match(base: dict[str, np.ndarray], told: dict[str, np.ndarray], q: np.ndarray, rng: np.random.Generator | None) -> Match:
    """The random log as the other policy sees it: its shares of the items at each place, in its log or a resampling of it."""
    arms, places = q.shape[1], np.unique(np.concatenate([base["position"], told["position"]]))
    mine, theirs = (np.searchsorted(places, each["position"]) for each in (base, told))
    rows = np.arange(len(mine)) if rng is None else rng.integers(0, len(mine), len(mine))
    seen = np.arange(len(theirs)) if rng is None else rng.integers(0, len(theirs), len(theirs))
    counts = np.zeros((len(places), arms))
    np.add.at(counts, (theirs[seen], told["arm"][seen]), 1.0)
    policy = counts / counts.sum(axis=1, keepdims=True)
    place, arm, guess = mine[rows], base["arm"][rows], q[rows]
    weight = policy[place, arm] / base["propensity"][rows]
    return Match(base["reward"][rows], weight, guess[np.arange(len(rows)), arm], (policy[place] * guess).sum(axis=1))


def main() -> None:
    extra = {"--runs": {"type": int, "default": 40}, "--only": {"choices": PARTS, "help": "one part alone"}}
    bench = Harness("offpolicy", __doc__, extra=extra)
    runs = 5 if bench.quick else bench.arguments.runs
    parts = {bench.arguments.only} if bench.arguments.only else {"logs"} if bench.arguments.path else set(PARTS)
    if not PEER.exists():
        print("left out: the Open Bandit Pipeline (bench/peers/make.sh makes its environment)")
    distances = bandits(bench, runs) if "bandits" in parts else []
    distances += lists(bench, runs) if "lists" in parts else []
    if "days" in parts:
        days(bench, runs)
    if "support" in parts:
        support(bench, runs)
    if distances:
        bench.figure("pairs compared with the peer", len(distances))
        bench.figure("pairs in which we are worse", int((np.array(distances) > 3).sum()), target=("==", 0))
        bench.figure("pairs in which we are better", int((np.array(distances) < -3).sum()))
    if "logs" in parts:
        logs(bench, 20 if bench.quick else 200)
    bench.finish()


if __name__ == "__main__":
    main()
