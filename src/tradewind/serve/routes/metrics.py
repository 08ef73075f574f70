"""What the service counts of itself, for Prometheus."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.responses import PlainTextResponse, Response

from tradewind.serve.access import Caller
from tradewind.serve.auth import needs
from tradewind.serve.hot import hot
from tradewind.serve.problems import described
from tradewind.serve.state import Held

router = APIRouter(tags=["metrics"], responses=described(401, 403))


@router.get("/v1/metrics", response_class=PlainTextResponse)
async def metrics(held: Held, _caller: Annotated[Caller, needs("metrics")]) -> Response:
    """Requests and their seconds by route, events, queues, versions: Prometheus' text format."""
    parts = hot(held)
    return Response(parts.meter.page(parts), media_type=CONTENT_TYPE_LATEST)
