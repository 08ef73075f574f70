"""What the writers "chat" and "local" share: one question for many messages, its answer kept, judged and drawn from."""

from __future__ import annotations

import json
import threading
from abc import abstractmethod
from collections import Counter
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from tradewind.compose._chat_wire import Failed
from tradewind.compose._copy_accept import accept, answered, approved, library
from tradewind.compose._copy_ask import Ask, ask
from tradewind.compose.base import Brief, Draft, Writer
from tradewind.compose.components import Components
from tradewind.compose.guard import Guard
from tradewind.compose.library import Library
from tradewind.engine.ledger import Ledger, insert_new, model_answers
from tradewind.engine.models import ChatModel, LocalModel
from tradewind.errors import InputError, Locked
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.compose.approval import Approvals
    from tradewind.compose.facts import Facts

SEEN = 50_000  # kinds of messages whose question is remembered


class Asking(Writer):
    """A writer that asks a model. ``identity``: of the model, so that another one is asked again; one object serves one run.

    ``components``: whose approved library stands in the roles that a model leaves alone. ``counts``: what happened, by name.
    In mode "write" only sentences that the shop approved are drawn, unless ``unseen`` allows all; the others are entered into ``approvals``
    as drafts.
    """

    def __init__(
        self,
        settings: ChatModel | LocalModel,
        *,
        identity: str,
        ledger: Ledger,
        now: datetime,
        guard: Guard | None = None,
        components: Components | None = None,
        approvals: Approvals | None = None,
    ) -> None:
        self.settings, self.identity, self.ledger, self.now = settings.checked(), identity, ledger, now
        self.guard, self.components, self.approvals = guard or Guard(), components or Components(), approvals
        self.counts: Counter[str] = Counter()
        self._known: dict[str, Library | str] = {}  # by key of the question
        self._keys: dict[tuple[str, str | None, str | None, str], str] = {}  # of messages that differ in nothing that is asked
        self._lock = threading.Lock()

    @abstractmethod
    def _answer(self, asked: Ask) -> str:
        """Return what the model says, or raise Failed."""

    def write(self, brief: Brief, *, facts: Facts, seed: int) -> Draft | str:
        """Draw among the candidates of this message's question; asks it first where nobody did."""
        found = self._library(brief, facts)
        if isinstance(found, str):
            return found
        draft = Components(found).write(brief, facts=facts, seed=seed)
        return draft if isinstance(draft, str) else replace(draft, writer=self.name)

    def question(self, brief: Brief, facts: Facts) -> Ask:
        """What would be asked for a message; raises InputError where something personal would have left."""
        model, praised = self.settings, [fact.value for name, fact in facts.facts.items() if name == "aspect"]
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
        row = {"key": key, "model": self.identity, "at": micros(self.now), "question": question, "answer": answer}
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
                key = self._keys[alike] = asked.key(self.identity)
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
        if self.settings.mode == "write" and not self.settings.unseen:
            stood, waiting = approved(stood, base, channel=brief.channel, writer=self.name)
            self._propose(waiting, brief.locale)
            if not stood.texts:
                return "its sentences wait for approval"
        return library(stood, base, channel=brief.channel, writer=self.name)

    def _propose(self, rows: list[dict[str, Any]], locale: str) -> None:
        """Enter sentences as drafts that a person may approve; one that was entered before keeps its state."""
        if self.approvals is None or not rows:
            return
        entered = {component for component, _ in self.approvals.current()}
        for row in rows:
            if row["id"] not in entered:
                self.approvals.draft(row, locale=locale, by=self.name, at=self.now)
                self.counts["proposed"] += 1
