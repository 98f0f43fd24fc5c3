"""What tools make of a request."""

from __future__ import annotations

import json

import msgspec
import pytest

from jan_server import templates
from jan_server.completions.reply_parser import Said
from jan_server.completions.tools import grammar
from jan_server.completions.tools.formats import GRANITE, HERMES, LLAMA, MISTRAL_LIST, OURS
from jan_server.completions.tools.plan import Guidance, plan
from jan_server.completions.turns import read_turns
from jan_server.engines.base import Constraint
from jan_server.errors import InvalidRequest, ParameterNotSupported
from jan_server.types.chat import ChatCompletionRequest
from jan_server.types.tool import FunctionDefinition, ToolCallDelta
from tests.completions.tools.transcripts import NOW, PARIS, hermes
from tests.templates.formats import FORMATS

TIME = {"name": "get_time", "description": "What time it is.", "parameters": {"type": "object"}}
WEATHER = {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {}}}}
TOOLS = [{"type": "function", "function": function} for function in (TIME, WEATHER)]
FUNCTIONS = tuple(msgspec.convert((TIME, WEATHER), list[FunctionDefinition]))

HI = {"role": "user", "content": "hi"}
ASKED = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What time is it?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "get_time", "arguments": '{"zone": "é"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "noon"},
]

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content "
    "+ '<|im_end|>\n' }}{% endfor %}{{ '<|im_start|>assistant\n' }}"
)
QWEN = (
    "{% if tools %}{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}{% endif %}"
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% if message.tool_calls %}{% for call in message.tool_calls %}"
    """{{ '<tool_call>\n{"name": "' + call.function.name + '", "arguments": ' }}"""
    "{{ call.function.arguments | tojson }}{{ '}\n</tool_call>' }}{% endfor %}{% endif %}"
    "{% endfor %}"
)
MISTRAL = (
    "{{ '[AVAILABLE_TOOLS]' }}{{ tools | tojson }}{% for message in messages %}"
    "{% for call in message.tool_calls %}{{ '[TOOL_CALLS] ' + call.id }}{% endfor %}"
    "{% if message.tool_call_id %}{{ '[' + message.tool_call_id + ']' }}{% endif %}{% endfor %}"
)
DEEPSEEK = (
    "{{ tools | tojson }}{{ '<｜tool▁calls▁begin｜>' }}{% for message in messages %}"
    "{% for call in message.tool_calls %}{{ '<｜tool▁sep｜>' + call.function.arguments }}"
    "{% endfor %}{{ message.content }}{% endfor %}"
)
GRANITE_TEMPLATE = (
    "{{ tools | tojson }} answer with <|tool_call|>{% for message in messages %}"
    "{{ '<|start_of_role|>' + message.role + '\n' + message.content }}{% endfor %}"
)
LLAMA_TEMPLATE = """{{ tools }}{{ '<|start_header_id|>' }}{{ '", "parameters": ' }}"""
THINKING = QWEN + "{{ message.content.split('</think>')[-1] }}"


def planned(template=QWEN, *, messages=(HI,), constrains=True, constraint=None, **fields):
    request = msgspec.convert({"messages": messages, **fields}, ChatCompletionRequest)
    turns = read_turns(request.messages)
    return plan(
        request, turns, chat_template=template, constrains=constrains, constraint=constraint
    )


def rendered(plan, template):
    return templates.render(
        plan.turns, chat_template=template, chat_template_kwargs=plan.template_variables
    )


# What the template sees


def test_a_template_of_its_own_form_is_given_the_tools():
    plan = planned(tools=TOOLS)
    shown = [
        {**TOOLS[0], "function": TIME},
        {**TOOLS[1], "function": {"description": "", **WEATHER}},
    ]
    assert plan.template_variables == {"tools": shown}
    assert plan.turns == [HI]


def test_a_function_without_parameters_is_shown_to_take_none():
    plan = planned(tools=[{"type": "function", "function": {"name": "stop"}}])
    (tool,) = plan.template_variables["tools"]
    assert tool["function"]["parameters"] == {"type": "object", "properties": {}}


@pytest.mark.parametrize("fields", [{}, {"tools": []}, {"tools": TOOLS, "tool_choice": "none"}])
def test_tools_that_are_not_to_be_called_are_not_shown(fields):
    plan = planned(**fields)
    assert (plan.turns, plan.template_variables) == ([HI], {})
    assert plan.guidance("") == Guidance()


def test_a_template_without_tools_has_them_told_in_the_system_message():
    plan = planned(CHATML, tools=TOOLS[:1])
    system, user = plan.turns
    assert (system["role"], user, plan.template_variables) == ("system", HI, {})
    shown = {"type": "function", "function": {**TIME}}
    assert f"<tools>\n{json.dumps(shown)}\n</tools>" in system["content"]
    assert '<tool_call>\n{"name": "the name", "arguments": {' in system["content"]


def test_the_tools_are_told_behind_what_the_system_message_says():
    plan = planned(CHATML, tools=TOOLS, messages=ASKED)
    assert plan.turns[0]["content"].startswith("Be brief.\n\nYou can call functions.")


@pytest.mark.parametrize("template", [None, CHATML])
def test_a_template_without_tools_has_calls_and_results_told_in_plain_turns(template):
    later = [*ASKED, {"role": "tool", "tool_call_id": "call_1", "content": "or so"}, HI]
    plan = planned(template, messages=[*later, {"role": "assistant", "content": "Noon."}, HI])
    assert plan.turns == [
        ASKED[0],
        ASKED[1],
        {
            "role": "assistant",
            "content": hermes("get_time", '{"zone": "é"}'),
        },
        {
            "role": "user",
            "content": "<tool_response>\nnoon\n</tool_response>\n"
            "<tool_response>\nor so\n</tool_response>\nhi",
        },
        {"role": "assistant", "content": "Noon."},
        HI,
    ]


def test_what_was_said_beside_a_call_stands_before_it():
    said = {**ASKED[2], "content": "Let me see."}
    plan = planned(CHATML, messages=[*ASKED[:2], said])
    assert plan.turns[2]["content"].startswith("Let me see.\n<tool_call>\n")


def test_a_template_of_its_own_form_is_given_calls_and_results():
    plan = planned(messages=ASKED, tools=TOOLS[:1])
    assert rendered(plan, QWEN) == (
        '{"type": "function", "function": {"name": "get_time", "description": '
        '"What time it is.", "parameters": {"type": "object"}}}\n'
        "<|system|>Be brief.<|user|>What time is it?<|assistant|><tool_call>\n"
        '{"name": "get_time", "arguments": {"zone": "é"}}\n</tool_call><|tool|>noon'
    )


def test_a_template_that_shows_no_calls_has_them_in_the_text_in_its_own_form():
    plan = planned(GRANITE_TEMPLATE, messages=ASKED)
    assert plan.turns[2:] == [
        {
            "role": "assistant",
            "content": '<|tool_call|>[{"name": "get_time", "arguments": {"zone": "é"}}]',
        },
        {"role": "tool", "content": "noon", "tool_call_id": "call_1", "name": "get_time"},
    ]


@pytest.mark.parametrize("id", ["call_1", "abcDEF123"])
def test_mistrals_templates_get_ids_of_nine_letters_and_digits(id):
    call = {**ASKED[2]["tool_calls"][0], "id": id}
    messages = [{**ASKED[2], "tool_calls": [call]}, {**ASKED[3], "tool_call_id": id}]
    plan = planned(MISTRAL, messages=messages)
    (short,) = [call["id"] for call in plan.turns[0]["tool_calls"]]
    assert plan.turns[1]["tool_call_id"] == short
    assert (len(short), short.isalnum(), short == id) == (9, True, len(id) == 9)


def test_deepseeks_templates_get_arguments_as_text_and_no_content_as_null():
    plan = planned(DEEPSEEK, messages=ASKED)
    (call,) = plan.turns[2]["tool_calls"]
    assert call["function"]["arguments"] == '{"zone":"é"}'
    assert plan.turns[2]["content"] is None


@pytest.mark.parametrize("name", FORMATS)
def test_every_kind_of_template_shows_tools_calls_and_results(name):
    template = FORMATS[name].template
    prompt = rendered(planned(template, messages=ASKED, tools=TOOLS), template)
    told, asked, called, result = (
        prompt.index(text) for text in ("get_weather", "What time is it?", '"zone": "é"', "noon")
    )
    assert max(told, asked) < called < result


# What the answer is held to


def test_with_auto_the_answer_is_free_until_it_calls():
    for fields in ({}, {"tool_choice": "auto"}, {"tool_choice": None}):
        assert planned(tools=TOOLS, **fields).guidance("") == Guidance(
            constraint=grammar.offered(HERMES, FUNCTIONS, one=False),
            visible=("<tool_call>", "</tool_call>"),
        )


def test_with_required_the_answer_is_calls():
    assert planned(tools=TOOLS, tool_choice="required").guidance("") == Guidance(
        constraint=grammar.forced(HERMES, FUNCTIONS, one=False),
        visible=("<tool_call>", "</tool_call>"),
    )


def named(name):
    return {"type": "function", "function": {"name": name}}


def test_a_named_tool_is_called_once():
    plan = planned(tools=TOOLS, tool_choice=named("get_weather"))
    expected = grammar.forced(HERMES, FUNCTIONS[1:], one=True)
    assert plan.guidance("").constraint == expected
    assert len(plan.template_variables["tools"]) == 2


@pytest.mark.parametrize(
    ("mode", "grammar"), [("auto", grammar.offered), ("required", grammar.forced)]
)
def test_of_all_tools_only_some_may_be_allowed(mode, grammar):
    allowed = {"mode": mode, "tools": [named("get_time")]}
    plan = planned(tools=TOOLS, tool_choice={"type": "allowed_tools", "allowed_tools": allowed})
    assert plan.guidance("").constraint == grammar(HERMES, FUNCTIONS[:1], one=False)
    assert len(plan.template_variables["tools"]) == 2


@pytest.mark.parametrize(
    ("choice", "grammar"), [("auto", grammar.offered), ("required", grammar.forced)]
)
@pytest.mark.parametrize("parallel", [True, False])
def test_without_parallel_calls_there_is_one(choice, grammar, parallel):
    plan = planned(tools=TOOLS, tool_choice=choice, parallel_tool_calls=parallel)
    assert plan.guidance("").constraint == grammar(HERMES, FUNCTIONS, one=not parallel)
    parser = plan.parser("")
    told = [*parser.push(hermes(*NOW) * 2), *parser.finish()]
    assert len([part for part in told if getattr(part, "id", "")]) == (2 if parallel else 1)


@pytest.mark.parametrize(
    ("template", "form"),
    [(CHATML, OURS), (MISTRAL, MISTRAL_LIST), (GRANITE_TEMPLATE, GRANITE), (LLAMA_TEMPLATE, LLAMA)],
)
def test_the_form_is_the_templates(template, form):
    guidance = planned(template, tools=TOOLS).guidance("")
    assert guidance.constraint == grammar.offered(form, FUNCTIONS, one=False)
    assert guidance.visible == form.controls


AGE = Constraint(kind="json_schema", text='{"type": "object"}')
REGEX = Constraint(kind="regex", text="yes|no")


def test_an_answer_is_held_to_a_schema_without_tools():
    assert planned(constraint=AGE).guidance("") == Guidance(constraint=AGE)


def test_beside_a_schema_the_answer_is_calls_or_matches_it():
    constraint = planned(tools=TOOLS, constraint=AGE).guidance("").constraint
    assert constraint == grammar.either(HERMES, FUNCTIONS, AGE, one=False)


def test_calls_without_a_mark_are_told_in_our_form_beside_a_schema():
    plan = planned(LLAMA_TEMPLATE, tools=TOOLS, constraint=AGE)
    expected = grammar.either(OURS, FUNCTIONS, AGE, one=False)
    assert plan.guidance("").constraint == expected
    assert (plan.turns[0]["role"], plan.template_variables) == ("system", {})


@pytest.mark.parametrize("constraint", [AGE, REGEX])
def test_where_a_call_is_forced_the_answers_format_does_not_count(constraint):
    plan = planned(tools=TOOLS, tool_choice="required", constraint=constraint)
    expected = grammar.forced(HERMES, FUNCTIONS, one=False)
    assert plan.guidance("").constraint == expected


def test_an_engine_that_cannot_be_held_to_a_form_may_call_all_the_same():
    plan = planned(tools=TOOLS, constrains=False)
    assert plan.guidance("").constraint is None
    parser = plan.parser("")
    parser.push(hermes(*NOW))
    assert parser.called


OPENED, CLOSED = "<think>\n", "<think>\n\n</think>\n\n"


@pytest.mark.parametrize("constraint", [AGE, REGEX])
def test_a_schema_counts_behind_the_reasoning_that_the_prompt_begins(constraint):
    plan = planned(THINKING, constraint=constraint)
    after = grammar.after_thinking(constraint, "</think>")
    marks = ("<think>", "</think>")
    assert plan.guidance(OPENED) == Guidance(constraint=after, visible=marks)
    assert plan.guidance(CLOSED) == Guidance(constraint=constraint, visible=marks)


def test_forced_calls_come_behind_the_reasoning_and_offered_ones_anywhere():
    forced = planned(THINKING, tools=TOOLS, tool_choice="required")
    calls = grammar.forced(HERMES, FUNCTIONS, one=False)
    assert forced.guidance(OPENED).constraint == grammar.after_thinking(calls, "</think>")
    offered = grammar.offered(HERMES, FUNCTIONS, one=False)
    assert planned(THINKING, tools=TOOLS).guidance(OPENED).constraint == offered


# Who reads the answer


def read(parser, *pieces):
    """What is said, without the calls' ids."""
    said = [part for piece in pieces for part in parser.push(piece)] + parser.finish()
    return [
        (part.function.name or "", part.function.arguments)
        if isinstance(part, ToolCallDelta)
        else part
        for part in said
    ]


def test_without_tools_and_reasoning_text_is_content_at_once():
    parser = planned().parser("")
    assert parser.push(" <tool_call>\n") == [Said("content", " <tool_call>\n")]
    assert (parser.push(""), parser.finish(), parser.called) == ([], [], False)


def test_reasoning_content_and_calls_are_told_apart():
    parser = planned(THINKING, tools=TOOLS).parser(OPENED)
    answer = ("\nThe time.", "\n</think>\n\nLet me", f" see.\n{hermes(*NOW)}\n{hermes(*PARIS)}")
    assert read(parser, *answer) == [
        Said("reasoning_content", "The time."),
        Said("content", "Let me"),
        Said("content", " see."),
        ("get_time", ""),
        ("", "{}"),
        ("get_weather", ""),
        ("", '{"city": "Paris"}'),
    ]
    assert parser.called


def test_what_is_held_back_comes_at_the_end():
    parser = planned(THINKING, tools=TOOLS).parser("")
    assert read(parser, "Less: <", "tool_") == [
        Said("content", "Less:"),
        Said("content", " <tool_"),
    ]
    assert not parser.called
    assert read(planned(THINKING).parser(""), "<thi") == [Said("content", "<thi")]
    assert read(planned(THINKING).parser(OPENED), "<") == [Said("reasoning_content", "<")]


def test_a_tool_that_may_not_be_called_is_not_called():
    parser = planned(tools=TOOLS, tool_choice=named("get_time")).parser("")
    assert read(parser, hermes(*PARIS))[0] == Said("content", "<tool_call>")
    assert not parser.called


# What is refused


@pytest.mark.parametrize(
    ("fields", "error", "path"),
    [
        ({"tools": [TOOLS[0], TOOLS[0]]}, InvalidRequest, "$.tools[1].function.name"),
        (
            {"tools": [{**TOOLS[0], "function": {"name": "f", "parameters": {"type": "array"}}}]},
            InvalidRequest,
            "$.tools[0].function.parameters",
        ),
        ({"tool_choice": "required"}, InvalidRequest, "$.tool_choice"),
        (
            {"tools": TOOLS, "tool_choice": named("get_lost")},
            InvalidRequest,
            "$.tool_choice.function.name",
        ),
        (
            {
                "tools": TOOLS,
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "auto",
                        "tools": [named("get_time"), named("get_lost")],
                    },
                },
            },
            InvalidRequest,
            "$.tool_choice.allowed_tools.tools[1].function.name",
        ),
        (
            {"tools": TOOLS, "tool_choice": "required", "constrains": False},
            ParameterNotSupported,
            "$.tool_choice",
        ),
        ({"tools": TOOLS, "constraint": REGEX}, ParameterNotSupported, "$.tools"),
    ],
)
def test_what_is_wrong_is_named(fields, error, path):
    with pytest.raises(error) as raised:
        planned(**fields)
    assert raised.value.param == path
