"""The world of ``crash.py``: people, plans, a clock that all processes read, the two receivers, and the judge.

The judge knows only what the receivers wrote down and what the world was told: zones, consents, limits. It shares no code with the
program that it judges.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import mmap
import os
import random
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from aiosmtpd.smtp import SMTP

START = datetime(2026, 3, 7, 15, tzinfo=UTC)  # the night before clocks change in the United States
ZONES = ("America/New_York", "America/St_Johns", "Europe/Paris", "Asia/Shanghai", "Australia/Lord_Howe", None)
SHOP_ZONES = ("Europe/Paris", "Asia/Kolkata")  # where those of unknown zone may live
CHANNELS = ("email", "sms", "push")
CAMPAIGNS = ("spring", "launch")
CHANNEL_CAP, CHANNEL_DAYS = 2, 1.0
TOTAL_CAP, TOTAL_DAYS = 4, 2.0
LAUNCH_CAP, LAUNCH_DAYS = 1, 3.0
SMS_PER_SECOND, SMS_BURST = 0.05, 30
COST = 100  # minor units that every message reserves


class Clock:
    """Microseconds since 1970 in a file that every process maps: time stands still until the world turns it."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(int(START.timestamp() * 1e6).to_bytes(8, "little"))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 8)

    @property
    def micros(self) -> int:
        return int.from_bytes(self._map[:8], "little")

    def __call__(self) -> datetime:
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.micros)

    def forward(self, **step: float) -> None:
        self._map[:8] = (self.micros + int(timedelta(**step).total_seconds() * 1e6)).to_bytes(8, "little")


@dataclass
class World:
    """What is true, whatever the program believes."""

    zones: dict[str, str | None] = field(default_factory=dict)
    consents: dict[tuple[str, str], list[tuple[int, bool]]] = field(default_factory=lambda: defaultdict(list))
    plans: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # plan id -> its messages
    budget: int = 0

    @classmethod
    def make(cls, people: int, plans: int, *, seed: int) -> World:
        """Customers of every zone, and plans that together want more than the budget and more than the caps."""
        chance, world = random.Random(seed), cls()
        world.zones = {f"c{number:04d}": chance.choice(ZONES) for number in range(people)}
        for number in range(plans):
            name = f"plan-{number:03d}"
            rows = []
            for customer in sorted(chance.sample(sorted(world.zones), people // 5)):
                channel, campaign = chance.choice(CHANNELS), chance.choices(CAMPAIGNS, (3, 1))[0]
                send_at = START + timedelta(hours=chance.uniform(0, 80))
                rows.append(
                    {
                        "decision_id": hashlib.sha256(f"{seed}|{name}|{customer}".encode()).hexdigest(),
                        "customer": customer,
                        "channel": channel,
                        "campaign": campaign,
                        "offer": f"{campaign}-{number % 2}",
                        "send_at": send_at,
                        "value": chance.uniform(0, 500),
                        "expires_at": send_at + timedelta(days=chance.uniform(0.5, 3)),
                    }
                )
            world.plans[name] = rows
        world.budget = int(0.8 * COST * sum(len(rows) for rows in world.plans.values()))
        return world


# -- the receivers ----------------------------------------------------------------------------------------------------


@dataclass
class Receiver:
    """A mail server and a gateway on loopback that take, refuse, hang up and keep silent; every visible message becomes a line.

    ``/sms`` shows whatever it is sent; ``/push`` shows an idempotency key once.
    """

    log: Path
    clock: Clock
    seed: int
    keys: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._out = self.log.open("a", buffering=1)

    def show(self, way: str, message_id: str, to: str, *, answered: bool) -> None:
        self._out.write(json.dumps({"at": self.clock.micros, "way": way, "id": message_id, "to": to, "answered": answered}) + "\n")

    # aiosmtpd's handler

    async def handle_RCPT(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any
    ) -> str:
        if _bad(address):
            return "550 no such mailbox"
        if self.random.random() < 0.03:
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 ok"

    async def handle_DATA(self, server: SMTP, _session: Any, envelope: Any) -> str:  # noqa: N802
        draw = self.random.random()
        if draw < 0.01:
            server.transport.abort()
            return "451 never read"
        text = envelope.content.decode("utf-8", "replace")
        message_id = text.split("Message-ID: <")[1].split("@")[0]
        self.show("email", message_id, envelope.rcpt_tos[0], answered=draw >= 0.03)
        if draw < 0.03:
            server.transport.abort()
        return "250 taken"

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request and one answer, then the connection ends."""
        try:
            verb, path = (part.decode() for part in (await reader.readline()).split()[:2])
            headers = {}
            while (line := (await reader.readline()).decode().strip()) != "":
                name, _, value = line.partition(":")
                headers[name.lower()] = value.strip()
            if verb == "GET":
                status = 200 if path.rpartition("/")[2] in self.keys else 404
            else:
                data = json.loads(await reader.readexactly(int(headers["content-length"])))
                status = self._take(path.strip("/"), headers.get("idempotency-key", ""), data)
            if status == 0:
                writer.transport.abort()
                return
            if status == 1:
                await asyncio.sleep(1)
            else:
                writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, IndexError, KeyError, ValueError, ConnectionError):
            pass  # the client died in the middle of its request: nothing was taken
        finally:
            writer.close()

    def _take(self, way: str, key: str, data: dict[str, str]) -> int:
        """The status of the answer; 0: the connection is cut, 1: silence until the client gives up."""
        if _bad(data["to"]):
            return 400
        draw = self.random.random()
        if draw < 0.03:
            return 429
        if draw < 0.05:
            return 500  # before it was taken, but the client cannot know
        status = 0 if draw < 0.06 else 500 if draw < 0.07 else 1 if draw < 0.073 else 202
        if way == "sms" or key not in self.keys:
            self.show(way, data["id"], data["to"], answered=status == 202)
        self.keys.add(key)
        return status

    async def serve(self, tell: Callable[[int, int], None]) -> None:
        loop = asyncio.get_running_loop()
        mail = await loop.create_server(lambda: SMTP(self, hostname="sink", loop=loop), "127.0.0.1", 0)
        gate = await asyncio.start_server(self.http, "127.0.0.1", 0)
        tell(mail.sockets[0].getsockname()[1], gate.sockets[0].getsockname()[1])
        await asyncio.gather(mail.serve_forever(), gate.serve_forever())


def _bad(address: str) -> bool:
    """One address in forty does not exist."""
    return int(hashlib.sha256(address.encode()).hexdigest()[:6], 16) % 40 == 0


# -- the judge --------------------------------------------------------------------------------------------------------


def judge(world: World, lines: Iterable[dict[str, Any]], rows: Iterable[dict[str, Any]], *, kills: int) -> dict[str, int]:
    """Count what must not be. ``lines``: what the receivers showed; ``rows``: how the ledger says that every message ended."""
    known = {row["message_id"]: row for row in rows}
    told = {each["decision_id"]: each for plan in world.plans.values() for each in plan}
    shown = [{**line, **told[known[line["id"]]["decision_id"]], "channel": line["way"]} for line in lines]
    seen = Counter(line["id"] for line in shown)
    ended = Counter(row["state"] for row in known.values())
    unknown = {name for name, row in known.items() if row["state"] == "unknown"}
    accepted = {name for name, row in known.items() if row["state"] == "accepted"}
    by_kill = sum(known[name]["detail"] == "the worker ended during the hand-off" for name in unknown)
    keyed = {name for name, row in known.items() if row["channel"] == "push"}
    reserved = COST * sum(row["state"] != "suppressed" for row in known.values())  # what never leaves gives its money back
    return {
        "doubled": sum(number - 1 for number in seen.values()),
        "not_ended": sum(number for state, number in ended.items() if state not in ("accepted", "failed", "suppressed", "unknown")),
        "silently_lost": len(accepted - seen.keys()) + len(seen.keys() - accepted - unknown),
        "keyed_lost": len(keyed & unknown) + len((keyed & accepted) - seen.keys()),
        "unknown_by_kill_beyond_kills": max(0, by_kill - kills),
        "unknown_by_kill": by_kill,
        "unknown_by_provider": len(unknown) - by_kill,
        "wrong_address": sum(line["to"] != address(line["customer"], line["channel"]) for line in shown),
        "quiet_breaches": sum(_quiet(world, line) for line in shown),
        "consent_breaches": sum(not _granted(world, line) for line in shown),
        "expiry_breaches": sum(line["at"] >= int(line["expires_at"].timestamp() * 1e6) for line in shown),
        "early": sum(line["at"] < int(line["send_at"].timestamp() * 1e6) for line in shown),
        "cap_breaches": _caps(shown),
        "rate_breaches": _rate(sorted(line["at"] for line in shown if line["channel"] == "sms")),
        "budget_breaches": max(0, COST * len(seen) - world.budget) + max(0, reserved - world.budget),
        **{name: ended[name] for name in ("accepted", "failed", "suppressed")},
        "messages": len(known),
    }


def address(customer: str, channel: str) -> str:
    return f"{customer}@mail.example" if channel == "email" else f"{channel}:{customer}"


def _quiet(world: World, line: dict[str, Any]) -> bool:
    """Nobody is disturbed from 22 to 8 on the own clock; text messages in the United States and China end at 21."""
    own = world.zones[line["customer"]]
    at = datetime.fromtimestamp(line["at"] / 1e6, UTC)
    for zone in (own,) if own else SHOP_ZONES:
        local = at.astimezone(ZoneInfo(zone))
        last = 21 if line["channel"] == "sms" and zone in ("America/New_York", "Asia/Shanghai") else 22
        if not 8 <= local.hour < last:
            return True
    return False


def _granted(world: World, line: dict[str, Any]) -> bool:
    said = world.consents[line["customer"], line["channel"]]
    place = bisect_right([at for at, _ in said], line["at"])
    return place > 0 and said[place - 1][1]


def _caps(shown: list[dict[str, Any]]) -> int:
    found = 0
    for most, days, key in (
        (CHANNEL_CAP, CHANNEL_DAYS, lambda line: (line["customer"], line["channel"])),
        (TOTAL_CAP, TOTAL_DAYS, lambda line: line["customer"]),
        (LAUNCH_CAP, LAUNCH_DAYS, lambda line: line["customer"] if line["campaign"] == "launch" else None),
    ):
        times = defaultdict(list)
        for line in shown:
            times[key(line)].append(line["at"])
        for who, moments in times.items():
            ordered = sorted(moments)
            if who is not None:
                found += sum(last - first < days * 86_400e6 for first, last in zip(ordered, ordered[most:], strict=False))
    return found


def _rate(moments: list[int]) -> int:
    """Windows from one message to another that hold more than the burst and what flows in meanwhile."""
    found = 0
    for first, start in enumerate(moments):
        for last in range(first + SMS_BURST, len(moments)):
            found += last - first + 1 > SMS_BURST + SMS_PER_SECOND * (moments[last] - start) / 1e6
    return found


def drained(pause: float = 0.01) -> None:
    """Let the receivers write down what dead workers left in their sockets."""
    import time

    time.sleep(pause)
    os.sched_yield()
