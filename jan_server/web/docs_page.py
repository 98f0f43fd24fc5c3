"""The page that shows `/openapi.json`: one file, and nothing of it comes from another host.

Its policy allows exactly the style and the script that it was shipped with, by their hashes.
"""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from starlette.requests import Request
from starlette.responses import Response


async def show_docs(_context: Any, _request: Request) -> Response:
    """A handler for any router; expects the document at `/openapi.json` of the same origin."""
    page, policy = _page()
    headers = {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    return Response(page, media_type="text/html", headers=headers)


@cache
def _page() -> tuple[str, str]:
    page = files(__package__).joinpath("docs.html").read_text(encoding="utf-8")
    return page, (
        "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; "
        f"style-src {_source(page, 'style')}; script-src {_source(page, 'script')}"
    )


def _source(page: str, tag: str) -> str:
    found = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    assert found is not None  # The page is ours.
    return f"'sha256-{b64encode(sha256(found[1].encode()).digest()).decode()}'"
