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

An `item_reference` stands for an item of a response that is kept, in whichever thread: clients that
tell the whole conversation at each turn name what was answered so.

Reading order: stored (what a file says of a response), asked, keeping.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any

import msgspec

from jan_server import ids
from jan_server.completions import Chats
from jan_server.dialects import chat
from jan_server.dialects.responses.answer import Answer, error_of
from jan_server.dialects.responses.request import (
    Placed,
    chat_request,
    is_reference,
    own_items,
)
from jan_server.engines.base import Queued
from jan_server.errors import FileUnreadable, InvalidRequest, JanError, NotFound, ReadOnly
from jan_server.responses.asked import Asked, begun
from jan_server.responses.keeping import Keeping, keep
from jan_server.responses.stored import (
    Items,
    input_of,
    is_called,
    item_of,
    output_of,
    response_of,
)
from jan_server.store import Message, Store, ThreadResponses
from jan_server.store.responses import thread_of
from jan_server.types.response import (
    CreateResponse,
    InputItem,
    Response,
    ResponseError,
    ResponseEvent,
    StoredResponse,
)
from jan_server.workers import to_its_end

Condition = Callable[[Response], None]

STOPPED = ResponseError(code="server_error", message="The server was stopped while it answered.")


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

        Raises NotFound (response, item, model), ReadOnly, and what is wrong with the request.
        """
        keeps = request.store is not False
        if keeps and self._store.is_read_only:
            raise ReadOnly("send `store: false`, and the answer is given and not kept.")
        before, thread_id = await asyncio.to_thread(self._before, request.previous_response_id)
        own = own_items(request)
        if any(is_reference(item) for item, _ in own):
            own = await asyncio.to_thread(self._resolved, own)
        translated = chat_request(request, sent, [*before, *own])
        with chat.naming(translated.names):
            model = await self._chats.check(translated.request, translated.to_send)
        return Asked(request, translated, own, thread_id, model, keeps)

    async def stream(self, asked: Asked, *, client: str) -> AsyncGenerator[ResponseEvent | Queued]:
        """The response as it grows. Raises as Chats.stream until it has begun; a failure after
        that is its last event. Closing it stops the work."""
        answer = Answer(begun(asked))
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
        answer = Answer(begun(asked))
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
                            await keep(keeping, answer.response, event)
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

    async def delete(self, id: str, *, condition: Condition) -> None:
        """It is not found any more; its messages stay. Raises as `get`, and ReadOnly.

        `condition` is called with it as it is then; what it raises leaves it there.
        """
        self._store.check_writable()
        await asyncio.to_thread(self._delete, id, condition)

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
            if (item := item_of(stored, messages)) is not None
        ]
        return [Placed(item, "$.previous_response_id") for item in items], responses.thread_id

    def _resolved(self, own: Iterable[Placed]) -> list[Placed]:
        """With the items that references stand for in their place."""
        resolved = []
        for item, place in own:
            referred = self._referred(item, place) if is_reference(item) else item
            if referred is not None:
                resolved.append(Placed(referred, place))
        return resolved

    def _referred(self, reference: InputItem, place: str) -> InputItem | None:
        """None for a message that is not there any more. Raises InvalidRequest, NotFound (item)."""
        if not (id := reference.id):
            raise InvalidRequest(f"{place}.id: it is missing.", param=f"{place}.id")
        for thread_id in self._threads(thread_of(id)):
            for stored in self._kept_items(thread_id):
                if is_called(id, stored):
                    return item_of(stored, self._messages(thread_id))
        error = NotFound("item", id, hint="Send it whole, if its response was not kept.")
        error.param = f"{place}.id"
        raise error

    def _kept_items(self, thread_id: str) -> Items:
        try:
            responses = self._store.responses(thread_id).all().values()
        except (NotFound, FileUnreadable):
            return []
        kept = [response for response in responses if not response.deleted]
        return [item for response in kept for item in (*response.output, *response.input)]

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
        response = response_of(stored)
        output = [output_of(item, messages, responses.thread_id) for item in stored.output]
        response.output = [item for item in output if item is not None]
        return response

    def _items(self, id: str) -> Items:
        responses, stored = self._find(id)
        messages = self._messages(responses.thread_id)
        items = [input_of(item, messages, responses.thread_id) for item in stored.input]
        return [item for item in items if item is not None]

    def _delete(self, id: str, condition: Condition) -> None:
        responses, _ = self._find(id)
        with self._store.threads.hold(responses.thread_id):
            condition(self._get(id))
            responses.put(msgspec.structs.replace(responses.get(id), deleted=True))
