"""The audit log: who did what to whom, and whether every row is as it was written."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, JsonValue

from tradewind.engine import audit as chain
from tradewind.serve import views
from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.problems import described
from tradewind.serve.state import Held

router = APIRouter(tags=["audit"], responses=described(401, 403, 404))
Reader = Annotated[Caller, needs("read")]


class Row(BaseModel):
    """One row. `actor` is person:NAME or policy:NAME; `subject` what it was done to, such as campaign:spring."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    detail: dict[str, JsonValue]
    hash: str


class AuditFault(BaseModel):
    """A place where the chain is broken."""

    seq: int
    kind: str
    text: str


class Verified(BaseModel):
    """Whether the chain holds. Note the head down somewhere else: then nobody can forge the whole."""

    rows: int
    head: str
    sound: bool
    faults: list[AuditFault]


@router.get("/v1/audit")
def audit(
    held: Held,
    _caller: Reader,
    subject: views.Asked = None,
    action: Annotated[views.Asked, Query(description="The beginning of a name: `campaign` finds `campaign.pause`.")] = None,
    limit: views.Limit = 50,
    after: views.After = None,
) -> views.Page[Row]:
    """The log, newest first."""
    if after is not None and not (after.isascii() and after.isdigit() and len(after) <= 18):
        raise HTTPException(404, f'after: "{after}" is on no page. Begin again without it.')
    with held.shop.home.ledger.read() as conn:
        found = chain.entries(conn, subject=subject, action=action, limit=limit + 1, before=None if after is None else int(after))
    rows = [Row(**asdict(one)) for one in found[:limit]]
    return views.Page(rows=rows, next=str(rows[-1].seq) if len(found) > limit else None)


@router.get("/v1/audit/verify")
def verify(
    held: Held, _caller: Reader, expect: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="A head noted down.")] = None
) -> Verified:
    """Recompute the chain: every row that was changed, moved, inserted or removed is named."""
    with held.shop.home.ledger.read() as conn:
        found = chain.verify(conn, expect=expect)
    return Verified(rows=found.rows, head=found.head, sound=found.sound, faults=[AuditFault(**asdict(one)) for one in found.faults])
