"""Runs VowpalWabbit's explorers on a stream that bench/bandit.py wrote; run by the python of bench/peers/.venv-vw.

    .venv-vw/bin/python vw_peer.py STREAM.npz JSON   ->   one JSON line: per explorer mean gained, CPU seconds, least probability

STREAM.npz: `contexts` (n, d), `rewards` and `means` (n, k), `delay`, and `actions` (names such as offer=a|channel=push). JSON:
{"explorers": {name: options}, "seed", "floor"}; a floor above 0 is mixed into the probabilities, floor + (1 - k floor) p, as a shop
would have to do it, and VowpalWabbit learns from those. Each round is a prediction, a draw from its probabilities and, `delay` rounds
later, a learning step, all from Python in VowpalWabbit's text format, as its own tutorials do. Costs are the negative rewards.
"""

import json
import random
import sys
import time

import numpy as np
import vowpalwabbit


def main() -> None:
    path, asked = sys.argv[1], json.loads(sys.argv[2])
    with np.load(path) as stored:
        contexts, rewards, means, delay = stored["contexts"], stored["rewards"], stored["means"], int(stored["delay"])
        actions = [str(name) for name in stored["actions"]]
    tails = [f"|A id={number} {name.replace('|', ' ').replace(':', '_')}" for number, name in enumerate(actions)]
    print(json.dumps({name: run(options, asked, contexts, rewards, means, delay, tails) for name, options in asked["explorers"].items()}))


def run(options, asked, contexts, rewards, means, delay, tails):  # type: ignore[no-untyped-def]
    """One explorer on the stream."""
    draw, floor = random.Random(asked["seed"]).random, asked["floor"]
    workspace = vowpalwabbit.Workspace(f"--cb_explore_adf --quiet --random_seed {asked['seed'] + 1} {options}")
    names = [f"x{column}:" for column in range(contexts.shape[1])]
    rows, gains = contexts.tolist(), rewards.tolist()
    chosen = np.zeros(len(rows), dtype=np.int64)
    waiting, lowest = [], 1.0
    start = time.process_time()
    for number, row in enumerate(rows):
        shared = "shared |C " + " ".join([f"{name}{value:.6g}" for name, value in zip(names, row, strict=True)])
        chances = workspace.predict([shared, *tails])
        if floor > 0:
            chances = [floor + (1 - len(tails) * floor) * chance for chance in chances]
        left, pick = draw() * sum(chances), len(chances) - 1
        for action, chance in enumerate(chances):
            left -= chance
            if left < 0:
                pick = action
                break
        chosen[number] = pick
        lowest = min(lowest, *chances)
        waiting.append((shared, pick, chances[pick]))
        if number >= delay:
            old, action, chance = waiting[number - delay]
            waiting[number - delay] = None
            lines = [old, *tails]
            lines[1 + action] = f"0:{-gains[number - delay][action]}:{chance:.6g} {tails[action]}"
            workspace.learn(lines)
    seconds = time.process_time() - start
    workspace.finish()
    return {"gained": float(means[np.arange(len(rows)), chosen].sum()), "cpu": seconds, "lowest": float(lowest)}


main()
