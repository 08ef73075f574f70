"""Hand work that takes long to the shop's workers, with the name of who asked in the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tradewind.engine import audit, jobs
from tradewind.serve.access import Caller
from tradewind.serve.state import Serving
from tradewind.serve.views import Submitted


def submit(held: Serving, name: str, args: Mapping[str, Any], *, by: Caller) -> Submitted:
    """Queue a job: ``name`` is a verb, ``args`` what the shop's method of that name takes; a plan is given by its id."""
    ledger, now = held.shop.home.ledger, held.shop.now()
    with ledger.write() as conn:
        job_id = jobs.submit(conn, name, args, now, by=by.actor)
        audit.note(conn, by.actor, "job.submit", f"job:{job_id}", {"name": name}, at=now)
    return Submitted(job_id=job_id)
