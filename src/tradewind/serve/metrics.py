"""What a service counts of itself, for Prometheus; and a span per request where OpenTelemetry is set up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from tradewind.serve.hot import Hot

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Meter:
    """The counters of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        names = ("method", "route", "status")
        self._requests = Counter("tradewind_requests", "Requests answered", names, registry=self.registry)
        self._seconds = Histogram("tradewind_request_seconds", "From request to answer", names[:2], buckets=SECONDS, registry=self.registry)
        self._events = Counter("tradewind_events", "Events by what became of them", ("became",), registry=self.registry)
        self._decisions = Counter("tradewind_decisions", "Decisions answered, by what they were", ("mode",), registry=self.registry)
        self._failed = Counter("tradewind_upkeep_failures", "Duties of upkeep that failed", ("duty",), registry=self.registry)
        self._waiting = Gauge("tradewind_waiting", "What waits for a commit", ("queue",), registry=self.registry)
        self._model = Gauge("tradewind_model", "1 for the version that answers now", ("name", "version"), registry=self.registry)
        self._recent = Gauge("tradewind_recent_events", "Events held beside the histories", registry=self.registry)
        self._known: dict[tuple[str, str, int], tuple[Any, Any]] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request was answered."""
        key = (method, route, status)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = (self._requests.labels(method, route, str(status)), self._seconds.labels(method, route))
        found[0].inc()
        found[1].observe(seconds)

    def events(self, **became: int) -> None:
        """Events that were stored, known already, or refused."""
        for name, count in became.items():
            if count:
                self._events.labels(name).inc(count)

    def decision(self, mode: str) -> None:
        """A decision left: ``policy``, ``override`` or ``holdout``."""
        self._decisions.labels(mode).inc()

    def failed(self, duty: str) -> None:
        """A duty of upkeep failed."""
        self._failed.labels(duty).inc()

    def page(self, hot: Hot) -> bytes:
        """Everything in Prometheus' text format."""
        self._waiting.labels("events").set(hot.intake.depth)
        self._waiting.labels("decisions").set(hot.keeper.depth)
        self._recent.set(len(hot.recent))
        self._model.clear()
        for name, version in hot.engines.versions.items():
            self._model.labels(name, version).set(1)
        return generate_latest(self.registry)


class Metered:
    """An ASGI middleware that counts every request under the template of its route."""

    def __init__(self, inner: ASGIApp, *, meter: Meter) -> None:
        self._inner, self._meter = inner, meter
        self._tracer = _tracer()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        status = 500
        start = time.perf_counter()

        async def out(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        span = None if self._tracer is None else self._tracer.start_span(scope["method"])
        try:
            await self._inner(scope, receive, out)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._meter.request(scope["method"], route, status, time.perf_counter() - start)
            if span is not None:
                span.update_name(f"{scope['method']} {route}")
                span.set_attributes({"http.request.method": scope["method"], "http.route": route, "http.response.status_code": status})
                span.end()


def _tracer() -> Any:
    """OpenTelemetry's tracer where the program set one up before it made the service; None otherwise: then a request costs nothing more."""
    try:
        from opentelemetry import trace
    except ImportError:
        return None
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return None
    return trace.get_tracer("tradewind.serve")
