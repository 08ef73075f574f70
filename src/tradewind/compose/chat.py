"""The writer that asks a large language model on any OpenAI-compatible server, and believes nothing of it unchecked.

One question (segment x item or category x offer x locale x channel) gives a set of candidate sentences, kept in the ledger; messages
draw among those that the guard lets through, role by role like components, with logged propensities. So a campaign of 100,000
customers is a handful of calls. What does not stand, or does not come in time, or costs too much, is written by ``components``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from tradewind.compose._chat_money import Purse
from tradewind.compose._chat_wire import Breaker, Failed, exchange, read, usage
from tradewind.compose._copy_accept import answered
from tradewind.compose._copy_ask import Ask
from tradewind.compose._copy_asking import Asking
from tradewind.compose.approval import Approvals
from tradewind.compose.components import Components
from tradewind.compose.guard import Guard
from tradewind.engine.ledger import Ledger
from tradewind.engine.models import ChatModel
from tradewind.errors import InputError

if TYPE_CHECKING:
    from tradewind.engine.home import Home

PAUSE = 0.25  # seconds before the second try where the server names none
SETUP = """The writer "chat" needs a server. Put into tradewind.toml, for example:
[chat]
url = "http://127.0.0.1:8080/v1"
model = "name-of-the-model"
See docs/writers.md for keys, prices and the monthly budget."""


class Chat(Asking):
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
        approvals: Approvals | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(model, identity=model.model, ledger=ledger, now=now, guard=guard, components=components, approvals=approvals)
        self.model, self._key, self.clock = model, key, clock
        self.purse, self.breaker = Purse(ledger, model, now=now), Breaker(clock)
        self._until = clock() + model.run_seconds

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
        return cls(
            model,
            ledger=home.ledger,
            now=now,
            key=key,
            guard=Guard(own=home.root / "packs"),
            components=Components.open(home, now=now),
            approvals=Approvals(home),
        )

    def _answer(self, asked: Ask) -> str:
        """Ask, and once more where that may help; raises Failed."""

        def question(plain: bool) -> dict[str, Any]:
            return asked.body(self.model.model, max_tokens=self.model.max_tokens, plain=plain)

        return self._asked(question, lambda text: answered(text, asked) is not None)

    def document(self, question: Callable[[bool], dict[str, Any]], *, needs: str) -> Mapping[str, Any]:
        """Ask for one JSON object that has the key ``needs``; ``question(plain)`` gives the request, without schemas when ``plain``.

        Raises
        ------
        Failed
            No answer in time, within the budget, or of that shape.
        """
        return _object(self._asked(question, lambda text: needs in _object(text)))

    def _asked(self, question: Callable[[bool], dict[str, Any]], fits: Callable[[str], bool]) -> str:
        end, plain = min(self.clock() + self.model.seconds, self._until), False
        for last in (False, True):
            try:
                return self._try(question(plain), fits, end)
            except Failed as failed:
                pause = PAUSE if failed.wait is None else failed.wait
                if last or not failed.again or self.clock() + pause >= end:
                    raise
                plain = plain or failed.plain
                self.counts["second tries"] += 1
                time.sleep(pause)
        raise AssertionError("the second try returned or raised")

    def _try(self, question: dict[str, Any], fits: Callable[[str], bool], end: float) -> str:
        if self.clock() >= end:
            raise Failed("the time of this run is used up", again=False)
        if not self.breaker.closed():
            raise Failed("the server rests after failures", again=False)
        body = json.dumps(question, ensure_ascii=False).encode()
        call = self.purse.hold(len(body) + 256, self.model.max_tokens)  # no tokenizer makes more tokens than bytes
        self.counts["calls"] += 1
        try:
            text = self._exchange(body, call, end)
            _refuse(text, fits)
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


def _refuse(text: str, fits: Callable[[str], bool]) -> None:
    if not fits(text):
        raise Failed("the answer is not of the schema", plain=True)


def _object(text: str) -> Mapping[str, Any]:
    """The JSON object that a text is; empty for anything else."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


PLUGIN = Chat
