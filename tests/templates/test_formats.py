"""Every format with every shape of conversation, against prompts on file, transformers' way of
rendering, and llama.cpp's own code for the formats that it knows.

The prompts are in `prompts/`, a file for each format. To write them anew after a change that is
wanted: `python -m tests.templates.test_formats`, and read the difference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import jinja2
import pytest
import xllamacpp
from jinja2.sandbox import ImmutableSandboxedEnvironment

from jan_server.errors import InvalidRequest
from jan_server.templates import knows_tools, render
from tests.templates.conversations import CONVERSATIONS, HELLO, HI, SYSTEM, WHO, Conversation
from tests.templates.formats import FORMATS, Format
from tests.tiny_gguf import write_tiny_gguf

PROMPTS = Path(__file__).parent / "prompts"


def prompt_of(format: Format, conversation: Conversation) -> str:
    return render(
        conversation.messages,
        chat_template=format.template,
        bos_token=format.bos,
        eos_token=format.eos,
        chat_template_kwargs=conversation.variables,
    )


def prompts_of(format: Format) -> str:
    """A section for each conversation: its name, its prompt or why there is none."""
    return "".join(f"=== {name}\n{_told(format, name)}\n" for name in CONVERSATIONS)


def _told(format: Format, name: str) -> str:
    try:
        return prompt_of(format, CONVERSATIONS[name])
    except InvalidRequest as error:
        return f"!!! {error.message}"


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_gives_the_prompts_on_file(name: str) -> None:
    assert prompts_of(FORMATS[name]) == (PROMPTS / f"{name}.txt").read_text()


def test_which_formats_know_tools() -> None:
    known = {name for name, format in FORMATS.items() if knows_tools(format.template)}
    assert known == {"llama-3.1", "mistral-v3", "thinking"}


def as_transformers(format: Format, conversation: Conversation) -> str | None:
    """Jinja as transformers sets it up; None where the template refuses."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, **how: json.dumps(
        value, ensure_ascii=False, **how
    )

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment.globals["raise_exception"] = refuse
    given = {"tools": None, "documents": None, **conversation.variables}
    try:
        return environment.from_string(format.template).render(
            messages=conversation.messages,
            bos_token=format.bos,
            eos_token=format.eos,
            add_generation_prompt=True,
            **given,
        )
    except jinja2.TemplateError:
        return None


# What transformers renders too, but without the words of the system or the last user.
DROPPED = {
    ("alpaca", "a system at the end"),
    ("alpaca", "a system in the middle"),
    ("alpaca", "two systems"),
    ("llama-2", "a system alone"),
    ("llama-2", "a system at the end"),
    ("mistral-v3", "a call and its answer"),
    ("mistral-v3", "a system alone"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_what_transformers_renders_whole_is_the_same_here(name: str) -> None:
    shapes = CONVERSATIONS.keys() - {"a developer"}  # transformers knows none
    theirs = {shape: as_transformers(FORMATS[name], CONVERSATIONS[shape]) for shape in shapes}
    differing = {
        (name, shape)
        for shape, prompt in theirs.items()
        if prompt is not None and prompt != prompt_of(FORMATS[name], CONVERSATIONS[shape])
    }
    assert differing == {pair for pair in DROPPED if pair[0] == name}


@contextmanager
def llama_cpps_own(path: Path, format: str) -> Iterator[Callable[[list[dict[str, Any]]], str]]:
    """Messages -> prompt by a format that is code in llama.cpp, not a template."""
    params = xllamacpp.CommonParams()
    params.model.path, params.chat_template, params.use_jinja = str(path), format, False
    params.n_ctx, params.port, params.warmup, params.verbosity = 64, 0, False, -1
    server = xllamacpp.Server(params)
    with httpx2.Client(base_url=server.listening_address) as client:

        def prompt(messages: list[dict[str, Any]]) -> str:
            text: str = client.post("/apply-template", json={"messages": messages}).json()["prompt"]
            return text

        yield prompt
    del server


@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("chatml", "chatml"),
        ("gemma", "gemma"),
        ("llama-3", "llama3"),
        ("phi-3", "phi3"),
        ("zephyr", "zephyr"),
    ],
)
def test_the_same_prompts_as_llama_cpps_own_code(tmp_path: Path, name: str, theirs: str) -> None:
    path = write_tiny_gguf(tmp_path / "model.gguf", vocabulary="spm", tied=False)
    format = Format(template=FORMATS[name].template, bos="", eos="<|endoftext|>")
    chats = [[HI], [SYSTEM, HI], [SYSTEM, HI, HELLO, WHO], [HI, HELLO, WHO]]
    with llama_cpps_own(path, theirs) as prompt:
        assert [prompt_of(format, Conversation(chat)) for chat in chats] == [*map(prompt, chats)]


def write_prompts() -> None:
    PROMPTS.mkdir(exist_ok=True)
    for name, format in FORMATS.items():
        (PROMPTS / f"{name}.txt").write_text(prompts_of(format))


if __name__ == "__main__":
    write_prompts()
