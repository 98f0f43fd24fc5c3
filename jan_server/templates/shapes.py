"""The shapes in which a conversation can be said to a template that refuses it, or drops a part.

Mistral's and Gemma's templates know no system, Llama 2's and many others want user and assistant
in turn, some take a system only at the beginning, and those of models that see want lists of parts.
They say so by refusing, or silently leave out what they do not know. So a conversation is said as
it is; then with neighbours of one role made one turn (two messages in a row of a user whose first
was never answered); then with a later system's words said by the user, at their place; then with
all the system's. What is lost is only who says it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import dropwhile, takewhile
from typing import Any

Message = Mapping[str, Any]

_JOINED_ROLES = ("system", "user", "assistant")


def without_developers(messages: Sequence[Message]) -> list[Message]:
    """`developer` is OpenAI's newer name for the system, which few templates know."""
    return [
        {**message, "role": "system"} if message["role"] == "developer" else message
        for message in messages
    ]


def shapes(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """The messages as they are, then in each further shape that differs from those before."""
    seen: list[list[Message]] = []
    for as_parts in (list, typed):
        for shaped in (list, joined, without_later_system, without_system):
            shape = as_parts(shaped(messages))
            if shape not in seen:
                seen.append(shape)
                yield shape


def joined(messages: Sequence[Message]) -> list[Message]:
    """Neighbours of one role as one turn, a blank line between; calls of tools stay apart."""
    turns: list[Message] = []
    for message in messages:
        if turns and _belong_together(turns[-1], message):
            content = f"{turns[-1]['content']}\n\n{message['content']}"
            turns[-1] = {**turns[-1], "content": content}
        else:
            turns.append(message)
    return turns


def _belong_together(first: Message, second: Message) -> bool:
    return (
        first["role"] == second["role"]
        and first["role"] in _JOINED_ROLES
        and "tool_calls" not in first
        and "tool_calls" not in second
    )


def without_later_system(messages: Sequence[Message]) -> list[Message]:
    """A system message at the beginning stays; what it says later is said by the user."""
    beginning = [*takewhile(_is_system, messages)]
    rest = dropwhile(_is_system, messages)
    return joined([*beginning, *map(_by_the_user, rest)])


def without_system(messages: Sequence[Message]) -> list[Message]:
    """All that the system says is said by the user, before what the user says next."""
    return joined([_by_the_user(message) for message in messages])


def typed(messages: Sequence[Message]) -> list[Message]:
    """Contents as lists of one part, as OpenAI sends texts beside images; none stays none."""
    return [
        message
        if message["content"] is None
        else {**message, "content": [{"type": "text", "text": message["content"]}]}
        for message in messages
    ]


# How a list of parts looks that a template wrote out whole, as Python or as JSON.
_AS_DATA = re.compile("""['"]type['"]: ['"]text['"]""")


def shows_all(messages: Sequence[Message], shape: Sequence[Message], prompt: str) -> bool:
    """Whether the prompt of this shape has the words of every system message and the last user's.

    A template may trim them. (What else it leaves out, such as old thoughts, is its own decision.)
    """
    if shape and isinstance(shape[0]["content"], list) and _AS_DATA.search(prompt):
        return False
    said = [message["content"] for message in messages if _is_system(message)]
    said += [message["content"] for message in messages if message["role"] == "user"][-1:]
    return all(text.strip() in prompt for text in said)


def _is_system(message: Message) -> bool:
    return bool(message["role"] == "system")


def _by_the_user(message: Message) -> Message:
    return {**message, "role": "user"} if _is_system(message) else message
