"""Winners and losers among words, each with its interval, and what learning earned against the fixed template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from tradewind.compose._contrasts import NORMAL, Cell, Difference, cells, shrunken
from tradewind.compose.library import TONES, Library
from tradewind.compose.sent import Sent
from tradewind.types import Estimate, Report, Section

if TYPE_CHECKING:
    from tradewind.compose.policy import CopyPolicy

TOGETHER = 0.95  # probability that all intervals of one report hold at once (Bonferroni)
ENOUGH = 50  # sends of the less often said of two, below which there is no verdict
WINS, LOSES, UNSURE, FEW, BASE = "wins", "loses", "cannot tell", "too few sends", "control"


@dataclass(frozen=True)
class Line:
    """One component: clicks per message it was said in, and its difference to the control component of its role."""

    locale: str
    role: str
    component: str
    text: str
    sends: int
    rate: float  # clicks per message where it fits, by inverse propensity
    shrunken: float  # the rate of what it is held against and the shrunken difference
    difference: float
    low: float  # together with all others at TOGETHER
    high: float
    verdict: str


def lines(rows: Sequence[Sent], libraries: Mapping[str, Library]) -> list[Line]:
    """One line per component (and tone) that had an alternative; the first of its role in the library is the control.

    Where the control did not fit, the first that fitted most often with the component stands in. A component that left the library keeps
    its line, without text.
    """
    told: list[tuple[tuple[str, ...], Cell, str, list[tuple[str, str, Difference]]]] = []
    for place, cell in cells(rows):
        order = _order(place, libraries)
        names = sorted(cell.names, key=lambda name: (order.get(name, len(order)), name))
        pairs = [(name, base := _base(name, names, cell), cell.against(name, base)) for name in names[1:]]
        told.append((place, cell, names[0], pairs))
    tests = sum(difference.sends >= ENOUGH for *_, pairs in told for *_, difference in pairs)
    reach = NORMAL.inv_cdf(1 - (1 - TOGETHER) / 2 / max(tests, 1))
    found: list[Line] = []
    for (locale, role), cell, control, pairs in told:
        library = libraries.get(locale)
        rate = cell.rate(control)
        found.append(Line(locale, role, control, _text(library, control), cell.sends(control), rate, rate, 0.0, 0.0, 0.0, BASE))
        drawn = shrunken([difference for *_, difference in pairs])
        for (name, base, difference), (kept, _) in zip(pairs, drawn, strict=True):
            low, high = difference.value - reach * difference.error, difference.value + reach * difference.error
            sure = FEW if difference.sends < ENOUGH else WINS if low > 0 else LOSES if high < 0 else UNSURE
            text = _text(library, name)
            found.append(
                Line(locale, role, name, text, cell.sends(name), cell.rate(name), cell.rate(base) + kept, difference.value, low, high, sure)
            )
    return found


def report(
    rows: Sequence[Sent], libraries: Mapping[str, Library], *, policy: CopyPolicy | None, silent: int, at: datetime, simulated: bool = False
) -> Report:
    """The report on words. ``silent``: messages without logged probabilities, which nothing can be learned from."""
    kept = lines(rows, libraries)
    found = {verdict: sum(line.verdict == verdict for line in kept) for verdict in (WINS, LOSES)}
    said = [
        f"{len(rows):,} messages with logged probabilities; {silent:,} without were left out."
        if silent
        else f"{len(rows):,} messages with logged probabilities.",
    ]
    said.append(
        f"{found[WINS]} components win against the control of their role and {found[LOSES]} lose. All intervals hold together with "
        f"probability {TOGETHER:.0%}, so that a false verdict is as rare among many components as among two."
    )
    said.append(
        f"A policy is learned from {policy.rows:,} messages and chooses the words."
        if policy is not None
        else "No policy is learned yet: all that fits is equally likely."
    )
    if not any(row.clicked for row in rows):
        said.append("Nobody clicked yet, so there is nothing to tell words apart by.")
    table = tuple(_row(line) for line in kept)
    sections = [Section("Words", tuple(said), tuple(_arms(rows)), table)]
    if policy is not None:
        traits = policy.trait_effects()
        more = [Estimate(name, mean, mean - 1.96 * sd, mean + 1.96 * sd, unit="clicks per message") for name, (mean, sd) in traits.items()]
        sections.append(Section("What words have in common", ("Shrunken effects of traits, for all customers.",), tuple(more)))
    return Report("What words earn", at, sections, simulated=simulated, meta={"messages": len(rows), "silent": silent})


def _arms(rows: Sequence[Sent]) -> list[Estimate]:
    """Clicks per message of the chosen wordings and of the fixed template, and the difference."""
    arms = {
        name: np.array([float(row.clicked) for row in rows if row.control is flag]) for name, flag in (("chosen", False), ("fixed", True))
    }
    found, errors = [], []
    for name, values in arms.items():
        if len(values) > 1:
            error = float(values.std(ddof=1)) / len(values) ** 0.5
            errors.append(error)
            mean = float(values.mean())
            found.append(Estimate(f"clicks per message, {name}", mean, mean - 1.96 * error, mean + 1.96 * error, 0.95, len(values)))
    if len(found) == 2:
        gain, error = found[0].value - found[1].value, (errors[0] ** 2 + errors[1] ** 2) ** 0.5
        note = "customers of the control are drawn once and for all"
        found.append(Estimate("gain of choosing", gain, gain - 1.96 * error, gain + 1.96 * error, 0.95, len(rows), note=note))
    return found


def _row(line: Line) -> dict[str, Any]:
    interval = "" if line.verdict == BASE else f"[{line.low:+.4f}, {line.high:+.4f}]"
    return {
        "language": line.locale, "role": line.role, "component": line.component, "sends": line.sends, "rate": f"{line.rate:.4f}",
        "shrunken": f"{line.shrunken:.4f}", "difference": f"{line.difference:+.4f}", "interval": interval, "verdict": line.verdict,
        "text": line.text,
    }  # fmt: skip


def _order(place: tuple[str, ...], libraries: Mapping[str, Library]) -> dict[str, int]:
    locale, role = place[:2]
    if role == "tone":
        return {name: number for number, name in enumerate(TONES)}
    library = libraries.get(locale)
    return {one.id: number for number, one in enumerate(library.components if library else ())}


def _base(name: str, names: Sequence[str], cell: Cell) -> str:
    """What a component is held against: the first of the role that fitted wherever it did, most often."""
    mine = cell.share[:, cell.names.index(name)] > 0
    fitted = {other: int((mine & (cell.share[:, cell.names.index(other)] > 0)).sum()) for other in names if other != name}
    best = max(fitted.values())
    return next(other for other in names if fitted.get(other, -1) >= 0.9 * best)


def _text(library: Library | None, name: str) -> str:
    return library.by_id[name].template.text if library is not None and name in library.by_id else ""
