"""The console's files: built by ``make console`` from ``console/`` and shipped in the package. A page inside is the app's own."""

from __future__ import annotations

from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

BUILD = Path(__file__).parent / "console_build"
_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_MISSING = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Tradewind</title>
<body style="font-family:system-ui;max-width:40rem;margin:4rem auto;padding:0 1rem"><h1>The console is not built</h1>
<p>This is a clone without its pages. Run <code>make console</code>, then start the service again. The HTTP interface works without:
<a href="/openapi.json">/openapi.json</a>.</p></body></html>"""


class Console:
    """An ASGI app under ``/console``."""

    def __init__(self, folder: Path = BUILD) -> None:
        self._folder = folder
        self._files = StaticFiles(directory=folder, check_dir=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._answer(scope) if scope["type"] == "http" else HTMLResponse("", 404)
        answer.headers.update({"content-security-policy": _POLICY, "x-content-type-options": "nosniff"})
        await answer(scope, receive, send)

    async def _answer(self, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return HTMLResponse("", 405, {"allow": "GET, HEAD"})
        index = self._folder / "index.html"
        if not index.is_file():
            return HTMLResponse(_MISSING, 503)
        path = self._files.get_path(scope)
        try:
            found = await self._files.get_response(path, scope)
        except HTTPException as error:
            if error.status_code != 404 or path.startswith("assets"):
                return HTMLResponse("", error.status_code)
            found = FileResponse(index)  # an address of the app's own
        if found.status_code == 404 or path == ".":
            found = FileResponse(index)
        lasting = path.startswith("assets") and found.status_code == 200  # their names hold the hash of what is in them
        found.headers["cache-control"] = "public, max-age=31536000, immutable" if lasting else "no-cache"
        return found
