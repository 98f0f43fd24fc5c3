"""Conversations of every shape that clients send."""

from __future__ import annotations

from typing import Any

import msgspec

Message = dict[str, Any]


class Conversation(msgspec.Struct, frozen=True):
    messages: list[Message]
    variables: dict[str, Any] = {}


def said(role: str, content: str, **more: Any) -> Message:
    return {"role": role, "content": content, **more}


SYSTEM = said("system", "Be brief.")
HI = said("user", "Hi")
HELLO = said("assistant", "Hello!")
WHO = said("user", "Who?")

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a place",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CALLED = said(
    "assistant",
    "",
    tool_calls=[
        {
            "id": "abcdef123",
            "type": "function",
            "function": {"name": "weather", "arguments": {"city": "Köln"}},
        }
    ],
)
ANSWERED = said("tool", '{"degrees": 7}', tool_call_id="abcdef123", name="weather")
TOOLS = {"tools": [WEATHER]}
DAY = {"date_string": "29 Feb 2024"}

CONVERSATIONS = {
    "a user": Conversation([HI], DAY),
    "a system and a user": Conversation([SYSTEM, HI], DAY),
    "several turns": Conversation([SYSTEM, HI, HELLO, WHO], DAY),
    "no system, several turns": Conversation([HI, HELLO, WHO], DAY),
    "a system in the middle": Conversation([HI, HELLO, SYSTEM, WHO], DAY),
    "a system at the end": Conversation([HI, SYSTEM], DAY),
    "a system alone": Conversation([SYSTEM], DAY),
    "two systems": Conversation([SYSTEM, said("system", "Rhyme."), HI], DAY),
    "a developer": Conversation([said("developer", "Be brief."), HI], DAY),
    "a user twice": Conversation([SYSTEM, HI, WHO], DAY),
    "an assistant twice": Conversation([HI, HELLO, said("assistant", "Well?"), WHO], DAY),
    "an assistant first": Conversation([HELLO, HI], DAY),
    "an assistant last": Conversation([HI, said("assistant", "Hel")], DAY),
    "a name": Conversation([said("user", "Hi", name="ada")], DAY),
    "nothing said": Conversation([said("user", "")], DAY),
    "spaces around": Conversation([said("user", "  Hi \n")], DAY),
    "many scripts": Conversation([said("user", 'é 😀 <b>"q"</b> \\n 日本 {{ x }}')], DAY),
    "tools": Conversation([SYSTEM, HI], TOOLS | DAY),
    "a call and its answer": Conversation([SYSTEM, HI, CALLED, ANSWERED], TOOLS | DAY),
    "thoughts": Conversation([HI, said("assistant", "<think>\nhm\n</think>\n\nHello!"), WHO], DAY),
    "no thinking": Conversation([HI], {"enable_thinking": False} | DAY),
}
