"""What a plan's figures say, and what to do next: codes for programs, sentences of ``verdict.toml`` in English and Chinese.

A code and its figures travel in ``Report.meta`` ("verdict" and "next"), so that whoever shows the report says it in the reader's language.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from tradewind.errors import unknown
from tradewind.measure.report import number
from tradewind.types import Estimate, Reason

LOCALES = ("en", "zh-CN")


def verdict(total: Estimate | None, *, acted: bool, broken: bool) -> Reason:
    """What the total incremental profit says: nothing, no_holdout, broken, earned, lost or unsure."""
    if not acted:
        return Reason("nothing")
    if total is None:
        return Reason("no_holdout")
    if broken:
        return Reason("broken")
    low, high = _bounds(total)
    code = "earned" if low > 0 else "lost" if high < 0 else "unsure"
    return Reason(code, {"value": total.value, "low": low, "high": high, "level": total.level})


def further(total: Estimate | None, said: Reason, *, all_treated: bool, wait: str | None) -> list[Reason]:
    """What to do next; ``wait``: until when the window of outcomes is open, None when it is over."""
    found: list[Reason] = []
    if said.code == "no_holdout":
        found.append(Reason("no_holdout" if all_treated else "too_few"))
    elif said.code in ("nothing", "broken"):
        found.append(Reason(said.code))
    else:
        assert total is not None
        low, high = _bounds(total)
        half = (high - low) / 2
        if said.code == "unsure" and total.value > 0:
            found.append(Reason("more", {"factor": (half / total.value) ** 2}))
        else:
            found.append(Reason("unproved" if said.code == "unsure" else said.code))
        found.append(Reason("smallest", {"amount": half * 1.43}))
    return [*found, *([] if wait is None else [Reason("wait", {"until": wait})])]


def sentence(kind: str, told: Reason, *, currency: str, locale: str = "en") -> str:
    """One reason of ``kind`` "verdict" or "next" in words. Raises NotFound for a language without sentences."""
    words, values = _words(locale), dict(told.details)
    if "amount" in values:
        values["amount"] = number(values["amount"], "minor", currency=currency)
    if "low" in values:
        low, high, value = (number(values[name], "minor", currency=currency) for name in ("low", "high", "value"))
        interval = words["interval"].format(low=low, high=high.removeprefix(f"{currency} "))
        values["best"] = words["best"].format(value=value, interval=interval, level=values["level"])
    return str(words[kind][told.code].format(**values))


@cache
def _words(locale: str) -> Mapping[str, Any]:
    if locale not in LOCALES:
        raise unknown("language of verdicts", locale, LOCALES)
    return dict(tomllib.loads(files("tradewind.measure").joinpath("verdict.toml").read_text(encoding="utf-8"))[locale])


def _bounds(total: Estimate) -> tuple[float, float]:
    assert total.low is not None
    assert total.high is not None
    return total.low, total.high
