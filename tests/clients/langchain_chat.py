"""LangChain's package for OpenAI against a server: what it makes of answers.

    python langchain_chat.py BASE_URL BUSY_BASE_URL

Each check prints a line of JSON, `{"check": name, "error": null or a traceback}`, as
openai_python.py does. Models: `calling` (tests/calling.py), and `tiny`, a
real one that knows nothing and is held to forms.
"""

from __future__ import annotations

import json
import sys
import traceback
from typing import Literal

from langchain_openai import ChatOpenAI
from openai import NotFoundError
from pydantic import BaseModel


class City(BaseModel, extra="forbid"):
    """A city. With anything else allowed, a model that knows nothing would go on for long."""

    name: Literal["Paris"]


def add(a: int) -> int:
    """Adds."""
    return a


def an_answer_has_its_usage(model: ChatOpenAI) -> None:
    answer = model.invoke("hello there")
    assert answer.content == "hello there"
    assert answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata
    assert answer.usage_metadata["output_tokens"] == 2


def a_stream_says_the_same_and_has_its_usage(model: ChatOpenAI) -> None:
    [first, *rest] = model.stream("hello there", stream_usage=True)
    whole = sum(rest, start=first)
    assert whole.content == "hello there"
    assert whole.usage_metadata
    assert whole.usage_metadata["output_tokens"] == 2


def a_tool_is_called_and_its_result_told(model: ChatOpenAI) -> None:
    asked = ("user", 'call add {"a": 1}')
    called = model.bind_tools([add]).invoke([asked])
    [call] = called.tool_calls
    assert (call["name"], call["args"]) == ("add", {"a": 1})
    result = {"role": "tool", "tool_call_id": call["id"], "content": "three"}
    assert model.bind_tools([add]).invoke([asked, called, result]).content == "It is three."


def an_answer_has_a_form(model: ChatOpenAI) -> None:
    tiny = model.model_copy(update={"model_name": "tiny", "seed": 1})
    for method in ("json_schema", "function_calling"):
        formed = tiny.with_structured_output(City, method=method)
        assert formed.invoke("Where?") == City(name="Paris")


def an_error_is_openais(model: ChatOpenAI) -> None:
    try:
        model.bind(model="nope").invoke("hello")
    except NotFoundError as error:
        code = error.code
    assert code == "model_not_found"


CHECKS = [
    an_answer_has_its_usage,
    a_stream_says_the_same_and_has_its_usage,
    a_tool_is_called_and_its_result_told,
    an_answer_has_a_form,
    an_error_is_openais,
]


def main(base: str, _busy: str) -> None:
    model = ChatOpenAI(base_url=base, api_key="none", model="calling", max_tokens=100)
    for function in CHECKS:
        try:
            function(model)
            error = None
        except Exception:  # noqa: BLE001 - whatever it is, it is told.
            error = traceback.format_exc()
        print(json.dumps({"check": function.__name__, "error": error}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
