"""Put filled blocks together into the parts of a message: paragraphs, page, card, text message."""

from __future__ import annotations

from collections.abc import Mapping

from tradewind.compose.base import PARTS, UNSUBSCRIBE, Draft
from tradewind.compose.facts import Facts
from tradewind.compose.library import Library, load
from tradewind.compose.locales import data
from tradewind.compose.markup import page
from tradewind.compose.recipe import LABELLED, RECIPES
from tradewind.compose.render import fill

_PARAGRAPHS = (("hook",), ("benefit", "reason"), ("offer", "perk", "threshold", "cap", "deadline"), ("proof",))


def assemble(draft: Draft, *, facts: Facts, channel: str) -> dict[str, str]:
    """Return the parts of the message (see ``base``), every slot filled; where a model wrote words, a visible label stands beside them.

    Raises
    ------
    InputError
        A slot has no fact.
    """
    texts = {block.role: fill(block.template, facts.view(block.role, channel)) for block in draft.blocks}
    library, link = load(facts.locale), facts.texts.get("link", "")
    label = data("ai_label")["visible"][facts.locale] if draft.generated else ""
    if channel == "email":
        texts["footer"] = library.joiner.join(part for part in (texts["footer"], label) if part)
        return _email(texts, link, library)
    said: dict[str, list[str]] = {part: [] for part in PARTS[channel]}
    for role, part in dict.fromkeys((step.role, step.part) for step in RECIPES[channel]):
        if role in texts:
            said[part].append(texts[role])
    if label and channel in LABELLED:
        lines = said[LABELLED[channel]]
        lines.insert(len(lines) - ("optout" in texts), label)  # how to opt out stays last
    parts = {part: library.joiner.join(lines) for part, lines in said.items()}
    return {**parts, "link": link} if "link" in parts else parts


def _email(texts: Mapping[str, str], link: str, library: Library) -> dict[str, str]:
    paragraphs = [library.joiner.join(texts[role] for role in roles if role in texts) for roles in _PARAGRAPHS]
    paragraphs = [text for text in paragraphs if text]
    action = (texts["action"], link) if "action" in texts else None
    button = [f"{action[0]}{library.colon}{action[1]}"] if action else []
    footer = f"--\n{texts['footer']}\n{texts['optout']}{library.colon}{UNSUBSCRIBE}"
    markup = page(
        lang=library.locale,
        subject=texts["subject"],
        preheader=texts["preheader"],
        paragraphs=paragraphs,
        action=action,
        footer=(texts["footer"], texts["optout"], UNSUBSCRIBE),
    )
    body = "\n\n".join([*paragraphs, *button, footer])
    return {"subject": texts["subject"], "preheader": texts["preheader"], "body": body, "html": markup}
