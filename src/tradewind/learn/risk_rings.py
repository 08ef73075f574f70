"""Rings: groups of accounts that share devices, addresses or cards and behave as one where coupons are given.

Two steps. *Who hangs together*: two accounts are linked by what they share, an identifier of d accounts counting 1 / log2(1 + d), so that
one phone of three people says more than an office of sixty; links under ``link`` are dropped and identifiers of more than ``hub``
accounts link nobody. What remains connected is a candidate. *Who behaves as one*: families and dorms hang together, too. Of each candidate
four counts are compared with what the same number of the shop's accounts would show by chance - orders with a coupon, claims of one
coupon within an hour, accounts opened within three days, returns - and -log10 of their tail probabilities is added. The sum is a score for
ordering and for a cut, not a probability: the counts are not independent. A group that stands out in one of the four only, such as a
family that loves coupons, is no ring.

Only what happened before the moment of asking is read. The idea that groups show themselves by what they share and when they act
together is that of Cao et al., "SynchroTrap", CCS 2014.

When not to use: where accounts have no device, address or card fingerprints; there it finds nothing, and says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from tradewind.learn._risk_accounts import Accounts
from tradewind.learn._risk_log import Moments, read
from tradewind.learn._risk_tracks import many
from tradewind.learn.registry import active, learned, publish
from tradewind.params import Number, Rule, check

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from tradewind.engine.home import Home

Ints = NDArray[np.int64]
NAME, FILE = "rings", "rings.json"  # in the registry
STEP, STRONGEST = 1.3, 1.5  # how a candidate is taken apart: each time by ties so much stronger, up to those


@dataclass(frozen=True)
class Ring:
    """One group: ``ring`` is a hash of its oldest account, so that it keeps its name as it grows. Money in minor units."""

    ring: str
    customers: tuple[str, ...]
    score: float
    evidence: dict[str, float]  # -log10 of the chance of so much, by kind
    shared: dict[str, int]  # kind of identifier -> how many of them two or more members share
    orders: int
    coupon_orders: int
    claims: int
    returns: int
    discount: int  # what its coupons took off: the money at stake
    first: int  # microseconds
    last: int
    marks: tuple[str, ...]  # of the identifiers that two or more members share

    def words(self) -> tuple[str, ...]:
        """The evidence in sentences."""
        shared = ", ".join(f"{count} {kind if count == 1 else many(kind)}" for kind, count in self.shared.items() if count)
        said = [f"{len(self.customers)} accounts share {shared}."]
        said.append(f"{self.coupon_orders} of {self.orders} orders used a coupon; {self.claims} coupons were claimed.")
        if self.evidence["burst"] >= 1:
            said.append("They claimed the same coupons within an hour of each other, far more often than others do.")
        if self.evidence["opened"] >= 1:
            said.append("Their accounts were opened within days of each other.")
        if self.evidence["returns"] >= 1:
            said.append(f"{self.returns} returns, more than the shop's customers make.")
        return tuple(said)


@dataclass(frozen=True)
class Rings:
    """Finds rings. ``hub``: accounts; ``link``: least strength of a tie; ``least``: accounts of a ring; ``cut``: least score."""

    rules: ClassVar[dict[str, Rule]] = {
        "hub": Number(2, 10_000, whole=True),
        "link": Number(0.01, 10),
        "least": Number(2, 1000, whole=True),
        "cut": Number(0, 100),
    }
    hub: int = 100
    link: float = 0.35
    least: int = 3
    cut: float = 5.0

    def find(self, moments: Moments) -> list[Ring]:
        """The rings in a log, greatest score first.

        Raises
        ------
        InputError
            A parameter is out of its bounds.
        """
        check("Rings", vars(self), self.rules)
        accounts = Accounts(moments)
        tied = self._ties(accounts)
        everybody = np.arange(accounts.count)
        found = [ring for members in self._parts(tied, everybody, self.link) for ring in self._best(accounts, tied, members, self.link)]
        told = [ring for ring in found if ring.score >= self.cut and sum(one >= 1.0 for one in ring.evidence.values()) >= 2]
        return sorted(told, key=lambda ring: (-ring.score, ring.ring))

    def _ties(self, accounts: Accounts) -> csr_matrix:
        """Strength of the tie of every two accounts that share something, sparse [accounts, accounts]."""
        from scipy.sparse import csr_matrix, diags

        pairs = (np.ones(len(accounts.users)), (accounts.users, accounts.used))
        use = csr_matrix(pairs, shape=(accounts.count, len(accounts.kind)))
        degree = np.asarray(use.sum(axis=0)).ravel()
        weight = np.where((degree >= 2) & (degree <= self.hub), 1 / np.log2(1 + np.maximum(degree, 1)), 0.0)
        return csr_matrix(use @ diags(weight) @ use.T)

    def _parts(self, tied: csr_matrix, members: Ints, link: float) -> list[Ints]:
        """What hangs together among ``members`` by ties of at least ``link``."""
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import connected_components

        ties = tied[members][:, members].tocoo()
        keep = ties.data >= link
        label = connected_components(csr_matrix((ties.data[keep], (ties.row[keep], ties.col[keep])), shape=ties.shape), directed=False)[1]
        order = np.argsort(label, kind="stable")
        groups = np.split(order, np.flatnonzero(np.diff(label[order])) + 1)
        return [members[group] for group in groups if len(group) >= self.least]

    def _best(self, accounts: Accounts, tied: csr_matrix, members: Ints, link: float) -> list[Ring]:
        """The group, or what is left of it by stronger ties where that is stronger evidence: who was tied in by chance falls off."""
        whole = _ring(accounts, members)
        if link >= STRONGEST:
            return [whole]
        parts = [ring for part in self._parts(tied, members, link * STEP) for ring in self._best(accounts, tied, part, link * STEP)]
        return parts if max((ring.score for ring in parts), default=0.0) > whole.score else [whole]


def _ring(accounts: Accounts, members: Ints) -> Ring:
    evidence = accounts.evidence(members)
    names = [accounts.names[one] for one in members.tolist()]
    oldest = min(members.tolist(), key=lambda one: (accounts.first[one], accounts.names[one]))
    sums = {name: int(getattr(accounts, name)[members].sum()) for name in ("orders", "coupon_orders", "claims", "returns", "discount")}
    return Ring(
        ring=f"ring-{hashlib.sha256(accounts.names[oldest].encode()).hexdigest()[:12]}",
        customers=tuple(sorted(names)),
        score=sum(evidence.values()),
        evidence=evidence,
        shared=accounts.shared(members),
        marks=tuple(sorted(mark(kind, value) for kind, value in accounts.named(members))),
        first=int(accounts.first[members].min()),
        last=int(accounts.last[members].max()),
        **sums,
    )


@dataclass(frozen=True)
class Known:
    """Rings as they were last learned: customer -> ring, and :func:`mark` of what two members share -> ring."""

    customers: Mapping[str, str]
    marks: Mapping[str, str]


def mark(kind: str, value: str) -> str:
    """A device, an address or a card as rings are stored: a hash, so that no file of a model names one."""
    return hashlib.sha256(f"{kind}|{value}".encode()).hexdigest()[:24]


def learn(home: Home, *, as_of: datetime, now: datetime, rings: Rings | None = None) -> list[Ring]:
    """Find the rings before ``as_of`` and make them the active version; an empty list is published, too."""
    events = home.tables.to_arrow(home.tables.events(as_of=as_of))
    found = (rings or Rings()).find(read(events, home.tables.to_arrow(home.tables.get("customers"))))
    text = json.dumps([vars(ring) for ring in found], ensure_ascii=False, sort_keys=True, default=list)
    card = {"rings": len(found), "accounts": sum(len(ring.customers) for ring in found)}
    publish(home, NAME, lambda path: _write(path, text), as_of=as_of, card=card, now=now)
    return found


def loaded(home: Home, *, before: datetime | None = None) -> list[Ring]:
    """The rings of the active version; raises StateError where none was learned, or only later than ``before``."""
    told = json.loads((active(home, NAME, before=before).path / FILE).read_text(encoding="utf-8"))
    return [Ring(**{**row, "customers": tuple(row["customers"]), "marks": tuple(row["marks"])}) for row in told]


def rings_of(home: Home, *, before: datetime | None = None) -> Known:
    """The same for look-ups; nobody where no rings were learned."""
    if not learned(home, NAME):
        return Known({}, {})
    found = loaded(home, before=before)
    return Known(
        {name: ring.ring for ring in found for name in ring.customers},
        {one: ring.ring for ring in found for one in ring.marks},
    )


def _write(path: Path, text: str) -> None:
    (path / FILE).write_text(text, encoding="utf-8")
