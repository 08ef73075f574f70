"""The proposer that asks the shop's language model: one wish, a few template texts. What it says goes the way of any draft.

shop.words.propose(from_chat(Chat.open(shop.home, now=shop.now())), by="chat")
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tradewind.compose._copy_ask import COLUMNS
from tradewind.compose._copy_ask import SYSTEM as RULES
from tradewind.compose.chat import Chat
from tradewind.compose.propose import Proposer, Wish

TEXTS = 5  # per wish
SYSTEM = (
    f"{RULES} You are asked for new texts of one role that have one trait, because texts with that trait were clicked more often. "
    "The examples show the shop's voice; do not repeat them."
)


def from_chat(chat: Chat, *, texts: int = TEXTS) -> Proposer:
    """A proposer that asks ``chat`` for up to ``texts`` texts per wish; it raises Transient where the model does not answer."""

    def proposed(wish: Wish) -> Sequence[str]:
        answer = chat.document(lambda plain: _body(chat, wish, texts, plain=plain), needs="texts")
        told = answer["texts"]
        return [text for text in told[:texts] if isinstance(text, str)] if isinstance(told, list) else []

    return proposed


def _body(chat: Chat, wish: Wish, texts: int, *, plain: bool) -> dict[str, Any]:
    """The request: codes and approved texts, never a customer."""
    told = {
        "language": wish.locale,
        "role": wish.role,
        "channels": list(wish.channels),
        "tone": wish.tone,
        "trait": wish.trait,
        "columns": COLUMNS.get(wish.role),
        "slots": [f"{{{slot}}}" for slot in wish.slots],
        "examples": list(wish.examples),
        "texts": texts,
    }
    schema = {
        "type": "object",
        "properties": {"texts": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": texts}},
        "required": ["texts"],
        "additionalProperties": False,
    }
    system = SYSTEM + (f" Answer with one JSON object of this schema: {json.dumps(schema)}" if plain else "")
    messages = [{"role": "system", "content": system}, {"role": "user", "content": json.dumps(told, ensure_ascii=False, sort_keys=True)}]
    model = chat.model
    body: dict[str, Any] = {"model": model.model, "messages": messages, "max_tokens": model.max_tokens, "temperature": 0.8, "stream": False}
    if not plain:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "texts", "strict": True, "schema": schema}}
    return body
