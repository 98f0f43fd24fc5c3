"""An independent client is the judge: the `openai` package puts streamed calls together."""

from __future__ import annotations

import openai
import pytest

from tests.completions.tools.transcripts import NOW, PARIS, hermes
from tests.running import CHECKED, served

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
            "strict": True,
        },
    },
    {"type": "function", "function": {"name": "get_time", "strict": True}},
]


@pytest.fixture
def client(settings, echo):
    with served(settings) as base, openai.OpenAI(base_url=f"{base}/v1", **CHECKED) as client:
        yield client


def test_streamed_calls_are_put_together(client, echo):
    """The echo engine says what it was told of tools, and then the user's words: two calls."""
    said = [{"role": "user", "content": f"{hermes(*PARIS)}\n{hermes(*NOW)}"}]
    with client.chat.completions.stream(model=echo, messages=said, tools=TOOLS) as stream:
        kinds = {event.type for event in stream}
        [choice] = stream.get_final_completion().choices
    assert {"content.delta", "tool_calls.function.arguments.done"} <= kinds
    assert choice.finish_reason == "tool_calls"
    first, second = choice.message.tool_calls
    assert [(call.function.name, call.function.arguments) for call in (first, second)] == [
        PARIS,
        NOW,
    ]
    assert first.function.parsed_arguments == {"city": "Paris"}
    assert first.id != second.id
