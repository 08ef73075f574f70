"""A model server that misbehaves on demand: what real servers will not do when asked."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

GOOD = [
    {"subject": "A fresh look at {title}", "preheader": "Something new from {shop}", "hook": "A calm start is worth a lot.",
     "benefit": "{title} suits a quiet corner.", "action": "See it", "title": "New: {title}"},
    {"subject": "{title} for slow mornings", "preheader": "A small idea from {shop}", "hook": "Slow mornings deserve good company.",
     "benefit": "{title} belongs to {category}.", "action": "Take a look", "title": "{title}, perhaps"},
]  # fmt: skip


def completion(rows: Any, *, finish: str = "stop") -> dict[str, Any]:
    """A chat completion whose text is ``rows`` as candidates, or a text as it is."""
    text = rows if isinstance(rows, str) else json.dumps({"candidates": rows})
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return {"object": "chat.completion", "choices": [choice], "usage": {"prompt_tokens": 300, "completion_tokens": 90}}


class FaultServer:
    """Listens on a port of its own. ``fault`` may be changed at any time; ``seen`` are the requests (headers and body)."""

    def __init__(self, fault: str = "none", *, rows: list[dict[str, str]] | None = None) -> None:
        self.fault, self.rows, self.retry_after = fault, rows or GOOD, "0"
        self.seen: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.stopped = threading.Event()
        owner = self

        class Handler(_Handler):
            server_owner = owner

        self._http = _Quiet(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stopped.set()
        self._http.shutdown()
        self._http.server_close()

    def shaped(self, body: dict[str, Any]) -> list[dict[str, str]]:
        """Good rows with exactly the roles that the schema asks for."""
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        if schema is None:
            return self.rows
        roles = schema["properties"]["candidates"]["items"]["required"]
        return [{role: row[role] for role in roles} for row in self.rows]


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what is being tested."""


class _Handler(BaseHTTPRequestHandler):
    server_owner: FaultServer

    def do_POST(self) -> None:
        owner = self.server_owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        owner.seen.append((dict(self.headers), body))
        good = json.dumps(completion(owner.shaped(body))).encode()
        faults: dict[str, Callable[[], None]] = {
            "none": lambda: self._send(200, good),
            "busy": lambda: self._send(429, b"{}", {"Retry-After": owner.retry_after}),
            "failed": lambda: self._send(500, b"<html>oops</html>", kind="text/html"),
            "drip": lambda: self._drip(good),
            "half": lambda: self._send(200, good[: len(good) // 2]),
            "type": lambda: self._send(200, b"<html>welcome</html>", kind="text/html"),
            "drop": lambda: self._drop(good),
            "oversized": lambda: self._send(200, b'"' + b"x" * (3 << 20) + b'"'),
            "redirect": lambda: self._send(302, b"", {"Location": owner.url.replace("/v1", "/elsewhere")}),
            "schema": lambda: self._send(200, json.dumps(completion('{"answer": "Dear customer, buy now!"}')).encode()),
            "prose": lambda: self._send(200, json.dumps(completion("Sure! Here are some ideas for you.")).encode()),
            "cut": lambda: self._send(200, json.dumps(completion('{"candidates": [{"subj', finish="length")).encode()),
            "shape": lambda: self._send(200, json.dumps({"choices": "none"}).encode()),
            "digits": lambda: self._send(200, json.dumps(completion([{r: row[r] for r in row} for row in self._digits(body)])).encode()),
            "denied": lambda: self._send(401, b"{}"),
            "no_schemas": lambda: self._send(400, b"{}") if "response_format" in body else self._send(200, self._plain(body)),
        }
        faults[owner.fault]()

    def _plain(self, body: dict[str, Any]) -> bytes:
        roles = json.loads(body["messages"][1]["content"])["texts"]
        rows = [{role: row[role] for role in roles} for row in self.server_owner.rows]
        return json.dumps(completion("Here you are:\n```json\n" + json.dumps({"candidates": rows}) + "\n```")).encode()

    def _digits(self, body: dict[str, Any]) -> list[dict[str, str]]:
        return [dict.fromkeys(row, "Only 9 left, now $5.00") for row in self.server_owner.shaped(body)]

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None, *, kind: str = "application/json") -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _drip(self, data: bytes) -> None:
        """One byte every twentieth of a second: each byte resets the time-out of a socket."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        for byte in data:
            if self.server_owner.stopped.is_set():
                return
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.05)

    def _drop(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 3])
        self.wfile.flush()
        self.connection.close()

    def log_message(self, *arguments: object) -> None:
        """Silent."""
