"""Whom does the treatment move, and does targeting pay? Effect learners and the gate on a randomised trial.

    python bench/uplift.py [--quick] [--path TRIAL.csv] [--arm segment] [--outcome visit] [--control "No E-Mail"] [--propensity p]
                           [--cost c] [--features a b] [--drop c d] [--halves 8] [--budgets .1 .3 .6] [--placebo 10] [--rows 200000]
                           [--only peers|learners|shipped|verdicts|placebo] [--keep FOLDER]

Default: Hillstrom's e-mail trial in $TRADEWIND_DATA/hillstrom. Any CSV with one row per customer will do: columns are found by their usual
names or named by flags. Propensities are the shares of the arms unless --propensity names columns ("p_{arm}": one per arm; "p": the
probability of the arm that was given). A contact costs 1 unless --cost names a column; budgets are in cost per customer.

Every learner, ours and the peers', learns on random halves of the customers, untuned, and is judged on the other halves:
- each arm against nothing: scikit-uplift's Qini (`stats.uplift.qini`, checked against the library; for outcomes that are not 0/1 the
  outcome gained per treated customer over a random order). Engine: the candidate of `decide.gate.CANDIDATES` that `choose` picks
  inside the learning half by cross-fitted policy value averaged over ten budgets.
- all arms: mean outcome per customer under what the gate ships without a budget, and gain over nothing per customer at budgets,
  by doubly robust scores with the trial's propensities; standard errors by bootstrap.
- the gate's verdicts on the whole trial, and on the trial with outcomes permuted over customers, where there is nothing to find.
The peers live in an environment of their own, made by bench/peers/make.sh.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _harness import ROOT, Harness, clock
from _uplift_trial import Read, read
from numpy.typing import NDArray

from tradewind.decide.gate import Point, choose, gate, gates
from tradewind.decide.learners.base import crossed, learner
from tradewind.decide.learners.trial import Trial
from tradewind.errors import InputError
from tradewind.stats.cost_curve import curve, path, untargeted
from tradewind.stats.policy_value import scores
from tradewind.stats.uplift import qini, qini_gain

DATA = Path(os.environ.get("TRADEWIND_DATA", ROOT.parent / "shared" / "data"))
HILLSTROM = DATA / "hillstrom" / "hillstrom_email_experiment.csv"
PEERS = ROOT / "bench" / "peers"
PEER = PEERS / ".venv-uplift" / "bin" / "python"
DEPTHS = Point(tuple(round(0.1 * step, 1) for step in range(1, 11)))
LEARNERS = tuple((name, inside) for name in ("s", "blend", "t", "x", "r", "dr") for inside in ("linear", "lightgbm"))
ENGINE = "engine"
# What the default file must show; its Qini has no fixed bound, it is compared with the best peer of the run.
JUDGED, UNTARGETED = "womens_e_mail", "mens_e_mail"
VALUE = 0.1835
CURVE = {0.1: 0.0126, 0.3: 0.0261, 0.6: 0.0490}
Effects = dict[str, NDArray[np.float64]]  # by name: [halves, n, arms], NaN where learned from


@dataclass(frozen=True)
class World:
    """The trial, the halves to learn from [halves, n], and scores of every arm by propensities and cross-fitted predictions."""

    read: Read
    halves: NDArray[np.bool_]
    scored: NDArray[np.float64]
    budgets: tuple[float, ...]
    seed: int

    @property
    def trial(self) -> Trial:
        return self.read.trial


def main() -> None:
    bench = Harness("uplift", __doc__, extra=flags())
    asked = bench.arguments
    file = asked.path or HILLSTROM
    if not file.is_file():
        print(f"left out: {file} is not there; name a CSV file of a randomised trial by --path")
        bench.finish()
        return
    asked.rows = min(asked.rows, 6_000) if bench.quick else asked.rows
    try:
        found = read(file, asked, asked.seed)
    except InputError as error:
        raise SystemExit(f"{file.name}: {error}") from error
    world = made(found, asked, 2 if bench.quick else asked.halves)
    describe(bench, world)
    default = asked.path is None and asked.outcome in (None, "visit") and asked.arm is None
    if asked.only == "peers":
        peers(world, {}, asked.keep)
    if asked.only in (None, "learners"):
        effects = ranking(world)
        told = peers(world, effects, asked.keep)
        judge_ranking(bench, world, effects, told, default=default)
        judge_curve(bench, world, effects, targets=CURVE if default else {})
    if asked.only in (None, "shipped"):
        judge_shipped(bench, world, target=VALUE if default else None)
    if asked.only in (None, "verdicts"):
        verdicts(bench, world, default=default)
    if asked.only in (None, "placebo"):
        placebo(bench, world, min(asked.placebo, 2) if bench.quick else asked.placebo)
    bench.finish()


def flags() -> dict[str, dict[str, object]]:
    return {
        "--arm": {"help": "column of the arm"},
        "--outcome": {"help": "column of the outcome, a number"},
        "--control": {"help": "value of the arm column that means nothing was given"},
        "--propensity": {"help": 'column of the given arm\'s probability, or "p_{arm}"; default: shares of the arms'},
        "--cost": {"help": "column of what the customer cost; default: 1 per contact"},
        "--features": {"nargs": "+", "help": "columns to use; default: all that are not named otherwise"},
        "--drop": {"nargs": "+", "help": "columns not to use"},
        "--only": {"choices": ("peers", "learners", "shipped", "verdicts", "placebo"), "help": "one part of the run; peers needs --keep"},
        "--keep": {"type": Path, "help": "folder in which the peers' effects are kept, and read again on the same trial and halves"},
        "--halves": {"type": int, "default": 8},
        "--budgets": {"type": float, "nargs": "+", "default": [0.1, 0.3, 0.6]},
        "--placebo": {"type": int, "default": 10, "help": "permutations of the outcome"},
        "--rows": {"type": int, "default": 200_000, "help": "at most so many customers, drawn at random"},
    }


def made(found: Read, asked: object, halves: int) -> World:
    seed, budgets = int(asked.seed), tuple(asked.budgets)  # type: ignore[attr-defined]
    trial = found.trial
    drawn = np.zeros((halves, len(trial)), dtype=bool)
    for split in range(halves):
        drawn[split, np.random.default_rng([seed, split]).permutation(len(trial))[: len(trial) // 2]] = True
    return World(found, drawn, scored_of(trial, seed), budgets, seed)


def scored_of(trial: Trial, seed: int) -> NDArray[np.float64]:
    return scores(trial.y, trial.arm, trial.propensity, crossed(learner("t").outcomes, trial, seed, 5))


def describe(bench: Harness, world: World) -> None:
    trial, arms = world.trial, world.read.arms
    print(f'outcome "{world.read.outcome}" ({"0/1" if trial.binary else "a number"}); features: {", ".join(world.read.features)}')
    bench.figure("customers", len(trial))
    for arm, name in enumerate(arms):
        rows = trial.arm == arm
        chance = trial.propensity[rows, arm].mean()
        print(f"  {name:<24} {rows.sum():>9,} customers, mean outcome {trial.y[rows].mean():.5g}, propensity {chance:.4g}")


def one_arm(trial: Trial, rows: NDArray[np.bool_], arm: int) -> Trial:
    """``arm`` against nothing among ``rows``, with the propensity given that it was one of the two."""
    part = trial.part(rows & np.isin(trial.arm, (0, arm)))
    chance = part.propensity[:, [0, arm]]
    return replace(part, arm=(part.arm == arm).astype(np.int64), propensity=chance / chance.sum(axis=1, keepdims=True))


def ranking(world: World) -> Effects:
    """Effects of the engine and of each learner, every arm learned against nothing alone, as the peers do."""
    trial = world.trial
    shape = (len(world.halves), len(trial), trial.arms)
    found = {name: np.full(shape, np.nan) for name in (ENGINE, *(f"{name}-{inside}" for name, inside in LEARNERS))}
    picked: list[str] = []
    with clock() as taken:
        for split, half in enumerate(world.halves):
            for arm in range(1, trial.arms + 1):
                part = one_arm(trial, half, arm)
                _, winner = choose(part, (part.arm > 0).astype(np.float64), point=DEPTHS, seed=world.seed)
                found[ENGINE][split, ~half, arm - 1] = winner.effects(trial.x[~half])[:, 0]
                picked.append(winner.label)
                for name, inside in LEARNERS:
                    model = learner(name, inside=inside).fit_trial(part, seed=world.seed)
                    found[model.label][split, ~half, arm - 1] = model.effects(trial.x[~half])[:, 0]
    chosen = ", ".join(f"{label} {picked.count(label)}" for label in sorted(set(picked)))
    print(f"the engine chose, inside the learning halves: {chosen} ({taken['cpu']:.0f} CPU seconds with all learners)")
    return found


def peers(world: World, effects: Effects, keep: Path | None) -> dict[str, object]:
    """Run the peers on the same halves and add their effects; what their process said, or {} where they are not installed."""
    if not PEER.exists():
        print(f"left out: scikit-uplift and causalml; {PEER.parent.parent} is not there, make it by bench/peers/make.sh")
        return {}
    trial = world.trial
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "trial.npz"
        same = {"x": trial.x, "arm": trial.arm, "y": trial.y, "halves": world.halves}
        key = hashlib.sha256(b"".join(np.ascontiguousarray(each).tobytes() for each in same.values())).hexdigest()[:16]
        answer = (keep or Path(folder)) / f"effects-{key}.npz"
        np.savez(told, **same, **{f"ours_{name}": table for name, table in effects.items()})  # type: ignore[arg-type]
        command = [str(PEER), str(PEERS / "uplift_peer.py"), str(told), str(answer)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"the peers failed:\n{done.stderr}")
        with np.load(answer) as stored:
            effects.update({name: stored[name] for name in stored.files})
    said: dict[str, object] = json.loads(done.stdout.strip().splitlines()[-1])
    for name, why in said["left_out"].items():  # type: ignore[attr-defined]
        print(f"left out: {name} does not run on this trial ({why})")
    return said


def judge_ranking(bench: Harness, world: World, effects: Effects, told: dict[str, object], *, default: bool) -> None:
    trial, metric = world.trial, qini if world.trial.binary else qini_gain
    what = "qini" if trial.binary else "qini_gain"
    apart = 0.0
    ours = {ENGINE, *(f"{name}-{inside}" for name, inside in LEARNERS)}
    for arm in range(1, trial.arms + 1):
        found: dict[str, NDArray[np.float64]] = {}
        for name, table in effects.items():
            tests = [~half & np.isin(trial.arm, (0, arm)) for half in world.halves]
            each = [metric(trial.y[rows], table[at, rows, arm - 1], trial.arm[rows] == arm) for at, rows in enumerate(tests)]
            found[name] = np.array(each)
            if told.get("qini"):
                apart = max(apart, float(np.abs(found[name] - np.array(told["qini"][name][arm - 1])).max()))  # type: ignore[index]
        key = slug(world.read.arms[arm])
        print(f"{key}: {what} on {len(world.halves)} test halves, mean (deviation over halves)")
        for name in sorted(found, key=lambda name: -found[name].mean()):
            print(f"  {'' if name in ours else 'peer: '}{name:<28} {found[name].mean():>9.5f} ({found[name].std(ddof=1):.5f})")
        bench.figure(f"{key}_{what}", float(found[ENGINE].mean()))
        rivals = [name for name in found if name not in ours]
        if rivals:
            best = max(rivals, key=lambda name: float(found[name].mean()))
            apart_by = found[ENGINE] - found[best]
            bench.figure(f"{key}_best_peer", best)
            bench.figure(f"{key}_{what}_best_peer", float(found[best].mean()))
            bench.figure(f"{key}_{what}_minus_best_peer", float(apart_by.mean()), target=(">=", 0.0) if default and key == JUDGED else None)
            bench.figure(f"{key}_{what}_minus_best_peer_se", float(apart_by.std(ddof=1) / len(apart_by) ** 0.5))
    if told.get("qini"):
        bench.figure("qini_farthest_from_sklift", apart, target=("<=", 1e-9))


def judge_shipped(bench: Harness, world: World, *, target: float | None) -> None:
    """What the gate ships from the learning half, without a budget, on the test half; beside the constants of the same halves."""
    trial = world.trial
    value, constants, ships = [], [], []
    for half in world.halves:
        shipped = gate(trial.part(half), world.read.cost[half], seed=world.seed)
        value.append(float((shipped.policy(trial.x[~half]) * world.scored[~half]).sum(axis=1).mean()))
        constants.append(world.scored[~half].mean(axis=0))
        ships.append(shipped.ships if shipped.ships != "constant" else f"everybody {world.read.arms[shipped.arm]}")
    means = np.mean(constants, axis=0)
    print(f"all arms, no budget, shipped: {', '.join(f'{name} {ships.count(name)}' for name in sorted(set(ships)))}")
    for name, mean in zip(world.read.arms, means, strict=True):
        print(f"  everybody {name:<24} {mean:.5f}")
    bench.figure("shipped_value", float(np.mean(value)), target=(">=", target) if target else None)
    bench.figure("shipped_minus_best_constant", float(np.mean(value) - means.max()))


def judge_curve(bench: Harness, world: World, effects: Effects, *, targets: dict[float, float]) -> None:
    """Gain over nothing at each budget, all arms: the engine learns all arms at once and chooses at these budgets."""
    trial, budgets = world.trial, world.budgets
    table = np.full((len(world.halves), len(trial), trial.arms), np.nan)
    rows: dict[str, list[NDArray[np.float64]]] = {}
    spread: list[NDArray[np.float64]] = []
    paired: list[NDArray[np.float64]] = []
    for split, half in enumerate(world.halves):
        _, winner = choose(trial.part(half), world.read.cost[half], point=Point(budgets), seed=world.seed)
        table[split, ~half] = winner.effects(trial.x[~half])
        costs = np.array([world.read.cost[half & (trial.arm == arm)].mean() for arm in range(trial.arms + 1)])
        costs, test = np.maximum(costs[1:] - costs[0], 0.0), world.scored[~half]
        for name, found in {ENGINE: table, **{each: effects[each] for each in effects if each != ENGINE}}.items():
            way = path(found[split, ~half], np.tile(costs, (len(test), 1)))
            if name == ENGINE:
                gain, drawn = curve(way, test, budgets, seed=split)
                means = (world.scored[half, 1:] - world.scored[half, :1]).mean(axis=0)
                flat, flat_drawn = untargeted(means, costs, test, budgets, seed=split)
                spread.append(drawn.std(axis=0, ddof=1))
                paired.append(np.array([gain - flat, (drawn - flat_drawn).std(axis=0, ddof=1)]))
            else:
                gain, _ = curve(way, test, budgets, draws=0)
            rows.setdefault(name, []).append(gain)
    means = {name: np.mean(gains, axis=0) for name, gains in rows.items()}
    print(f"all arms, gain over nothing per customer at budgets {' / '.join(f'{budget:g}' for budget in budgets)}")
    for name in sorted(means, key=lambda name: -means[name].mean()):
        print(f"  {name:<28} {' '.join(f'{gain:>9.5f}' for gain in means[name])}")
    for at, budget in enumerate(budgets):
        bench.figure(f"gain_at_{budget:g}", float(means[ENGINE][at]), target=(">=", targets[budget]) if budget in targets else None)
        bench.figure(f"gain_at_{budget:g}_se", float(np.mean(spread, axis=0)[at]))
        bench.figure(f"gain_at_{budget:g}_over_untargeted", float(np.mean(paired, axis=0)[0, at]))
        bench.figure(f"gain_at_{budget:g}_over_untargeted_se", float(np.mean(paired, axis=0)[1, at]))


def verdicts(bench: Harness, world: World, *, default: bool) -> None:
    """The gate on all customers: each arm against nothing, then all arms; without a budget and at each budget."""
    trial = world.trial
    everybody = np.ones(len(trial), dtype=bool)
    tasks = [(slug(world.read.arms[arm]), arm) for arm in range(1, trial.arms + 1)] + ([("all_arms", 0)] if trial.arms > 1 else [])
    for key, arm in tasks:
        part = one_arm(trial, everybody, arm) if arm else trial
        cost = world.read.cost[np.isin(trial.arm, (0, arm))] if arm else world.read.cost
        points = (Point(), *(Point((budget,)) for budget in world.budgets))
        for found in gates(part, cost, points=points, seed=world.seed):
            print(f"{key}: {found.verdict}", flush=True)
            at = f"_at_{found.point.budgets[0]:g}" if found.point.budgets else ""
            bench.figure(f"{key}_ships{at}", found.ships)
            if default and key == UNTARGETED and not at:
                bench.figure(f"{key}_targeting_does_not_pay", int(found.ships != "personal"), target=("==", 1))


def placebo(bench: Harness, world: World, times: int) -> None:
    """The trial with outcomes permuted over all customers: effects are gone, and the gate must ship nothing."""
    if not times:
        return
    none = {"": 0, "_at_budgets": 0}
    for draw in range(times):
        trial = replace(world.trial, y=np.random.default_rng([world.seed, 1000 + draw]).permutation(world.trial.y))
        for key, found in zip(none, gates(trial, world.read.cost, points=(Point(), Point(world.budgets)), seed=draw), strict=True):
            none[key] += found.ships == "nothing"
    for key, count in none.items():
        bench.figure(f"placebo_nothing_found{key}", count / times, target=(">=", 0.9))


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "arm"


if __name__ == "__main__":
    main()
