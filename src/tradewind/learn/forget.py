"""The door to what a shop owes a person: export, erasure and its proof, the master key, backups. ``shop.privacy``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from tradewind.learn import forget_models

if TYPE_CHECKING:
    from tradewind.collect.backup import Saved
    from tradewind.collect.erase import Erased
    from tradewind.collect.erase_trained import Due, Rule
    from tradewind.collect.erase_verify import Proof
    from tradewind.collect.export import Export
    from tradewind.collect.vault_rotate import Rotated
    from tradewind.engine.home import Home


class Privacy:
    """The rights of people, kept: see docs/vault.md."""

    def __init__(self, home: Home, *, now: Callable[[], datetime], actor: str = "person:operator") -> None:
        self._home, self._now, self._actor = home, now, actor

    def find(self, address: str) -> list[str]:
        """The customers who have this address on any channel, by its keyed hash."""
        from tradewind.collect.export import find

        return find(self._home, address)

    def export(self, customer: str) -> Export:
        """All that is known of a customer; raises NotFound when that is nothing."""
        from tradewind.collect.export import export

        return export(self._home, customer, now=self._now(), actor=self._actor)

    def erase(self, customers: str | Sequence[str], *, backups: Sequence[str | Path] = ()) -> Erased:
        """Forget customers for good, also in ``backups`` that can be written; raises NotFound for one that nothing is known of."""
        from tradewind.collect.backup import check, renew
        from tradewind.collect.erase import erase

        names = [customers] if isinstance(customers, str) else list(customers)
        for folder in backups:
            check(Path(folder))  # a wrong path is told before anybody is erased
        done = erase(self._home, names, now=self._now(), actor=self._actor, also=forget_models.forget)
        for folder in backups:
            renew(self._home, Path(folder), now=self._now(), also=forget_models.forget)
        return done

    def again(self) -> Erased | None:
        """Erase again whom a stale import brought back; None when there is nobody."""
        from tradewind.collect.erase import again

        return again(self._home, now=self._now(), also=forget_models.forget)

    def verify(self, customers: str | Sequence[str] = (), *, addresses: Sequence[str] = (), paths: Sequence[str | Path] = ()) -> Proof:
        """Look for people everywhere; without any, for everybody who was ever erased."""
        from tradewind.collect.erase_verify import verify

        names = [customers] if isinstance(customers, str) else list(customers)
        return verify(self._home, customers=names, addresses=addresses, paths=[Path(path) for path in paths])

    def rotate(self) -> Rotated:
        """Replace the master key."""
        from tradewind.collect.vault_rotate import rotate

        return rotate(self._home, now=self._now(), actor=self._actor)

    def backup(self, folder: str | Path) -> Saved:
        """A consistent copy of the shop as it is now; work goes on meanwhile."""
        from tradewind.collect.backup import backup

        return backup(self._home, Path(folder), now=self._now(), actor=self._actor)

    def due(self) -> list[Due]:
        """Model versions that saw somebody who was erased since, the most urgent first."""
        from tradewind.collect.erase_trained import due

        return due(self._home)

    def check(self) -> None:
        """Before models serve: a warning in the program's log, or StateError, when one is past its deadline."""
        from tradewind.collect.erase_trained import late

        if said := late(self._home, now=self._now()):
            logging.getLogger(__name__).warning(said)

    def rule(self, rule: Rule | None = None) -> Rule:
        """How long such a version may serve, and what happens then; given one, it is set first."""
        from tradewind.collect import erase_trained

        if rule is not None:
            erase_trained.save_rule(self._home, rule)
        with self._home.ledger.read() as conn:
            return erase_trained.rule(conn)
