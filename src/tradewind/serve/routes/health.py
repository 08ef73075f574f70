"""Whether the service lives, and whether it can answer."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel
from sqlalchemy import select

from tradewind.engine.ledger import meta
from tradewind.serve.problems import described
from tradewind.serve.state import Held

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """It lives."""

    status: Literal["ok"] = "ok"


@router.get("/v1/health")
async def health() -> Health:
    """Whether the process answers; for a supervisor that restarts it. Needs no key."""
    return Health()


@router.get("/v1/ready", responses=described(503))
def ready(held: Held) -> Health:
    """Whether the ledger answers as well; for a balancer that sends requests. Needs no key."""
    try:
        with held.shop.home.ledger.read() as conn:
            conn.execute(select(meta.c.key).limit(1)).first()
    except Exception as error:
        raise HTTPException(503, "The ledger does not answer.", {"retry-after": "5"}) from error
    return Health()
