"""The live bandit against VowpalWabbit on the same streams: same contexts, same potential outcomes, same floor.

Streams: simulated (bench/_streams.py says how) or, with --path, a CSV file with one column `reward:NAME` per action (what it would
have earned in that row; `mean:NAME` its expectation, if known) and context columns. Both sides choose, see the reward of what they
chose - `delay` rounds later - and learn. Regret is the best mean of a row minus the chosen one's, summed over the rounds.

VowpalWabbit runs the explorers of `EXPLORERS` with interactions of context and action. Its figure is that of its best explorer,
chosen per stream after the fact by the same regret, which is generous: all explorers run on the first seed, the
best four of them on the next two, the best of these on all others. Compared twice: with the floor .01 under every action (mixed into
VowpalWabbit's probabilities), and without any.
Targets: the 95 % interval of the paired difference in regret, ours minus theirs, reaches to 0 or below; decisions per second, learning
included, one by one from Python, at least five times theirs in the same run; the least logged propensity is the floor exactly.

    python bench/bandit.py [--quick] [--path FILE.csv] [--delay N] [--seeds 20] [--rounds 20000] [--keep FOLDER] [--peer-only]
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from _harness import Harness
from _streams import NAMES, Stream, read, simulate
from scipy import stats

from tradewind.decide.bandit import Bandit

PEERS = Path(__file__).resolve().parent / "peers"
PYTHON = PEERS / ".venv-vw" / "bin" / "python"
PAIRS, TRIPLES = "-q CA", "-q CA --interactions CCA"  # context x action; also context x context x action
EXPLORERS = {
    "epsilon-greedy .05 mtr": f"--epsilon 0.05 --cb_type mtr {PAIRS}",
    "epsilon-greedy .1 dr": f"--epsilon 0.1 --cb_type dr {PAIRS}",
    "first 1000": f"--first 1000 --cb_type mtr {PAIRS}",
    "first 1000, triples": f"--first 1000 --cb_type mtr {TRIPLES}",
    "bag 5": f"--bag 5 --cb_type mtr {PAIRS}",
    "bag 5, triples": f"--bag 5 --cb_type mtr {TRIPLES}",
    "squarecb": f"--squarecb --cb_type mtr {PAIRS}",
    "squarecb, triples": f"--squarecb --cb_type mtr {TRIPLES}",
    "synthcover": f"--synthcover --cb_type mtr {PAIRS}",
    "cover 8": f"--cover 8 --cb_type mtr {PAIRS}",
    "regcb": f"--regcbopt --mellowness 0.1 --cb_type mtr {PAIRS}",
}
FLOOR = 0.01
HALVING = ((1, len(EXPLORERS)), (3, 4), (10**9, 1))  # up to this seed, so many explorers go on, by their sum so far


class Peer:
    """VowpalWabbit's results, each computed once and kept in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def ask(self, name: str, stream: Stream, seed: int, floor: float, explorers: list[str]) -> dict[str, dict[str, float]]:
        """Per explorer: ``gained`` (sum of the means of what was chosen), ``cpu`` seconds, ``lowest`` probability."""
        found = {}
        for explorer in explorers:
            key = f"{name}|{seed}|{floor}|{explorer}|{EXPLORERS[explorer]}|{stream.contexts.shape}|{stream.delay}"
            kept = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.json"
            if not kept.exists():
                kept.write_text(json.dumps(run_peer(stream, seed, floor, explorer)))
            found[explorer] = json.loads(kept.read_text())
        return found


def run_peer(stream: Stream, seed: int, floor: float, explorer: str) -> dict[str, float]:
    """One explorer on one stream in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/stream.npz"
        np.savez(
            path, contexts=stream.contexts, rewards=stream.rewards, means=stream.means, delay=stream.delay, actions=np.array(stream.actions)
        )
        asked = json.dumps({"explorers": {explorer: EXPLORERS[explorer]}, "seed": seed, "floor": floor})
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [str(PYTHON), str(PEERS / "vw_peer.py"), path, asked], capture_output=True, text=True, check=False, env=environment
        )
        if done.returncode:
            raise SystemExit(f"VowpalWabbit failed:\n{done.stderr[-2000:]}")
        found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])[explorer]
        return found


def own(stream: Stream, seed: int, floor: float) -> dict[str, float]:
    """The same of our bandit, one by one, with ``chi2`` of what was chosen against the logged propensities."""
    bandit = Bandit(stream.attributes(), columns=[f"x{at}" for at in range(stream.contexts.shape[1])], seed=seed, floor=floor)
    place = {name: at for at, name in enumerate(stream.actions)}
    rewards, delay, records, chosen = stream.rewards.tolist(), stream.delay, [], []
    start = time.process_time()
    for number, context in enumerate(stream.contexts):
        record = bandit.decide(context)
        records.append(record)
        chosen.append(place[record.action])
        if number >= delay:
            old = number - delay
            bandit.learn((records[old],), (rewards[old][chosen[old]],))
    seconds = time.process_time() - start
    chances = np.array([record.propensities for record in records])
    picked = np.eye(len(place))[chosen]
    surplus = (picked - chances).sum(axis=0)
    covariance = np.diag(chances.sum(axis=0)) - chances.T @ chances
    return {
        "gained": float(stream.means[np.arange(len(chosen)), chosen].sum()),
        "cpu": seconds,
        "lowest": float(chances.min()),
        "chi2": float(surplus @ np.linalg.pinv(covariance) @ surplus),
        "freedom": len(place) - 1,
    }


def compare(bench: Harness, peer: Peer, name: str, make, seeds: list[int], floor: float) -> dict[str, list[float]]:  # type: ignore[no-untyped-def]
    """One stream at one floor: figures of regret; returns the chi-squares and the least propensities."""
    label = f"{name}_floor_{floor:g}"
    ranked = bench.arguments.explorers or list(EXPLORERS)
    theirs: dict[str, list[float]] = {explorer: [] for explorer in ranked}
    for at, seed in enumerate(seeds):
        if any(at == last for last, _ in HALVING):
            ranked.sort(key=lambda explorer: -sum(theirs[explorer]))
            ranked = ranked[: next(count for last, count in HALVING if at < last)]
        for explorer, found in peer.ask(name, make(seed), seed, floor, ranked).items():
            theirs[explorer].append(found["gained"])
    best = max(ranked, key=lambda explorer: sum(theirs[explorer]))
    if bench.arguments.peer_only:
        return {}
    streams = [make(seed) for seed in seeds]
    ours = [own(stream, seed, floor) for stream, seed in zip(streams, seeds, strict=True)]
    top = np.array([stream.means.max(axis=1).sum() for stream in streams])
    mine, other = top - [found["gained"] for found in ours], top - theirs[best]
    gap = mine - other
    half = float(stats.t.ppf(0.975, len(gap) - 1) * gap.std(ddof=1) / np.sqrt(len(gap)))
    bench.figure(f"{label}_regret_ours", float(mine.mean()))
    bench.figure(f"{label}_regret_vw", float(other.mean()))
    bench.figure(f"{label}_vw_explorer", best)
    bench.figure(f"{label}_vw_first_seed", {each: round(float(top[0] - gains[0])) for each, gains in theirs.items()})
    interval = f"[{gap.mean() - half:+.0f}, {gap.mean() + half:+.0f}]"
    bench.figure(f"{label}_difference", f"{gap.mean():+.0f} {interval}, worse in {(gap > 0).sum()} of {len(gap)}")
    bench.figure(f"{label}_difference_low", float(gap.mean() - half), target=("<=", 0.0))
    return {key: [found[key] for found in ours] for key in ("chi2", "freedom", "lowest")} | {"best": [list(EXPLORERS).index(best)]}


def speed(bench: Harness, name: str, stream: Stream, seed: int, best: str) -> None:
    """Both sides in turn, three times; the least CPU seconds of each."""
    ours, theirs = [], []
    for _ in range(1 if bench.quick else 3):
        ours.append(own(stream, seed, FLOOR)["cpu"])
        theirs.append(run_peer(stream, seed, FLOOR, best)["cpu"])
    bench.figure(f"{name}_decisions_per_s_ours", len(stream.contexts) / min(ours))
    bench.figure(f"{name}_decisions_per_s_vw", len(stream.contexts) / min(theirs))
    bench.figure(f"{name}_speed_ratio", min(theirs) / min(ours), target=(">=", 5.0))


def main() -> None:
    bench = Harness(
        "bandit",
        __doc__,
        extra={
            "--seeds": {"type": int, "default": 20},
            "--rounds": {"type": int, "default": 20_000, "help": "of the simulated streams"},
            "--delay": {"type": int, "default": 0, "help": "rounds until a reward is known, with --path"},
            "--explorers": {"nargs": "*", "choices": list(EXPLORERS), "help": "only these of VowpalWabbit's"},
            "--floors": {"nargs": "*", "type": float, "default": [0.01, 0.0], "help": "least propensity of every action"},
            "--keep": {"type": Path, "help": "folder for VowpalWabbit's results, each computed once"},
            "--only": {"nargs": "*", "choices": NAMES, "help": "these simulated streams"},
            "--peer-only": {"action": "store_true", "help": "only compute and keep VowpalWabbit's results"},
        },
    )
    if not PYTHON.exists():
        print("left out: VowpalWabbit is not there; make its environment with: sh bench/peers/make.sh")
        bench.finish()
        return
    if bench.arguments.path and not bench.arguments.path.exists():
        print(f"left out: {bench.arguments.path} is not there")
        bench.finish()
        return
    rounds = 2_000 if bench.quick else bench.arguments.rounds
    seeds = list(range(2 if bench.quick else max(bench.arguments.seeds, 2)))
    if bench.arguments.path:
        stream = read(bench.arguments.path, delay=bench.arguments.delay)
        made = {bench.arguments.path.stem: lambda _: stream}
    else:
        made = {name: lambda seed, name=name: simulate(name, seed, rounds) for name in bench.arguments.only or NAMES}
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(bench.arguments.keep or Path(folder))
        judge(bench, peer, made, seeds)
    bench.finish()


def judge(bench: Harness, peer: Peer, made, seeds: list[int]) -> None:  # type: ignore[no-untyped-def]
    """All streams, then what the log must satisfy."""
    checks: dict[str, list[float]] = {"chi2": [], "freedom": [], "lowest": []}
    for name, make in made.items():
        for floor in bench.arguments.floors:
            found = compare(bench, peer, name, make, seeds, floor)
            if bench.arguments.peer_only:
                continue
            if floor == FLOOR:
                for key, values in checks.items():
                    values += found[key]
                speed(bench, name, make(seeds[0]), seeds[0], list(EXPLORERS)[int(found["best"][0])])
    if checks["lowest"]:
        bench.figure("least_propensity_minus_floor", min(checks["lowest"]) - FLOOR, target=("==", 0.0))
        bench.figure("chosen_against_logged_p", float(stats.chi2.sf(sum(checks["chi2"]), sum(checks["freedom"]))), target=(">=", 0.001))


if __name__ == "__main__":
    main()
