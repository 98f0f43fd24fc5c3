"""Responses that are kept: a conversation as a thread, asked on by the id of its last response.

The first response of a conversation makes a thread of what it was asked, the next ones add to it:
messages are lines of `messages.jsonl`, for Jan and a text editor, and which of them a response was
asked and answered, with its calls, results and thoughts, is in `responses.jsonl` (store/responses).
What a model is asked is put together from both as they are then: a message that was edited by hand
counts as it is now, one that was deleted is left out.

Two responses that go on from the same one are two branches. Both are in the same thread, one behind
the other as they came; each model sees the responses before its own alone.

What was asked is on the disk before the model is, the answer grows as a reply of the store, and the
end of a response is on the disk before it is told. Who leaves stops the work: the response is
`cancelled` then, and what it had said `incomplete`. One whose server died is told as `failed`.

With `store` false nothing is written; such a response can go on from one that is kept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET
from ulid import ULID

from jan_server import ids
from jan_server.completions import Chats
from jan_server.dialects import chat
from jan_server.dialects.responses.answer import MESSAGE, Answer, error_of
from jan_server.dialects.responses.request import (
    Placed,
    chat_request,
    item_text,
    own_items,
    shown,
)
from jan_server.engines.base import Queued
from jan_server.errors import FileUnreadable, InvalidRequest, JanError, NotFound, ReadOnly
from jan_server.store import Message, Messages, Store, ThreadResponses, formats
from jan_server.store.locks import Claim
from jan_server.store.replies import Reply
from jan_server.store.responses import PREFIX, thread_of
from jan_server.types.response import (
    CreateResponse,
    InputItem,
    ItemAdded,
    ItemDone,
    OutputCall,
    OutputMessage,
    OutputReasoning,
    OutputText,
    OutputTextDelta,
    Response,
    ResponseError,
    ResponseEvent,
    StoredResponse,
)
from jan_server.workers import to_its_end

logger = logging.getLogger(__name__)

TITLE_LENGTH = 60
STOPPED = ResponseError(code="server_error", message="The server was stopped while it answered.")

Items = list[dict[str, Any]]


class Asked(NamedTuple):
    """A request that is found right, and what it goes on from."""

    request: CreateResponse
    translated: chat.Translated
    own: list[Placed]
    thread_id: str | None
    model: str
    keeps: bool


class Responses:
    """Belongs to one event loop. `changed` is told the ids of threads that messages came to."""

    def __init__(
        self,
        store: Store,
        chats: Chats,
        *,
        default_assistant: str,
        changed: Callable[[str], None],
    ) -> None:
        self._store = store
        self._chats = chats
        self._default_assistant = default_assistant
        self._changed = changed

    async def read(self, request: CreateResponse, sent: Mapping[str, Any]) -> Asked:
        """What is asked, checked. Nothing is written, and no model loaded.

        Raises NotFound (response, model), ReadOnly, and what is wrong with the request.
        """
        keeps = request.store is not False
        if keeps and self._store.is_read_only:
            raise ReadOnly("send `store: false`, and the answer is given and not kept.")
        before, thread_id = await asyncio.to_thread(self._before, request.previous_response_id)
        own = own_items(request)
        translated = chat_request(request, sent, [*before, *own])
        with chat.naming(translated.names):
            model = await self._chats.check(translated.request, translated.to_send)
        return Asked(request, translated, own, thread_id, model, keeps)

    async def stream(self, asked: Asked, *, client: str) -> AsyncGenerator[ResponseEvent | Queued]:
        """The response as it grows. Raises as Chats.stream until it has begun; a failure after
        that is its last event. Closing it stops the work."""
        answer = Answer(_response(asked))
        events = self._answer(asked, answer, client)
        has_begun = False
        try:
            async with aclosing(events):
                async for event in events:
                    has_begun = has_begun or not isinstance(event, Queued)
                    yield event
        except JanError as error:
            if not has_begun:
                raise
            for event in answer.fail(error):
                yield event

    async def whole(self, asked: Asked, *, client: str) -> Response:
        """The whole answer. Raises as Chats.stream, whenever it fails."""
        answer = Answer(_response(asked))
        async with aclosing(self._answer(asked, answer, client)) as events:
            async for _ in events:
                pass
        return answer.response

    async def _answer(
        self, asked: Asked, answer: Answer, client: str
    ) -> AsyncGenerator[ResponseEvent | Queued]:
        """Asks, and keeps what is answered before it is told, also when it fails."""
        keeping = Keeping(self._store, self._default_assistant) if asked.keeps else None
        try:
            if keeping is not None:
                await to_its_end(partial(keeping.begin, asked, answer.response))
            parts = chat.parts(self._chats, asked.translated, client=client)
            async with aclosing(parts):
                async for part in parts:
                    if isinstance(part, Queued):
                        yield part
                        continue
                    for event in answer.take(part):
                        if keeping is not None:
                            await _keep(keeping, answer.response, event)
                        yield event
        except JanError as error:
            answer.response.error = error_of(error)
            answer.response.status = "failed"
            raise
        finally:
            if keeping is not None:
                await to_its_end(partial(keeping.close, answer.response))
                if keeping.thread_id:
                    self._changed(keeping.thread_id)

    async def get(self, id: str) -> Response:
        """As it is now: its messages say what their lines say. Raises NotFound and InvalidId."""
        return await asyncio.to_thread(self._get, id)

    async def items(self, id: str) -> Items:
        """What it was asked, in its order. Raises as `get`."""
        return await asyncio.to_thread(self._items, id)

    async def delete(self, id: str) -> None:
        """It is not found any more; its messages stay. Raises as `get`, and ReadOnly."""
        self._store.check_writable()
        await asyncio.to_thread(self._delete, id)

    # What follows is done in a worker.

    def _find(self, id: str) -> tuple[ThreadResponses, StoredResponse]:
        ids.check_lookup_id("response", id)
        first = thread_of(id)
        for thread_id in self._threads(first):
            responses = self._store.responses(thread_id)
            try:
                return responses, responses.get(id)
            except NotFound:
                continue
            except FileUnreadable:
                if thread_id == first:
                    raise  # Of others it hides nothing but itself.
        where = f"It was kept in the thread {first!r}." if first else ""
        raise NotFound("response", id, hint=where)

    def _threads(self, first: str | None) -> Iterable[str]:
        """Where to look: where it was kept, then everywhere, as a person may have renamed that."""
        if first is None:
            return
        if ids.is_lookup_id(first):
            yield first
        for entry in self._store.threads.index.oldest_first():
            if entry.id != first:
                yield entry.id

    def _before(self, id: str | Any) -> tuple[list[Placed], str | None]:
        """The conversation up to a response, and its thread."""
        if not id:
            return [], None
        try:
            responses, last = self._find(id)
        except JanError as error:
            error.param = "$.previous_response_id"
            raise
        if last.status == "in_progress" and self._is_answered(responses, last):
            place = "$.previous_response_id"
            raise InvalidRequest(f"{place}: that response is not over yet.", param=place)
        known = responses.all()
        chain = [last]
        while (before := known.get(chain[-1].previous_response_id or "")) and before not in chain:
            chain.append(before)
        messages = self._messages(responses.thread_id)
        items = [
            item
            for response in reversed(chain)
            for stored in (*response.input, *response.output)
            if (item := _item(stored, messages)) is not None
        ]
        return [Placed(item, "$.previous_response_id") for item in items], responses.thread_id

    def _messages(self, thread_id: str) -> dict[str, Message]:
        return {message.id: message for message in self._store.messages(thread_id).list()}

    def _is_answered(self, responses: ThreadResponses, stored: StoredResponse) -> bool:
        claim = responses.claim(stored.id)
        if claim is None:
            return True
        claim.release(forget=True)
        return False

    def _get(self, id: str) -> Response:
        responses, stored = self._find(id)
        if stored.status == "in_progress" and not self._is_answered(responses, stored):
            stored = msgspec.structs.replace(stored, status="failed", error=STOPPED)
        messages = self._messages(responses.thread_id)
        response = _shown(stored)
        output = [_output(item, messages) for item in stored.output]
        response.output = [item for item in output if item is not None]
        return response

    def _items(self, id: str) -> Items:
        responses, stored = self._find(id)
        messages = self._messages(responses.thread_id)
        return [item for each in stored.input if (item := _input(each, messages)) is not None]

    def _delete(self, id: str) -> None:
        responses, stored = self._find(id)
        responses.put(msgspec.structs.replace(stored, deleted=True))


class Keeping:
    """One response that is being written. Its methods touch the disk, one after the other."""

    def __init__(self, store: Store, assistant_id: str) -> None:
        self._store = store
        self._assistant_id = assistant_id
        self._stored: StoredResponse | None = None
        self._claim: Claim | None = None
        self._reply: Reply | None = None
        self.thread_id = ""

    def __repr__(self) -> str:
        return f"<Keeping {self._stored.id if self._stored else 'nothing yet'}>"

    def begin(self, asked: Asked, response: Response) -> None:
        """What was asked is on the disk, and that it is being answered. Gives it its id."""
        said = [item for item, _ in asked.own if item.type == "message"]
        new = [{"role": _role(item), "content": item_text(item)} for item in said]
        lines = self._say(asked, new)
        response.id = f"{PREFIX}{self.thread_id}_{ULID()}"
        self._claim = self._responses.claim(response.id)
        self._stored = StoredResponse(
            id=response.id,
            status=response.status,
            created_at=response.created_at,
            model=response.model,
            previous_response_id=response.previous_response_id,
            input=_stored_input(asked.own, lines),
            asked=shown(asked.request),
        )
        self._responses.put(self._stored)

    def begin_message(self, item: OutputMessage, response: Response) -> None:
        given = {
            "role": "assistant",
            "id": item.id.removeprefix(MESSAGE),
            "assistant_id": self._assistant_id,
        }
        self._reply = self._messages.begin_reply(given)
        self.put(response)

    def add(self, text: str) -> bool:
        """Whether the text is to be saved now. Touches nothing."""
        assert self._reply is not None, "a message begins before its text"
        self._reply.add(text)
        return self._reply.is_due

    def save(self) -> None:
        assert self._reply is not None, "a message begins before its text"
        self._reply.save()

    def end_message(self, *, is_whole: bool) -> None:
        if self._reply is None:
            return
        with self._reply as reply:
            self._reply = None
            reply.finish(status="ready" if is_whole else "incomplete")

    def put(self, response: Response) -> None:
        assert self._stored is not None, "it was begun"
        self._stored = msgspec.structs.replace(
            self._stored,
            status=response.status,
            completed_at=response.completed_at,
            output=[_stored_output(item) for item in response.output],
            error=response.error,
            incomplete_details=response.incomplete_details,
            usage=response.usage,
        )
        self._responses.put(self._stored)

    def close(self, response: Response) -> None:
        """Let go. What is not over is `cancelled`: its client has left, or the server stops."""
        try:
            self.end_message(is_whole=False)
            if response.status == "in_progress":
                response.status = "cancelled"
            for item in response.output:
                if item.status == "in_progress":
                    item.status = "incomplete"
            if self._stored is not None and self._stored.status == "in_progress":
                self.put(response)
        except JanError as error:
            logger.warning("the end of %s is not on the disk: %s", response.id, error)
        finally:
            if self._claim is not None:
                self._claim.release(forget=True)

    @property
    def _responses(self) -> ThreadResponses:
        return self._store.responses(self.thread_id)

    @property
    def _messages(self) -> Messages:
        return self._store.messages(self.thread_id)

    def _say(self, asked: Asked, new: Items) -> list[str]:
        """The ids of the lines of what was said, in its thread or in a new one."""
        if asked.thread_id is not None:
            self.thread_id = asked.thread_id
            return [message.id for message in self._messages.append(new)] if new else []
        thread = self._store.create_thread(
            assistants=[self._assistant(asked)], title=_title(new), messages=new
        )
        self.thread_id = thread.id
        return [line.id for line in self._messages.lines()]

    def _assistant(self, asked: Asked) -> dict[str, Any]:
        said = asked.request.instructions
        return {
            "assistant_id": self._assistant_id,
            **({"instructions": said} if said else {}),
            "model": {"id": asked.model, "settings": {}, "parameters": {}},
        }


async def _keep(keeping: Keeping, response: Response, event: ResponseEvent) -> None:
    """What the event tells is on the disk; a text that grows, now and then."""
    match event:
        case OutputTextDelta():
            if keeping.add(event.delta):
                await to_its_end(keeping.save)
        case ItemAdded(item=OutputMessage() as item):
            await to_its_end(partial(keeping.begin_message, item, response))
        case ItemDone(item=OutputMessage() as item):
            is_whole = item.status == "completed"
            await to_its_end(partial(keeping.end_message, is_whole=is_whole))
        case _ if response.status != "in_progress":
            await to_its_end(partial(keeping.put, response))


def _response(asked: Asked) -> Response:
    stored = StoredResponse(
        id=f"{PREFIX}{ULID()}",
        status="in_progress",
        created_at=int(time.time()),
        model=asked.model,
        previous_response_id=asked.request.previous_response_id or None,
        asked=shown(asked.request),
    )
    response = _shown(stored)
    response.store = asked.keeps
    return response


def _shown(stored: StoredResponse) -> Response:
    """Without its output."""
    values = {
        "text": {"format": {"type": "text"}},
        **stored.asked,
        "id": stored.id,
        "created_at": stored.created_at,
        "completed_at": stored.completed_at,
        "status": stored.status,
        "model": stored.model,
        "previous_response_id": stored.previous_response_id,
    }
    try:
        response = msgspec.convert(values, Response)
    except msgspec.ValidationError as error:  # By hand.
        logger.warning("what %s was asked is left out: %s", stored.id, error)
        response = _shown(msgspec.structs.replace(stored, asked={}))
    response.error = stored.error
    response.incomplete_details = stored.incomplete_details
    response.usage = stored.usage
    return response


# --- items on the disk -----------------------------------------------------------------------


def _role(item: InputItem) -> str:
    """A thread knows no developers."""
    return "system" if item.role == "developer" else str(item.role)


def _title(new: Items) -> str:
    """What the user said first, as far as it fits."""
    texts = [" ".join(message["content"].split()) for message in new if message["role"] == "user"]
    title = next(filter(None, texts), "New Thread")
    return title if len(title) <= TITLE_LENGTH else f"{title[: TITLE_LENGTH - 1]}…"


def _stored_input(own: Iterable[Placed], lines: Iterable[str]) -> Items:
    """A message as the id of its line, other items as they came."""
    left = iter(lines)
    return [
        {"type": "message", "message": next(left)}
        if item.type == "message"
        else {"id": _new_id(item), **msgspec.to_builtins(item), "type": item.type}
        for item, _ in own
    ]


def _new_id(item: InputItem) -> str:
    return f"{_PREFIXES.get(item.type, 'item_')}{ULID()}"


_PREFIXES = {"function_call": "fc_", "function_call_output": "fco_", "reasoning": "rs_"}


def _stored_output(item: OutputCall | OutputMessage | OutputReasoning) -> dict[str, Any]:
    if not isinstance(item, OutputMessage):
        value: dict[str, Any] = msgspec.to_builtins(item)
        return value
    id = item.id.removeprefix(MESSAGE)
    return {"type": "message", "message": id, "status": item.status}


def _item(stored: Mapping[str, Any], messages: Mapping[str, Message]) -> InputItem | None:
    """An item as the next request has it; None for a message that is not there any more."""
    if stored.get("type") != "message":
        return _converted(stored)
    message = messages.get(stored.get("message", ""))
    if message is None or message.value.get("role") not in ("user", "assistant", "system"):
        return None
    text = formats.message_text(message.value)
    return InputItem(role=message.value["role"], content=text)


def _converted(stored: Mapping[str, Any]) -> InputItem | None:
    try:
        return msgspec.convert(stored, InputItem)
    except msgspec.ValidationError as error:  # By hand.
        logger.warning("an item of a response is left out: %s", error)
        return None


def _input(stored: Mapping[str, Any], messages: Mapping[str, Message]) -> dict[str, Any] | None:
    """An input item as it is listed."""
    if stored.get("type") != "message":
        return {"status": "completed", **stored}
    item = _item(stored, messages)
    if item is None or item.role is UNSET:
        return None
    kind = "output_text" if item.role == "assistant" else "input_text"
    return {
        "id": f"{MESSAGE}{stored['message']}",
        "type": "message",
        "status": "completed",
        "role": item.role,
        "content": [{"type": kind, "text": item.content}],
    }


def _output(
    stored: Mapping[str, Any], messages: Mapping[str, Message]
) -> OutputCall | OutputMessage | OutputReasoning | None:
    """An output item as it is now; None for a message that is not there any more."""
    if stored.get("type") != "message":
        try:
            return msgspec.convert(stored, OutputCall | OutputReasoning)
        except msgspec.ValidationError as error:  # By hand.
            logger.warning("an item of a response is left out: %s", error)
            return None
    message = messages.get(stored.get("message", ""))
    if message is None:
        return None
    text = OutputText(text=formats.message_text(message.value))
    status = stored.get("status", "completed")
    return OutputMessage(id=f"{MESSAGE}{message.id}", status=status, content=[text])
