"""A worker: submits what schedules say, takes jobs one after the other, tells how far they are. As many processes as one likes.

    Worker(shop).run(stop)                               # or: tradewind work

A worker that dies leaves its job to the next one after :data:`LEASE` seconds; what it had done is not done twice, because every task
may be begun again (``serve/tasks.py``). Told to stop, it gives its job :data:`GRACE` seconds, then hands it back. Two jobs of one name
never run at the same time.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tradewind.engine.jobs import Job, Jobs
from tradewind.engine.schedules import Schedules
from tradewind.errors import InputError, Locked, StateError, TradewindError, Transient
from tradewind.serve.tasks import TASKS, Run

if TYPE_CHECKING:
    from tradewind.shop import Shop

LEASE = 60.0  # seconds
BEAT = 15.0  # seconds between two heartbeats
GRACE = 30.0  # seconds that a job has left once the worker was told to stop
PAUSE = 1.0  # seconds between two looks at an empty queue
_log = logging.getLogger("tradewind.work")


class HandBackError(Exception):
    """The worker stops now: the job goes back into the queue."""


@dataclass
class Worker:
    """Works for one shop until told to stop. ``said`` hears one line per job, for the log."""

    shop: Shop
    said: Callable[[str], None] = lambda _line: None
    owner: str = field(default_factory=lambda: f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}")
    lease: float = LEASE
    beat: float = BEAT

    def __post_init__(self) -> None:
        self._jobs, self._schedules = Jobs(self.shop.home.ledger), Schedules(self.shop.home.ledger)

    def run(self, stop: threading.Event, *, grace: float = GRACE) -> None:
        """Work until ``stop`` is set; then the job in hand has ``grace`` seconds."""
        while not stop.is_set():
            try:
                busy = self.once(stop, grace=grace)
            except Transient as error:  # the ledger is away: it may come back
                self.said(str(error))
                busy = False
            if not busy:
                stop.wait(PAUSE)

    def once(self, stop: threading.Event | None = None, *, grace: float = GRACE) -> bool:
        """Submit what is due and do one job; False when there was none."""
        self._schedules.submit_due(self.shop.now())
        job = self._jobs.claim(self.owner, self.shop.now(), self.lease, apart=True)
        if job is None:
            return False
        self.said(f"{job.name} {job.job_id}: begun, attempt {job.attempt}")
        began = time.monotonic()
        try:
            with self._alive(job, stop or threading.Event(), grace) as progress:
                outcome = self._outcome(job, progress)
            outcome()
        except StateError as error:  # of the job itself: somebody else has it
            self.said(f"{job.name} {job.job_id}: {error}")
        else:
            self.said(f"{job.name} {job.job_id}: {self._jobs.status(job.job_id).state} after {time.monotonic() - began:.1f} s")
        return True

    def _outcome(self, job: Job, progress: Callable[[float, str], None]) -> Callable[[], None]:
        """Do the work; returns how to write down what became of it."""
        try:
            result = self._do(job, progress)
        except HandBackError:
            return lambda: self._jobs.release(job, self.shop.now())
        except TradewindError as error:
            told, passes = f"{type(error).__name__}: {error}", isinstance(error, Locked | Transient)
            return lambda: self._jobs.fail(job, self.shop.now(), error=told, retry=passes)
        except Exception as error:  # noqa: BLE001  one bad job must not end the worker
            _log.exception("%s %s: a defect of Tradewind", job.name, job.job_id)
            defect = f"Defect: {type(error).__name__}: {error}"
            return lambda: self._jobs.fail(job, self.shop.now(), error=defect, retry=False)
        return lambda: self._jobs.finish(job, self.shop.now(), result=result)

    def _do(self, job: Job, progress: Callable[[float, str], None]) -> dict[str, Any]:
        if job.name not in TASKS:
            raise InputError(f'No task is called "{job.name}". Was the job queued by another version?')
        return TASKS[job.name](Run(self.shop, progress, job.job_id), **job.args)

    @contextmanager
    def _alive(self, job: Job, stop: threading.Event, grace: float) -> Iterator[Callable[[float, str], None]]:
        """Keep the lease while the task runs; the function that it gets also says when to let go."""
        ended, lost = threading.Event(), threading.Event()
        at: dict[str, Any] = {"progress": None, "step": None}

        def beat() -> None:
            while not ended.wait(self.beat):
                try:
                    self._jobs.heartbeat(job, self.shop.now(), self.lease, **at)
                except StateError:
                    lost.set()
                    return
                except Transient:
                    continue  # the lease is longer than several beats

        stopped: list[float] = []

        def progress(share: float, step: str) -> None:
            at.update(progress=min(1.0, max(0.0, share)), step=step)
            if lost.is_set():
                raise StateError(f'Job "{job.name}" was given to another worker: this one was away for too long.')
            if stop.is_set():
                stopped.append(time.monotonic())
                if time.monotonic() - stopped[0] >= grace:
                    raise HandBackError

        thread = threading.Thread(target=beat, name=f"heartbeat {job.job_id}", daemon=True)
        thread.start()
        try:
            yield progress
        finally:
            ended.set()
            thread.join()
