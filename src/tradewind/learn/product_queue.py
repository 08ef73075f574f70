"""What was read about items waits here for a person; only what was confirmed may become a fact of a text.

A proposal is kept once per item, attribute and value, with the evidence of each source that proposes it. A source that reads again
replaces what it said before; what a person decided stays. Decisions stand in the audit log.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, delete, func, select, update

from tradewind.engine import audit
from tradewind.engine.books_attributes import attribute_proposals as books
from tradewind.engine.ledger import upsert
from tradewind.errors import InputError, NotFound, StateError
from tradewind.learn.product_text import Proposal, stated
from tradewind.types import micros

if TYPE_CHECKING:
    from tradewind.engine.home import Home

PROPOSED, CONFIRMED, REJECTED = "proposed", "confirmed", "rejected"
COLUMNS = ("item", "category", "brand")  # that an item has beside its free attributes
CHECKED = "confirmed"  # the key of an item's row that names what a person confirmed


@dataclass(frozen=True, slots=True)
class Waiting:
    """One proposal; ``evidence``: per source its field, words, span and confidence; ``texts``: how it is called in a language."""

    item: str
    attribute: str
    value: str
    state: str
    confidence: float
    evidence: tuple[Mapping[str, Any], ...]
    texts: Mapping[str, str]
    decided_by: str | None = None


def enter(home: Home, proposals: Iterable[Proposal], *, source: str, now: datetime) -> int:
    """Make these the proposals of ``source``; return how many wait now that did not before. Those too long for a ledger are left out."""
    fresh = {
        (each.item, each.attribute, each.value): each
        for each in proposals
        if len(each.item) <= 255 and len(each.attribute) <= 64 and len(each.value) <= 255
    }
    with home.ledger.write() as conn:
        known = {(row.item, row.attribute, row.value): row for row in map(_waiting, conn.execute(select(books)).mappings())}
        rows = []
        for key in {*known, *fresh}:
            old = known.get(key)
            if old is not None and old.state != PROPOSED:
                continue
            others = [told for told in (old.evidence if old else ()) if told["source"] != source]
            told = [*others, _evidence(fresh[key])] if key in fresh else others
            if not told:
                conn.execute(delete(books).where(books.c.item == key[0], books.c.attribute == key[1], books.c.value == key[2]))
            elif key in fresh or len(told) < len(old.evidence if old else ()):
                texts = dict(fresh[key].texts) if key in fresh else dict(old.texts if old else {})
                rows.append(_row(key, told, texts, now))
        upsert(conn, books, rows, update=["confidence", "evidence", "texts"])
    return len(fresh.keys() - known.keys())


def _evidence(proposal: Proposal) -> dict[str, Any]:
    return {"source": proposal.source, "confidence": round(proposal.confidence, 4), **asdict(proposal.evidence)}


def _row(key: tuple[str, str, str], told: Sequence[Mapping[str, Any]], texts: Mapping[str, str], now: datetime) -> dict[str, Any]:
    return {
        "item": key[0], "attribute": key[1], "value": key[2], "state": PROPOSED,
        "confidence": max(float(each["confidence"]) for each in told),
        "evidence": json.dumps(sorted(told, key=lambda each: each["source"]), ensure_ascii=False, sort_keys=True),
        "texts": json.dumps(texts, ensure_ascii=False, sort_keys=True), "proposed_at": micros(now), "decided_at": None, "decided_by": None,
    }  # fmt: skip


def _waiting(row: Any) -> Waiting:
    told = tuple(json.loads(row["evidence"]))
    return Waiting(
        row["item"], row["attribute"], row["value"], row["state"], row["confidence"], told, json.loads(row["texts"]), row["decided_by"]
    )


def listed(
    home: Home, *, state: str = PROPOSED, attribute: str | None = None, item: str | None = None, least: float = 0.0
) -> list[Waiting]:
    """What is in a state, the surest first."""
    query = select(books).where(books.c.state == state, books.c.confidence >= least)
    if attribute is not None:
        query = query.where(books.c.attribute == attribute)
    if item is not None:
        query = query.where(books.c.item == item)
    with home.ledger.read() as conn:
        rows = [_waiting(row) for row in conn.execute(query).mappings()]
    return sorted(rows, key=lambda each: (-each.confidence, each.item, each.attribute, each.value))


def decide(home: Home, chosen: Sequence[tuple[str, str, str]], *, confirm: bool, by: str, now: datetime) -> int:
    """Confirm or reject (item, attribute, value); what was decided before may be decided anew. Returns how many changed.

    Raises
    ------
    InputError
        Nobody is named.
    NotFound
        Something of that kind was never proposed; then nothing is decided.
    StateError
        Another value of the attribute is confirmed for an item: reject it first, or both would be claimed.
    """
    if not by.strip():
        raise InputError("Say who answers for it: --by NAME. It is kept in the audit log.")
    state, changed = (CONFIRMED if confirm else REJECTED), 0
    with home.ledger.write() as conn:
        for item, attribute, value in chosen:
            mine = (books.c.item == item) & (books.c.attribute == attribute)
            held = {row.value: row.state for row in conn.execute(select(books.c.value, books.c.state).where(mine))}
            if value not in held:
                there = f"Proposed are: {', '.join(sorted(held))}." if held else "Nothing of it is proposed: read the catalogue first."
                raise NotFound(f'There is no proposal "{value}" for {attribute} of "{item}". {there}')
            rivals = sorted(other for other, told in held.items() if told == CONFIRMED and other != value)
            if confirm and rivals:
                raise StateError(f'{attribute} of "{item}" is confirmed as "{rivals[0]}" already. Reject that first.')
            if held[value] == state:
                continue
            conn.execute(update(books).where(mine, books.c.value == value).values(state=state, decided_at=micros(now), decided_by=by[:255]))
            action = "product.confirm" if confirm else "product.reject"
            audit.note(conn, f"person:{by}"[:255], action, f"item:{item}"[:300], {"attribute": attribute, "value": value}, at=now)
            changed += 1
    return changed


def completed(home: Home, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the catalogue with what was confirmed where the catalogue itself says nothing; ``confirmed`` names what came so.

    What the catalogue states wins, whenever it comes to state it.
    """
    told: dict[str, dict[str, Waiting]] = defaultdict(dict)
    for each in listed(home, state=CONFIRMED):
        told[each.item][each.attribute] = each
    return [_completed(dict(row), told[row["item"]]) if row["item"] in told else dict(row) for row in rows]


def _completed(row: dict[str, Any], told: Mapping[str, Waiting]) -> dict[str, Any]:
    known = stated(row)
    try:
        attributes = json.loads(row.get("attributes") or "{}")
    except ValueError:
        attributes = {}
    if not isinstance(attributes, dict):
        attributes = {}
    added = []
    for name, each in sorted(told.items()):
        if name in known or (name in COLUMNS and row.get(name)):
            continue
        if name == "category":
            row[name] = each.value
        elif name == "brand":
            row[name] = next(iter(each.texts.values()), each.value)
        else:
            attributes |= {f"{name}_{language}": text for language, text in each.texts.items()}
        added.append(name)
    if added:
        row["attributes"], row[CHECKED] = json.dumps(attributes, ensure_ascii=False), tuple(added)
    return row


def mark(conn: Connection) -> str:
    """Changes when what is confirmed does; empty while nothing is: what was written before is looked at again."""
    count, last = conn.execute(select(func.count(), func.max(books.c.decided_at)).where(books.c.state == CONFIRMED)).one()
    return f"{count}@{last}" if count else ""
