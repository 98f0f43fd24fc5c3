"""What each Jan wrote. Only this module knows.

Small steps on dicts, each recognising a file by its shape, never by a version: a folder that has
seen ten Jans holds them all. Nothing here is a reason to rewrite a file; what is changed keeps the
shape, keys and units that it has.

    A  Jan 0.4-0.5.7    created/updated: whole milliseconds   assistant_id, assistant_name
    B  Jan 0.5.8-0.5.16 created_at: seconds, metadata.updated_at: ms   id, name; keys sorted
    C  today's Jan      created/updated: float seconds; messages created_at: ms   id, name; sorted
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

import msgspec

from jan_server import ids

Generation = Literal["A", "C"]

PROTECTED = frozenset({"id", "object", "created", "created_at"})
"""Keys of a resource that a change from outside never touches."""

TODAYS_ENGINE = "llamacpp"
"""What today's Jan calls whatever runs local files."""

_MILLISECONDS = 1e11  # As seconds this is the year 5138, as milliseconds 1973.
_MICROSECONDS = 1e14
_BEYOND_TIME = 1e17  # As microseconds the year 5138: no clock says so, a slip of a hand may.
_KEPT = (
    "assistant_id",
    "run_id",
    "metadata",
    "type",
    "attachments",
    "file_ids",
    "error_code",
    "incomplete_details",
)
_TODAY = frozenset({"llamacpp", "store.json", "assistants/.migration_version"})


class Times(NamedTuple):
    """`created` in whole seconds; `updated` with its fraction, to sort by."""

    created: int
    updated: float


class ThreadAssistant(msgspec.Struct, frozen=True, kw_only=True):
    """Who answers in a thread, and how. `model` and `engine` are None when none is chosen."""

    id: str
    name: str = ""
    instructions: str = ""
    model: str | None = None
    engine: str | None = None
    settings: dict[str, Any] = {}
    parameters: dict[str, Any] = {}


def generation(names: Iterable[str]) -> Generation:
    """Whose folder it is. `names` are paths below its root; three of them tell today's Jan."""
    return "C" if _TODAY.intersection(names) else "A"


SIGNS_OF_TODAY = tuple(sorted(_TODAY))


def seconds(value: Any) -> float | None:
    """A time in any unit that a Jan wrote (s, ms, a float, ISO 8601), in seconds; else None."""
    if isinstance(value, str):
        return _seconds_of_text(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 < value < _BEYOND_TIME:
        return None
    if value >= _MICROSECONDS:
        return value / 1e6
    return value / 1e3 if value >= _MILLISECONDS else float(value)


def thread_times(
    value: Mapping[str, Any],
    *,
    id: str,
    first_message_time: Callable[[], float | None],
    mtime: float,
) -> Times:
    """When a thread was made and last changed.

    A missing time comes from the id, else the first message that says one (which is only asked for
    then), else the file.
    """
    # A time is never 0: `or` asks for the next only when there is none.
    created = (
        seconds(value.get("created")) or seconds(value.get("created_at")) or ids.seconds_of(id)
    )
    if created is None:
        created = first_message_time() or mtime
    updated = (
        seconds(value.get("updated"))
        or seconds(_mapping(value.get("metadata")).get("updated_at"))
        or seconds(value.get("updated_at"))
    )
    return Times(int(created), updated or created)


def touched(value: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The changes that move a thread's last update to `now`, under its own key, in its own unit."""
    if "updated" in value:
        return {"updated": _in_unit_of(value["updated"], now)}
    metadata = value.get("metadata")
    if isinstance(metadata, Mapping) and "updated_at" in metadata:
        moved = {"updated_at": _in_unit_of(metadata["updated_at"], now)}
        return {"metadata": {**metadata, **moved}}
    if "created" not in value and "created_at" in value:
        return {"metadata": {**_mapping(metadata), "updated_at": _milliseconds(now)}}
    return {"updated": _in_unit_of(value.get("created"), now)}


def spelled_as(document: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes as whoever wrote the document would write them: keys in it sorted, or not."""
    is_sorted = len(document) > 1 and list(document) == sorted(document)
    return _sorted_keys(changes) if is_sorted else dict(changes)


def message_seconds(value: Mapping[str, Any]) -> int | None:
    """When a message was made, in whole seconds."""
    found = _first(*(seconds(value.get(key)) for key in ("created_at", "created", "completed_at")))
    return None if found is None else int(found)


def message_content(content: Any) -> list[Any]:
    """A message's content as the document's parts, whether it is text, OpenAI's parts or ours."""
    if isinstance(content, str):
        return [_text_part(content)]
    if isinstance(content, Mapping):
        return [_part(content)]
    return [_part(part) for part in content] if isinstance(content, list | tuple) else []


def message_text(value: Mapping[str, Any]) -> str:
    """What a message says, without its images and other parts."""
    return parts_text(message_content(value.get("content")))


def parts_text(parts: Iterable[Any]) -> str:
    """What the document's parts say."""
    texts = [
        part["text"].get("value")
        for part in parts
        if isinstance(part, Mapping)
        and part.get("type") == "text"
        and isinstance(part.get("text"), Mapping)
    ]
    return "\n".join(text for text in texts if isinstance(text, str))


def thread_assistants(value: Mapping[str, Any]) -> list[ThreadAssistant]:
    """A thread's assistants, read from any Jan's shape; what is none is left out."""
    listed = value.get("assistants")
    found = [_assistant(item) for item in listed] if isinstance(listed, list) else []
    return [_with_thread_model(item, value) for item in found if item is not None]


def new_thread(
    generation: Generation,
    *,
    id: str,
    now: float,
    title: str,
    assistants: list[dict[str, Any]],
    metadata: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A new `thread.json`. `assistants` are given in the document's shape (`assistant_id` ...)."""
    common = {"id": id, "object": "thread", "title": title}
    kept = {"metadata": dict(metadata or {}), **(extra or {})}
    if generation == "A":
        time = _milliseconds(now)
        return {**common, "assistants": assistants, "created": time, "updated": time, **kept}
    own = [_todays_assistant(item) for item in assistants]
    model = own[0]["model"] if own else {}
    chosen = {"model": {"id": model["id"], "provider": model["engine"]}} if "id" in model else {}
    return _sorted_keys(
        {
            **common,
            "assistants": own,
            "created": round(now, 3),
            "updated": round(now, 3),
            **chosen,
            **kept,
        }
    )


def new_assistant(
    generation: Generation, *, id: str, now: float, given: Mapping[str, Any]
) -> dict[str, Any]:
    """A new `assistant.json`. `given` is what a client may choose; keys that no Jan has stay last.

    Jan 0.4 wrote all its keys; today's Jan writes these for an assistant that a user makes.
    """
    chosen = {key: value for key, value in given.items() if key not in PROTECTED}
    if generation == "A":
        return {
            "avatar": "",
            "id": id,
            "object": "assistant",
            "created_at": _milliseconds(now),
            "name": id,
            "description": "",
            "model": "*",
            "instructions": "",
            "file_ids": [],
            **chosen,
        }
    return {
        "id": id,
        "name": id,
        "avatar": "",
        "created_at": round(now, 3),
        "description": "",
        "instructions": "",
        "parameters": {},
        **chosen,
    }


def new_message(
    generation: Generation, *, id: str, thread_id: str, now: float, given: Mapping[str, Any]
) -> dict[str, Any]:
    """A new line of `messages.jsonl`. `given` are `role`, `content` and what a client may choose.

    Those are `status`, `assistant_id`, `run_id`, `metadata`, `type`, `attachments`, `file_ids`,
    `error_code` and `incomplete_details`; all else in `given` is ours to say, and left out.
    """
    time = _milliseconds(now)
    status = given.get("status") or "ready"
    content = message_content(given["content"])
    kept = {key: given[key] for key in _KEPT if given.get(key) is not None}
    if generation == "A":
        return {
            "id": id,
            "thread_id": thread_id,
            "status": status,
            "created": time,
            "updated": time,
            "object": "thread.message",
            "role": given["role"],
            "content": content,
            **kept,
        }
    return _sorted_keys(
        {
            "completed_at": time if given["role"] == "assistant" else 0,
            "content": content,
            "created_at": time,
            "id": id,
            "object": "thread.message",
            "role": given["role"],
            "status": status,
            "thread_id": thread_id,
            "type": "text",
            **kept,
        }
    )


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _milliseconds(now: float) -> int:
    return int(now * 1000)


def _seconds_of_text(text: str) -> float | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    # A text without a zone: JavaScript and Python's own utcnow() both mean UTC by it.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _in_unit_of(sample: Any, now: float) -> int | float | str:
    """`now` in the unit of the value that it replaces; else in whole milliseconds."""
    if isinstance(sample, str) and seconds(sample) is not None:
        moment = datetime.fromtimestamp(round(now, 3), UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(sample, bool) or not isinstance(sample, int | float) or sample <= 0:
        return _milliseconds(now)
    if isinstance(sample, float):
        return round(now, 3) if sample < _MILLISECONDS else float(_milliseconds(now))
    return int(now) if sample < _MILLISECONDS else _milliseconds(now)


def _text_part(text: str) -> dict[str, Any]:
    return {"type": "text", "text": {"value": text, "annotations": []}}


def _part(part: Any) -> Any:
    """OpenAI's `{type: text, text: "..."}` and a bare string become the document's text part."""
    if isinstance(part, str):
        return _text_part(part)
    if not isinstance(part, Mapping):
        return part
    text = part.get("text")
    if isinstance(text, str):
        return _text_part(text)
    if isinstance(text, Mapping) and "annotations" not in text:
        return {**part, "text": {**text, "annotations": []}}
    return part


def _assistant(item: Any) -> ThreadAssistant | None:
    if isinstance(item, str):
        return ThreadAssistant(id=item)
    if not isinstance(item, Mapping):
        return None
    model = item.get("model")
    model = {"id": model} if isinstance(model, str) else _mapping(model)
    return ThreadAssistant(
        id=_text(item.get("assistant_id")) or _text(item.get("id")),
        name=_text(item.get("assistant_name")) or _text(item.get("name")),
        instructions=_text(item.get("instructions")),
        model=_chosen(model.get("id")),
        engine=_text(model.get("engine")) or None,
        settings=dict(_mapping(model.get("settings"))),
        parameters={
            **_mapping(item.get("parameters")),
            **_mapping(model.get("parameters")),
        },
    )


def _chosen(model: Any) -> str | None:
    """`*` is Jan's word for "any model"."""
    return model if isinstance(model, str) and model not in ("", "*") else None


def _with_thread_model(assistant: ThreadAssistant, value: Mapping[str, Any]) -> ThreadAssistant:
    """Today's Jan also keeps the model at the thread itself: `{id, provider}`."""
    model = _mapping(value.get("model"))
    if assistant.model is not None or _chosen(model.get("id")) is None:
        return assistant
    return msgspec.structs.replace(
        assistant, model=model["id"], engine=_text(model.get("provider")) or None
    )


def _todays_assistant(item: Mapping[str, Any]) -> dict[str, Any]:
    """Jan 0.4's `{assistant_id, assistant_name, ...}` as today's `{id, name, ...}`.

    Its model always names an engine: a thread without that is not shown (janhq/jan#6773).
    """
    names = {"assistant_id": "id", "assistant_name": "name"}
    own = {names.get(key, key): value for key, value in item.items()}
    said = own.get("model")
    model = dict(said) if isinstance(said, Mapping) else {"id": said}
    if _chosen(model.get("id")) is None:
        model.pop("id", None)
    lacking = {"name": own.get("id", ""), "instructions": ""}
    return {**lacking, **own, "model": {"engine": TODAYS_ENGINE, **model}}


def _sorted_keys(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _sorted(value[key]) for key in sorted(value)}


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _sorted_keys(value)
    return [_sorted(item) for item in value] if isinstance(value, list | tuple) else value
