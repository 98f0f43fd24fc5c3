"""What models of each form write, and what it means."""

from __future__ import annotations

from typing import NamedTuple

from jan_server.completions.tools.formats import (
    DEEPSEEK,
    DEEPSEEK_FENCED,
    FUNCTIONARY,
    GRANITE,
    HERMES,
    LLAMA,
    MISTRAL,
    MISTRAL_LIST,
    PHI,
    ToolFormat,
)
from jan_server.types.tool import FunctionDefinition

WEATHER = FunctionDefinition(
    name="get_weather",
    description="How the weather is.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
    strict=True,
)
TIME = FunctionDefinition(name="get_time")
TOOLS = (WEATHER, TIME)
NAMES = frozenset(tool.name for tool in TOOLS)

PARIS = ("get_weather", '{"city": "Paris"}')
ROME = ("get_weather", '{"city": "Rome \\"{}[]\\" é", "days": 2}')
NOW = ("get_time", "{}")

Call = tuple[str, str]


class Transcript(NamedTuple):
    """An answer as the model writes it, and the content and calls in it."""

    form: ToolFormat
    text: str
    content: str
    calls: list[Call]


def hermes(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


def listed(*calls: Call) -> str:
    objects = (f'{{"name": "{name}", "arguments": {arguments}}}' for name, arguments in calls)
    return f"[{', '.join(objects)}]"


def deepseek(name: str, arguments: str) -> str:
    return f"<｜tool▁call▁begin｜>{name}<｜tool▁sep｜>{arguments}<｜tool▁call▁end｜>"


def fenced(name: str, arguments: str) -> str:
    return (
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```"
        "<｜tool▁call▁end｜>"
    )


WELL_FORMED = [
    Transcript(HERMES, hermes(*PARIS), "", [PARIS]),
    Transcript(HERMES, f"{hermes(*PARIS)}\n{hermes(*ROME)}", "", [PARIS, ROME]),
    Transcript(MISTRAL, "[TOOL_CALLS]get_time[ARGS]{}", "", [NOW]),
    Transcript(
        MISTRAL,
        f"[TOOL_CALLS]get_weather[ARGS]{PARIS[1]}[TOOL_CALLS]get_weather[ARGS]{ROME[1]}",
        "",
        [PARIS, ROME],
    ),
    Transcript(MISTRAL_LIST, f"[TOOL_CALLS] {listed(PARIS)}", "", [PARIS]),
    Transcript(MISTRAL_LIST, f"[TOOL_CALLS] {listed(ROME, NOW, PARIS)}", "", [ROME, NOW, PARIS]),
    Transcript(
        DEEPSEEK,
        f"<｜tool▁calls▁begin｜>{deepseek(*PARIS)}{deepseek(*NOW)}<｜tool▁calls▁end｜>",
        "",
        [PARIS, NOW],
    ),
    Transcript(
        DEEPSEEK_FENCED,
        f"<｜tool▁calls▁begin｜>{fenced(*PARIS)}\n{fenced(*NOW)}<｜tool▁calls▁end｜>",
        "",
        [PARIS, NOW],
    ),
    Transcript(
        PHI, f'<|tool_call|>{{"name": "get_time", "arguments": {NOW[1]}}}<|/tool_call|>', "", [NOW]
    ),
    Transcript(GRANITE, f"<|tool_call|>{listed(PARIS, NOW)}", "", [PARIS, NOW]),
    Transcript(FUNCTIONARY, f"<function=get_weather>{ROME[1]}</function>", "", [ROME]),
    Transcript(LLAMA, f'{{"name": "get_weather", "parameters": {ROME[1]}}}', "", [ROME]),
]
"""As the form's own grammar has them."""

WITH_TEXT = [
    Transcript(HERMES, f"Let me see.\n{hermes(*PARIS)}", "Let me see.", [PARIS]),
    Transcript(
        HERMES, f"One: {hermes(*NOW)}\n\nand two: {hermes(*NOW)} ", "One:and two:", [NOW, NOW]
    ),
    Transcript(HERMES, "No <tool_ is needed.\n", "No <tool_ is needed.\n", []),
    Transcript(MISTRAL_LIST, f" [x] [TOOL_CALLS]{listed(NOW)} so ", " [x]so", [NOW]),
    Transcript(
        DEEPSEEK,
        f"So:<｜tool▁calls▁begin｜>{deepseek(*NOW)}<｜tool▁calls▁end｜>Done",
        "So:Done",
        [NOW],
    ),
    Transcript(LLAMA, "It is {hot}.\n", "It is {hot}.\n", []),
]

ODD = [
    # Other white space.
    Transcript(
        HERMES, f'<tool_call>{{"name":"get_time","arguments":{NOW[1]}}}</tool_call>', "", [NOW]
    ),
    Transcript(
        MISTRAL_LIST,
        f'[TOOL_CALLS][\n {{\n "name" : "get_weather" ,\n "arguments" :\n {ROME[1]}\n }}\n]',
        "",
        [ROME],
    ),
    # Other keys, in another order.
    Transcript(
        MISTRAL_LIST,
        f'[TOOL_CALLS][{{"name": "get_time", "arguments": {NOW[1]}, "id": "abcdef123"}}]',
        "",
        [NOW],
    ),
    Transcript(
        HERMES,
        '<tool_call>\n{"arguments": {"city":"Paris"}, "name": "get_weather"}\n</tool_call>',
        "",
        [("get_weather", '{"city":"Paris"}')],
    ),
    Transcript(
        HERMES,
        '<tool_call>\n{"name": "get_time", "arguments": "{}"}\n</tool_call>',
        "",
        [NOW],
    ),
    # Mistral's id, Llama's mark.
    Transcript(MISTRAL, "[TOOL_CALLS]get_time[CALL_ID]abcdef123[ARGS]{}", "", [NOW]),
    Transcript(LLAMA, '\n<|python_tag|>{"name": "get_time", "parameters": {}}', "", [NOW]),
    # A sequel that is no call.
    Transcript(LLAMA, '{"name": "get_time", "parameters": {}}; bye', "; bye", [NOW]),
]

_UNKNOWN = hermes("get_lost", "{}")

NO_CALLS = [
    Transcript(HERMES, _UNKNOWN, _UNKNOWN, []),
    Transcript(HERMES, f"{_UNKNOWN}\n{hermes(*NOW)}", _UNKNOWN, [NOW]),
    Transcript(HERMES, "<tool_call> is a tag", "<tool_call> is a tag", []),
    Transcript(HERMES, "<tool_call>\n{}\n</tool_call>", "<tool_call>\n{}\n</tool_call>", []),
    Transcript(HERMES, '<tool_call>{"name"', '<tool_call>{"name"', []),
    Transcript(HERMES, '<tool_call>{"arguments": {', '<tool_call>{"arguments": {', []),
    Transcript(HERMES, '<tool_call>{"na\x00me": 1}', '<tool_call>{"na\x00me": 1}', []),
    Transcript(
        HERMES,
        '<tool_call>{"arguments": "{", "name": "get_time"}',
        '<tool_call>{"arguments": "{", "name": "get_time"}',
        [],
    ),
    Transcript(
        HERMES,
        '<tool_call>{"arguments": 1, "name": "get_time"}',
        '<tool_call>{"arguments": 1, "name": "get_time"}',
        [],
    ),
    Transcript(MISTRAL, "[TOOL_CALLS]get_time{}", "[TOOL_CALLS]get_time{}", []),
    Transcript(LLAMA, '\n{"name": "Ada"}', '\n{"name": "Ada"}', []),
    Transcript(
        LLAMA,
        '{"name": "get_lost", "parameters": {}}',
        '{"name": "get_lost", "parameters": {}}',
        [],
    ),
    # The second of two is wrong.
    Transcript(
        GRANITE,
        '<|tool_call|>[{"name": "get_time", "arguments": {}}, {"x": 1}]',
        '}, {"x": 1}]',
        [NOW],
    ),
]

TRANSCRIPTS = [*WELL_FORMED, *WITH_TEXT, *ODD, *NO_CALLS]
