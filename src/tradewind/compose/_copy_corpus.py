"""The approved copy that a model learns from, delexicalised: templates under the conditions in which they were allowed or sent."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from tradewind.compose._copy_ask import CREATIVE
from tradewind.compose.facts import Facts
from tradewind.compose.library import Library
from tradewind.compose.template import SLOTS, Slot, parse
from tradewind.engine.ledger import outbox
from tradewind.errors import InputError
from tradewind.types import Message

if TYPE_CHECKING:
    from tradewind.engine.home import Home

CONDITIONS = ("locale", "channel", "role", "tone", "offer", "segment", "category")
MOST = 8  # repetitions of one sentence under one condition: what was sent a million times is no million sentences


@dataclass(frozen=True, slots=True)
class Sentence:
    """One template and the conditions under which it was approved; ``any`` where a condition did not matter."""

    text: str
    locale: str
    channel: str
    role: str
    tone: str = "any"
    offer: str = "any"  # "offer" | "none" | "any"
    segment: str = "any"
    category: str = "any"

    @property
    def conditions(self) -> tuple[str, ...]:
        """As tokens, in the order of ``CONDITIONS``."""
        return tuple(f"{name}={getattr(self, name)}" for name in CONDITIONS)


def approved(libraries: Iterable[Library]) -> list[Sentence]:
    """The sentences of approved libraries that a model may learn to write: creative roles, names as their only slots."""
    found = []
    for library in libraries:
        for component in library.components:
            if component.role not in CREATIVE or any(SLOTS[slot] is not Slot.NAME for slot in component.template.slots):
                continue
            offer = "none" if "offer" in component.without else "offer" if "offer" in component.needs else "any"
            found += [
                Sentence(component.template.text, library.locale, channel, component.role, component.tone, offer)
                for channel in sorted(component.channels)
            ]
    return found


def sent(home: Home, libraries: Mapping[str, Library]) -> list[Sentence]:
    """The sentences of messages that left or are ready, by segment and offer, each at most ``MOST`` times."""
    counts: Counter[Sentence] = Counter()
    with home.ledger.read() as conn:
        query = select(outbox.c.message).where(outbox.c.message.is_not(None)).execution_options(stream_results=True, max_row_buffer=1000)
        for text in conn.execute(query).scalars():
            message = Message.from_json(text)
            known = libraries[message.locale].by_id
            segment, offer = message.headers.get("segment", "any"), "offer" if "offer" in message.headers else "none"
            for name in message.components:
                component = known.get(name)
                if component is not None and component.role in CREATIVE and all(SLOTS[s] is Slot.NAME for s in component.template.slots):
                    told = Sentence(
                        component.template.text, message.locale, message.channel, component.role, component.tone, offer, segment
                    )
                    counts[told] += 1
    return [sentence for sentence, times in sorted(counts.items(), key=repr) for _ in range(min(times, MOST))]


def read(lines: Iterable[str]) -> list[Sentence]:
    """Read a shop's own approved copy: JSON lines with ``text`` (a template), ``locale``, ``channel``, ``role`` and other conditions.

    Raises
    ------
    InputError
        A line that is no such object, or whose text is no template; it names the line.
    """
    found = []
    for number, line in enumerate(filter(str.strip, lines), 1):
        try:
            sentence = Sentence(**json.loads(line))
            parse(sentence.text)
        except (ValueError, TypeError) as error:  # InputError is a ValueError
            raise InputError(
                f"Line {number} of the copy cannot be used: {str(error)[:200]}. Fields: text, {', '.join(CONDITIONS)}."
            ) from error
        found.append(sentence)
    return found


def delexicalised(text: str, facts: Facts) -> str | None:
    """Put slots in place of the facts that a finished sentence holds; None where a number or an amount is left that no fact explains."""
    for needle, name in sorted(((f.text, n) for n, f in facts.facts.items() if n in SLOTS), key=lambda pair: -len(pair[0])):
        text = "".join(piece if piece.startswith("{") else piece.replace(needle, f"{{{name}}}") for piece in _pieces(text))
    try:
        return parse(text).text
    except InputError:
        return None


def _pieces(text: str) -> list[str]:
    """The text cut before and after its slots."""
    out, rest = [], text
    while (start := rest.find("{")) >= 0 and (end := rest.find("}", start)) >= 0:
        out += [rest[:start], rest[start : end + 1]]
        rest = rest[end + 1 :]
    return [*out, rest]
