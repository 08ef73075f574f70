"""What stands before every route: the size of a request, and headers that no answer goes without. Plain ASGI: it costs microseconds."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tradewind.serve.problems import answer

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)


class _TooLargeError(Exception):
    pass


class Guard:
    """Refuses bodies beyond ``body`` bytes with 413, also when their length was not announced."""

    def __init__(self, inner: ASGIApp, *, body: int) -> None:
        self._inner, self._body = inner, body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return
        started = False

        async def out(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                there = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in _HEADERS if pair[0] not in there)]
            await send(message)

        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if announced.isdigit() and int(announced) > self._body:
            await self._refused()(scope, receive, out)
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                if size > self._body:
                    raise _TooLargeError
            return message

        try:
            await self._inner(scope, counted, out)
        except _TooLargeError:
            if not started:
                await self._refused()(scope, receive, out)

    def _refused(self) -> ASGIApp:
        detail = f"The request is larger than {self._body:,} bytes. Send it in parts."
        return answer(413, detail, error="InputError", headers={"connection": "close"})
