"""One message, from facts to a text that passed the guard: pure, no shop and no clock. ``preview`` and ``refresh`` are it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tradewind.compose.base import Brief, Draft, Verdict, Writer
from tradewind.compose.components import Components
from tradewind.compose.facts import Facts
from tradewind.compose.guard import Guard, blocked
from tradewind.compose.layout import assemble
from tradewind.compose.packs.ai_label import metadata
from tradewind.compose.recipe import AI_WRITTEN
from tradewind.compose.sms import segments
from tradewind.errors import InputError
from tradewind.types import Message, Reason

KEPT = ("item", "offer", "zone", "country", "catalogue", "segment", "policy", "control")  # headers that a new text does not change


@dataclass(frozen=True, slots=True)
class Text:
    """A finished text, or why there is none. ``facts``: those that were fresh and fit to be said."""

    parts: Mapping[str, str]
    draft: Draft | None
    facts: Facts
    verdicts: tuple[Verdict, ...]
    withheld: str | None = None

    @property
    def fresh_until(self) -> datetime | None:
        """When the first of the facts that it states expires."""
        if self.draft is None:
            return None
        used = {name for block in self.draft.blocks for name in (*block.template.slots, *block.needs)}
        if not used.isdisjoint({"in_stock", "low_stock"}):
            used.add("stock")
        return min((fact.expires_at for name, fact in self.facts.facts.items() if name in used or name == "link"), default=None)


def write(
    brief: Brief,
    *,
    facts: Facts,
    seed: int,
    at: datetime,
    writer: Writer | None = None,
    guard: Guard | None = None,
    last: Components | None = None,
) -> Text:
    """Write one text for the moment ``at`` of sending.

    Facts that are expired then are left out; names that the guard refuses are left out; a template that the guard refuses,
    and a finished text that it refuses, is withheld with its first verdict as the reason. Where ``writer`` has no text that stands,
    ``components`` (``last``; from the shipped library without one) writes it, and the facts' ``fallbacks`` say why.
    """
    guard = guard or Guard()
    facts, vetted = guard.vet(facts.fresh(at))
    if "shop" not in facts.facts:
        return Text({}, None, facts, vetted, "the shop's name is missing or cannot be said")
    last = last or Components()
    if writer is not None:
        text = _written(writer, brief, facts=facts, vetted=vetted, seed=seed, guard=guard)
        if not text.withheld or writer.name == last.name:
            return text
        facts = facts.noting([f"{writer.name}: {text.withheld.partition(' (')[0]} -> {last.name}"])
    return _written(last, brief, facts=facts, vetted=vetted, seed=seed, guard=guard)


def _written(writer: Writer, brief: Brief, *, facts: Facts, vetted: tuple[Verdict, ...], seed: int, guard: Guard) -> Text:
    """The text of one writer, checked."""
    draft = writer.write(brief, facts=facts, seed=seed)
    if isinstance(draft, str):
        return Text({}, None, facts, vetted, draft)
    if draft.generated:
        facts = facts.flagged(AI_WRITTEN)
    faults = [v for block in draft.blocks for v in guard.template(block.template, locale=brief.locale)]
    parts = assemble(draft, facts=facts, channel=brief.channel)
    verdicts = (*vetted, *faults, *guard.check(parts, facts=facts, locale=brief.locale, channel=brief.channel))
    stop = blocked(verdicts[len(vetted) :])
    if stop:
        return Text({}, draft, facts, verdicts, f"{stop[0].rule} in {stop[0].part}: {stop[0].reason} ({stop[0].found[:60]!r})")
    return Text(parts, draft, facts, verdicts)


def preview(facts: Facts, *, channel: str, key: str = "preview", seed: int = 0, reason: Reason | None = None) -> Text:
    """Return the text that these facts would give at the moment when they were gathered."""
    return write(Brief(key, channel, facts.locale, reason), facts=facts, seed=seed, at=facts.at)


def headers(text: Text, *, seed: int, reason: Reason | None = None) -> dict[str, str]:
    """Return the log of how a text came about: see ``base``."""
    assert text.draft is not None, "a text that stands has a draft"
    log = {
        "propensity": repr(text.draft.propensity),
        "choices": json.dumps(text.draft.choices, sort_keys=True),
        "shares": json.dumps(text.draft.shares, sort_keys=True),
        "tone": text.draft.tone,
        "seed": str(seed),
    }
    if text.facts.fallbacks:
        log["fallbacks"] = json.dumps(text.facts.fallbacks, ensure_ascii=False)
    if reason is not None:
        log["reason"] = json.dumps({"code": reason.code, "details": dict(reason.details)}, ensure_ascii=False, sort_keys=True, default=str)
    if text.fresh_until is not None:
        log["fresh_until"] = text.fresh_until.astimezone(UTC).isoformat()
    found = [f"{v.rule}:{v.severity}" for v in text.verdicts]
    if found:
        log["verdicts"] = json.dumps(found)
    return log


def sms_headers(body: str) -> dict[str, str]:
    """Return encoding and number of parts of a text message."""
    cost = segments(body)
    return {"encoding": cost.encoding, "segments": str(cost.count)}


@dataclass(frozen=True, slots=True)
class Logged:
    """Chooses again by the probabilities that a message logged, whatever was learned since."""

    shares: Mapping[str, Mapping[str, float]]

    def chances(self, role: str, names: Sequence[str]) -> Sequence[float]:
        """Those of the names that still fit, in the same proportions; all alike where none of them was known."""
        kept = [self.shares.get(role, {}).get(name, 0.0) for name in names]
        total = sum(kept)
        return [share / total for share in kept] if total > 0 else [1 / len(names)] * len(names)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What became of a message when its facts were looked at again: "same", "changed" or "withheld" (with the reason)."""

    state: str
    message: Message | None
    reason: str = ""


def refresh(message: Message, facts: Facts, *, now: datetime, writer: Writer | None = None, guard: Guard | None = None) -> Refreshed:
    """Derive the text of ``message`` again from fresh ``facts``, with the same seed and the same decision.

    Components stay the same as long as they fit: only what changed in the facts changes in the text.

    Raises
    ------
    InputError
        The message was not written by this room, or the facts are in another language.
    """
    if "seed" not in message.headers:
        raise InputError(f'Message {message.message_id} has no "seed" in its headers: it was not composed here and cannot be refreshed.')
    if facts.locale != message.locale:
        raise InputError(f"Message {message.message_id} is in {message.locale}, the facts are in {facts.locale}. Gather them again.")
    if facts.ends_at is not None and facts.ends_at <= now:
        return Refreshed("withheld", None, "the offer or the item has ended")
    told = json.loads(message.headers["reason"]) if "reason" in message.headers else None
    reason = Reason(told["code"], told["details"]) if told else None
    seed = int(message.headers["seed"])
    chooser = Logged(json.loads(message.headers["shares"])) if "policy" in message.headers else None
    brief = Brief(message.decision_id, message.channel, message.locale, reason, chooser=chooser)
    text = write(brief, facts=facts, seed=seed, at=now, writer=writer, guard=guard)
    if text.withheld or text.draft is None:
        return Refreshed("withheld", None, text.withheld or "")
    renewed = renew(message, text, seed=seed, reason=reason)
    return Refreshed("same" if dict(renewed.parts) == dict(message.parts) else "changed", renewed)


def renew(message: Message, text: Text, *, seed: int, reason: Reason | None) -> Message:
    """Return ``message`` with the text in place of its own, and the log of that text."""
    assert text.draft is not None, "a text that stands has a draft"
    kept = {name: value for name, value in message.headers.items() if name in KEPT}
    log = {**kept, **headers(text, seed=seed, reason=reason)}
    if text.draft.generated:
        log["ai_label"] = metadata(producer=text.facts.texts["shop"], content_id=message.message_id)
    if message.channel == "sms":
        log |= sms_headers(text.parts["body"])
    return replace(
        message,
        parts=dict(text.parts),
        components=text.draft.components,
        facts=text.facts.hash,
        writer=text.draft.writer,
        expires_at=text.facts.ends_at if text.facts.ends_at is not None else message.expires_at,
        headers=log,
    )
