"""A chat, in memory or in a thread: what is asked next, what comes back. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from jan_server.errors import InvalidRequest


class Piece(NamedTuple):
    """What a chunk adds to an answer."""

    content: str = ""
    reasoning: str = ""


class Answer(msgspec.Struct, kw_only=True):
    """An answer as far as it has come. What nobody said is None."""

    model: str
    content: str = ""
    reasoning_content: str | None = None
    finish_reason: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None

    def take(self, chunk: Mapping[str, Any]) -> Piece:
        """Of OpenAI's stream, of whatever server: what is missing or of another type is nothing."""
        usage = _mapping(chunk.get("usage"))
        self.prompt_tokens = usage.get("prompt_tokens", self.prompt_tokens)
        self.completion_tokens = usage.get("completion_tokens", self.completion_tokens)
        choices = chunk.get("choices")
        choice = _mapping(choices[0]) if isinstance(choices, list) and choices else {}
        delta = _mapping(choice.get("delta"))
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        piece = Piece(_text(delta, "content"), _text(delta, "reasoning_content"))
        self.content += piece.content
        if piece.reasoning:
            self.reasoning_content = (self.reasoning_content or "") + piece.reasoning
        return piece


class Conversation(Protocol):
    """Each asks with the model and its parameters, and begins with what `system` says."""

    model: str

    def request(self, question: str) -> dict[str, Any]:
        """The body for the next answer."""
        ...

    def keep(self, question: str, answer: Answer) -> None:
        """What was said counts for what comes."""
        ...

    def clear(self) -> None:
        """What was said counts no more."""
        ...


class ConversationInMemory:
    """Asks by chat completions; forgotten at its end."""

    def __init__(self, model: str, *, system: str | None, parameters: Mapping[str, Any]) -> None:
        self.model = model
        self._parameters = parameters
        self._system = [] if system is None else [_turn("system", system)]
        self._turns: list[dict[str, str]] = []

    def __repr__(self) -> str:
        return f"<ConversationInMemory with {self.model}, {len(self._turns)} turns>"

    def request(self, question: str) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [*self._system, *self._turns, _turn("user", question)],
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._parameters,
        }

    def keep(self, question: str, answer: Answer) -> None:
        """A question to which nothing was said does not count."""
        if answer.content:
            self._turns += [_turn("user", question), _turn("assistant", answer.content)]

    def clear(self) -> None:
        self._turns.clear()


class ConversationInThread:
    """Asks by runs, which keep what is said in the thread: what it holds is not known here."""

    def __init__(self, model: str, *, system: str | None, parameters: Mapping[str, Any]) -> None:
        self.model = model
        self._said = {**parameters, **({} if system is None else {"instructions": system})}

    def request(self, question: str) -> dict[str, Any]:
        return {
            "model": self.model,
            "additional_messages": [_turn("user", question)],
            "tools": [],  # Nobody is here to answer the calls of the thread's assistant.
            **self._said,
        }

    def keep(self, question: str, answer: Answer) -> None:
        pass

    def clear(self) -> None:
        raise InvalidRequest("What is in a thread stays there: /bye, and begin in another one.")


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(delta: Mapping[str, Any], name: str) -> str:
    value = delta.get(name)
    return value if isinstance(value, str) else ""
