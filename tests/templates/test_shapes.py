"""How a conversation is said to a template that refuses it, or drops a part."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jan_server.errors import InvalidRequest
from jan_server.templates import jinja, render
from jan_server.templates.shapes import joined, shapes, shows_all, without_developers
from tests.templates.conversations import (
    ANSWERED,
    CALLED,
    HELLO,
    HI,
    SYSTEM,
    WHO,
    Message,
    said,
)
from tests.templates.formats import GEMMA, MISTRAL_V1

WELL = said("assistant", "Well?")
HI_WHO = said("user", "Hi\n\nWho?")
BRIEF = said("user", "Be brief.")
BRIEF_HI = said("user", "Be brief.\n\nHi")
BRIEF_WHO = said("user", "Be brief.\n\nWho?")


def typed(*messages: Message) -> list[Message]:
    return [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        for message in messages
    ]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([HI], [[HI]]),
        ([HI, WHO], [[HI, WHO], [HI_WHO]]),
        ([SYSTEM, HI], [[SYSTEM, HI], [BRIEF_HI]]),
        ([SYSTEM], [[SYSTEM], [BRIEF]]),
        (
            [HI, HELLO, SYSTEM, WHO],
            [[HI, HELLO, SYSTEM, WHO], [HI, HELLO, BRIEF_WHO]],
        ),
        (
            [SYSTEM, HI, HELLO, SYSTEM, WHO],
            [
                [SYSTEM, HI, HELLO, SYSTEM, WHO],
                [SYSTEM, HI, HELLO, BRIEF_WHO],
                [BRIEF_HI, HELLO, BRIEF_WHO],
            ],
        ),
    ],
)
def test_the_shapes_of_a_conversation(
    messages: list[Message], expected: list[list[Message]]
) -> None:
    found = [*shapes(messages)]
    assert found == [*expected, *(typed(*shape) for shape in expected)]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([], []),
        ([HI, HELLO, WHO], [HI, HELLO, WHO]),
        ([HI, HELLO, WELL, WHO], [HI, said("assistant", "Hello!\n\nWell?"), WHO]),
        ([said("user", "Hi", name="ada"), WHO], [said("user", "Hi\n\nWho?", name="ada")]),
        ([CALLED, CALLED], [CALLED, CALLED]),
        ([HELLO, CALLED, HELLO], [HELLO, CALLED, HELLO]),
        ([ANSWERED, ANSWERED], [ANSWERED, ANSWERED]),
    ],
)
def test_neighbours_of_one_role_are_one_turn(
    messages: list[Message], expected: list[Message]
) -> None:
    assert joined(messages) == expected


def test_a_call_without_content_stays_without() -> None:
    silent = {**CALLED, "content": None}
    assert [*shapes([HI, silent])] == [[HI, silent], [*typed(HI), silent]]


def test_a_developer_is_the_system() -> None:
    assert without_developers([said("developer", "Be brief."), HI]) == [SYSTEM, HI]


@pytest.mark.parametrize(
    ("messages", "prompt", "all_there"),
    [
        ([SYSTEM, HI], "Be brief. Hi", True),
        ([SYSTEM, HI], "Hi", False),
        ([SYSTEM, HI], "Be brief.", False),
        ([HI, HELLO, WHO], "Who?", True),
        ([said("user", " Hi\n")], "[Hi]", True),
        ([HELLO], "", True),
        ([], "", True),
    ],
)
def test_whether_a_prompt_shows_all(messages: list[Message], prompt: str, all_there: bool) -> None:
    assert shows_all(messages, messages, prompt) is all_there


def test_parts_that_are_written_out_as_data_are_not_shown() -> None:
    data = typed(HI)[0]["content"]
    told = [str(data), json.dumps(data), "Hi"]
    assert [shows_all([HI], typed(HI), prompt) for prompt in told] == [False, False, True]
    assert shows_all([HI], [HI], str(data))


NO_SYSTEM = "{% for m in messages if m.role != 'system' %}[{{ m.content }}]{% endfor %}"
ONLY_USERS = "{% for m in messages if m.role == 'user' %}[{{ m.content }}]{% endfor %}"
SYSTEM_FIRST = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('System message must be at the beginning.') }}{% endif %}"
    "[{{ m.role[0] }}:{{ m.content }}]{% endfor %}"
)
BY_ROLE = (
    "{% for m in messages %}{{ {'user': 'U', 'assistant': 'A'}[m.role] + m.content }}{% endfor %}"
)
PARTS = (
    "{% for m in messages %}{% for part in m.content if part.type == 'text' %}"
    "<{{ m.role }}>{{ part.text }}{% endfor %}{% endfor %}"
)
WITHOUT_IMAGES = "{% for m in messages %}[{{ m.content | replace('<image>', '') }}]{% endfor %}"
SHOUTS = "{% for m in messages %}[{{ m.content | upper }}]{% endfor %}"
NOTHING = "always the same"


@pytest.mark.parametrize(
    ("template", "messages", "prompt"),
    [
        (MISTRAL_V1, [SYSTEM, HI], "<s>[INST] Be brief.\n\nHi [/INST]"),
        (MISTRAL_V1, [HI, WHO], "<s>[INST] Hi\n\nWho? [/INST]"),
        (MISTRAL_V1, [SYSTEM], "<s>[INST] Be brief. [/INST]"),
        (NO_SYSTEM, [SYSTEM, HI, HELLO], "[Be brief.\n\nHi][Hello!]"),
        (NO_SYSTEM, [HI, HELLO, SYSTEM, WHO], "[Hi][Hello!][Be brief.\n\nWho?]"),
        (NO_SYSTEM, [HI, WHO], "[Hi][Who?]"),
        (ONLY_USERS, [HI, HELLO, WHO], "[Hi][Who?]"),
        (SYSTEM_FIRST, [SYSTEM, SYSTEM, HI], "[s:Be brief.\n\nBe brief.][u:Hi]"),
        (
            SYSTEM_FIRST,
            [SYSTEM, HI, HELLO, SYSTEM, WHO],
            "[s:Be brief.][u:Hi][a:Hello!][u:Be brief.\n\nWho?]",
        ),
        (BY_ROLE, [SYSTEM, HI, HELLO], "UBe brief.\n\nHiAHello!"),
        (PARTS, [SYSTEM, HI], "<system>Be brief.<user>Hi"),
        (SHOUTS, [SYSTEM, HI], "[BE BRIEF.][HI]"),
        (WITHOUT_IMAGES, [said("user", "See <image>!")], "[See !]"),
        (NOTHING, [SYSTEM, HI], "always the same"),
    ],
)
def test_a_template_gets_what_it_takes(
    template: str, messages: list[dict[str, Any]], prompt: str
) -> None:
    assert render(messages, chat_template=template, bos_token="<s>", eos_token="</s>") == prompt


@pytest.mark.parametrize(
    ("template", "messages", "why"),
    [
        (MISTRAL_V1, [HELLO, HI], "refuses these messages: Conversation roles must alternate"),
        (GEMMA, [SYSTEM, HI, CALLED, ANSWERED], "refuses these messages: Conversation roles must"),
        (BY_ROLE, [HI, ANSWERED], "failed: 'dict object' has no attribute 'tool'"),
    ],
)
def test_what_no_shape_helps_is_told_in_the_templates_own_words(
    template: str, messages: list[dict[str, Any]], why: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        render(messages, chat_template=template)
    assert caught.value.message.startswith(f"The model's chat template {why}")


def test_all_shapes_together_may_write_as_much_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jinja, "MAX_WRITTEN", 1000)
    refusing = "x" * 400 + "{{ raise_exception('no') }}"
    with pytest.raises(InvalidRequest, match="refuses these messages: no"):
        render([HI], chat_template=refusing)
    with pytest.raises(InvalidRequest, match="writes more than 1000 characters"):
        render([SYSTEM, HI, WHO], chat_template=refusing)


def test_a_refusal_names_the_messages() -> None:
    with pytest.raises(InvalidRequest) as caught:
        render([HELLO, HI], chat_template=MISTRAL_V1)
    assert caught.value.param == "$.messages"
