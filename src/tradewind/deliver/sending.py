"""Ask a provider, and translate its answer or its silence into what becomes of the message. No ledger in here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import zip_longest
from typing import Protocol, runtime_checkable

from tradewind.deliver.channels.base import Channel, Later, Uncertain
from tradewind.deliver.checks import Case
from tradewind.deliver.gates import LONGEST_HOLD, News
from tradewind.deliver.outbox import KEYED, Outcome
from tradewind.deliver.rules import SECOND, Rules
from tradewind.errors import InputError, StateError, Terminal, Transient
from tradewind.types import micros


@runtime_checkable
class Answering(Protocol):
    """A channel whose provider can be asked for a message id that it was given as a key."""

    def look_up(self, message_id: str) -> bool | None:
        """Whether the provider has taken it; None: it cannot say now. May raise Transient."""
        ...


@dataclass
class Sender:
    """Hands groups of marked messages to one channel. ``misses`` counts its transient failures in a row.

    ``heard``: whether the provider gave any certain answer since :meth:`news` was last asked. ``hold`` (microseconds): until when it wants
    to hear nothing; 0: it did not say.
    """

    channel: Channel
    rules: Rules
    now: Callable[[], datetime]
    misses: int = 0
    heard: bool = False
    hold: int = 0
    _told: int = 0

    def news(self) -> News:
        """What became known of the provider since the last call."""
        found = News(self.heard, self.misses if self.heard else self.misses - self._told, self.hold)
        self.heard, self._told = False, self.misses
        return found

    @property
    def broken(self) -> bool:
        """Whether the channel failed so often in a row, or asked so, that it is left alone for now."""
        return self.misses >= self.rules.breaker or bool(self.hold)

    @property
    def mark(self) -> str | None:
        """What a row says while this channel may be asked."""
        return KEYED + self.channel.provider if self.channel.idempotent else None

    def send(self, cases: Sequence[Case], *, until: int) -> tuple[list[Outcome], BaseException | None]:
        """What became of each message, and the fault that has to end the run once that is written.

        ``until`` (microseconds) is when the lease ends: later nothing is sent any more.
        """
        outcomes: list[Outcome] = []
        fault: BaseException | None = None
        before = self.misses, self.heard
        for case, following in zip_longest(cases, cases[1:]):
            now = self.now()
            if fault is not None or self.broken or micros(now) >= (until if case.until is None else min(until, case.until)):
                outcomes.append(self._untouched(case))
                continue
            assert case.message is not None, "only readable messages are marked"
            try:
                if following is not None and following.message is not None:
                    self.channel.ahead(following.message, address=following.address, at=now)
                receipt = self.channel.send(case.message, address=case.address, at=now)
            except BaseException as error:  # noqa: BLE001 - a fault is raised again once the outcomes are written
                outcome, fault = self._answer(case, error)
            else:
                self.misses, self.heard = 0, True
                outcome = Outcome(case.row, "accepted", micros(receipt.at), receipt.detail, 0, receipt.provider_id)
            outcomes.append(outcome)
        return self._flushed(cases, outcomes, fault, before)

    def _flushed(
        self, cases: Sequence[Case], outcomes: list[Outcome], fault: BaseException | None, before: tuple[int, bool]
    ) -> tuple[list[Outcome], BaseException | None]:
        try:
            self.channel.flush()
        except BaseException as error:  # noqa: BLE001 - as above
            answers = [self._answer(case, error) for case in cases]
            # One failure, however many messages it holds back; what was handed over before it was not taken.
            self.misses, self.heard = before[0] + 1, before[1]
            found = [answer if outcome.state == "accepted" else outcome for (answer, _), outcome in zip(answers, outcomes, strict=True)]
            return found, fault or answers[0][1]
        # Caps count from here: what is accepted has arrived by now, whenever it was handed over.
        now = self._at()
        return [replace(each, at=max(each.at, now)) if each.state == "accepted" else each for each in outcomes], fault

    def _answer(self, case: Case, error: BaseException) -> tuple[Outcome, BaseException | None]:
        """What a raised error says about one message, and the fault when the run has to end."""
        if isinstance(error, Transient):
            self.misses += 1
            if isinstance(error, Later):
                self.hold = max(self.hold, self._at() + int(min(error.seconds, LONGEST_HOLD) * SECOND))
            return self._again(case, str(error), certain=True), None
        if isinstance(error, Terminal):
            self.misses, self.heard = 0, True
            return Outcome(case.row, "failed", self._at(), str(error)), None
        if isinstance(error, StateError | InputError):
            return self._untouched(case), error
        known = isinstance(error, Uncertain)
        # The text of an unforeseen error is not kept: it may repeat the address.
        text = str(error) if known else f"the channel failed with {type(error).__name__}"
        return self._again(case, text, certain=False), None if known else error

    def _again(self, case: Case, text: str, *, certain: bool) -> Outcome:
        """Try again later where that cannot reach anybody twice and the attempts last; else say what is known."""
        row, attempt = case.row, case.row.attempts + 1
        doubtful = row.doubtful or not certain
        if not certain and not self.channel.idempotent:
            return Outcome(row, "unknown", self._at(), text)
        if attempt >= self.rules.attempts:
            said = f"{text} (tried {attempt} times)"
            return Outcome(row, "unknown" if doubtful else "failed", self._at(), f"{self.mark}; {said}" if doubtful else said)
        later = max(self._at() + self.rules.wait(row.message_id, attempt), self.hold)
        return Outcome(row, "ready", self._at(), self.mark if doubtful else text, later)

    def _untouched(self, case: Case) -> Outcome:
        return Outcome(case.row, "ready", self._at(), case.row.detail, case.row.next_at, spent=False)

    def _at(self) -> int:
        return micros(self.now())
