"""The service of bench/service.py in a process of its own, and a bare echo of the same framework."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import gc
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request
from starlette.responses import Response


def echo() -> FastAPI:
    """One route that answers with what it got."""
    app = FastAPI()

    @app.post("/echo")
    async def answer(request: Request) -> Response:
        return Response(await request.body(), media_type="application/json")

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shop", type=Path)
    parser.add_argument("--key", help="file that the key is written to")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    if arguments.shop is None:
        app = echo()
    else:
        from tradewind.serve.service import service
        from tradewind.serve.state import Limits
        from tradewind.shop import Shop

        shop = Shop.open(arguments.shop)
        app = service(shop, console=False, limits=Limits(per_second=1e9))
        if arguments.key:
            Path(arguments.key).write_text(app.state.serving.access.new_key(f"bench{arguments.port}-{os.getpid()}", "admin"))
    gc.freeze()
    uvicorn.run(app, port=arguments.port, access_log=False, server_header=False, log_level="warning")


if __name__ == "__main__":
    main()
