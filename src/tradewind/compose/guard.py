"""The gate: every rule pack runs on templates, on catalogue names before they fill a slot, and on the finished text.

Packs are the files of ``compose/packs`` (or entry points ``tradewind.compose.packs``) and the shop's own word lists
(``own_packs``). Nothing here is learned and nothing asks a model: the same text gets the same verdicts. docs/guard.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import Path

from tradewind import plugins
from tradewind.compose import own_packs
from tradewind.compose.base import BLOCK, EXEMPT, Pack, Verdict
from tradewind.compose.facts import Facts
from tradewind.compose.lexicon import Words, registered_names, within_name
from tradewind.compose.locales import LOCALES
from tradewind.compose.markup import text_of
from tradewind.compose.masking import MASK
from tradewind.compose.template import Slot, Template
from tradewind.errors import InputError, unknown

__all__ = ["Guard", "Verdict", "blocked"]


def blocked(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return the verdicts for which a text does not leave."""
    return [verdict for verdict in verdicts if verdict.severity == BLOCK]


class Guard:
    """Runs rule packs. ``packs``: their names; None means all that are installed. ``own``: the folder of the shop's own.

    Raises
    ------
    NotFound
        There is no pack of that name.
    InputError
        A pack of the shop that is not well-formed: see ``own_packs``.
    """

    def __init__(self, packs: Sequence[str] | None = None, *, own: Path | None = None) -> None:
        installed = plugins.names("compose.packs")
        self.packs = _packs(tuple(installed) if packs is None else tuple(packs))
        if own is not None:
            self.packs += own_packs.load(own, taken=installed)

    def check(self, parts: Mapping[str, str], *, facts: Facts | None, locale: str, channel: str) -> tuple[Verdict, ...]:
        """Return what the packs say of a finished message.

        Of ``html`` the text is read; lines that stand in another part too are not read twice.

        Raises
        ------
        NotFound
            A language in which nothing is written: rules that do not know a text would let it pass.
        """
        if locale not in LOCALES:
            raise unknown("language", locale, LOCALES)
        if "html" in parts:
            parts = {**parts, "html": _rest(parts)}
        return tuple(v for pack in self.packs for v in pack.check(parts, facts=facts, locale=locale, channel=channel))

    def template(self, template: Template, *, locale: str, names: Iterable[str] = ()) -> tuple[Verdict, ...]:
        """Return what the word packs say of a template, and which of the catalogue's ``names`` stand outside its slots."""
        text = MASK.join(template.literals)
        reason = "a catalogue name outside a slot"
        spelled = [
            Verdict("template.name", "template", (text.index(name), text.index(name) + len(name)), name, BLOCK, reason)
            for name in names
            if name in text
        ]
        return (*_literal(self.packs, text, locale), *spelled)

    def vet(self, facts: Facts) -> tuple[Facts, tuple[Verdict, ...]]:
        """Drop the names that may not be said, and say why; a hit within the name of the brand or the shop is allowed."""
        found: list[Verdict] = []
        for name, fact in facts.facts.items():
            if fact.kind is Slot.NAME:
                found += _vet(self.packs, name, fact.text, facts.locale, registered_names(facts))
        faults = blocked(found)
        if faults:
            for name in dict.fromkeys(verdict.part for verdict in faults):
                why = next(verdict for verdict in faults if verdict.part == name)
                facts = facts.without([name], why=f"{why.rule} ({why.found[:40]!r})")
        return facts, tuple(found)


@cache
def _packs(names: tuple[str, ...]) -> tuple[Pack, ...]:
    packs = tuple(plugins.load("compose.packs", name, what="rule pack")() for name in names)
    for pack in packs:
        if not isinstance(pack, Pack):
            raise InputError(f"{type(pack).__module__}: PLUGIN of a rule pack must be a subclass of compose.base.Pack.")
    return packs


@lru_cache(maxsize=65536)
def _vet(packs: tuple[Pack, ...], name: str, text: str, locale: str, registered: tuple[str, ...]) -> tuple[Verdict, ...]:
    found: list[Verdict] = []
    for pack in packs:
        verdicts = pack.vet(name, text, locale=locale)
        if isinstance(pack, Words) and pack.registered:
            verdicts = [within_name(verdict, text, registered) for verdict in verdicts]
        found += verdicts
    return tuple(found)


@lru_cache(maxsize=4096)
def _literal(packs: tuple[Pack, ...], text: str, locale: str) -> tuple[Verdict, ...]:
    found: list[Verdict] = []
    for pack in packs:
        if isinstance(pack, Words):
            verdicts = pack.check({"template": text}, facts=None, locale=locale, channel="template")
            found += (v for v in verdicts if v.severity != EXEMPT and not ((rule := pack.words.by_id.get(v.rule)) and rule.waits))
    return tuple(found)


def _rest(parts: Mapping[str, str]) -> str:
    """Return the text of the page less the lines that other parts hold."""
    known = {line.strip() for name, text in parts.items() if name != "html" for line in text.split("\n")}
    lines = (line.strip() for line in text_of(parts["html"]).split("\n"))
    return "\n".join(line for line in lines if line and line not in known)
