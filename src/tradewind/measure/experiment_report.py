"""The report of an experiment: what was found, how sure we are, what was left out, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from tradewind.measure import plots
from tradewind.measure.experiment import BETTER, FEW, HARMED, SAFE, UNKNOWN, WORSE, Analysis, Effect
from tradewind.measure.report import Told, interval, number
from tradewind.measure.trial import Trial
from tradewind.stats.sequential import FEW as LEAST
from tradewind.types import Estimate, Section


def report(found: Analysis, *, at: datetime, title: str) -> Told:
    """The analysis as a report: the same values as text, Markdown, JSON and HTML."""
    left = _left(found)
    sections = [_found(found), _sure(found), *([left] if left else []), _next(found), _numbers(found)]
    counts = {arm: found.tally.count(arm) for arm in found.tally.arms}
    return Told(title, at, sections, meta={"control": found.trial.control, "units": counts})


def _found(found: Analysis) -> Section:
    text = (
        ["Do not use these figures: the comparison is broken (see below)."]
        if found.broken
        else [_sentence(e, found) for e in found.effects]
    )
    rows = [
        {
            "metric": effect.metric.name,
            "arm": effect.arm,
            found.trial.control: _number(effect, effect.means[1]),
            "treated": _number(effect, effect.means[0]),
            "difference": _number(effect, effect.fixed.value),
            "interval, always valid": interval(effect.always) if effect.always else "-",
            "interval, fixed horizon": interval(effect.fixed),
            "verdict": effect.verdict,
        }
        for effect in found.effects
    ]
    shown = [e.relative for e in found.effects if e.relative is not None and e.relative.low is not None and abs(e.relative.value) < 10]
    picture = (
        (plots.intervals(_percent(shown), title="Difference from the control, fixed horizon", unit="%"),)
        if shown and not found.broken
        else ()
    )
    return Section("What we found", tuple(text), (), tuple(rows), picture)


def _percent(shown: Sequence[Estimate]) -> list[Estimate]:
    return [
        Estimate(e.name.removesuffix(", relative"), 100 * e.value, 100 * (e.low or 0.0), 100 * (e.high or 0.0), e.level, e.n) for e in shown
    ]


def _number(effect: Effect, value: float) -> str:
    return number(value, "share" if effect.share else "")


def _sentence(effect: Effect, found: Analysis) -> str:
    change = f"{effect.metric.name} in {effect.arm}: {_number(effect, effect.means[0])} against {_number(effect, effect.means[1])}"
    percent = number(effect.metric.guard or 0.0, "share")
    return {
        BETTER: f"{change}. Better than {found.trial.control}.",
        WORSE: f"{change}. Worse than {found.trial.control}.",
        UNKNOWN: f"{change}. We cannot tell yet: zero is inside the interval."
        if effect.metric.guard is None
        else f"{change}. We cannot rule out yet that it lost more than {percent}.",
        FEW: f"{change}. Too few units to say anything ({LEAST} in each arm are needed).",
        SAFE: f"{change}. Guard rail held: it did not lose more than {percent}.",
        HARMED: f"{change}. Guard rail broken: it lost more than {percent}.",
    }[effect.verdict]


def _numbers(found: Analysis) -> Section:
    values: list[Estimate] = []
    for effect in found.effects:
        tests = [f"p = {effect.p:.3g}"] if effect.p is not None else []
        if effect.always is not None:
            adjusted = "" if effect.q is None else f", adjusted q = {effect.q:.3g}"
            note = f"always valid; p = {effect.p_always:.3g}{adjusted}"
            values.append(_with(effect.always, effect.always.name, note))
        explained = [f"{effect.explained:.0%} of the variance taken out"] if effect.explained > 0.005 else []
        fixed = "; ".join(["read once, at the planned end", *tests, *explained, *([effect.fixed.note] if effect.fixed.note else [])])
        values.append(_with(effect.fixed, f"{effect.fixed.name}, fixed horizon", fixed))
        if effect.relative is not None:
            values.append(effect.relative)
    text = (
        "Always-valid intervals hold at every look and whenever you stop. Fixed-horizon intervals are narrower and hold for one look at "
        "a size that was fixed before the start; looking again and again makes them wrong."
    )
    return Section("The numbers", (text,), tuple(values))


def _with(value: Estimate, name: str, note: str) -> Estimate:
    return Estimate(name, value.value, value.low, value.high, value.level, value.n, value.unit, note)


def _sure(found: Analysis) -> Section:
    tests = sum(effect.q is not None for effect in found.effects)
    text = [check.text for check in found.checks]
    if tests > 1:
        text.append(
            f"{tests} comparisons were judged together (Benjamini-Hochberg on always-valid p-values), so one lucky one does not win."
        )
    return Section("How sure we are", tuple(text), (), tuple({"check": c.name, "result": c.level, "p": c.p} for c in found.checks))


def _left(found: Analysis) -> Section | None:
    text = [fault.text for fault in found.prepared.faults]
    if found.thin:
        text.append(f"{found.thin:,} units are in strata of which one arm has hardly anybody, and were left out.")
    if not text:
        return None
    return Section("What was left out", tuple(text), (), tuple({"what": f.code, "count": f.count} for f in found.prepared.faults))


def _next(found: Analysis) -> Section:
    if found.broken:
        failed = [check.name for check in found.checks if check.level == "FAIL"] + [f.code for f in found.prepared.faults if f.broken]
        return Section("What to do next", (f"Mend the experiment first: {', '.join(failed)}. No statistics can.",))
    text = []
    for effect in found.effects:
        if effect.verdict == UNKNOWN and effect.always is not None and effect.value_known:
            assert effect.always.high is not None
            factor = ((effect.always.high - effect.always.value) / abs(effect.always.value)) ** 2
            text.append(
                f"{effect.metric.name} in {effect.arm}: if the difference is as large as our best guess, about {factor:,.1f} times as many "
                "units would show it."
            )
    winners = sorted({effect.arm for effect in found.effects if effect.verdict == BETTER})
    losers = {effect.arm for effect in found.effects if effect.verdict in (WORSE, HARMED)}
    text += [f"Ship {arm}, or compare it with the next idea." for arm in winners if arm not in losers]
    text += [
        f"{arm} is better on some metrics and worse on others: decide which one the shop lives on." for arm in winners if arm in losers
    ]
    text += [f"Do not ship {arm}." for arm in sorted(losers - set(winners))]
    return Section("What to do next", tuple(text or ["Nothing was shown. Collect more units, or test a bolder difference."]))


def power_report(trial: Trial, rows: Sequence[dict[str, object]], *, units: int, at: datetime) -> Told:
    """What an experiment could show, before it starts."""
    text = (
        f"With {units:,} units in two arms; {trial.level:.0%} intervals, found with a probability of 80 %.",
        "The smallest effect is the smallest true difference that such an experiment shows; plan for one that you would act on.",
        "Always valid means that you may look every day and stop when it is clear; it needs about twice the units of a single look.",
    )
    return Told("What an experiment could show", at, [Section("Before the start", text, (), tuple(rows))], meta={"units": units})
