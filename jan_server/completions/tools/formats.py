"""How models write calls of tools: one row for each form, known by what stands in the template.

A call is text: `head`, the tool's name, `middle`, the arguments as a JSON object, `tail`. All calls
of an answer stand between `opens` and `closes`, with `joint` between two. A model is recognised by
its template, never by its name: `marks` are the texts that only templates of this form hold. The
first row that fits counts. A template without tools, or with a form that is not here (Qwen3-Coder's
and GLM's XML, LFM2's Python, gpt-oss's channels), gets OURS: `words.py` tells it to the model.

To add a form, add a row, and a transcript to its test.
"""

from __future__ import annotations

import re

import msgspec


class ToolFormat(msgspec.Struct, frozen=True, kw_only=True):
    """`trigger` is the text after which an answer can only be a call; it begins `opens + head`.

    It is empty where calls have no mark of their own: then an answer that begins with `head` is
    one. `before` may stand before the calls, `aside` and an id between name and `middle`; both say
    nothing. `joint` is None where an answer is one call at most. Any of `controls` may be a control
    token of the vocabulary.

    The rest is what the template wants of the turns before: whether it takes `arguments` as text,
    ids of nine letters and digits (Mistral's templates refuse others), and null for no content.
    """

    name: str
    marks: tuple[str, ...]
    head: str
    middle: str
    tail: str = ""
    opens: str = ""
    joint: str | None = ""
    closes: str = ""
    trigger: str = ""
    before: str = ""
    aside: str = ""
    controls: tuple[str, ...] = ()
    arguments_are_text: bool = False
    short_ids: bool = False
    silence: str | None = ""

    @property
    def is_json(self) -> bool:
        """Whether a call is a JSON object as a whole."""
        return "{" in self.head

    @property
    def keys(self) -> tuple[str, str]:
        """The names under which a JSON object has the tool's name and its arguments."""
        first, second = _QUOTED.findall(self.head + self.middle)
        return first, second


_QUOTED = re.compile(r'"(\w+)"\s*:')

HERMES = ToolFormat(
    name="hermes",
    marks=("<tool_call>", '"arguments":', "</tool_call>"),
    head='<tool_call>\n{"name": "',
    middle='", "arguments": ',
    tail="}\n</tool_call>",
    joint="\n",
    trigger="<tool_call>",
    controls=("<tool_call>", "</tool_call>"),
)
OURS = msgspec.structs.replace(HERMES, name="ours", marks=())

MISTRAL = ToolFormat(  # Ministral 3, Devstral; Small 3.2 puts [CALL_ID] and an id before [ARGS]
    name="mistral",
    marks=("[TOOL_CALLS]", "[ARGS]"),
    head="[TOOL_CALLS]",
    aside="[CALL_ID]",
    middle="[ARGS]",
    trigger="[TOOL_CALLS]",
    controls=("[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"),
    short_ids=True,
)
MISTRAL_LIST = ToolFormat(  # Mistral 7B v0.3, Nemo, Small 3.1
    name="mistral list",
    marks=("[TOOL_CALLS]", "[AVAILABLE_TOOLS]"),
    opens="[TOOL_CALLS] [",
    head='{"name": "',
    middle='", "arguments": ',
    tail="}",
    joint=", ",
    closes="]",
    trigger="[TOOL_CALLS]",
    controls=("[TOOL_CALLS]",),
    short_ids=True,
)
DEEPSEEK = ToolFormat(  # V3.1
    name="deepseek",
    marks=("<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>"),
    opens="<｜tool▁calls▁begin｜>",
    head="<｜tool▁call▁begin｜>",
    middle="<｜tool▁sep｜>",
    tail="<｜tool▁call▁end｜>",
    closes="<｜tool▁calls▁end｜>",
    trigger="<｜tool▁calls▁begin｜>",
    controls=(
        "<｜tool▁calls▁begin｜>",
        "<｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜>",
        "<｜tool▁calls▁end｜>",
    ),
    arguments_are_text=True,
    silence=None,
)
DEEPSEEK_FENCED = msgspec.structs.replace(  # V3, R1 and what was distilled from it
    DEEPSEEK,
    name="deepseek fenced",
    marks=("<｜tool▁calls▁begin｜>", "<｜tool▁sep｜>", "```json"),
    head="<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
    middle="\n```json\n",
    tail="\n```<｜tool▁call▁end｜>",
    joint="\n",
)
PHI = ToolFormat(  # Phi-4-mini
    name="phi",
    marks=("<|tool_call|>", "<|/tool_call|>"),
    head='<|tool_call|>{"name": "',
    middle='", "arguments": ',
    tail="}<|/tool_call|>",
    trigger="<|tool_call|>",
    controls=("<|tool_call|>", "<|/tool_call|>"),
)
GRANITE = ToolFormat(  # Granite 3.0 to 3.3; 4.0 is Hermes
    name="granite",
    marks=("<|tool_call|>", "<|start_of_role|>"),
    opens="<|tool_call|>[",
    head='{"name": "',
    middle='", "arguments": ',
    tail="}",
    joint=", ",
    closes="]",
    trigger="<|tool_call|>",
    controls=("<|tool_call|>",),
)
FUNCTIONARY = ToolFormat(  # Functionary v3.1, and what Llama 3.1 calls user-defined tools
    name="functionary",
    marks=("start_tag", "<function", "</function>"),
    head="<function=",
    middle=">",
    tail="</function>",
    trigger="<function=",
)
LLAMA = ToolFormat(  # Llama 3.1 to 3.3
    name="llama",
    marks=('"parameters": ', "<|start_header_id|>"),
    head='{"name": "',
    middle='", "parameters": ',
    tail="}",
    joint=None,
    before="<|python_tag|>",
    controls=("<|python_tag|>",),
)

FORMATS = (
    HERMES,
    MISTRAL,
    MISTRAL_LIST,
    DEEPSEEK_FENCED,
    DEEPSEEK,
    PHI,
    GRANITE,
    FUNCTIONARY,
    LLAMA,
)

_ARGUMENTS_AS_JSON = re.compile(r"arguments'?\]?\s*\|\s*tojson")


def find(chat_template: str) -> ToolFormat:
    """The form that the template was written for; OURS when it is none of these."""
    # A mark may stand in a string of the template, with its quotes escaped.
    plain = chat_template.replace('\\"', '"')
    form = next((row for row in FORMATS if all(mark in plain for mark in row.marks)), OURS)
    if form.arguments_are_text and _ARGUMENTS_AS_JSON.search(plain):
        return msgspec.structs.replace(form, arguments_are_text=False)
    return form
