"""What comes back: an answer or an event, under our name of the model; or an error.

What the other server has wrong, as against the request, is told without its own words: they may
quote the prompt, and messages of such errors are logged.
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from jan_server.errors import JanError, RemoteFailed, RemoteRefused, RemoteTimeout
from jan_server.remote.server import Remote

RemoteAnswer = dict[str, Any]
"""An answer, or an event of one, of whatever shape the other server gives it."""

LONGEST_MESSAGE = 2000
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def read_answer(data: bytes | str, remote: Remote) -> RemoteAnswer:
    """An answer or an event, the model's name put back; all else of it stays as it is.

    Raises RemoteFailed for what is none, and for an event that tells of an error.
    """
    value = _decoded(data)
    if not isinstance(value, dict):
        raise RemoteFailed(f"The remote server at {remote.origin} answered no JSON object.")
    if value.get("error"):
        raise RemoteFailed(f"The remote server at {remote.origin} failed{_code(value)}.")
    return {**value, "model": remote.id}


def error_of(status: int, headers: Mapping[str, str], body: bytes, remote: Remote) -> JanError:
    """The error that an answer with a status other than 200 stands for."""
    if status in _STATUSES:
        return _STATUSES[status](remote)
    if 400 <= status < 500:
        return _refused(status, headers, body, remote)
    value = _decoded(body)
    return RemoteFailed(
        f"The remote server at {remote.origin} failed with status {status}{_code(value)}."
    )


def _refused(status: int, headers: Mapping[str, str], body: bytes, remote: Remote) -> RemoteRefused:
    """It found the request wrong: its status and words are for whoever sent that."""
    value = _decoded(body)
    detail = _detail(value)
    message = _message(value) or f"The remote server at {remote.origin} answered {status}."
    return RemoteRefused(
        _without_key(message[:LONGEST_MESSAGE], remote),
        status=status,
        code=_text(detail, "code"),
        type=_text(detail, "type"),
        param=_text(detail, "param") or None,
        retry_after=_retry_after(headers.get("retry-after", "")),
    )


def _key_refused(remote: Remote) -> JanError:
    return RemoteFailed(
        f"The remote server at {remote.origin} refused our key: see {remote.file}."
        if remote.key
        else f"The remote server at {remote.origin} demands a key: put it into {remote.file}."
    )


def _moved(remote: Remote) -> JanError:
    return RemoteFailed(
        f"The remote server at {remote.origin} says that it is elsewhere: mend full_url "
        f"in {remote.file}."
    )


def _too_late(remote: Remote) -> JanError:
    return RemoteTimeout(f"The remote server at {remote.origin} did not answer in time.")


_STATUSES: dict[int, Callable[[Remote], JanError]] = {
    **dict.fromkeys((301, 302, 303, 307, 308), _moved),
    **dict.fromkeys((401, 403, 407), _key_refused),
    **dict.fromkeys((408, 504), _too_late),
}


def _decoded(data: bytes | str) -> Any:
    """None for what is no JSON."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _detail(value: Any) -> Any:
    """OpenAI's `{"error": {...}}`; others have its fields, or a text, in the object itself."""
    return value.get("error", value) if isinstance(value, dict) else None


def _message(value: Any) -> str:
    detail = _detail(value)
    if isinstance(detail, str):
        return detail
    return _text(detail, "message") or _text(detail, "detail")


def _text(detail: Any, name: str) -> str:
    said = detail.get(name) if isinstance(detail, dict) else None
    return said if isinstance(said, str) else ""


def _code(value: Any) -> str:
    """Its code, as far as that is a word and no text."""
    found = _text(_detail(value), "code") or _text(_detail(value), "type")
    return f" ({found})" if _CODE.fullmatch(found) else ""


def _without_key(message: str, remote: Remote) -> str:
    return message.replace(remote.key, "***") if remote.key else message


def _retry_after(said: str) -> int | None:
    """Whole seconds, of a number or of a date."""
    try:
        return max(1, math.ceil(float(said)))
    except (ValueError, OverflowError):
        pass
    try:
        date = email.utils.parsedate_to_datetime(said)
        return max(1, math.ceil(date.timestamp() - time.time()))
    except (ValueError, TypeError, OverflowError):
        return None
