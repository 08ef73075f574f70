"""The writer that asks a large language model on any OpenAI-compatible server, and believes nothing of it unchecked.

One question (segment x item or category x offer x locale x channel) gives a set of candidate sentences, kept in the ledger; messages
draw among those that the guard lets through, role by role like components, with logged propensities. So a campaign of 100,000
customers is a handful of calls. What does not stand, or does not come in time, or costs too much, is written by ``components``.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Self

from sqlalchemy import select

from tradewind.compose._chat_money import Purse
from tradewind.compose._chat_wire import Breaker, Failed, exchange, read, usage
from tradewind.compose._copy_accept import accept, answered, library
from tradewind.compose._copy_ask import Ask, ask
from tradewind.compose.base import Brief, Draft, Writer
from tradewind.compose.components import Components
from tradewind.compose.guard import Guard
from tradewind.compose.library import Library
from tradewind.engine.ledger import Ledger, insert_new, model_answers
from tradewind.engine.models import ChatModel
from tradewind.errors import InputError, Locked
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.compose.facts import Facts
    from tradewind.engine.home import Home

SEEN = 50_000  # kinds of messages whose question is remembered
PAUSE = 0.25  # seconds before the second try where the server names none
SETUP = """The writer "chat" needs a server. Put into tradewind.toml, for example:
[chat]
url = "http://127.0.0.1:8080/v1"
model = "name-of-the-model"
See docs/writers.md for keys, prices and the monthly budget."""


class Chat(Writer):
    """Asks ``model``. ``key``: of the server, sent as bearer token and shown nowhere. One object serves one run of ``compose``.

    When not to use: without enough traffic to tell wordings apart; the shipped components then say the same for nothing.
    """

    name = "chat"

    def __init__(
        self,
        model: ChatModel,
        *,
        ledger: Ledger,
        now: datetime,
        key: str | None = None,
        guard: Guard | None = None,
        components: Components | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.model, self.ledger, self.now, self._key = model.checked(), ledger, now, key
        self.guard, self.clock = guard or Guard(), clock
        self.components = components or Components()  # whose approved library stands in the roles that a model leaves alone
        self.purse, self.breaker = Purse(ledger, model, now=now), Breaker(clock)
        self.counts: Counter[str] = Counter()
        self._until = clock() + model.run_seconds
        self._known: dict[str, Library | str] = {}  # by key of the question
        self._keys: dict[tuple[str, str | None, str | None, str], str] = {}  # of messages that differ in nothing that is asked
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Chat({self.model.model!r} at {self.model.url!r})"

    @classmethod
    def open(cls, home: Home, *, now: datetime) -> Self:
        """The writer that ``[chat]`` of ``tradewind.toml`` describes.

        Raises
        ------
        InputError
            There is no such table, or the environment variable that it names is not set.
        """
        model = home.settings.chat
        if model is None:
            raise InputError(SETUP)
        key = os.environ.get(model.key_env) if model.key_env else None
        if model.key_env and not key:
            raise InputError(f"The environment variable {model.key_env} is not set; chat.key_env says that it holds the key.")
        if key and not key.isascii():
            raise InputError(f"The environment variable {model.key_env} holds characters that no key has.")
        return cls(model, ledger=home.ledger, now=now, key=key, components=Components.open(home, now=now))

    def write(self, brief: Brief, *, facts: Facts, seed: int) -> Draft | str:
        """Draw among the candidates of this message's question; asks it first where nobody did."""
        found = self._library(brief, facts)
        if isinstance(found, str):
            return found
        draft = Components(found).write(brief, facts=facts, seed=seed)
        return draft if isinstance(draft, str) else replace(draft, writer=self.name)

    def question(self, brief: Brief, facts: Facts) -> Ask:
        """What would be asked for a message; raises InputError where something personal would have left."""
        model, praised = self.model, [fact.value for name, fact in facts.facts.items() if name == "aspect"]
        aspects = praised if model.by == "item" else ()
        base = self.components.library_of(brief.locale)
        return ask(brief, facts, base=base, mode=model.mode, by=model.by, count=model.candidates, aspects=aspects)

    def known(self, key: str) -> str | None:
        """The stored answer to a question, as the model gave it."""
        with self.ledger.read() as conn:
            return conn.execute(select(model_answers.c.answer).where(model_answers.c.key == key)).scalar()

    def keep(self, key: str, asked: object, answer: str) -> None:
        """Store an answer."""
        question = json.dumps(asked, ensure_ascii=False, sort_keys=True)
        row = {"key": key, "model": self.model.model, "at": micros(self.now), "question": question, "answer": answer}
        with self.ledger.write() as conn:
            insert_new(conn, model_answers, [row])

    def _library(self, brief: Brief, facts: Facts) -> Library | str:
        """What may be drawn from, or why there is nothing; failures are remembered for the run, so that a question is asked once."""
        alike = (brief.channel, brief.tone, brief.segment, facts.hash)
        with self._lock:
            if len(self._keys) > SEEN:
                self._keys.clear()
            if alike not in self._keys:
                try:
                    asked = self.question(brief, facts)
                except InputError as error:
                    return str(error)
                if not asked.roles:
                    return f"no role of {brief.channel} is a model's to write"
                key = self._keys[alike] = asked.key(self.model.model)
                if key not in self._known:
                    self._known[key] = self._found(key, asked, brief, facts)
            return self._known[self._keys[alike]]

    def _found(self, key: str, asked: Ask, brief: Brief, facts: Facts) -> Library | str:
        try:
            text = self.known(key)
            self.counts["cached"] += text is not None
            if text is None:
                text = self._answer(asked)
                self.keep(key, asked.data, text)
        except (Failed, Locked) as failed:  # what a call held while the ledger was locked stays held: it counts in full
            why = failed.why if isinstance(failed, Failed) else "the ledger is busy"
            self.counts[f"failed: {why}"] += 1
            return why
        base = self.components.library_of(brief.locale)
        rows = answered(text, asked) or ()
        stood = accept(rows, asked, brief=brief, facts=facts, base=base, writer=self.name, guard=self.guard)
        self.counts.update({f"refused: {why}": times for why, times in stood.refused.items()})
        if not stood.texts:
            return f"nothing of the answer stood: {max(stood.refused, key=lambda why: stood.refused[why], default='no candidate')}"
        return library(stood, base, channel=brief.channel, writer=self.name)

    def _answer(self, asked: Ask) -> str:
        """Ask, and once more where that may help; raises Failed."""
        end, plain = min(self.clock() + self.model.seconds, self._until), False
        for last in (False, True):
            try:
                return self._try(asked, end, plain=plain)
            except Failed as failed:
                pause = PAUSE if failed.wait is None else failed.wait
                if last or not failed.again or self.clock() + pause >= end:
                    raise
                plain = plain or failed.plain
                self.counts["second tries"] += 1
                time.sleep(pause)
        raise AssertionError("the second try returned or raised")

    def _try(self, asked: Ask, end: float, *, plain: bool) -> str:
        if self.clock() >= end:
            raise Failed("the time of this run is used up", again=False)
        if not self.breaker.closed():
            raise Failed("the server rests after failures", again=False)
        body = json.dumps(asked.body(self.model.model, max_tokens=self.model.max_tokens, plain=plain), ensure_ascii=False).encode()
        call = self.purse.hold(len(body) + 256, self.model.max_tokens)  # no tokenizer makes more tokens than bytes
        self.counts["calls"] += 1
        try:
            text = self._exchange(body, call, end)
            usable(text, asked)
        except Failed as failed:
            self.breaker.bad(failed.wait)
            raise
        self.breaker.good()
        return text

    def _exchange(self, body: bytes, call: str, end: float) -> str:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "tradewind"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        url = f"{self.model.url.rstrip('/')}/chat/completions"
        try:
            document = exchange(url, body, headers=headers, seconds=max(end - self.clock(), 0.001))
        except Failed as failed:
            if not failed.billed:
                self.purse.pay(call, 0, 0)
            raise
        self.purse.pay(call, *usage(document))
        return read(document)


def usable(text: str, asked: Ask) -> None:
    """Raise Failed for an answer that has no candidate of the schema."""
    if answered(text, asked) is None:
        raise Failed("the answer is not of the schema", plain=True)


PLUGIN = Chat
