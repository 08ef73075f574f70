"""The component library: data files, one per language, checked when they are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from tradewind.compose.base import PARTS, by_model
from tradewind.compose.facts import FLAGS
from tradewind.compose.locales import data
from tradewind.compose.template import SLOTS, Template, parse
from tradewind.errors import InputError, did_you_mean

TONES = ("plain", "warm")
ROLES = (
    "subject", "preheader", "hook", "benefit", "reason", "offer", "perk", "threshold", "cap", "deadline", "proof", "action", "footer",
    "optout", "sign", "title", "headline", "subhead", "ask", "again", "count", "label",
)  # fmt: skip
_FILES = {"zh-CN": "zh_cn", "en": "en"}
_KEYS = {"id", "role", "tone", "channels", "text", "when", "without", "reasons", "family", "claims", "fallback", "tags"}


@dataclass(frozen=True, slots=True)
class Component:
    """One approved piece of copy. ``needs``: facts and flags that must be known, its slots included."""

    id: str
    role: str
    locale: str
    tone: str
    channels: frozenset[str]
    template: Template
    needs: frozenset[str]
    without: frozenset[str]
    reasons: frozenset[str]
    family: str | None
    fallback: bool  # taken only when nothing else fits
    claims: tuple[str, ...]
    tags: tuple[str, ...] = ()  # what it is like beyond what its text shows, such as "curious": learning shares across it

    def fits(self, has: frozenset[str], tone: str) -> bool:
        """Whether its facts are known, those that it excludes are not, and its tone goes with ``tone``."""
        return self.needs <= has and self.without.isdisjoint(has) and self.tone in (tone, "any")


@dataclass(frozen=True, eq=False)
class Library:
    """All components of one language."""

    locale: str
    joiner: str  # between sentences
    colon: str  # between a label and what follows
    components: tuple[Component, ...]

    @cached_property
    def by_role(self) -> Mapping[tuple[str, str], tuple[Component, ...]]:
        """Components by channel and role."""
        table: dict[tuple[str, str], tuple[Component, ...]] = {}
        for component in self.components:
            for channel in sorted(component.channels):
                table[channel, component.role] = (*table.get((channel, component.role), ()), component)
        return table

    @cached_property
    def asked(self) -> Mapping[tuple[str, str], frozenset[str]]:
        """Facts and flags on which the choice depends, by channel and role."""
        return {key: frozenset().union(*(c.needs | c.without for c in pool)) for key, pool in self.by_role.items()}

    @cached_property
    def generated(self) -> frozenset[str]:
        """Channels in which a component was written by a model; their texts may need room for a label."""
        return frozenset(channel for one in self.components if by_model(one.id) for channel in one.channels)

    @cached_property
    def by_id(self) -> Mapping[str, Component]:
        """Components by id."""
        return {component.id: component for component in self.components}


@cache
def load(locale: str) -> Library:
    """Read the library of a language.

    Raises
    ------
    InputError
        A component that breaks the rules; the message names it, what is wrong and what is allowed.
    """
    return read(data(_FILES[locale]))


def read(table: Mapping[str, Any]) -> Library:
    """Make a library from the tables of a data file; raises like :func:`load`."""
    components = tuple(_component(row, table["locale"]) for row in table["component"])
    seen: set[str] = set()
    for component in components:
        if component.id in seen:
            raise InputError(f'Two components are named "{component.id}". An id is what feedback learns on: rename one.')
        seen.add(component.id)
    return Library(table["locale"], table["joiner"], table["colon"], components)


def _component(row: Mapping[str, Any], locale: str) -> Component:
    name = row.get("id", "without id")
    _known(name, row, _KEYS, "field")
    for key in ("id", "role", "tone", "channels", "text"):
        if not row.get(key):
            raise InputError(f'Component "{name}" has no {key}. Every component needs id, role, tone, channels and text.')
    when, without = frozenset(row.get("when", ())), frozenset(row.get("without", ()))
    _known(name, (row["role"],), ROLES, "role")
    _known(name, (row["tone"],), (*TONES, "any"), "tone")
    _known(name, row["channels"], PARTS, "channel")
    _known(name, when | without, {*SLOTS, *FLAGS}, "fact or flag")
    try:
        template = parse(row["text"])
    except InputError as error:
        raise InputError(f'Component "{name}": {error}') from error
    reasons = frozenset(row.get("reasons", ()))
    _known(name, reasons, set(data("locales")["reasons"].values()), "reason")
    return Component(
        row["id"], row["role"], locale, row["tone"], frozenset(row["channels"]), template, frozenset(template.slots) | when, without,
        reasons, row.get("family"), bool(row.get("fallback", False)), tuple(row.get("claims", ())),
        tuple(row.get("tags", ())),
    )  # fmt: skip


def _known(name: str, values: Any, allowed: Any, what: str) -> None:
    for value in values:
        if value not in allowed:
            raise InputError(
                f'Component "{name}": there is no {what} "{value}".{did_you_mean(value, allowed)} Allowed: {", ".join(sorted(allowed))}.'
            )
