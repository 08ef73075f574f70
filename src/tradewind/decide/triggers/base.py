"""The contract of a trigger: a deterministic state machine per customer over signals in order of time.

A signal is an event of the log, or something that happened to the shop and concerns a customer (the price of a viewed item fell,
a birthday). A machine keeps a small state of JSON values, says when it is due, and gives the episode when that time comes.
:func:`fold` drives it: signals and due times strictly in order of time, so that the same signals give the same firings however
they were cut into batches. No machine reads a clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tradewind.decide.hashing import digest
from tradewind.params import Rule, check

if TYPE_CHECKING:
    from tradewind.engine.home import Home

HOUR = 3_600_000_000
DAY = 24 * HOUR
State = Mapping[str, Any] | None  # JSON values; None: nothing to remember
MOST_ITEMS = 20  # that a state remembers


@dataclass(frozen=True, slots=True, order=True)
class Signal:
    """Something that concerns a customer; ``at`` in microseconds UTC, ``id`` unique, ``value`` in minor units."""

    at: int
    id: str
    kind: str
    customer: str
    item: str | None = None
    value: int | None = None
    order: str | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """What a machine gives when it is due: the episode's beginning, the items it is about (best first), and the state after it.

    ``key`` tells episodes apart that begin at one moment.
    """

    start: int
    items: Sequence[str]
    state: State
    key: str = ""


@dataclass(frozen=True, slots=True)
class Firing:
    """An opportunity to decide: at ``at`` (microseconds) the trigger fired for the episode that began at ``episode``."""

    customer: str
    episode: int
    at: int
    items: tuple[str, ...] = ()
    key: str = ""

    def id(self, campaign: str, kind: str) -> str:
        """The name under which it exists once: hash of trigger, customer and episode."""
        return digest("firing", campaign, kind, self.customer, self.episode, self.key)


@dataclass(frozen=True)
class Outside:
    """Signals that are no events of the log, and what could not be read (reason -> count)."""

    signals: Sequence[Signal] = ()
    unread: Mapping[str, int] | None = None


class Trigger(ABC):
    """One kind of trigger. Subclasses are frozen dataclasses whose fields are the settings, with ``RULES`` for each."""

    RULES: ClassVar[Mapping[str, Rule]] = {}
    hears: ClassVar[frozenset[str]]  # kinds of signal
    remembers: ClassVar[bool] = True  # what happened before a campaign matters to it
    until_purchase: ClassVar[bool] = False  # a purchase makes its messages pointless

    def check(self) -> None:
        """Raise :class:`~tradewind.errors.InputError` for settings that are not allowed."""
        check("[trigger]", self.settings(), self.RULES)

    def settings(self) -> dict[str, Any]:
        """The settings by name."""
        return asdict(self)  # type: ignore[call-overload,no-any-return]

    @abstractmethod
    def heard(self, state: State, signal: Signal) -> State:
        """The state after a signal of a kind that it ``hears``; never changes the old one."""

    @abstractmethod
    def due(self, state: State) -> int | None:
        """When it fires if nothing else happens; None: not at all."""

    @abstractmethod
    def fire(self, state: State) -> Episode:
        """The episode that is due."""

    def outside(self, home: Home, start: int, end: int) -> Outside:  # noqa: ARG002  most have none
        """Signals in [start, end) that the event log does not hold; the same whenever it is asked for that time."""
        return Outside()


@dataclass(frozen=True, slots=True)
class Memory:
    """What is kept per customer: the machine's state, and when it last fired."""

    state: State = None
    fired: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {"state": self.state, "fired": self.fired}


def fold(
    trigger: Trigger, memory: Memory, signals: Iterable[Signal], *, customer: str, until: int, since: int, cooldown: int
) -> tuple[Memory, list[Firing]]:
    """Go through a customer's ``signals`` (in order, all before ``until``) and the due times before ``until``.

    Nothing that is due before ``since`` fires: that is history. Within ``cooldown`` microseconds after a firing the next episodes
    are used up in silence. A due time at the moment of a signal comes first.
    """
    state, fired, found = memory.state, memory.fired, []

    def run(limit: int) -> None:
        nonlocal state, fired
        while (due := trigger.due(state)) is not None and due <= limit:
            episode = trigger.fire(state)
            state = episode.state
            if due >= since and (fired is None or due >= fired + cooldown):
                found.append(Firing(customer, episode.start, due, tuple(episode.items), episode.key))
                fired = due

    for signal in signals:
        run(signal.at)
        state = trigger.heard(state, signal)
    run(until - 1)
    return Memory(state, fired), found
