"""Reports in another language: sentences, heads and labels are looked up by their English template, as gettext does by its message.

``speak.toml`` holds one line for each template, ``"English with {values}" = "..."``; a value is what stands between, and is looked up
itself. What has no line stays English and is never guessed. Values by name (``report["incremental profit"]``) and JSON are English always.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from tradewind.decide.eligibility import EXPLAIN
from tradewind.errors import unknown

LOCALES = ("en", "zh-CN")
Say = Callable[[str], str]
_SLOT = re.compile(r"\{(\w+?)_?(?::[^}]*)?\}")
_NUMBER = r"(?:[A-Z]{3} )?[-+]?[\d,]+(?:\.\d+)?(?:e-?\d+)?(?: ?%)?"  # a slot whose name ends in _ holds one
_EVERYWHERE = frozenset({"interval"})  # of verdict.toml: part of its sentences, and too general to look for
_END = re.compile(r"(?<=[.!?]) (?=[A-Z0-9\"(])")  # between two sentences


def speaker(locale: str, names: Mapping[str, Mapping[str, str]] | None = None) -> Say:
    """What says a text of a report in a language; raises NotFound for one without words.

    ``names``: by language, what the report calls by English names of its own (``Report.meta["names"]``: offers).
    """
    if locale not in LOCALES:
        raise unknown("language of reports", locale, LOCALES)
    return (lambda text: text) if locale == "en" else _Speaker(locale, (names or {}).get(locale, {})).say


def svg(picture: str, say: Say) -> str:
    """A plot with its labels in the language of ``say``."""
    found = re.sub(r">([^<>]+)</text>", lambda text: f">{say(text[1])}</text>", picture)
    return re.sub(r'aria-label="([^"]*)"', lambda text: f'aria-label="{say(text[1])}"', found)


class _Speaker:
    """The templates of one language; longer ones are tried first, so that the most telling one wins."""

    def __init__(self, locale: str, names: Mapping[str, str]) -> None:
        exact, self._open = _templates(locale)
        self._exact = {**exact, **names}

    def say(self, text: str) -> str:
        """The text in the other language; sentence by sentence where it is no template as a whole."""
        if (found := self._told(text)) is not None:
            return found
        parts = _END.split(text)
        told = [self._told(part) for part in parts]
        if len(parts) > 1 and any(told):
            return "".join(part if each is None else each for part, each in zip(parts, told, strict=True))
        return text

    @lru_cache(maxsize=4096)  # noqa: B019 - one speaker for each report
    def _told(self, text: str) -> str | None:
        if text in self._exact:
            return self._exact[text]
        for pattern, template in self._open:
            if (found := pattern.fullmatch(text)) is not None:
                return _SLOT.sub(lambda slot: self.say(found[slot[1]]), template)
        return None


@cache
def _templates(locale: str) -> tuple[Mapping[str, str], tuple[tuple[re.Pattern[str], str], ...]]:
    verdicts, why = _read("measure", "verdict.toml"), _read("decide", "readers.toml")[locale]["why"]
    pairs = {text: why[code] for code, text in EXPLAIN.items() if code in why}
    pairs |= dict([*_pairs(verdicts["en"], verdicts[locale]), *_read("measure", "speak.toml")[locale].items()])
    loose = sorted((one for one in pairs if _SLOT.search(one)), key=lambda one: -len(_SLOT.sub("", one)))
    return {one: pairs[one] for one in pairs if not _SLOT.search(one)}, tuple((_pattern(one), pairs[one]) for one in loose)


def _pairs(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Templates of the same name in two languages."""
    for name, text in one.items():
        if isinstance(text, str):
            if name not in _EVERYWHERE:
                yield text, other[name]
        else:
            yield from _pairs(text, other[name])


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"(\{\w+(?::[^}]*)?\})", template)

    def piece(part: str) -> str:
        slot = _SLOT.fullmatch(part)
        if slot is None:
            return re.escape(part)
        return f"(?P<{slot[1]}>{_NUMBER if part.endswith('_}') else '.+?'})"

    return re.compile("".join(map(piece, parts)), re.DOTALL)


def _read(room: str, name: str) -> Mapping[str, Any]:
    return tomllib.loads(files(f"tradewind.{room}").joinpath(name).read_text(encoding="utf-8"))
