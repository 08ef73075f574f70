"""One exchange with an OpenAI-compatible server: bounded in time and size, and nothing in it believed before it was checked.

The standard library does it: a total deadline needs a thread of its own with any client (time-outs of sockets, httpx included, start
again with every byte, so a slow drip passes them all), and what is left of a client is one POST.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from tradewind.errors import Transient

LIMIT = 1 << 20  # bytes of an answer
_CHUNK = 1 << 16


class Failed(Transient):
    """An exchange that gave no usable answer. ``why`` is a few words without values, so that equal failures count as one.

    ``again``: whether trying once more may help; ``wait``: seconds that the server asks for; ``plain``: the server may not know JSON
    schemas; ``billed``: whether the tokens may have been paid for all the same.
    """

    def __init__(self, why: str, *, again: bool = True, wait: float | None = None, plain: bool = False, billed: bool = False) -> None:
        super().__init__(why)
        self.why, self.again, self.wait, self.plain, self.billed = why, again, wait, plain, billed


def exchange(url: str, body: bytes, *, headers: Mapping[str, str], seconds: float, limit: int = LIMIT) -> Any:
    """POST ``body`` and return the JSON document of the answer, all within ``seconds``, redirects never followed.

    Raises
    ------
    Failed
        No answer, no complete answer, or none that is JSON with status 200.
    """
    post = _Post(url, body, headers, seconds, limit)
    thread = threading.Thread(target=post.run, name="tradewind-chat", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        post.abort()
        raise Failed("no answer in time", billed=True)
    if isinstance(post.outcome, Failed):
        raise post.outcome
    return post.outcome


def read(document: Any) -> str:
    """Return the text of a chat completion.

    Raises
    ------
    Failed
        The document has another shape, or the model was stopped before it had finished.
    """
    try:
        choice = document["choices"][0]
        text, finish = choice["message"]["content"], choice.get("finish_reason")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise Failed("the answer has another shape") from None
    if finish == "length":
        raise Failed("the answer was cut")
    if not isinstance(text, str):
        raise Failed("the answer has another shape")
    if finish not in ("stop", None):
        raise Failed("the model did not finish", again=False)
    return text


def usage(document: Any) -> tuple[int | None, int | None]:
    """Return the tokens read and written that a document states, each None unless it is a whole number of at least zero."""
    told = document.get("usage") if isinstance(document, dict) else None
    counts = [told.get(name) for name in ("prompt_tokens", "completion_tokens")] if isinstance(told, dict) else [None, None]
    first, second = (n if isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 1 << 40 else None for n in counts)
    return first, second


class _Post:
    """One request in its own thread; ``outcome`` is a document or a failure."""

    def __init__(self, url: str, body: bytes, headers: Mapping[str, str], seconds: float, limit: int) -> None:
        self.url, self.body, self.headers, self.seconds, self.limit = url, body, headers, seconds, limit
        self.outcome: Any = Failed("no answer in time", billed=True)
        self.socket: socket.socket | None = None

    def run(self) -> None:
        try:
            self.outcome = self._talk()
        except Failed as failed:
            self.outcome = failed
        except TimeoutError:
            pass  # the outcome says so already
        except ConnectionRefusedError:
            self.outcome = Failed("the server cannot be reached")
        except (http.client.HTTPException, ConnectionError):
            self.outcome = Failed("the connection was dropped", billed=True)
        except (OSError, ValueError):  # no such host, no route, a certificate that is not trusted
            self.outcome = Failed("the server cannot be reached")

    def abort(self) -> None:
        """Cut the line, so that the thread ends."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)

    def _talk(self) -> Any:
        parts = urlsplit(self.url)
        host, port = parts.hostname or "", parts.port
        connection = http.client.HTTPConnection(host, port, timeout=self.seconds)
        if parts.scheme == "https":
            connection = http.client.HTTPSConnection(host, port, timeout=self.seconds, context=ssl.create_default_context())
        with contextlib.closing(connection):
            connection.connect()
            self.socket = connection.sock  # the connection may hand it over to the response
            connection.request("POST", parts.path, self.body, dict(self.headers))
            with connection.getresponse() as response:
                return self._document(response)

    def _document(self, response: http.client.HTTPResponse) -> Any:
        if response.status != http.HTTPStatus.OK:
            raise refused(response.status, response.headers)
        if response.headers.get_content_type() != "application/json":
            raise Failed("the answer is of another type", billed=True)
        data = b""
        while piece := response.read(_CHUNK):
            data += piece
            if len(data) > self.limit:
                raise Failed("the answer is too long", again=False, billed=True)
        if response.length:
            raise Failed("the connection was dropped", billed=True)
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise Failed("the answer is no JSON", billed=True) from None


def refused(status: int, headers: Message) -> Failed:
    """Return what a status other than 200 means."""
    if 300 <= status < 400:  # a key is never sent on to another address
        return Failed("redirects are not followed", again=False)
    if status == http.HTTPStatus.TOO_MANY_REQUESTS:
        return Failed("the server is busy: 429", wait=_wait(headers))
    if status in (400, 422):
        return Failed(f"the server refused the request: {status}", plain=True)
    if status in (408, 425) or status >= 500:
        return Failed(f"the server failed: {status}", wait=_wait(headers))
    return Failed(f"the server refused the request: {status}", again=False)


def _wait(headers: Message) -> float | None:
    """Seconds of ``Retry-After``; a date counts from the server's own ``Date``."""
    told = headers.get("Retry-After")
    if told is None:
        return None
    if told.strip().isdigit():
        return float(told)
    try:
        return max((parsedate_to_datetime(told) - parsedate_to_datetime(headers["Date"])).total_seconds(), 0.0)
    except (KeyError, TypeError, ValueError):
        return None


@dataclass
class Breaker:
    """Stops asking a server that fails: after ``limit`` failures in a row it rests for ``rest`` seconds, then lets one try through."""

    clock: Callable[[], float]  # seconds that only grow
    limit: int = 3
    rest: float = 30.0
    _failures: int = 0
    _until: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def closed(self) -> bool:
        """Whether the server may be asked now; the first caller after a rest takes the one try."""
        with self._lock:
            if self._failures < self.limit:
                return True
            if self.clock() < self._until:
                return False
            self._until = self.clock() + self.rest
            return True

    def good(self) -> None:
        """The server answered."""
        with self._lock:
            self._failures = 0

    def bad(self, wait: float | None = None) -> None:
        """The server failed; ``wait``: for how long it asked to be left alone."""
        with self._lock:
            self._failures = self.limit if wait is not None and wait > self.rest else self._failures + 1
            self._until = self.clock() + max(self.rest, wait or 0.0)
