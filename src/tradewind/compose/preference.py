"""What customers preferred, as data for fine-tuning a model that writes: pairs (DPO style) and true or false (KTO style), as JSON lines.

From logged outcomes weighted by inverse propensity, so that what was said more often does not look better for it. Texts are templates
with open slots and prompts name a role, a channel, a language and a segment: there is no personal field, and every line rests on at
least ``support`` messages and ``PEOPLE`` customers on each side. ``weight`` is how sure the sign is times the gain as a share of the
click rate.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from tradewind.compose._contrasts import Difference, cells
from tradewind.compose.library import Library
from tradewind.compose.sent import Sent
from tradewind.errors import InputError

SUPPORT = 200  # messages on each side of a comparison
PEOPLE = 50  # customers
SURE = 0.8  # confidence in the sign, below which a comparison teaches noise
STYLES = ("pairs", "labels")


def preferences(
    rows: Sequence[Sent], libraries: Mapping[str, Library], *, style: str = "pairs", support: int = SUPPORT
) -> list[dict[str, Any]]:
    """The lines of ``style``: ``pairs`` (prompt, chosen, rejected) or ``labels`` (prompt, completion, label), each with its weight.

    First for all customers, then for every segment that has the support. Components that left the library have no text and no line.

    Raises
    ------
    InputError
        An unknown style, or a support below 2.
    """
    if style not in STYLES:
        raise InputError(f'preferences: there is no style "{style}". Allowed: {", ".join(STYLES)}.')
    if support < 2:
        raise InputError(f"preferences: support must be 2 messages or more; got {support}.")
    found: list[dict[str, Any]] = []
    for key in ({"channel": True}, {"channel": True, "segment": True}):
        for place, cell in cells(rows, key):
            locale, role, channel, *segment = place
            library = libraries.get(locale)
            if role == "tone" or library is None or segment == ["None"]:
                continue
            names = [name for name in cell.names if name in library.by_id]
            rate = float(cell.clicked.mean())
            prompt = _prompt(role, channel, locale, segment[0] if segment else None)
            about = {"prompt": prompt, "role": role, "channel": channel, "locale": locale, "segment": segment[0] if segment else None}
            texts = {name: library.by_id[name].template.text for name in names}
            if style == "pairs":
                told = ((first, second, cell.against(first, second)) for first, second in combinations(names, 2))
                found += [about | line for line in _pairs(told, texts, rate, support)]
            else:
                each = ((name, cell.against(name, None)) for name in names)
                found += [about | line for line in _labels(each, texts, rate, support)]
    return found


def write(lines: Sequence[Mapping[str, Any]], path: Path) -> int:
    """Write JSON lines and return how many; raises InputError where the file cannot be written."""
    try:
        path.write_text("".join(json.dumps(dict(line), ensure_ascii=False, sort_keys=True) + "\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"Cannot write {path}: {error.strerror}. Give a file in a folder that exists and that you may write to."
        ) from error
    return len(lines)


def _pairs(told: Iterator[tuple[str, str, Difference]], texts: Mapping[str, str], rate: float, support: int) -> Iterator[dict[str, Any]]:
    for first, second, difference in told:
        if _stands(difference, rate, support):
            better, worse = (first, second) if difference.value > 0 else (second, first)
            yield {"chosen": texts[better], "rejected": texts[worse], **_measure(difference, rate)}


def _labels(each: Iterator[tuple[str, Difference]], texts: Mapping[str, str], rate: float, support: int) -> Iterator[dict[str, Any]]:
    for name, difference in each:
        if _stands(difference, rate, support):
            yield {"completion": texts[name], "label": difference.value > 0, **_measure(difference, rate)}


def _stands(difference: Difference, rate: float, support: int) -> bool:
    enough = difference.sends >= support and difference.customers >= PEOPLE
    return enough and rate > 0 and difference.confidence >= SURE


def _measure(difference: Difference, rate: float) -> dict[str, Any]:
    return {
        "weight": round(difference.confidence * abs(difference.value) / rate, 6),
        "gain": round(difference.value if difference.value > 0 else -difference.value, 6),
        "confidence": round(difference.confidence, 4),
        "messages": difference.sends,
    }


def _prompt(role: str, channel: str, locale: str, segment: str | None) -> str:
    audience = f" Audience: {segment}." if segment else ""
    return f"Write the {role} of a message. Channel: {channel}. Language: {locale}.{audience}"
