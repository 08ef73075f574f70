"""What lets messages through to a provider: a token bucket, a circuit breaker, and an operator. All workers share it, in the ledger.

The bucket is the generic cell rate algorithm (ITU-T I.371, annex A): one number per provider, the moment when it is full again.
The breaker opens after so many transient failures in a row, counted over all workers; when its time is over, one worker at a time tries
one message, and the answer closes it or opens it for twice as long. A channel stops by itself when too many of its messages bounced or
drew complaints; it runs again when an operator says so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, func, select, update

from tradewind import schema
from tradewind.decide.fairness import FILE, Watch
from tradewind.deliver.rules import SECOND, Rate, Rules
from tradewind.engine import audit
from tradewind.engine.books_channels import feedback
from tradewind.engine.books_deliver import gates, tallies
from tradewind.engine.ledger import insert_new, outbox
from tradewind.errors import unknown
from tradewind.types import from_micros, micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

HOUR = 3600 * SECOND
LONGEST = 6 * HOUR  # that a breaker stays open
LONGEST_HOLD = 24 * 3600  # seconds that a provider can ask to be left alone
NEW = {"tat": 0, "misses": 0, "opened": 0, "open_until": 0, "probe_until": 0, "stopped": None, "since": 0}
g = gates.c


@dataclass(frozen=True, slots=True)
class Pass:
    """How many messages may be handed off now, and if none, why and (for a rate) from when on."""

    room: int
    why: str = ""
    wait_until: int | None = None
    clean: bool = True  # the breaker has nothing to forget


@dataclass(frozen=True, slots=True)
class News:
    """What a worker learned of a provider: whether it gave a certain answer, its transient failures since, until when it wants peace."""

    heard: bool
    misses: int
    hold: int = 0  # microseconds; 0: it did not say


def admit(conn: Connection, provider: str, channel: str, *, wanted: int, rules: Rules, now: int) -> Pass:
    """Ask for ``wanted`` messages; call :func:`spend` in the same transaction for those that really go.

    Where a rate or a probe has to be exact, the provider's row stays locked until the transaction ends.
    """
    rate = rate_of(rules, provider, channel)
    if rate is not None:
        insert_new(conn, gates, [{"gate": provider, **NEW}])
    rows = _rows(conn, (provider, _name(channel)), lock=rate is not None)
    if stop := next((row["stopped"] for row in rows.values() if row["stopped"]), None):
        return Pass(0, f"stopped: {stop}")
    gate = rows.get(provider, NEW)
    clean = not (gate["misses"] or gate["opened"])
    if gate["opened"]:
        if _shut(gate, now):
            return Pass(0, "breaker", clean=False)
        gate = _rows(conn, (provider,), lock=True)[provider]
        if gate["opened"] and (_shut(gate, now) or now < gate["probe_until"] <= now + _lease(rules)):
            return Pass(0, "breaker", clean=False)  # another worker is trying
        wanted = 1
    if rate is None:
        return Pass(wanted, clean=clean)
    ahead = _full(gate["tat"], rate, now) - now
    free = min(wanted, (rate.step * rate.burst - ahead) // rate.step)
    return Pass(free, clean=clean) if free > 0 else Pass(0, "rate", now + ahead + rate.step - rate.step * rate.burst, clean)


def spend(conn: Connection, provider: str, channel: str, number: int, *, rules: Rules, now: int) -> None:
    """Take tokens for messages that go, and keep others from trying a provider that this worker tries."""
    if not number:
        return
    if (rate := rate_of(rules, provider, channel)) is not None:
        tat = conn.execute(select(g.tat).where(g.gate == provider)).scalar_one()
        conn.execute(update(gates).where(g.gate == provider).values(tat=_full(tat, rate, now) + number * rate.step))
    conn.execute(update(gates).where(g.gate == provider, g.opened > 0).values(probe_until=now + _lease(rules)))


def note(conn: Connection, provider: str, news: News, *, clean: bool, rules: Rules, now: int) -> None:
    """Enter what a worker learned of a provider; ``clean``: the ledger has nothing to forget."""
    heard, misses = news.heard, news.misses
    if not (misses or news.hold > now) and (clean or not heard):
        return
    insert_new(conn, gates, [{"gate": provider, **NEW}])
    gate = _rows(conn, (provider,), lock=True)[provider]
    opened = 0 if heard else gate["opened"]
    misses = misses if heard else gate["misses"] + misses
    change = {"misses": misses, "opened": opened, "probe_until": 0}
    if news.hold > now:  # it says itself when to come again: that is no failure, so the wait does not double
        change |= {"opened": max(opened, 1), "open_until": max(news.hold, gate["open_until"] if opened else 0)}
    elif misses >= rules.breaker or opened:
        longest = min(rules.breaker_seconds * SECOND * 2 ** min(opened, 40), LONGEST)
        change = {"misses": 0, "opened": opened + 1, "open_until": now + int(longest), "probe_until": 0}
    conn.execute(update(gates).where(g.gate == provider).values(change))


def rate_of(rules: Rules, provider: str, channel: str) -> Rate | None:
    """The rate that holds for a provider: its own, else its channel's."""
    return rules.rates.get(provider) or rules.rates.get(channel)


def unfair(home: Home, channels: Collection[str], *, plan_id: str | None) -> dict[str, int]:
    """Messages that are ready but held, by their plan, which ``fairness.toml`` stops: the rules may be newer than the plan."""
    if not (home.root / FILE).exists():
        return {}
    query = select(outbox.c.plan_id, func.count()).where(outbox.c.state == "ready", outbox.c.channel.in_(sorted(channels)))
    query = query if plan_id is None else query.where(outbox.c.plan_id == plan_id)
    with home.ledger.read() as conn:
        found = conn.execute(query.group_by(outbox.c.plan_id)).all()
    watch = Watch(home)
    return {name: int(number) for name, number in found if watch.why(name)}


# -- reputation and the operator --------------------------------------------------------------------------------------


def tally(conn: Connection, hands: Sequence[tuple[str, int]]) -> None:
    """Count accepted messages (channel, microseconds) per channel and hour."""
    counts: dict[tuple[str, int], int] = {}
    for channel, at in hands:
        counts[channel, at - at % HOUR] = counts.get((channel, at - at % HOUR), 0) + 1
    t = tallies.c
    insert_new(conn, tallies, [{"channel": channel, "hour": hour, "sent": 0} for channel, hour in sorted(counts)])
    for (channel, hour), number in sorted(counts.items()):
        conn.execute(update(tallies).where(t.channel == channel, t.hour == hour).values(sent=t.sent + number))


def reputation(conn: Connection, channel: str, *, rules: Rules, now: int) -> str | None:
    """Why a channel has to stop, by what came back within the window; None: it may go on."""
    since = conn.execute(select(g.since).where(g.gate == _name(channel))).scalar() or 0
    since = max(since, now - int(rules.reputation_days * 24 * HOUR))
    t, f = tallies.c, feedback.c
    sent = int(
        conn.execute(select(func.coalesce(func.sum(t.sent), 0)).where(t.channel == channel, t.hour >= since - since % HOUR)).scalar_one()
    )
    if sent < rules.reputation_least:
        return None
    heard = select(f.kind, func.count()).where(f.channel == channel, f.at >= since).group_by(f.kind)
    counts = {str(kind): int(number) for kind, number in conn.execute(heard)}
    for what, kind, most in (("complaints", "complaint", rules.complaint_rate), ("bounces", "hard", rules.bounce_rate)):
        if counts.get(kind, 0) > most * sent:
            return f"{counts[kind]} {what} of {sent} messages in {rules.reputation_days:g} days; at most {100 * most:g} % are allowed"
    return None


def guard(home: Home, channel: str, *, rules: Rules, now: int) -> str | None:
    """Stop a channel whose messages bounced or drew complaints too often; why it stopped now, if it did."""
    with home.ledger.read() as conn:
        why = reputation(conn, channel, rules=rules, now=now)
    if why is not None:
        _set(home, channel, {"stopped": why}, "policy:reputation", at=from_micros(now))
    return why


def stop(home: Home, channel: str, *, why: str, now: datetime, by: str = "operator") -> None:
    """Let nothing leave on a channel until :func:`resume`; workers that run notice before their next message.

    Raises NotFound for an unknown channel.
    """
    _set(home, channel, {"stopped": why}, f"person:{by}", at=now)


def resume(home: Home, channel: str, *, now: datetime, by: str = "operator") -> None:
    """Let a stopped channel run again; complaints and bounces before ``now`` are not held against it any more."""
    _set(home, channel, {"stopped": None, "since": micros(now)}, f"person:{by}", at=now)


def stopped(conn: Connection) -> set[str]:
    """The channels that wait for an operator."""
    names = {_name(each.value): each.value for each in schema.Channel}
    return {names[gate] for gate in conn.execute(select(g.gate).where(g.stopped.is_not(None), g.gate.in_(names))).scalars()}


def shut(home: Home) -> list[dict[str, Any]]:
    """The gates that let nothing through or are near it: stopped channels, and providers that failed of late."""
    query = select(gates).where((g.stopped.is_not(None)) | (g.opened > 0) | (g.misses > 0)).order_by(g.gate)
    with home.ledger.read() as conn:
        return [dict(row) for row in conn.execute(query).mappings()]


def _set(home: Home, channel: str, change: dict[str, Any], actor: str, *, at: datetime) -> None:
    known = [each.value for each in schema.Channel]
    if channel not in known:
        raise unknown("channel", channel, known)
    with home.ledger.write() as conn:
        insert_new(conn, gates, [{"gate": _name(channel), **NEW}])
        conn.execute(update(gates).where(g.gate == _name(channel)).values(change))
        why = {"why": change["stopped"]} if change["stopped"] else {}
        audit.note(conn, actor, "outbox.stop" if why else "outbox.resume", f"channel:{channel}", why, at=at)


def _rows(conn: Connection, names: Sequence[str], *, lock: bool) -> dict[str, Any]:
    query = select(gates).where(g.gate.in_(names)).order_by(g.gate)
    return {row["gate"]: row for row in conn.execute(query.with_for_update() if lock else query).mappings()}


def _full(tat: int, rate: Rate, now: int) -> int:
    """When the bucket is full again; never later than it could be, should the clock have been set back."""
    return min(max(tat, now), now + rate.step * rate.burst)


def _shut(gate: Any, now: int) -> bool:
    """Whether a breaker is open; one that seems to stay so for longer than any may was opened before the clock was set back."""
    return bool(now < gate["open_until"] <= now + LONGEST_HOLD * SECOND)


def _lease(rules: Rules) -> int:
    return int(rules.lease_seconds * SECOND)


def _name(channel: str) -> str:
    return f"channel {channel}"
