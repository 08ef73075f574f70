"""What a service counts of itself."""

from __future__ import annotations

from pathlib import Path

from hot_kit import PEOPLE, asked
from opentelemetry import trace
from prometheus_client.parser import text_string_to_metric_families

from tradewind.serve.metrics import _tracer


def test_everything_is_counted_under_the_template_of_its_route(tmp_path: Path) -> None:
    with asked(tmp_path) as shop:
        shop.post("/v1/events", [{"id": "e1", "at": "2026-02-28T23:00:00Z", "kind": "view"}, {"id": "e2"}])
        shop.items(PEOPLE[1])
        told = shop.post("/v1/decide", {"customer": PEOPLE[1]})
        shop.get(f"/v1/decisions/{told['decision_id']}")
        shop.get("/v1/nowhere", status=404)
        page = shop.client.get("/v1/metrics")
        assert page.headers["content-type"].startswith("text/plain")
        found = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in text_string_to_metric_families(page.text)
            for sample in family.samples
        }
        assert found["tradewind_requests_total", "/v1/decisions/{decision_id}", "200", "GET"] == 1
        assert found["tradewind_requests_total", "/v1/events", "200", "POST"] == 1
        assert not [key for key in found if "/v1/nowhere" in key]
        assert found["tradewind_request_seconds_count", "/v1/recommend", "POST"] == 1
        assert found["tradewind_events_total", "stored"] == 1
        assert found["tradewind_events_total", "quarantined"] == 1
        assert found["tradewind_waiting", "events"] == 0
        versions = shop.hot.engines.versions
        assert found["tradewind_model", *sorted(("recommend", versions["recommend"]))] == 1
        assert sum(value for key, value in found.items() if key[0] == "tradewind_decisions_total") == 1


def test_spans_cost_nothing_until_a_program_sets_a_provider() -> None:
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)
    assert _tracer() is None
