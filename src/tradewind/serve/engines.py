"""What answers requests: the recommender with everybody's history, and the door of live decisions, loaded once and swapped without a pause.

A new version is loaded beside the old one; then one reference changes. A request works with what it took at its start, so that none
fails. What is active in the registry and which plan is newest decide, so that a roll-back there is one here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from sqlalchemy import func, select

from tradewind.collect.studied import studied
from tradewind.engine.books_vault import erasures
from tradewind.engine.ledger import manifest, plans
from tradewind.errors import StateError
from tradewind.learn._signal import recode
from tradewind.learn.base import load
from tradewind.learn.filters import Filters
from tradewind.learn.registry import Version, active
from tradewind.learn.sequences import EVENT_ARRAYS, Sequences, sequences
from tradewind.learn.serving import Answer, Request, Server
from tradewind.serve.recent import Recent, Seen
from tradewind.types import Event

if TYPE_CHECKING:
    from tradewind.decide.door import Door
    from tradewind.decide.plan import Plan
    from tradewind.engine.home import Home

HISTORIES_EVERY = timedelta(minutes=10)  # how old histories may be while events only come in; what is newer is in ``Recent``
NEVER_SHOWN = ("purchase",)  # what was bought stays away, as in a plan's shortlist


@dataclass(frozen=True)
class Recommending:
    """A loaded recommender: ``histories`` over its own items, ``rows`` of customers in them, and what came after."""

    version: Version
    server: Server
    histories: Sequences
    rows: Mapping[str, int]
    upto: int  # events of ``Recent`` up to this number are in the histories ...
    waiting: frozenset[str]  # ... but those of these ids
    files: frozenset[str]
    items: frozenset[str]
    erased: tuple[int | None, int]
    at: datetime

    def answer(self, customer: str | None, seen: Sequence[Seen], told: Sequence[Event], *, k: int, request: Request, again: bool) -> Answer:
        """The best ``k`` items after the customer's history, what was ``seen`` since, and events ``told`` with the request."""
        row = -1 if customer is None else self.rows.get(customer, -1)
        fresh: list[Any] = [one for one in seen if one.number > self.upto or one.id in self.waiting]
        fresh += told
        history = _of(self.histories, row)
        if fresh:
            history = _joined(history, self.server.history(fresh))
        return self.server.serve(history, k=k, request=request, exclude_seen=False if again else NEVER_SHOWN)


@dataclass(frozen=True)
class Deciding:
    """The door of the newest plan. ``door`` answers one thread at a time."""

    plan_id: str
    door: Door


class Engines:
    """Loads and swaps. ``recent`` holds what came in since; :meth:`refresh` is called from time to time by the service's upkeep."""

    def __init__(self, home: Home, recent: Recent, *, now: Callable[[], datetime]) -> None:
        self._home, self._now, self.recent = home, now, recent
        self._loading = home.beside()  # tables of its own: a load disturbs nobody
        self._recommending: Recommending | None = None
        self._deciding: Deciding | None = None
        self._decider = ThreadPoolExecutor(1, "decide")  # the door answers one thread at a time
        self._loader = ThreadPoolExecutor(1, "load")
        self._fill()

    def _fill(self) -> None:
        """What waits in the inbox of an earlier process is recent, too."""
        from tradewind.engine.ledger import inbox

        newest = select(inbox.c.row).order_by(inbox.c.received_at.desc(), inbox.c.id).limit(self.recent.most)
        with self._home.ledger.read() as conn:
            rows = conn.execute(newest).scalars().all()
        self.recent.add(orjson.loads(row) for row in reversed(rows))

    # ---- what is asked ---------------------------------------------------------------------------------------------

    async def recommending(self) -> Recommending:
        """The recommender; loads it when it is asked for the first time.

        Raises
        ------
        StateError
            Nothing was learned yet.
        """
        if (loaded := self._recommending) is None:
            loaded = await asyncio.get_running_loop().run_in_executor(self._loader, self._load_recommending)
        return loaded

    async def deciding(self) -> Deciding:
        """The door; loads it when it is asked for the first time.

        Raises
        ------
        StateError
            There is no plan that live decisions could be made from.
        """
        if (loaded := self._deciding) is None:
            loaded = await asyncio.get_running_loop().run_in_executor(self._loader, self._load_deciding)
        return loaded

    async def decide(self, work: Callable[[], Any]) -> Any:
        """Run ``work`` in the thread of the door."""
        return await asyncio.get_running_loop().run_in_executor(self._decider, work)

    @property
    def versions(self) -> dict[str, str]:
        """What answers now, by name: for metrics."""
        found = {}
        if (one := self._recommending) is not None:
            found["recommend"] = one.version.version
        if (other := self._deciding) is not None:
            found["plan"] = other.plan_id
        return found

    # ---- swapping --------------------------------------------------------------------------------------------------

    def refresh(self) -> list[str]:
        """Load what is newer than what answers, of what was asked for before; returns the names of what was swapped."""
        swapped = []
        if (now := self._recommending) is not None and self._is_old(now):
            self._loader.submit(self._load_recommending, now).result()
            swapped.append("recommend")
        if (door := self._deciding) is not None and _newest(self._home) not in (door.plan_id, None):
            self._loader.submit(self._load_deciding, door).result()
            swapped.append("plan")
        return swapped

    def close(self) -> None:
        """Finish what is at work."""
        self._decider.shutdown()
        self._loader.shutdown()
        self._loading.tables.close()

    def _is_old(self, one: Recommending) -> bool:
        if active(self._home, "recommend").version != one.version.version:
            return True
        files, items = _files(self._home, "events"), _files(self._home, "items")
        if items != one.items or one.files - files or one.erased != _erased(self._home):  # a catalogue; somebody was erased
            return True
        return files != one.files and self._now() - one.at >= HISTORIES_EVERY

    def _load_recommending(self, old: Recommending | None = None) -> Recommending:
        if self._recommending is not None and self._recommending is not old:
            return self._recommending  # somebody else was first
        at, upto, gone = self._now(), self.recent.number, _erased(self._home)
        waiting = frozenset(self._home.log.waiting_ids()["id"].to_pylist())
        version, files, items = active(self._home, "recommend"), _files(self._home, "events"), _files(self._home, "items")
        model = load(version.path)
        log = sequences(studied(self._loading), as_of=at + timedelta(days=1))
        server = Server(model, log, filters=_filters(self._loading, model.items))
        index = {name: code for code, name in enumerate(model.items)}
        shelf = {name: code for code, name in enumerate(model.categories)}
        log = replace(
            log,
            items=model.items,
            item=recode(log.item, log.items, index),
            categories=model.categories,
            category=recode(log.category, log.categories, shelf),
        )
        rows = {name: row for row, name in enumerate(log.customers.tolist())}
        self._recommending = loaded = Recommending(version, server, log, rows, upto, waiting, files, items, gone, at)
        self.recent.only(waiting, upto)
        return loaded

    def _load_deciding(self, old: Deciding | None = None) -> Deciding:
        if self._deciding is not None and self._deciding is not old:
            return self._deciding
        from tradewind.decide.plan import Plan
        from tradewind.requested import door

        plan_id = _newest(self._home)
        if plan_id is None:
            raise StateError(
                "There is no plan that live decisions could be made from (plans of campaigns are decided as a whole). Decide one first: "
                "tradewind decide."
            )
        plan: Plan = Plan.load(self._home, plan_id)
        self._deciding = loaded = Deciding(plan_id, door(self._loading, plan, visits=None, now=self._now(), exact=False))
        return loaded


def _newest(home: Home) -> str | None:
    """The newest plan of the shop as a whole: none of live decisions, none of a campaign."""
    c = plans.c
    query = select(c.plan_id, c.meta).where(c.meta.not_like('%"live_of":%')).order_by(c.created_at.desc(), c.as_of.desc(), c.plan_id)
    with home.ledger.read() as conn:
        for row in conn.execute(query):
            if orjson.loads(row.meta).get("campaign") is None:
                return str(row.plan_id)
    return None


def _files(home: Home, name: str) -> frozenset[str]:
    with home.ledger.read() as conn:
        return frozenset(conn.execute(select(manifest.c.path).where(manifest.c.name == name)).scalars())


def _erased(home: Home) -> tuple[int | None, int]:
    """What changes when somebody is erased."""
    with home.ledger.read() as conn:
        row = conn.execute(select(func.max(erasures.c.finished_at), func.count()).select_from(erasures)).one()
    return row[0], int(row[1])


def _filters(home: Home, names: np.ndarray) -> Filters:
    """What may be shown: in stock, on sale, with a price."""
    known = set(names.tolist())
    columns = ("item", "price", "stock", "available_from", "available_until", "brand")
    rows = [row for row in home.tables.to_arrow(home.tables.get("items").select(*columns)).to_pylist() if row["item"] in known]
    stock = {row["item"]: max(0, row["stock"]) for row in rows if row["stock"] is not None}
    stock |= {row["item"]: 0 for row in rows if not row["price"]}
    sold = {row["item"]: (row["available_from"], row["available_until"]) for row in rows if row["available_from"] or row["available_until"]}
    return Filters(names, stock=stock, sold=sold, brand={row["item"]: row["brand"] for row in rows if row["brand"]})


def _of(log: Sequences, row: int) -> Sequences:
    """The history of one row, empty for -1: ``log.rows`` without looking at anybody else."""
    start, end = (0, 0) if row < 0 else (int(log.offsets[row]), int(log.offsets[row + 1]))
    arrays: dict[str, Any] = {name: getattr(log, name)[start:end] for name in EVENT_ARRAYS}
    names = log.customers[row : row + 1] if row >= 0 else np.array([""], dtype=object)
    return replace(log, customers=names, offsets=np.array([0, end - start]), **arrays)


def _joined(past: Sequences, fresh: Sequences) -> Sequences:
    """Two histories of one customer, one after the other; the server puts them in order of time."""
    arrays: dict[str, Any] = {name: np.concatenate((getattr(past, name), getattr(fresh, name))) for name in EVENT_ARRAYS}
    return replace(past, offsets=np.array([0, len(arrays["item"])]), **arrays)
