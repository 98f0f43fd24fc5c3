"""Tools and reasoning of a model that is held to its form: a tiny one of random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.tiny_gguf import CHATML, write_tiny_gguf

MARKS = '{# <tool_call> "arguments": </tool_call> </think> #}'
CONTROL = ("<think>", "</think>", "<tool_call>", "</tool_call>")

WALK = {
    "type": "object",
    "properties": {"to": {"enum": ["north", "south"]}, "steps": {"enum": [1, 22, 333]}},
    "required": ["to", "steps"],
    "additionalProperties": False,
}
TOOLS = [
    {"type": "function", "function": {"name": "walk", "parameters": WALK}},
    {"type": "function", "function": {"name": "rest"}},
]
REST = {"type": "function", "function": {"name": "rest"}}
NAMED = {"type": "function", "function": {"name": "walk"}}

Ask = Callable[..., dict[str, Any]]


def parameters(name: str) -> list[dict[str, Any]]:
    arguments = [{"to": to, "steps": n} for to in ("north", "south") for n in (1, 22, 333)]
    return arguments if name == "walk" else [{}]


@pytest.fixture(params=["our form", "its own form, in control tokens"], scope="module")
def tiny(request: pytest.FixtureRequest, shared_folder: Path) -> str:
    own = "{% if tools %}{{ tools | tojson }}{% endif %}" + CHATML + MARKS
    is_own = request.param != "our form"
    folder = shared_folder / "models" / ("own" if is_own else "ours")
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"settings": {"ctx_len": 4096, "cpu_threads": 1}}
    (folder / "model.json").write_text(json.dumps(manifest))
    write_tiny_gguf(
        folder / "tiny.gguf",
        context_length=4096,
        chat_template=own if is_own else CHATML,
        control=CONTROL if is_own else (),
    )
    return folder.name


@pytest.fixture(scope="module")
def ask(shared_client: TestClient, tiny: str) -> Ask:
    same = {
        "model": tiny,
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 1.0,
        "seed": 1,
        "max_tokens": 200,
    }

    def post(**more: Any) -> dict[str, Any]:
        answer = shared_client.post("/v1/chat/completions", json={**same, **more})
        assert answer.status_code == 200, answer.text
        if not more.get("stream"):
            choice: dict[str, Any] = answer.json()["choices"][0]
            return choice
        return joined(answer.text)

    return post


def joined(stream: str) -> dict[str, Any]:
    """The choice that a stream's chunks make, as clients put it together."""
    *events, done, end = stream.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    calls: list[dict[str, Any]] = []
    for delta in (delta for choice in choices for delta in choice["delta"].get("tool_calls", ())):
        if "id" in delta:
            calls.append({"function": {**delta["function"]}})
        else:
            calls[delta["index"]]["function"]["arguments"] += delta["function"]["arguments"]
    return {"message": {"tool_calls": calls}, "finish_reason": choices[-1]["finish_reason"]}


def calls(choice: dict[str, Any]) -> list[tuple[str, Any]]:
    functions = [call["function"] for call in choice["message"]["tool_calls"]]
    return [(function["name"], json.loads(function["arguments"])) for function in functions]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("choice", "names"),
    [
        (NAMED, {"walk"}),
        ("required", {"walk", "rest"}),
        (
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [REST]}},
            {"rest"},
        ),
    ],
)
def test_a_call_that_must_be_is_made_as_its_schema_says(
    ask: Ask, choice: Any, names: set[str], stream: bool
) -> None:
    answer = ask(tools=TOOLS, tool_choice=choice, parallel_tool_calls=False, stream=stream)
    assert answer["finish_reason"] == "tool_calls"
    [(name, arguments)] = calls(answer)
    assert name in names
    assert arguments in parameters(name)


def test_a_stream_makes_the_same_calls(ask: Ask) -> None:
    more = {"tools": TOOLS, "tool_choice": "required"}
    assert calls(ask(**more, stream=True)) == calls(ask(**more))


def test_tools_are_a_part_of_the_prompt_unless_none_is_to_be_called(
    shared_client: TestClient, tiny: str
) -> None:
    def count(**more: Any) -> int:
        body = {"model": tiny, "messages": [{"role": "user", "content": "hello"}], **more}
        number: int = shared_client.post("/v1/chat/count_tokens", json=body).json()["count"]
        return number

    assert count() == count(tools=TOOLS, tool_choice="none") < count(tools=TOOLS[1:])
    assert count(tools=TOOLS[1:]) < count(tools=TOOLS)


def test_likelihoods_let_nothing_else_be_called(ask: Ask) -> None:
    answer = ask(tools=TOOLS, tool_choice=NAMED, logprobs=True, top_logprobs=2)
    [(name, arguments)] = calls(answer)
    assert arguments in parameters(name)
    assert answer["logprobs"]["content"]


@pytest.mark.parametrize("tiny", ["its own form, in control tokens"], indirect=True)
def test_marks_of_reasoning_are_seen_where_they_are_control_tokens(
    ask: Ask, shared_client: TestClient, tiny: str
) -> None:
    control = {"model": tiny, "content": "<think>", "add_special": False}
    [think] = shared_client.post("/v1/tokenize", json=control).json()["tokens"]
    message = ask(logit_bias={str(think): 100}, temperature=0, max_tokens=3)["message"]
    assert (message["content"], message["reasoning_content"]) == ("", "<think><think>")
