"""A conversation -> the prompt: system message, tools, template; shortened where that was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jan_server import templates
from jan_server.completions import truncation
from jan_server.completions.opening import Opened
from jan_server.completions.tools.plan import Plan
from jan_server.completions.truncation import Turns
from jan_server.completions.turns import Turn


def with_system_message(turns: Sequence[Turn], said: str | None) -> list[Turn]:
    """The manifest's system message goes first where the conversation has none of its own."""
    if not said or any(turn["role"] == "system" for turn in turns):
        return list(turns)
    return [{"role": "system", "content": said}, *turns]


class Prompts:
    """Makes the prompts of one request. `plan` puts the tools into the turns."""

    def __init__(
        self, opened: Opened, plan: Callable[[Turns], Plan], variables: Mapping[str, Any]
    ) -> None:
        self._opened = opened
        self._plan = plan
        self._variables = variables

    async def render(self, turns: Turns) -> str:
        """Raises as templates.render."""
        info, settings = self._opened.lease.info, self._opened.model.manifest.settings
        planned = self._plan(turns)
        return await asyncio.to_thread(
            templates.render,
            planned.turns,
            chat_template=info.chat_template,
            prompt_template=settings.prompt_template,
            bos_token=info.bos_token,
            eos_token=info.eos_token,
            chat_template_kwargs={**self._variables, **planned.template_variables} or None,
        )

    async def count(self, turns: Turns) -> int:
        """How many tokens the prompt has."""
        return len(await self._opened.lease.tokenize(await self.render(turns)))

    async def shortened(
        self, turns: Turns, *, max_tokens: int | None, most: int | None = None
    ) -> list[Turn]:
        """The turns without the oldest, so that the prompt leaves room for the answer.

        `most`: it is to have no more tokens than these either.
        """
        context_length = self._opened.lease.info.context_length
        room = context_length - truncation.room_for_answer(context_length, max_tokens)
        bound = room if most is None else min(room, most)

        async def fits(some: Turns) -> bool:
            return await self.count(some) <= bound

        # Before the tools are put in: that can turn a tool's result into a user's turn.
        return await truncation.truncated(turns, fits)
