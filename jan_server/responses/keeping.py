"""One response that is written while it is answered: to its thread's messages, and beside them.

First the lines of what was asked, since the response names them; then that it is being answered.
Its text is a reply of the store, which becomes a line before the response is said to be over.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import msgspec
from ulid import ULID

from jan_server.dialects.responses.request import item_text, shown
from jan_server.errors import JanError
from jan_server.responses.asked import Asked
from jan_server.responses.stored import Items, line_of, stored_input, stored_output
from jan_server.store import Messages, Store, ThreadResponses
from jan_server.store.locks import Claim
from jan_server.store.replies import Reply
from jan_server.store.responses import PREFIX
from jan_server.types.response import (
    InputItem,
    ItemAdded,
    ItemDone,
    OutputMessage,
    OutputTextDelta,
    Response,
    ResponseEvent,
    StoredResponse,
)
from jan_server.workers import to_its_end

logger = logging.getLogger(__name__)

TITLE_LENGTH = 60


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
            input=stored_input(asked.own, lines),
            asked=shown(asked.request),
        )
        self._responses.put(self._stored)

    def begin_message(self, item: OutputMessage, response: Response) -> None:
        given = {
            "role": "assistant",
            "id": line_of(item),
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
            output=[stored_output(item) for item in response.output],
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


async def keep(keeping: Keeping, response: Response, event: ResponseEvent) -> None:
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


def _role(item: InputItem) -> str:
    """A thread knows no developers."""
    return "system" if item.role == "developer" else str(item.role)


def _title(new: Items) -> str:
    """What the user said first, as far as it fits."""
    texts = [" ".join(message["content"].split()) for message in new if message["role"] == "user"]
    title = next(filter(None, texts), "New Thread")
    return title if len(title) <= TITLE_LENGTH else f"{title[: TITLE_LENGTH - 1]}…"
