"""The header fields of a request by name, for whoever needs only a few of them."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope

Fields = Mapping[bytes, bytes]


def fields(scope: Scope) -> Fields:
    """Names are in lower case; values of a name that was sent more than once are joined by `, `
    (RFC 9110, 5.3), so one that may be sent once only is then garbled."""
    sent: list[tuple[bytes, bytes]] = scope["headers"]
    by_name = dict(sent)
    return by_name if len(by_name) == len(sent) else _joined(sent)


def _joined(sent: list[tuple[bytes, bytes]]) -> Fields:
    by_name: dict[bytes, bytes] = {}
    for name, value in sent:
        by_name[name] = by_name[name] + b", " + value if name in by_name else value
    return by_name
