"""What a running service does beside its requests: the inbox into the log, decisions into plans, newer models into place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING

from tradewind.errors import Locked, TradewindError
from tradewind.serve.decisions import gather

if TYPE_CHECKING:
    from tradewind.engine.home import Home
    from tradewind.serve.engines import Engines

LOG = logging.getLogger("tradewind.serve")
PAUSE = 1.0  # seconds between two looks
DUTIES = {"refresh": timedelta(seconds=2), "gather": timedelta(seconds=10), "compact": timedelta(minutes=1)}


class Upkeep:
    """A thread that does each duty when it is due; what fails is logged, counted and tried again at the next turn."""

    def __init__(self, home: Home, engines: Engines, *, now: Callable[[], datetime], failed: Callable[[str], None]) -> None:
        self._home, self._engines, self._now, self._failed = home, engines, now, failed
        self._due = dict.fromkeys(DUTIES, now())
        self._stop = Event()
        self._thread = Thread(target=self._work, name="upkeep", daemon=True)
        self._thread.start()

    def turn(self, *, everything: bool = False) -> list[str]:
        """Do what is due; returns the names of the duties that were done."""
        done = []
        for name, every in DUTIES.items():
            if everything or self._now() >= self._due[name]:
                self._due[name] = self._now() + every
                try:
                    getattr(self, f"_{name}")()
                except Locked:
                    continue  # a load is running: later
                except TradewindError as error:
                    LOG.warning("upkeep: %s: %s", name, error)
                    self._failed(name)
                    continue
                done.append(name)
        return done

    def pause(self) -> None:
        """Stop after what is at work: from now on only :meth:`turn` does something."""
        self._stop.set()
        self._thread.join()

    def close(self) -> None:
        """Stop after what is at work; decisions that wait become a plan."""
        self.pause()
        gather(self._home, now=self._now())

    def _work(self) -> None:
        while not self._stop.wait(PAUSE):
            try:
                self.turn()
            except Exception:
                LOG.exception("upkeep")
                self._failed("upkeep")

    def _refresh(self) -> None:
        self._engines.refresh()

    def _gather(self) -> None:
        while gather(self._home, now=self._now()):
            pass

    def _compact(self) -> None:
        self._home.log.compact(now=self._now())
