"""Templates that are only texts around each turn: Jan's `prompt_template`, and ChatML.

Jan splits `<|system|>\n{system_message}<|user|>\n{prompt}<|assistant|>` into what stands before the
system message, before the user's words, and before the answer. A conversation is then: the system
message once, each user turn after its text, each assistant turn after its own, and at the end the
assistant's text, for the model to go on from. Nothing is put after a turn, as in Jan's engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from jan_server.errors import InvalidRequest, ModelCannotRun
from jan_server.templates.shapes import Message, without_system

SYSTEM_MARK = "{system_message}"
PROMPT_MARK = "{prompt}"


class Form(Protocol):
    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str: ...


class SplitTemplate(msgspec.Struct, frozen=True):
    """`system` is None where the template has no place for a system message: the user says it."""

    system: str | None
    user: str
    assistant: str

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        if self.system is None:
            messages = without_system(messages)
        texts = {"user": self.user, "assistant": self.assistant}
        said, turns = _system_apart(messages)
        prompt = f"{self.system or ''}{said}" if said else ""
        for index, turn in enumerate(turns):
            if turn["role"] not in texts:
                raise _unknown_role(turn["role"], index + len(messages) - len(turns))
            prompt += texts[turn["role"]] + turn["content"]
        return prompt + (self.assistant if add_generation_prompt else "")


class ChatML(msgspec.Struct, frozen=True):
    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        turns = (f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in messages)
        return "".join(turns) + ("<|im_start|>assistant\n" if add_generation_prompt else "")


CHATML = ChatML()


def split_prompt_template(template: str) -> SplitTemplate:
    """Jan's split, at the first occurrence of each mark. Raises ModelCannotRun."""
    before, mark, assistant = template.partition(PROMPT_MARK)
    if not mark or SYSTEM_MARK in assistant:
        raise ModelCannotRun(
            f"Cannot split prompt template {template!r}: it must hold {PROMPT_MARK}, and "
            f"{SYSTEM_MARK} only before that. Mend settings.prompt_template in model.json."
        )
    system, mark, user = before.partition(SYSTEM_MARK)
    if not mark:
        return SplitTemplate(system=None, user=before, assistant=assistant)
    return SplitTemplate(system=system, user=user, assistant=assistant)


def _system_apart(messages: Sequence[Message]) -> tuple[str, list[Message]]:
    said = [turn["content"] for turn in messages if turn["role"] == "system"]
    turns = [turn for turn in messages if turn["role"] != "system"]
    return "\n\n".join(said), turns


def _unknown_role(role: str, index: int) -> InvalidRequest:
    path = f"$.messages[{index}].role"
    return InvalidRequest(
        f"{path}: this model's prompt_template has no place for the role {role!r}.", param=path
    )
