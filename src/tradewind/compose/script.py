"""A host's script for a live stream: what to say about what and when, planned anew whenever the room's interest shifts.

``plan`` is a small deterministic planner: every item gets its turn, those of most worth to this room first, long turns while
the time allows, short ones when it does not, and items that the room asks for come back. ``perform`` walks through the programme:
at each segment it plans again from the signals so far, gathers the facts of that moment, and says them in spoken form. An item
that can no longer be sold or said is skipped, with the reason. Every segment is guarded and carries the label that it is made by AI.

When not to use: a host of flesh and blood talks freely; give the person the rundown and the facts, not the words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from tradewind.compose import locales, spoken
from tradewind.compose.base import Brief, Verdict
from tradewind.compose.clean import script, width
from tradewind.compose.facts import Facts, unsellable
from tradewind.compose.guard import Guard
from tradewind.compose.writing import write
from tradewind.errors import InputError, unknown
from tradewind.types import Offer

SECONDS = {
    "opening": 40,
    "item": 75,
    "offer": 45,
    "interaction": 40,
    "again": 15,
    "countdown": 20,
    "closing": 30,
}  # with what is shown meanwhile
SHORT = {"item": 40, "offer": 30}
LONG = ("item", "offer", "interaction", "countdown")
BRIEF, AGAIN = ("item", "offer"), ("again", "offer", "countdown")
WEIGHT = {"click": 1.0, "comment": 2.0, "purchase": 4.0}  # how much of the room's interest one signal is
HALF_LIFE = 300.0  # seconds after which a signal counts half
SPEED = {"zh": 9.0, "en": 14.0}  # columns said in a second, for the length of a spoken text
TRIES = 6  # wordings that are looked at, so that neighbours differ
LEAST, MOST = 3, 8 * 60  # minutes of a programme


@dataclass(frozen=True, slots=True)
class Lot:
    """An item on the programme. ``value``: expected profit per sale or per viewer, any one unit; ``ends``: a countdown has sense."""

    item: str
    value: float
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Signal:
    """So many clicks, comments or purchases of an item in the room at ``second`` of the programme."""

    second: float
    item: str
    kind: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of the programme: what kind, about which item, from which second and for how long."""

    kind: str
    item: str | None
    start: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Line:
    """What is said in a segment: ``speech`` for the voice, ``label`` for the screen; or why nothing is (``withheld``)."""

    segment: Segment
    speech: str
    label: str
    facts: str  # hash of the facts that it was checked against
    components: tuple[str, ...]
    verdicts: tuple[Verdict, ...] = ()
    withheld: str | None = None

    @property
    def spoken_seconds(self) -> float:
        """How long a voice needs for it, roughly."""
        return width(self.speech) / SPEED[script(self.speech)]


def score(lot: Lot, signals: Sequence[Signal], *, at: float) -> float:
    """Worth of an item to this room now: its value times one plus the logarithm of the fading interest in it."""
    interest = sum(
        WEIGHT[s.kind] * s.count * 0.5 ** ((at - s.second) / HALF_LIFE) for s in signals if s.item == lot.item and s.second <= at
    )
    return lot.value * (1 + math.log1p(interest))


def plan(lots: Sequence[Lot], *, minutes: float, signals: Sequence[Signal] = (), said: Sequence[Segment] = ()) -> tuple[Segment, ...]:
    """Return the segments that are still to come after ``said``; they end with the closing, within ``minutes``.

    Raises
    ------
    InputError
        No items, two of one name, a worth that is not positive, an unknown kind of signal, or too short or long a programme.
    """
    _check(lots, minutes, signals)
    return _rest(lots, minutes, signals, said)


def perform(
    lots: Sequence[Lot],
    *,
    minutes: float,
    start: datetime,
    facts: Callable[[str | None, datetime], tuple[Facts, Mapping[str, object] | None, Offer | None]],
    zone: str = "UTC",
    signals: Sequence[Signal] = (),
    seed: int = 0,
) -> tuple[Line, ...]:
    """Speak the programme from ``start`` on; ``facts`` tells of an item (None: of the shop) what is true at a moment.

    It returns the facts, the row of the catalogue and the offer. A line that could not be said stands among the others with its
    reason and takes no time.
    """
    _check(lots, minutes, signals)
    guard, place = Guard(), locales.zone(zone) or locales.UTC_ZONE
    said: list[Segment] = []
    lines: list[Line] = []
    mute: set[tuple[str, str | None]] = set()  # what could not be said at this point of the programme
    while True:
        now = _now(said)
        rest = _rest(lots, minutes, [signal for signal in signals if signal.second <= now], said)
        segment = next((replace(one, start=now) for one in rest if (one.kind, one.item) not in mute), None)
        if segment is None:
            return tuple(lines)
        at = start + timedelta(seconds=now)
        known, row, offer = facts(segment.item, at)
        why = None if segment.item is None else unsellable(row, offer, send_at=at)
        line = _say(segment, known, why, lines, place=place, guard=guard, seed=seed)
        lines.append(line)
        if line.withheld is None:
            said.append(segment)
            mute.clear()
        elif segment.kind in ("item", "offer"):  # nothing more about this one
            lots = [lot for lot in lots if lot.item != segment.item]
        else:
            mute.add((segment.kind, segment.item))


def _now(said: Sequence[Segment]) -> int:
    return said[-1].start + said[-1].seconds if said else 0


def _rest(lots: Sequence[Lot], minutes: float, signals: Sequence[Signal], said: Sequence[Segment]) -> tuple[Segment, ...]:
    """The segments after ``said``, closing included; without items only that."""
    if said and said[-1].kind == "closing":
        return ()
    now = _now(said)
    told = [] if said else [Segment("opening", None, 0, SECONDS["opening"])]
    now += 0 if said else SECONDS["opening"]
    ranked = sorted(lots, key=lambda lot: (-score(lot, signals, at=now), lot.item))
    for item, kinds, short in _turns(ranked, said, room=int(minutes * 60) - SECONDS["closing"] - now):
        for kind in kinds:
            told.append(Segment(kind, item, now, _cost((kind,), short=short)))
            now += told[-1].seconds
    return (*told, Segment("closing", None, now, SECONDS["closing"]))


def _say(segment: Segment, known: Facts, why: str | None, lines: Sequence[Line], *, place: ZoneInfo, guard: Guard, seed: int) -> Line:
    """The line of a segment; of a few wordings the first that the same kind of segment has not just had."""
    if why is not None:
        return Line(segment, "", "", known.hash, (), (), why)
    aloud = spoken.facts(known, place=place)
    before = {name for line in [line for line in lines if line.segment.kind == segment.kind][-2:] for name in line.components[:1]}
    told: Line | None = None
    for turn in range(TRIES):
        brief = Brief(f"{segment.start}|{segment.item}|{turn}", f"live.{segment.kind}", known.locale)
        text = write(brief, facts=aloud, seed=seed, at=known.at, guard=guard)
        if text.withheld or text.draft is None:
            return told or Line(segment, "", "", known.hash, (), text.verdicts, text.withheld or "nothing to say")
        told = Line(segment, text.parts["speech"], text.parts["label"], known.hash, text.draft.components, text.verdicts)
        if told.components[0] not in before:
            break
    assert told is not None, "there is at least one try"
    return told


def _turns(ranked: Sequence[Lot], said: Sequence[Segment], *, room: int) -> list[tuple[str, tuple[str, ...], bool]]:
    """Item, segments and whether short, in order: the turn in progress, first turns, and further ones while there is room."""
    turns: list[tuple[str, tuple[str, ...], bool]] = []

    def take(lot: Lot, kinds: Sequence[str], *, short: bool) -> bool:
        nonlocal room
        wanted = tuple(kind for kind in kinds if kind != "countdown" or lot.ends)
        cost = _cost(wanted, short=short)
        if not wanted or cost > room:
            return False
        turns.append((lot.item, wanted, short))
        room -= cost
        return True

    current = next((lot for lot in ranked if said and lot.item == said[-1].item), None)
    if current is not None:
        take(current, _left(said), short=said[-1].seconds < SECONDS[said[-1].kind])
    shown = {segment.item for segment in said if segment.kind == "item"}
    first = [lot for lot in ranked if lot.item not in shown]
    least = _cost(BRIEF, short=True)
    fitting = first[: max(room, 0) // least]
    room -= least * len(fitting)
    for lot in fitting:  # the first in the ranking get the long turns
        room += least
        if not take(lot, LONG, short=False):
            take(lot, BRIEF, short=True)
    others = [lot for lot in ranked if lot is not current] or list(ranked)
    if len(fitting) == len(first):
        while all(take(lot, AGAIN, short=True) for lot in others) and others:
            pass
    return turns


def _left(said: Sequence[Segment]) -> tuple[str, ...]:
    """The segments that the turn in progress still lacks."""
    last, turn = said[-1], len(said)
    while turn and said[turn - 1].item == last.item:
        turn -= 1
    kinds = AGAIN if said[turn].kind != "item" else BRIEF if said[turn].seconds < SECONDS["item"] else LONG
    return kinds[kinds.index(last.kind) + 1 :] if last.kind in kinds else ()


def _cost(kinds: Sequence[str], *, short: bool) -> int:
    return sum(SHORT.get(kind, SECONDS[kind]) if short else SECONDS[kind] for kind in kinds)


def _check(lots: Sequence[Lot], minutes: float, signals: Sequence[Signal]) -> None:
    if not lots:
        raise InputError("A programme needs at least one item. Give the items with what each is worth.")
    names = [lot.item for lot in lots]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f'Item "{twice}" is twice on the programme. Give each item once; the planner brings it back by itself.')
    bad = next((lot for lot in lots if not (math.isfinite(lot.value) and lot.value > 0)), None)
    if bad is not None:
        raise InputError(f'The worth of item "{bad.item}" must be a number above zero; got {bad.value!r}.')
    if not LEAST <= minutes <= MOST:
        raise InputError(f"A programme lasts from {LEAST} to {MOST} minutes; got {minutes!r}.")
    for signal in signals:
        if signal.kind not in WEIGHT:
            raise unknown("kind of signal", signal.kind, WEIGHT)
        if signal.count < 0 or not math.isfinite(signal.second):
            raise InputError(f'A signal of item "{signal.item}" has count {signal.count} at second {signal.second}. Counts are 0 or more.')
