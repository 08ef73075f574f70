"""Risk rules of a shop: ``block if device_customers >= 5 and customer_days < 2``, with a name, reasons and an owner, in ``risk.toml``.

::

    [[rules]]
    name = "farm"
    rule = "block if device_customers >= 5 and customer_days < 2"
    reason = { zh = "...", en = "Many new accounts on one device." }
    owner = "wang"
    mode = "shadow"          # or "acting": then it acts once this very text was backtested and activated

The language is that of ``engine.expression``, over the fields of ``learn.risk_features``. A field that is not known makes a
comparison unknown, and a rule fires only where its condition is surely true: whoever wants the unknown says ``is null``.
Every rule that fires is a reason; the verdict is the strictest of the acting ones: block before review before allow.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, cast

from tradewind.engine.expression import Language, fail
from tradewind.engine.expression_tree import Condition, Kind, named, tests
from tradewind.engine.expression_types import read
from tradewind.engine.expression_values import Row, row
from tradewind.errors import InputError, NotFound, did_you_mean

VERDICTS = ("allow", "review", "block")  # from mild to strict
MODES = ("shadow", "acting")
LANGUAGE = Language("Risk rule", noun="field")
FILE = "risk.toml"
STARTER = Path(__file__).parent / "_risk_rule_starter.toml"  # rules to begin with
LARGEST = 1_000_000  # bytes of a file
MOST = 1_000  # rules in it
_KEYS = {"name", "rule", "reason", "owner", "mode"}
_NAME = re.compile(r"\w[\w.-]{0,63}")
_RULE = re.compile(r"\s*(?P<verdict>[^\W\d]\w*)?(?P<gap>\s*)(?P<word>\w+)?")


@dataclass(frozen=True)
class Rule:
    """One rule, read and judged. ``text`` is the whole of it, verdict included."""

    name: str
    verdict: str
    text: str
    zh: str
    en: str
    owner: str
    mode: str
    tree: Condition = field(compare=False, repr=False)

    @property
    def digest(self) -> str:
        """Changes with the text, not with reasons or owner: what was backtested is this."""
        return hashlib.sha256(self.text.strip().encode()).hexdigest()[:16]

    @cached_property
    def holds(self) -> Callable[[Row], bool | None]:
        """What the condition says of one row."""
        return row(self.tree)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that the rule looks at, in the order of the text."""
        return tuple(dict.fromkeys(name.name for test in tests(self.tree) for name in named(test)))

    def reason(self, locale: str) -> str:
        """Why, in Chinese for ``zh`` and ``zh-CN``, else in English."""
        return self.zh if locale.startswith("zh") else self.en


def load(path: Path, kinds: Mapping[str, str]) -> list[Rule]:
    """The rules of a file; raises InputError that names the file, the rule and the place."""
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path} has more than {LARGEST:,} bytes. A file of rules is written by people; is this one?")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {path}: {error}. It must be a text file in UTF-8.") from error
    try:
        return list(_loaded(text, tuple(kinds.items())))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


@lru_cache(maxsize=8)
def _loaded(text: str, kinds: tuple[tuple[str, str], ...]) -> tuple[Rule, ...]:
    """Read once as long as the file says the same: a service asks for every order."""
    return tuple(loads(text, dict(kinds)))


def loads(text: str, kinds: Mapping[str, str]) -> list[Rule]:
    """The rules of a TOML text over ``kinds``: field -> "number", "text" or "flag"; raises InputError with the rule and the place."""
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"this is no TOML: {error}. Put texts in quotes; a rule with quotes in it goes between '...'.") from error
    listed = told.pop("rules", [])
    if told:
        raise InputError(f'there is nothing called "{next(iter(told))}" in a file of rules. Every rule begins with [[rules]].')
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise InputError("rules must be written one below the other, each beginning with [[rules]].")
    if len(listed) > MOST:
        raise InputError(f"there are {len(listed):,} rules; at most {MOST:,} are read.")
    found: dict[str, Rule] = {}
    for number, each in enumerate(listed, 1):
        one = _rule(each, number, kinds)
        if one.name in found:
            raise InputError(f'rule {number}: the name "{one.name}" was used before. Every rule needs a name of its own.')
        found[one.name] = one
    return list(found.values())


def _rule(told: dict[str, Any], number: int, kinds: Mapping[str, str]) -> Rule:
    name = told.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(f"rule {number}: it needs a name of letters, digits, dots and dashes, 64 at most; got {name!r}.")
    where = f'rule {number} "{name}"'
    if strange := sorted(set(told) - _KEYS):
        hint = did_you_mean(strange[0], _KEYS)
        raise InputError(f'{where}: there is nothing called "{strange[0]}".{hint} Known: {", ".join(sorted(_KEYS))}.')
    text, owner, mode, reason = told.get("rule"), told.get("owner"), told.get("mode", "shadow"), told.get("reason")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f'{where}: it says nothing. Write rule = "review if amount > 50000".')
    if not isinstance(owner, str) or not owner.strip():
        raise InputError(f"{where}: it needs an owner, who answers for it.")
    if mode not in MODES:
        raise InputError(f'{where}: mode is "shadow" or "acting"; got {mode!r}.')
    if not isinstance(reason, dict) or set(reason) != {"zh", "en"} or not all(isinstance(each, str) and each for each in reason.values()):
        raise InputError(f'{where}: it needs a reason in both languages: reason = {{ zh = "...", en = "..." }}; got {reason!r}.')
    try:
        verdict, tree = parse(text, kinds)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    return Rule(name, verdict, text, reason["zh"], reason["en"], owner, mode, tree)


def parse(text: str, kinds: Mapping[str, str]) -> tuple[str, Condition]:
    """Verdict and condition of ``block if ...``; raises InputError with a caret at the place."""
    head = _RULE.match(text)
    assert head is not None  # every part of the pattern may be empty
    verdict, word = head["verdict"] or "", head["word"] or ""
    start = head.end("gap") if not verdict else head.start("verdict")
    if verdict not in VERDICTS:
        fail(LANGUAGE, text, start, f"it begins with allow, review or block, then if.{did_you_mean(verdict, VERDICTS)}")
    if word != "if":
        fail(LANGUAGE, text, head.end("gap"), f'expected "if" after "{verdict}".')
    return verdict, read(text, cast("Mapping[str, Kind]", kinds), LANGUAGE, start=head.end("word"))


def checked(features: Mapping[str, Any], kinds: Mapping[str, str]) -> Row:
    """The features of one moment if they are what they are said to be; a name that is left out is not known.

    Raises
    ------
    InputError
        A name that is no field, or a value of another kind than its field.
    """
    for name, value in features.items():
        if name not in kinds:
            raise NotFound(f'There is no field "{name}".{did_you_mean(name, kinds)} See them all: tradewind risk rules --fields')
        kind = kinds[name]
        fits = isinstance(value, bool) if kind == "flag" else isinstance(value, str) if kind == "text" else _number(value)
        if value is not None and not fits:
            raise InputError(f'The field "{name}" is a {kind}; got {value!r}. Leave out what is not known.')
    return features


def _number(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**300)


def fired(rules: Sequence[Rule], features: Row) -> list[Rule]:
    """The rules whose condition is surely true, in the order of the file."""
    return [rule for rule in rules if rule.holds(features) is True]


def strictest(rules: Sequence[Rule]) -> str:
    """The verdict of rules that fired: block before review before allow; allow where none did."""
    return max((rule.verdict for rule in rules), key=VERDICTS.index, default="allow")
