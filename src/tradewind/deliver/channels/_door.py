"""What a shop does with its channels besides handing messages off: pull, publish, and hear what comes back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tradewind.compose.script import Line
from tradewind.deliver.channels._facts import Now
from tradewind.deliver.channels._settings import NAME, read
from tradewind.deliver.channels.ads import Ads, Published
from tradewind.deliver.channels.base import Channel
from tradewind.deliver.channels.live import Feed, Live
from tradewind.deliver.channels.slot import Shown, Slot

if TYPE_CHECKING:
    from tradewind.deliver.feedback import Read
    from tradewind.engine.home import Home


@dataclass(frozen=True)
class Heard:
    """What came in: the mails that were read (None: none were asked for), and how many events were entered."""

    mails: Read | None
    visits: int
    impressions: int
    receipts: int

    def to_json(self) -> dict[str, Any]:
        """The counts, as one object for machines."""
        counts = {"visits": self.visits, "impressions": self.impressions, "receipts": self.receipts}
        return {**(self.mails.to_json() if self.mails else {}), **counts}

    def to_text(self) -> str:
        """The counts, as lines for people."""
        entered = f"Entered: {self.visits:,} visits, {self.impressions:,} impressions, {self.receipts:,} receipts"
        return "\n".join([*([self.mails.to_text()] if self.mails else []), entered])


class Channels:
    """The channels of one shop (docs/channels.md)."""

    def __init__(self, home: Home, *, now: Callable[[], datetime]) -> None:
        self._home = home
        self._now = now

    def senders(self) -> dict[str, Channel]:
        """A sender for every channel of messages that this shop has set up: ``shop.deliver(plan, to=shop.channels.senders())``."""
        from tradewind.deliver.deliver import channel

        found = {"email": "smtp", "sms": "sms", "push": "push", "inapp": "slot"}
        there = {*read(self._home.root / NAME), "slot", *(["smtp"] if os.environ.get("TRADEWIND_SMTP") else [])}
        return {name: channel(self._home, file, environment=os.environ) for name, file in found.items() if file in there}

    def pull(self, customer: str, slot: str, *, pull_id: str) -> Shown | None:
        """What to show to a customer in a slot now, or None; one impression per ``pull_id``. See ``Slot.pull``."""
        return self._slot.pull(customer, slot, now=self._now(), pull_id=pull_id)

    def publish(self, audience: str, folder: str | Path) -> Published:
        """Write the next additions and removals of an audience for an advertising platform. See ``Ads.publish``."""
        return Ads(self._home).publish(audience, Path(folder), now=self._now())

    def script(self, programme: str, lines: Sequence[Line], *, locale: str) -> Feed:
        """Publish a live stream's lines, each looked at with the shop's facts of now, without an offer. See ``Live.publish``."""
        facts, live = Now(self._home), Live.configured(self._home, {})

        def check(item: str | None, at: datetime) -> Any:
            known, _row, _offer, why = facts.of(item, locale=locale, at=at)
            return known, why

        return live.publish(programme, lines, now=self._now(), facts=check)

    def receipts(self, channel: str, headers: Mapping[str, str], body: bytes) -> Any:
        """Take a provider's call about messages of ``channel``. See ``feedback_receipts.take``."""
        from tradewind.deliver import feedback_receipts

        return feedback_receipts.take(self._home, channel, headers, body, environment=os.environ, now=self._now())

    def feedback(self, path: str | Path | None = None) -> Heard:
        """Read returned mail (a Maildir, an mbox or one mail) if there is a path, and enter all that waits into the event log."""
        from tradewind.deliver.feedback import Feedback, log
        from tradewind.deliver.feedback_clicks import settle

        now = self._now()
        mails = None if path is None else Feedback.of(self._home).read(Path(path), now=now)
        return Heard(mails, settle(self._home, now=now), self._slot.log(now=now), log(self._home, now=now))

    @cached_property
    def _slot(self) -> Slot:
        return Slot.configured(self._home, {})
