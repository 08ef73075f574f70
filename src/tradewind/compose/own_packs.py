"""Rule packs of the shop: its brand voice, its competitors, what it never or always says. TOML files in ``packs/`` of its folder.

::

    [[rule]]                          # what may not stand there
    id = "slang"
    reason = "we do not talk like that"
    severity = "warn"                 # "block" where left out
    terms = ["yyds", "guys"]          # whole words; or pattern / patterns = regular expressions
    locales = ["en"]                  # these four are optional: everywhere where left out
    channels = ["email", "push"]
    parts = ["subject", "body"]
    spaced = true                     # also with dots or blanks between the letters
    [[rule.exempt]]                   # text around a hit that allows it
    id = "name"
    reason = "a place"
    pattern = "Guys Hospital"

    [[required]]                      # what must stand there
    id = "sender"
    reason = "every text says whom it is from"
    terms = ["Harbour"]               # one of them
    channels = ["email"]

The file's name is the pack's name. A file that cannot be read stops everything: a guard that quietly lost its rules would be none.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tradewind.compose.base import BLOCK, PARTS, WARN, Verdict
from tradewind.compose.facts import Facts
from tradewind.compose.lexicon import Lexicon, Words, joined, read
from tradewind.compose.locales import LOCALES
from tradewind.errors import InputError, did_you_mean

_WHERE = {"locales": LOCALES, "channels": tuple(PARTS), "parts": tuple(dict.fromkeys(part for parts in PARTS.values() for part in parts))}
_RULE = {"id", "reason", "severity", "terms", "pattern", "patterns", "spaced", "exempt", *_WHERE}
_REQUIRED = {"id", "reason", "severity", "terms", "pattern", *_WHERE}
_EXEMPT = {"id", "reason", "pattern"}


@dataclass(frozen=True, slots=True)
class Required:
    """Words of which a text must hold some, in the given languages and channels, in any of the given parts."""

    id: str
    reason: str
    severity: str
    pattern: re.Pattern[str]
    locales: frozenset[str]
    channels: frozenset[str]
    parts: frozenset[str]

    def missing(self, parts: Mapping[str, str], locale: str, channel: str) -> bool:
        """Whether the words should be there and are not."""
        if (self.locales and locale not in self.locales) or (self.channels and channel not in self.channels):
            return False
        return not any(self.pattern.search(text) for part, text in parts.items() if not self.parts or part in self.parts)


class OwnPack(Words):
    """One file of the shop."""

    def __init__(self, name: str, words: Mapping[str, Lexicon], required: Sequence[Required]) -> None:
        self.name = name
        self._words, self._required = words, tuple(required)  # language -> its list

    @property
    def words(self) -> Lexicon:
        """The list of all languages, for templates."""
        return self._words[""]

    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> Sequence[Verdict]:
        """Return what stands there and may not, and, in a message, what is missing."""
        text, words = joined(parts), self._words.get(locale, self._words[""])
        found = [text.place(v) for v in words.verdicts(text.plain, facts=facts, folded=text.folded, channel=channel)]
        found = [v for v in found if not (only := words.by_id[v.rule].parts) or v.part in only]
        if channel not in PARTS:
            return found  # a name or a template: the rest of the message is not there yet
        part = "body" if "body" in parts else next(iter(parts), "body")
        return [
            *found,
            *(
                Verdict(f"{self.name}.{each.id}", part, (0, 0), "", each.severity, each.reason)
                for each in self._required
                if each.missing(parts, locale, channel)
            ),
        ]


def load(folder: Path, *, taken: Iterable[str] = ()) -> tuple[OwnPack, ...]:
    """Read the packs of a shop; a folder that is not there holds none. ``taken``: names of installed packs.

    Raises
    ------
    InputError
        A file that is no TOML, a field or value that is not allowed, a pattern that is no regular expression or that matches
        everything, or a name that is taken.
    """
    files = sorted(folder.glob("*.toml")) if folder.is_dir() else []
    for file in files:
        if file.stem in taken:
            raise InputError(
                f'{file}: a rule pack named "{file.stem}" is installed already. Rename the file, for example to "our_{file.name}".'
            )
    return tuple(_pack(file) for file in files)


def _pack(file: Path) -> OwnPack:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is no TOML file in UTF-8: {error}. docs/guard.md shows what a rule pack looks like.") from error
    _fields(file, "the file", table, {"rule", "required"})
    rules, required = _rows(file, table, "rule"), _rows(file, table, "required")
    if not rules and not required:
        raise InputError(f"{file} holds no [[rule]] and no [[required]]: a pack without rules checks nothing. Add one, or remove the file.")
    seen: set[str] = set()
    for row, allowed in (*((row, _RULE) for row in rules), *((row, _REQUIRED) for row in required)):
        _row(file, row, allowed)
        if row["id"] in seen:
            raise InputError(f'{file}: two rules are named "{row["id"]}". Rename one: verdicts are counted by it.')
        seen.add(row["id"])
    words = {
        locale: read(file.stem, {"rule": [row for row in rules if not row.get("locales") or locale in row["locales"]]})
        for locale in LOCALES
    }
    words[""] = read(file.stem, {"rule": rules})
    return OwnPack(file.stem, words, [_required(row) for row in required])


def _rows(file: Path, table: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    rows = table.get(name, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{file}: write [[{name}]] with two brackets: each rule is a table of its own.")
    return rows


def _row(file: Path, row: Mapping[str, Any], allowed: set[str]) -> None:
    where = f'the rule "{row.get("id", "without id")}"'
    _fields(file, where, row, allowed)
    for name in ("id", "reason"):
        if not isinstance(row.get(name), str) or not row[name].strip():
            raise InputError(f"{file}: {where} has no {name}. Every rule needs id, reason, and terms or a pattern.")
    if row.get("severity", BLOCK) not in (BLOCK, WARN):
        raise InputError(f'{file}: {where}: severity is "{row["severity"]}". Allowed: "{BLOCK}", "{WARN}".')
    for name, known in _WHERE.items():
        for value in _texts(file, where, row, name):
            if value not in known:
                raise InputError(
                    f'{file}: {where}: there is no "{value}" among {name}.{did_you_mean(value, known)} Allowed: {", ".join(known)}.'
                )
    patterns = [*_texts(file, where, row, "patterns"), *([row["pattern"]] if "pattern" in row else [])]
    terms = _texts(file, where, row, "terms")
    if not terms and not patterns:
        raise InputError(f"{file}: {where} has neither terms nor a pattern: it would never find anything.")
    for pattern in patterns:
        if _compiled(file, where, pattern).search(""):
            raise InputError(f"{file}: {where}: the pattern {pattern!r} matches an empty text, so it would object to everything.")
    for exempt in _rows(file, row, "exempt"):
        _fields(file, f"an exemption of {where}", exempt, _EXEMPT)
        if set(exempt) != _EXEMPT:
            raise InputError(f"{file}: an exemption of {where} lacks {', '.join(sorted(_EXEMPT - set(exempt)))}.")
        _compiled(file, where, exempt["pattern"])


def _texts(file: Path, where: str, row: Mapping[str, Any], name: str) -> list[str]:
    values = row.get(name, [])
    if not isinstance(values, list) or not all(isinstance(value, str) and value.strip() for value in values):
        raise InputError(f'{file}: {where}: {name} must be a list of texts such as ["a", "b"], none of them empty; got {values!r}.')
    return values


def _compiled(file: Path, where: str, pattern: Any) -> re.Pattern[str]:
    try:
        return re.compile(pattern, re.IGNORECASE)
    except (re.error, TypeError) as error:
        raise InputError(f"{file}: {where}: {pattern!r} is no regular expression: {error}.") from error


def _fields(file: Path, where: str, row: Mapping[str, Any], allowed: set[str]) -> None:
    for name in row:
        if name not in allowed:
            raise InputError(
                f'{file}: {where}: there is no field "{name}".{did_you_mean(name, allowed)} Allowed: {", ".join(sorted(allowed))}.'
            )


def _required(row: Mapping[str, Any]) -> Required:
    texts = [*([row["pattern"]] if "pattern" in row else []), *(re.escape(term) for term in row.get("terms", ()))]
    where = (frozenset(row.get(name, ())) for name in _WHERE)
    return Required(row["id"], row["reason"], row.get("severity", BLOCK), re.compile("|".join(texts), re.IGNORECASE), *where)
