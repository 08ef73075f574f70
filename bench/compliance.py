"""How well each rule pack of the guard tells violations from look-alikes, on labelled texts that nobody tuned on.

``tests/compose/compliance/*.jsonl`` holds one text per line: ``id``, ``locale``, ``channel``, ``parts``, ``about`` (the pack that the
text was written for), ``expect`` (packs that must object) and, where the text rests on them, ``flags`` (facts that are known). SHA-256 of
the id splits the set: an even first byte is "tuned", an odd one "held". Rules are written against the tuned half; of the held half only
totals are printed unless ``--show-held`` is given, and once somebody has looked, the half is no longer held.

Recall: share of the texts with the pack in ``expect`` to which it objects (blocks or warns); ``_stopped`` is the share that it
blocks. False alarms: share of the look-alikes written for the pack to which it objects.

``round`` says when a text was written: 1 before the rules, 2 after a first version of them, ``UNSEEN`` after they were closed. One
author wrote texts and rules and so knows the held half too: its figures flatter. The unseen round does not; nobody may tune on it.
``--path`` takes another file or folder of the format; of it everything is judged.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from _harness import ROOT, Harness

from tradewind import plugins
from tradewind.compose.base import BLOCK, EXEMPT
from tradewind.compose.facts import Facts
from tradewind.compose.guard import Guard
from tradewind.errors import InputError

SET = ROOT / "tests" / "compose" / "compliance"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
UNSEEN = 3
FIELDS = {"id", "locale", "channel", "parts", "about", "expect"}


def read(path: Path) -> list[dict]:
    """The labelled texts of a file or a folder.

    Raises
    ------
    InputError
        A line that is no labelled text, or an id that stands twice.
    """
    rows, seen = [], set()
    for file in sorted(path.glob("*.jsonl")) if path.is_dir() else [path]:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            row = json.loads(line)
            if missing := FIELDS - set(row):
                raise InputError(
                    f"{file}, line {number}: {', '.join(sorted(missing))} missing. Every text needs {', '.join(sorted(FIELDS))}."
                )
            if row["id"] in seen:
                raise InputError(f"{file}, line {number}: the id {row['id']} stands twice.")
            seen.add(row["id"])
            rows.append(row)
    return rows


def held(row: Mapping) -> bool:
    """Whether a text belongs to the half that nobody tunes on."""
    return hashlib.sha256(row["id"].encode()).digest()[0] % 2 == 1


@cache
def guard_of(pack: str) -> Guard:
    """The pack alone; a name that is not installed is a shop's own pack, of the set's folder ``own``."""
    return Guard([pack]) if pack in plugins.names("compose.packs") else Guard([], own=SET / "own")


def severities(row: Mapping, pack: str) -> set[str]:
    """What the pack says of the text; exemptions are no objection."""
    facts = Facts(row["locale"], NOW, {}, frozenset(row.get("flags", ())))
    guard = guard_of(pack)
    found = guard.check(row["parts"], facts=facts, locale=row["locale"], channel=row["channel"])
    return {verdict.severity for verdict in found} - {EXEMPT}


def judge(bench: Harness, pack: str, rows: Sequence[Mapping], *, show: bool) -> None:
    """Print the figures of one pack."""
    said = {row["id"]: severities(row, pack) for row in rows if pack in row["expect"] or row["about"] == pack}
    positives = [row for row in rows if pack in row["expect"]]
    alike = [row for row in rows if row["about"] == pack and pack not in row["expect"]]
    print(f"{pack}: {len(positives)} violations, {len(alike)} look-alikes")
    if positives:
        bench.figure(f"{pack}_recall", sum(bool(said[row["id"]]) for row in positives) / len(positives), target=(">=", 0.95))
        bench.figure(f"{pack}_stopped", sum(BLOCK in said[row["id"]] for row in positives) / len(positives))
    if alike:
        bench.figure(f"{pack}_false_alarms", sum(bool(said[row["id"]]) for row in alike) / len(alike), target=("<=", 0.05))
    if show:
        for row in [row for row in positives if not said[row["id"]]]:
            print(f"  missed       {row['id']}  {' | '.join(row['parts'].values())}")
        for row in [row for row in alike if said[row["id"]]]:
            print(f"  false alarm  {row['id']}  {' | '.join(row['parts'].values())}")


def whole(bench: Harness, name: str, rows: Sequence[Mapping]) -> None:
    """Print recall and false alarms over all packs."""
    bad, alike = [row for row in rows if row["expect"]], [row for row in rows if not row["expect"]]
    hits = sum(bool(severities(row, pack)) for row in bad for pack in row["expect"])
    alarms = sum(bool(severities(row, row["about"])) for row in alike)
    bench.figure(f"{name}recall", hits / max(sum(len(row["expect"]) for row in bad), 1), target=(">=", 0.95))
    bench.figure(f"{name}false_alarms", alarms / max(len(alike), 1), target=("<=", 0.05))


def main() -> None:
    """Run the benchmark."""
    extra = {
        "--tuned": {"action": "store_true", "help": "judge the half that the rules were tuned on instead, and show its failures"},
        "--show-held": {"action": "store_true", "help": "show the failures of the held half: it is not held any more after that"},
    }
    bench = Harness("compliance", __doc__, extra=extra)
    arguments = bench.arguments
    try:
        rows = read(arguments.path or SET)
    except (InputError, ValueError, OSError) as error:
        sys.exit(f"compliance: {error}")
    bench.figure("texts", len(rows))
    unseen = [row for row in rows if row.get("round") == UNSEEN]
    if arguments.path is None:
        rows = [row for row in rows if row.get("round") != UNSEEN and held(row) != arguments.tuned]
    bench.figure("texts_judged", len(rows))
    for pack in sorted({row["about"] for row in rows} | {pack for row in rows for pack in row["expect"]}):
        judge(bench, pack, rows, show=arguments.tuned or arguments.show_held)
    whole(bench, "", rows)
    if arguments.path is None and not arguments.tuned:
        print(f"written after the rules were closed: {len(unseen)} texts")
        whole(bench, "unseen_", unseen)
    bench.finish()


if __name__ == "__main__":
    main()
