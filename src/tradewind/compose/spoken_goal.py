"""From a marketer's words to a campaign: a language model fills in the typed form, and every value must show where it was said.

    compiled = compile_goal(home, "Win back who has been away for two months, at most 800 CNY, never by SMS", now=..., known=...)
    compiled.campaign                                       # what ``Campaigns.plan`` takes; nothing is planned, approved or sent

The model proposes; these rules dispose. A value counts as said only when the model quotes words that stand in the text. Money that the
text does not name is taken out: a model grants no budget. Numbers of the text that no value uses, and red lines that no key can
hold, are listed, so that nothing a person asked for is lost in silence. Errors of the form go back to the model once.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import tomli_w

from tradewind import plugins
from tradewind.compose._goal_ask import Known, body
from tradewind.compose._goal_numbers import amounts
from tradewind.compose.chat import Chat
from tradewind.decide.read import read_offers
from tradewind.decide.triggers_run import ROOM
from tradewind.errors import InputError, StateError
from tradewind.learn.profiles import PROFILE, STAGES
from tradewind.schema import Channel

if TYPE_CHECKING:
    from tradewind.decide.campaign_file import Fault
    from tradewind.engine.home import Home

LONGEST = 4_000  # characters of a text
TRIES = 2
_MONEY = ("budget", "guard.spend_per_day", "guard.max_loss")
Source = Literal["said", "assumed", "refused"]


@dataclass(frozen=True, slots=True)
class Stated:
    """One value of the form: where it comes from, and the words that say it."""

    key: str  # "budget", "guard.max_loss", ...
    value: Any
    source: Source  # "refused": the model wanted it, and it was taken out
    quote: str = ""  # of the text, as it stands there
    why: str = ""  # the model's words for what it assumed


@dataclass(frozen=True, slots=True)
class RedLine:
    """Something that must not happen. ``key``: the value that holds it; None: no key can, so a person must see to it."""

    text: str
    key: str | None


@dataclass(frozen=True)
class Compiled:
    """A draft and everything that a person must look at before it is planned."""

    campaign: Mapping[str, Any]
    stated: tuple[Stated, ...]
    red_lines: tuple[RedLine, ...]
    unused: tuple[str, ...]  # numbers of the text that no value uses
    faults: tuple[Fault, ...]  # what still stands in the way of planning it
    model: str
    tries: int = field(default=1)

    @property
    def ready(self) -> bool:
        """Whether it can be planned as it is."""
        return not self.faults

    def to_toml(self) -> str:
        """The campaign as a file, each assumption as a comment above it."""
        marks = {"assumed": "# assumed", "refused": "# taken out, for the brief does not name it"}
        notes = [
            f"{marks[one.source]}: {one.key} = {json.dumps(one.value, ensure_ascii=False)}. {' '.join(one.why.split())}".strip()
            for one in self.stated
            if one.source in marks
        ]
        notes += [f"# see to it yourself: {' '.join(line.text.split())}" for line in self.red_lines if line.key is None]
        return "\n".join([*notes, tomli_w.dumps(dict(self.campaign))])

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self) | {"ready": self.ready, "toml": self.to_toml()}


def known_of(home: Home) -> Known:
    """What a campaign of this shop may name; raises StateError where the shop does not know its currency yet."""
    kinds = {column.name: _kind(column.type) for column in PROFILE}
    triggers = {name: sorted(plugins.load(ROOM, name, what="trigger").RULES) for name in plugins.names(ROOM)}
    if home.settings.currency is None:
        raise StateError('The shop has no currency yet. Collect first, or write currency = "CNY" (or yours) into tradewind.toml.')
    offers = {offer.offer: offer.kind for offer in read_offers(home.tables)}
    return Known(kinds, STAGES, offers, [str(channel) for channel in Channel], triggers, home.settings.currency, home.settings.zone)


def compile_goal(
    home: Home,
    text: str,
    *,
    known: Known,
    faults: Callable[[Mapping[str, Any]], Sequence[Fault]],
    now: datetime,
    chat: Chat | None = None,
) -> Compiled:
    """Compile ``text``, Chinese or English, into a campaign; ``known`` is what it may name, ``faults`` judges a draft.

    Raises
    ------
    InputError
        The text is empty or too long, or no model is configured: then fill in the form.
    Transient
        The model did not answer, or never in the shape that was asked for.
    """
    if not text.strip() or len(text) > LONGEST:
        raise InputError(
            f"A brief has 1 to {LONGEST:,} characters; got {len(text):,}. Say who, what for, how much, until when, and what never."
        )
    if chat is None:
        if home.settings.chat is None:
            raise InputError(
                "No language model is configured, so a brief cannot be read. Fill in the form (or a file: docs/campaigns.md), "
                "or put [chat] into tradewind.toml (docs/writers.md)."
            )
        chat = Chat.open(home, now=now)
    wrong: Sequence[str] = ()
    compiled: Compiled | None = None
    for tries in range(1, TRIES + 1):
        asked = partial(body, chat.model, text, known, now=now, wrong=tuple(wrong))
        answer = chat.document(asked, needs="campaign")
        compiled = _judged(answer, text, faults=faults, model=chat.model.model, tries=tries)
        if compiled.ready:
            break
        wrong = [f"{fault.where}: {fault.what}" for fault in compiled.faults]
    assert compiled is not None
    return compiled


def _judged(
    answer: Mapping[str, Any], text: str, *, faults: Callable[[Mapping[str, Any]], Sequence[Fault]], model: str, tries: int
) -> Compiled:
    told, quotes = _flat(answer.get("campaign")), _quotes(answer.get("said"), text)
    whys = _quotes(answer.get("assumed"), None)
    numbers = amounts(text)
    said = _values(numbers)
    campaign: dict[str, Any] = {}
    stated = []
    for key, value in told.items():
        quote = quotes.get(key, "")
        if key in _MONEY and not _values(amounts(str(value))) <= said | {0.0}:
            stated.append(Stated(key, value, "refused", "", whys.get(key, "")))
            continue
        stated.append(Stated(key, value, "said" if quote else "assumed", quote, "" if quote else whys.get(key, "")))
        _put(campaign, key, value)
    used = _values(amounts(" ".join([json.dumps(list(told.values()), ensure_ascii=False), *quotes.values()])))
    unused = tuple(f"{number[0]:g}" for number in numbers if not used & set(number))
    lines = tuple(
        RedLine(str(line["text"])[:500], str(line["key"]) if line.get("key") in told else None)
        for line in _rows(answer.get("red_lines"))
        if isinstance(line.get("text"), str) and line["text"].strip()
    )
    return Compiled(campaign, tuple(stated), lines, unused, tuple(faults(campaign)), model, tries)


def _values(numbers: Sequence[tuple[float, ...]]) -> set[float]:
    return {value for number in numbers for value in number}


def _flat(told: Any) -> dict[str, Any]:
    """The form as dotted keys, without what was left open."""
    if not isinstance(told, Mapping):
        return {}
    found: dict[str, Any] = {}
    for key, value in told.items():
        if isinstance(value, Mapping):
            found |= {f"{key}.{name}": inner for name, inner in value.items() if inner is not None}
        elif value is not None and value != []:
            found[str(key)] = value
    return found


def _put(campaign: dict[str, Any], key: str, value: Any) -> None:
    table, dot, name = key.partition(".")
    if dot:
        campaign.setdefault(table, {})[name] = value
    else:
        campaign[key] = value


def _quotes(rows: Any, text: str | None) -> dict[str, str]:
    """Per key the words given for it; with ``text`` only those that stand in it."""
    plain = None if text is None else _plain(text)
    found = {}
    for row in _rows(rows):
        key, words = row.get("key"), row.get("words")
        if isinstance(key, str) and isinstance(words, str) and words.strip() and (plain is None or _plain(words) in plain):
            found[key] = words.strip()[:300]
    return found


def _rows(rows: Any) -> list[Mapping[str, Any]]:
    return [row for row in rows if isinstance(row, Mapping)] if isinstance(rows, list) else []


def _kind(kind: pa.DataType) -> str:
    return "text" if pa.types.is_string(kind) else "time" if pa.types.is_timestamp(kind) else "number"


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", unicodedata.normalize("NFKC", text)).strip().casefold()
