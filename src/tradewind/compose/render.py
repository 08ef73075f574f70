"""Fill the slots of templates from facts, by code, at the moment of sending."""

from __future__ import annotations

from collections.abc import Mapping

from tradewind.compose.facts import Facts
from tradewind.compose.template import SLOTS, Template
from tradewind.errors import InputError


def fill(template: Template, facts: Facts) -> str:
    """Return the text of ``template``.

    Raises
    ------
    InputError
        A slot has no fact, or a fact of another type than the slot.
    """
    if not template.slots:
        return template.literals[0]
    texts: Mapping[str, str] = facts.texts
    out = [template.literals[0]]
    for slot, literal in zip(template.slots, template.literals[1:], strict=True):
        if slot not in texts:
            raise InputError(f'There is no fact "{slot}" for the template "{template.text}". Facts: {", ".join(sorted(texts))}.')
        if facts.facts[slot].kind is not SLOTS[slot]:
            raise InputError(f'Slot "{slot}" is of type {SLOTS[slot]}, its fact of type {facts.facts[slot].kind}.')
        out += (texts[slot], literal)
    return "".join(out).replace("....", "...")  # a cut name at the end of a sentence
