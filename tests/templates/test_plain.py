"""Jan's prompt_template, and ChatML for models that have no template."""

from __future__ import annotations

from typing import Any

import pytest

from jan_server.errors import InvalidRequest, ModelCannotRun
from jan_server.templates import render
from tests.templates.conversations import HELLO, HI, SYSTEM, WHO

JANS_TINYLLAMA = "<|system|>\n{system_message}<|user|>\n{prompt}<|assistant|>"
JANS_MISTRAL = "[INST] {prompt} [/INST]"
JANS_IMPORTED = "{system_message}\n### Instruction: {prompt}\n### Response:"

CHAT = [SYSTEM, HI, HELLO, WHO]


CHATML_PROMPT = (
    "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n"
)


@pytest.mark.parametrize(
    ("prompt_template", "messages", "prompt"),
    [
        (None, CHAT, CHATML_PROMPT + "<|im_start|>assistant\n"),
        ("", CHAT, CHATML_PROMPT + "<|im_start|>assistant\n"),
        (
            None,
            [{"role": "developer", "content": "Be brief."}],
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>assistant\n",
        ),
        (JANS_TINYLLAMA, [HI], "<|user|>\nHi<|assistant|>"),
        (
            JANS_TINYLLAMA,
            CHAT,
            "<|system|>\nBe brief.<|user|>\nHi<|assistant|>Hello!<|user|>\nWho?<|assistant|>",
        ),
        (
            JANS_TINYLLAMA,
            [HI, SYSTEM, {"role": "developer", "content": "Rhyme."}],
            "<|system|>\nBe brief.\n\nRhyme.<|user|>\nHi<|assistant|>",
        ),
        (JANS_MISTRAL, [HI, HELLO, WHO], "[INST] Hi [/INST]Hello![INST] Who? [/INST]"),
        (JANS_MISTRAL, [SYSTEM, HI], "[INST] Be brief.\n\nHi [/INST]"),
        (JANS_MISTRAL, [SYSTEM], "[INST] Be brief. [/INST]"),
        (
            JANS_MISTRAL,
            [HI, HELLO, SYSTEM, WHO],
            "[INST] Hi [/INST]Hello![INST] Be brief.\n\nWho? [/INST]",
        ),
        (JANS_IMPORTED, [SYSTEM, HI], "Be brief.\n### Instruction: Hi\n### Response:"),
        ("{prompt}", [HI], "Hi"),
        ("A{prompt}B{prompt}", [HI], "AHiB{prompt}"),
    ],
)
def test_jans_prompt_template_and_chatml(
    prompt_template: str | None, messages: list[dict[str, Any]], prompt: str
) -> None:
    assert render(messages, prompt_template=prompt_template) == prompt


def test_words_in_braces_in_a_message_are_only_words() -> None:
    tricky = {"role": "user", "content": "{prompt} {system_message} {{ 7*7 }}"}
    assert render([tricky], prompt_template=JANS_MISTRAL) == (
        "[INST] {prompt} {system_message} {{ 7*7 }} [/INST]"
    )
    assert render([tricky], chat_template="{{ messages[0].content }}") == tricky["content"]


def test_without_a_generation_prompt_the_conversation_just_ends() -> None:
    assert render(CHAT, add_generation_prompt=False) == CHATML_PROMPT
    assert render([HI], prompt_template=JANS_MISTRAL, add_generation_prompt=False) == "[INST] Hi"


@pytest.mark.parametrize("template", ["{system_message}", "hello", "{prompt}{system_message}"])
def test_a_template_that_cannot_be_split_is_said_with_the_place_to_mend_it(template: str) -> None:
    with pytest.raises(ModelCannotRun) as caught:
        render([HI], prompt_template=template)
    assert caught.value.message == (
        f"Cannot split prompt template {template!r}: it must hold {{prompt}}, and "
        "{system_message} only before that. Mend settings.prompt_template in model.json."
    )


def test_a_role_that_jans_template_does_not_know_is_a_400_with_its_place() -> None:
    with pytest.raises(InvalidRequest) as caught:
        render([SYSTEM, HI, {"role": "tool", "content": "42"}], prompt_template=JANS_TINYLLAMA)
    assert caught.value.param == "$.messages[2].role"
