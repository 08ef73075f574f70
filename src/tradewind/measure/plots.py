"""Plots as SVG text: no script, no file, no font of their own, so that a report is one self-contained page."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tradewind.types import Estimate

WIDTH = 6.0  # inches: narrow enough that letters stay readable on a telephone
INK, SOFT, GOOD, BAD, CALM = "#1f2a37", "#9aa5b1", "#0f766e", "#b4423a", "#3b6ea8"


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axis = figure.add_subplot()
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(SOFT)
    axis.tick_params(colors=INK, labelsize=10)
    return figure, axis


def _svg(figure: Any, title: str) -> str:
    import matplotlib as mpl

    buffer = io.StringIO()
    # A fixed salt and no date: the same values give the same bytes. Text stays text, in the reader's own font.
    with mpl.rc_context({"svg.hashsalt": title, "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Title": title})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    for name, colour in (("ink", INK), ("soft", SOFT), ("good", GOOD), ("bad", BAD), ("calm", CALM)):  # the page may have a dark side
        text = text.replace(colour, f"var(--{name}, {colour})")
    return re.sub(r"<svg ", f'<svg role="img" aria-label="{title}" ', text, count=1)


def intervals(
    estimates: Sequence[Estimate], *, title: str, unit: str, truths: Mapping[str, float] | None = None, scale: float = 1.0
) -> str:
    """One horizontal interval per estimate, zero marked, and the simulation's truth by the estimate's name when there is one."""
    figure, axis = _figure(WIDTH, 0.9 + 0.5 * len(estimates))
    rows = [e for e in estimates if e.low is not None and e.high is not None]
    for place, e in enumerate(reversed(rows)):
        assert e.low is not None
        assert e.high is not None
        colour = GOOD if e.low > 0 else BAD if e.high < 0 else CALM
        axis.plot([e.low / scale, e.high / scale], [place, place], color=colour, linewidth=5, alpha=0.45, solid_capstyle="round")
        axis.plot(e.value / scale, place, "o", color=colour, markersize=7)
        if truths and e.name in truths:
            axis.plot(truths[e.name] / scale, place, "D", color=INK, markersize=6)
    axis.axvline(0, color=SOFT, linewidth=1)
    axis.set_yticks(range(len(rows)), [e.name for e in reversed(rows)])
    axis.set_ylim(-0.6, len(rows) - 0.4)
    legend = "dot: best guess, bar: interval" + (", diamond: truth (simulated)" if truths else "")
    axis.set_xlabel(f"{unit}   ({legend})", fontsize=10, color=INK)
    return _svg(figure, title)


def band(
    days: NDArray[np.float64],
    value: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    *,
    title: str,
    unit: str,
) -> str:
    """A curve over days with its interval as a band; the axis always shows zero."""
    figure, axis = _figure(WIDTH, 2.8)
    axis.axhline(0, color=SOFT, linewidth=1)
    axis.fill_between(days, low, high, color=CALM, alpha=0.2, linewidth=0)
    axis.plot(days, value, color=CALM, linewidth=2)
    axis.set_xlabel("days since the plan", fontsize=10, color=INK)
    axis.set_ylabel(unit, fontsize=10, color=INK)
    return _svg(figure, title)


def bars(values: Mapping[str, float], *, title: str, unit: str) -> str:
    """Horizontal bars from zero, largest first, each with its number."""
    figure, axis = _figure(WIDTH, 0.7 + 0.34 * max(1, len(values)))
    ordered = sorted(values.items(), key=lambda pair: pair[1])
    axis.barh([name for name, _ in ordered], [value for _, value in ordered], color=CALM, height=0.62)
    for place, (_, value) in enumerate(ordered):
        axis.annotate(f" {value:,.6g}", (value, place), va="center", fontsize=9, color=INK)
    axis.set_xlabel(unit, fontsize=10, color=INK)
    axis.margins(x=0.12)
    return _svg(figure, title)


def reliability(rows: Sequence[Mapping[str, float]], *, title: str) -> str:
    """What was said (``said``, a chance) against what happened (``was``, with ``low`` and ``high``); the diagonal is right."""
    figure, axis = _figure(WIDTH, 3.2)
    most = max(max(row["said"], row["high"]) for row in rows)
    axis.plot([0, most], [0, most], color=SOFT, linewidth=1)
    for row in rows:
        axis.plot([row["said"]] * 2, [row["low"], row["high"]], color=CALM, linewidth=4, alpha=0.35, solid_capstyle="round")
    axis.plot([row["said"] for row in rows], [row["was"] for row in rows], "o-", color=CALM, markersize=5, linewidth=1)
    axis.set_xlabel("chance that was said", fontsize=10, color=INK)
    axis.set_ylabel("share that happened", fontsize=10, color=INK)
    return _svg(figure, title)
