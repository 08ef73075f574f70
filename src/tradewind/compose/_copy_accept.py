"""From what a model answered to components: parsed, within the rules, tried in a whole message, and only then believed."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tradewind.compose._copy_ask import Ask
from tradewind.compose.base import Brief
from tradewind.compose.components import Components
from tradewind.compose.facts import Facts
from tradewind.compose.guard import Guard, blocked
from tradewind.compose.layout import assemble
from tradewind.compose.library import Component, Library, read
from tradewind.compose.template import Slot, parse
from tradewind.errors import InputError

LONGEST = 300  # characters of a template
_LINK = re.compile(r"://|\bwww\.|\b[a-z0-9-]+\.(?:com|net|org|cn|io|co|shop|example)\b|[@#]", re.IGNORECASE)


@dataclass(frozen=True)
class Accepted:
    """What of an answer stands: template texts by role, and how many were refused for which rule."""

    texts: Mapping[str, tuple[str, ...]]
    refused: Mapping[str, int]


def answered(text: str, asked: Ask) -> list[dict[str, str]] | None:
    """Return the candidates of an answer, or None when it is no JSON of the schema. Servers that ignore the schema are usual."""
    begin, end = text.find("{"), text.rfind("}")
    try:
        told = json.loads(text[begin : end + 1]) if 0 <= begin < end else None
    except (ValueError, RecursionError):
        return None
    rows = told.get("candidates") if isinstance(told, dict) else None
    if not isinstance(rows, list) or not rows:
        return None
    roles = {role for role, *_ in asked.roles}
    valid = [row for row in rows if isinstance(row, dict) and set(row) == roles and all(isinstance(v, str) for v in row.values())]
    return valid[: asked.count] or None


def accept(
    rows: Sequence[Mapping[str, str]], asked: Ask, *, brief: Brief, facts: Facts, base: Library, writer: str, guard: Guard
) -> Accepted:
    """Check every text by itself and in a whole message over these facts."""
    refused: Counter[str] = Counter()
    texts: dict[str, list[str]] = {}
    for role, _, slots, among in asked.roles:
        for text in dict.fromkeys(row[role].strip() for row in rows):
            why = _fault(text, slots, among, locale=asked.locale, facts=facts, guard=guard)
            why = why or _trial(text, role, brief=brief, facts=facts, base=base, writer=writer, guard=guard)
            if why:
                refused[why] += 1
            else:
                texts.setdefault(role, []).append(text)
    return Accepted({role: tuple(found) for role, found in texts.items()}, dict(refused))


def library(accepted: Accepted, own: Library, *, channel: str, writer: str) -> Library:
    """Return the library ``own`` with the accepted texts in place of its own in the roles that have some; they go with any tone."""
    known = {(found.role, found.template.text): found for found in own.components}
    new = [
        replace(found, tone="any") if (found := known.get((role, text))) else component(text, role, own, channel=channel, writer=writer)
        for role, texts in accepted.texts.items()
        for text in texts
    ]
    kept = (found for found in own.components if not (found.role in accepted.texts and channel in found.channels))
    return replace(own, components=(*kept, *new))


def component(text: str, role: str, own: Library, *, channel: str, writer: str) -> Component:
    """A component of a model's text."""
    rows = [row_of(text, role, locale=own.locale, channel=channel, writer=writer)]
    return read({"locale": own.locale, "joiner": own.joiner, "colon": own.colon, "component": rows}).components[0]


def row_of(text: str, role: str, *, locale: str, channel: str, writer: str) -> dict[str, Any]:
    """The row of a model's text, as in a library file; its id follows from the text, so that feedback on equal texts meets."""
    name = f"{writer}.{role}.{hashlib.sha256(f'{locale}|{channel}|{text}'.encode()).hexdigest()[:12]}"
    return {"id": name, "role": role, "tone": "any", "channels": [channel], "text": text}


def approved(accepted: Accepted, own: Library, *, channel: str, writer: str) -> tuple[Accepted, list[dict[str, Any]]]:
    """Return what of it stands in the approved library ``own``, and the rows of the rest."""
    rows = {
        (role, text): row_of(text, role, locale=own.locale, channel=channel, writer=writer)
        for role, texts in accepted.texts.items()
        for text in texts
    }
    stood = {role: tuple(t for t in texts if rows[role, t]["id"] in own.by_id) for role, texts in accepted.texts.items()}
    waiting = [row for row in rows.values() if row["id"] not in own.by_id]
    return Accepted({role: texts for role, texts in stood.items() if texts}, accepted.refused), waiting


def _fault(text: str, slots: Sequence[str], among: Sequence[str], *, locale: str, facts: Facts, guard: Guard) -> str:
    """Which rule a text breaks by itself, or the empty text."""
    if among:
        return "" if text in among else "not one of the texts to choose from"
    if not text or len(text) > LONGEST or not any(character.isalpha() for character in text):
        return "empty or too long"
    if any(unicodedata.category(c) in ("Cc", "Cf", "Co", "Cs", "Cn", "So", "Sk") or c in "<>[]\\|`~^*_=" for c in text):
        return "characters that copy does not need"
    if _LINK.search(text):
        return "a link, a handle or an address"
    try:
        template = parse(text)
    except InputError:
        return "a number or a brace outside a slot"
    if not set(template.slots) <= set(slots):
        return "a slot without a fact"
    names = [fact.text for fact in facts.facts.values() if fact.kind is Slot.NAME]
    stop = blocked(guard.template(template, locale=locale, names=names))
    return stop[0].rule if stop else ""


def _trial(text: str, role: str, *, brief: Brief, facts: Facts, base: Library, writer: str, guard: Guard) -> str:
    """Which rule a whole message with this text breaks, or the empty text."""
    one = library(Accepted({role: (text,)}, {}), base, channel=brief.channel, writer=writer)
    draft = Components(one).write(replace(brief, key="trial", chooser=None), facts=facts, seed=0)
    if isinstance(draft, str):
        return "no room for it"
    if all(block.template.text != text for block in draft.blocks):
        return ""  # an optional role, or one that another text's conditions close: tried again with its message
    parts = assemble(draft, facts=facts, channel=brief.channel)
    stop = blocked(guard.check(parts, facts=facts, locale=brief.locale, channel=brief.channel))
    return stop[0].rule if stop else ""
