"""A conversation -> the prompt: system message, tools, template; shortened where that was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from jan_server import templates
from jan_server.completions import truncation
from jan_server.completions.opening import Opened
from jan_server.completions.truncation import Turn, Turns


def with_system_message(turns: Sequence[Turn], said: str | None) -> list[Turn]:
    """The manifest's system message goes first where the conversation has none of its own."""
    if not said or any(turn["role"] == "system" for turn in turns):
        return list(turns)
    return [{"role": "system", "content": said}, *turns]


class Prompts:
    """Renders the turns of one request with its model's template and these variables."""

    def __init__(self, opened: Opened, variables: Mapping[str, Any]) -> None:
        self._opened = opened
        self._variables = variables

    async def render(self, turns: Turns) -> str:
        """Raises as templates.render."""
        info, settings = self._opened.lease.info, self._opened.model.manifest.settings
        return await asyncio.to_thread(
            templates.render,
            turns,
            chat_template=info.chat_template,
            prompt_template=settings.prompt_template,
            bos_token=info.bos_token,
            eos_token=info.eos_token,
            chat_template_kwargs=self._variables or None,
        )

    async def count(self, turns: Turns) -> int:
        """How many tokens the prompt has."""
        return len(await self._opened.lease.tokenize(await self.render(turns)))

    async def shortened(
        self, turns: Turns, *, truncate: bool, max_tokens: int | None
    ) -> tuple[str, int | UnsetType]:
        """The prompt, and where `truncate` how many turns were left out to make it fit."""
        if not truncate:
            return await self.render(turns), UNSET
        context_length = self._opened.lease.info.context_length
        most = context_length - truncation.room_for_answer(context_length, max_tokens)

        async def fits(some: Turns) -> bool:
            return await self.count(some) <= most

        kept = await truncation.truncated(turns, fits)
        return await self.render(kept), len(turns) - len(kept)
