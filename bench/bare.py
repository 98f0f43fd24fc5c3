"""The peer: bare Starlette on Hypercorn, set up as ours, with one route and its answer made before.

What it takes to answer these bytes at all on this machine: HTTP, ASGI and Python. Run as
`python -m bench.bare --body FILE --port PORT`, in a process of its own.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import click
from hypercorn.asyncio import serve
from hypercorn.typing import Framework
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jan_server import server


def create_app(body: bytes) -> Starlette:
    """Whatever is asked, and whatever is posted once it is read, is answered with `body`."""
    answer = Response(body, media_type="application/json")

    async def prepared(request: Request) -> Response:
        if request.method == "POST":
            await request.body()
        return answer

    return Starlette(routes=[Route("/{path:path}", prepared, methods=["GET", "POST"])])


@click.command()
@click.option("--body", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--port", type=int, required=True)
def main(body: Path, port: int) -> None:
    app = create_app(body.read_bytes())
    with server.bind("127.0.0.1", port) as sock:
        # The very configuration of ours, so that the two differ in nothing else.
        asyncio.run(serve(cast(Framework, app), server.hypercorn_config(sock)))


if __name__ == "__main__":
    main()
