"""A conversation as the chat templates see it: turns of a role and a text."""

from __future__ import annotations

from msgspec import UNSET

from jan_server.errors import InvalidRequest, ParameterNotSupported
from jan_server.types.chat import ChatMessage
from jan_server.types.message import SentPart, part_text, wrong_part


def read_turn(message: ChatMessage, index: int) -> dict[str, str]:
    """What a chat template sees of a message. OpenAI's `developer` is the system of old."""
    path = f"$.messages[{index}]"
    for name in ("tool_calls", "function_call"):
        if getattr(message, name):
            raise ParameterNotSupported(
                f"This server cannot honour {path}.{name} here yet: leave it out.",
                param=f"{path}.{name}",
            )
    if message.content is UNSET or (message.content is None and message.role != "assistant"):
        raise InvalidRequest(f"{path}.content: it is missing.", param=f"{path}.content")
    role = "system" if message.role == "developer" else message.role
    turn = {"role": role, "content": _text(message.content, f"{path}.content")}
    return turn if message.name is UNSET else {**turn, "name": message.name}


def with_system_message(turns: list[dict[str, str]], said: str | None) -> list[dict[str, str]]:
    """The manifest's system message goes first where the conversation has none of its own."""
    if not said or any(turn["role"] == "system" for turn in turns):
        return turns
    return [{"role": "system", "content": said}, *turns]


def _text(content: str | list[SentPart] | None, path: str) -> str:
    if not isinstance(content, list):
        return content or ""
    if (wrong := wrong_part(content)) is not None:
        raise ParameterNotSupported(
            f"This model reads text only, and {path}{wrong} is not a text part.",
            param=f"{path}{wrong}",
        )
    return "".join(part_text(part) for part in content)
