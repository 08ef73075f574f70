"""Batch files of the OpenAI format: questions out as JSON lines, answers in. Half the price at most providers, within a day.

``{"custom_id", "method", "url", "body"}`` out; ``{"custom_id", "response": {"status_code", "body"}, "error"}`` in, in any order.
The money is set aside when the file is written and settled when the answers are read, at the prices of the settings.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from tradewind.compose._chat_wire import Failed, read, usage
from tradewind.compose._copy_ask import Ask
from tradewind.compose.chat import Chat
from tradewind.engine.files import atomic_write
from tradewind.engine.ledger import model_calls
from tradewind.errors import InputError, NotFound

if TYPE_CHECKING:
    from datetime import datetime

    from tradewind.engine.home import Home

PATH = "/v1/chat/completions"


@dataclass(frozen=True)
class Loaded:
    """What a file of answers held: answers kept, and lines that were not, by reason."""

    kept: int
    refused: Mapping[str, int]


class Collector(Chat):
    """Notes the questions that nobody answered yet, and asks none."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.asks: dict[str, Ask] = {}

    def _answer(self, asked: Ask) -> str:
        self.asks[asked.key(self.model.model)] = asked
        raise Failed("waiting for a batch")


def export(collector: Collector, path: Path) -> int:
    """Write the noted questions, set the money aside, and return how many there are. Writing again sets nothing aside twice.

    Raises
    ------
    InputError
        The month's limit does not allow all of them: no file is written, what was set aside is given back.
    """
    lines, held = [], []
    try:
        for key, asked in sorted(collector.asks.items()):
            body = asked.body(collector.model.model, max_tokens=collector.model.max_tokens)
            line = json.dumps({"custom_id": key, "method": "POST", "url": PATH, "body": body}, ensure_ascii=False)
            if not _open(collector, key):
                collector.purse.hold(len(line.encode()) + 256, collector.model.max_tokens, call=_call(key))
                held.append(key)
            lines.append(line)
    except Failed as failed:
        for key in held:
            collector.purse.pay(_call(key), 0, 0)
        raise InputError(
            f"No batch was written: {failed.why}. Raise chat.monthly_budget in tradewind.toml, or wait for the next month."
        ) from failed
    atomic_write(path, "".join(f"{line}\n" for line in lines).encode())
    return len(lines)


def load(home: Home, path: Path, *, now: datetime) -> Loaded:
    """Read a file of answers into the cache of the shop; what is no usable answer is counted by its reason and loses nothing.

    Raises
    ------
    NotFound
        There is no such file.
    """
    chat, refused, kept = Chat.open(home, now=now), Counter[str](), 0
    if not path.is_file():
        raise NotFound(f"{path} does not exist. Give the file of answers that the provider returned.")
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in filter(str.strip, lines):
            try:
                kept += _one(chat, line)
            except Failed as failed:
                refused[failed.why] += 1
    return Loaded(kept, dict(refused))


def _one(chat: Chat, line: str) -> bool:
    """Keep one answer; raises Failed."""
    try:
        told = json.loads(line)
        key, response = told["custom_id"], told.get("response")
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise Failed("no line of a batch file") from None
    if not isinstance(key, str) or not _open(chat, key):
        raise Failed("nobody waits for this answer")
    if not isinstance(response, dict) or response.get("status_code") != 200:
        chat.purse.pay(_call(key), 0, 0)
        raise Failed("the provider refused the request")
    chat.purse.pay(_call(key), *usage(response.get("body")))
    chat.keep(key, {"batch": key}, read(response.get("body")))
    return True


def _call(key: str) -> str:
    return f"batch-{key[:48]}"


def _open(chat: Chat, key: str) -> bool:
    """Whether a question was exported and not answered."""
    c = model_calls.c
    with chat.ledger.read() as conn:
        return conn.execute(select(c.call_id).where(c.call_id == _call(key), c.state == "held")).first() is not None
