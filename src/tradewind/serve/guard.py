"""What stands before every route: the size of a request, and headers that no answer goes without. Plain ASGI: it costs microseconds."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tradewind.serve.problems import answer

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """Refuses bodies beyond ``body`` bytes with 413, also when their length was not announced."""

    def __init__(self, inner: ASGIApp, *, body: int) -> None:
        self._inner, self._body = inner, body
        self._detail = f"The request is larger than {body:,} bytes. Send it in parts."

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._inner(scope, receive, send)
            return

        async def out(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in _HEADERS if pair[0] not in there)]
            await send(message)

        announced = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if announced.isdigit() and int(announced) > self._body:
            await answer(413, self._detail, error="InputError", headers={"connection": "close"})(scope, receive, out)
            return
        size = 0

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            if message["type"] == "http.request":
                size += len(message.get("body", b""))
                if size > self._body:
                    raise HTTPException(413, self._detail, {"connection": "close"})  # the framework passes it on
            return message

        await self._inner(scope, counted, out)
