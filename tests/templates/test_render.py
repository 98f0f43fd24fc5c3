"""Messages -> prompt: the models' own templates, Jan's, ChatML; and templates that attack."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jan_server.errors import InvalidRequest, ModelCannotRun
from jan_server.templates import jinja, knows_tools, render

SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}"
    "{% set system_message = messages[0]['content'] %}{% else %}"
    "{% set loop_messages = messages %}{% set system_message = false %}{% endif %}"
    "{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}{% if loop.index0 == 0 and system_message != false %}"
    "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}"
    "{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}"
    "{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    "+ message['content'] | trim + '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n"
    "{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n"
    "{{ '<|system|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'assistant' %}\n"
    "{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n"
    "{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}"
    "{{ message['content'] + eos_token}}{% else %}"
    "{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)
JANS_TINYLLAMA = "<|system|>\n{system_message}<|user|>\n{prompt}<|assistant|>"
JANS_MISTRAL = "[INST] {prompt} [/INST]"
JANS_IMPORTED = "{system_message}\n### Instruction: {prompt}\n### Response:"

SYSTEM = {"role": "system", "content": "Be brief."}
HI = {"role": "user", "content": "Hi"}
HELLO = {"role": "assistant", "content": "Hello!"}
WHO = {"role": "user", "content": "Who?"}
CHAT = [SYSTEM, HI, HELLO, WHO]


def by_itself(template: str, messages: list[dict[str, Any]] | None = None, **more: Any) -> str:
    return render(
        messages or [HI], chat_template=template, bos_token="<s>", eos_token="</s>", **more
    )


@pytest.mark.parametrize(
    ("template", "messages", "prompt"),
    [
        (
            SMOLLM2,
            [HI],
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging "
            "Face<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            CHATML,
            CHAT,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\nHello!<|im_end|>\n<|im_start|>user\nWho?<|im_end|>\n"
            "<|im_start|>assistant\n",
        ),
        (
            LLAMA2,
            CHAT,
            "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello! </s>"
            "<s>[INST] Who? [/INST]",
        ),
        (
            LLAMA3,
            CHAT,
            "<s><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\nHello!<|eot_id|>"
            "<|start_header_id|>user<|end_header_id|>\n\nWho?<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            ZEPHYR,
            CHAT,
            "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello!</s>\n"
            "<|user|>\nWho?</s>\n<|assistant|>\n",
        ),
        (MISTRAL, [HI, HELLO, WHO], "<s>[INST] Hi [/INST]Hello!</s>[INST] Who? [/INST]"),
    ],
    ids=["smollm2", "chatml", "llama-2", "llama-3", "zephyr", "mistral"],
)
def test_the_models_own_templates(
    template: str, messages: list[dict[str, Any]], prompt: str
) -> None:
    assert by_itself(template, messages) == prompt


def test_a_system_message_that_the_template_refuses_is_said_by_the_user() -> None:
    assert by_itself(MISTRAL, CHAT) == (
        "<s>[INST] Be brief.\n\nHi [/INST]Hello!</s>[INST] Who? [/INST]"
    )


@pytest.mark.parametrize("messages", [[HI, HI], [SYSTEM, HI, HI], [SYSTEM]])
def test_what_a_template_refuses_is_told_in_its_own_words(messages: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        by_itself(MISTRAL, messages)
    assert (caught.value.param, caught.value.message) == (
        "$.messages",
        "The model's chat template refuses these messages: "
        "Conversation roles must alternate user/assistant/user/assistant/...",
    )


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("{{ messages[0] | tojson }}", '{"role": "user", "content": "Hi"}'),
        ("{{ [1, {'a': 'ü'}] | tojson(indent=1) }}", '[\n 1,\n {\n  "a": "ü"\n }\n]'),
        ("{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "01"),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}!", "Hi!"),
        ("{{ strftime_now('%Y') | length }}", "4"),
        (
            "{{ 'a' ~ 1 ~ [2] }}{{ ['a', 'b'] | join('-') }}{{ '-'.join(['c', 'd']) }}",
            "a1[2]a-bc-d",
        ),
        ("{{ messages | join(', ', attribute='role') }}", "user"),
        ("{{ 'aXa' | replace('a', 'b') }}{{ 'aXa'.replace('a', 'c') }}", "bXbcXc"),
        ("{{ 'a\nb' | indent(2) }}{{ 'a\nb' | indent('>') }}", "a\n  ba\n>b"),
        ("{{ '%s is %d' % ('x', 1) }}{{ '{}: {}'.format('y', 2) }}", "x is 1y: 2"),
        (
            "{{ 3 * 'ab' }}{{ 'ab' * 2 }}{{ [1] * 2 }}{{ 2 * 3 }}{{ 2 ** 3 }}",
            "ababababab[1, 1]68",
        ),
        ("{{ [1] + [2] }}{{ 1 + 2 }}{{ 7 % 4 }}{{ 1.5 * 2.0 }}{{ 2.0 ** 2 }}", "[1, 2]333.04.0"),
        (
            "{{ 'ab' | list }}{{ messages[0].items() | list | length }}{{ 5 | string }}",
            "['a', 'b']25",
        ),
        ("{{ range(3) | list }}{{ none | default('', true) }}", "[0, 1, 2]"),
        ("{% set ns = namespace(n=1) %}{% set ns.n = ns.n + 1 %}{{ ns.n }}", "2"),
        ("{% if tools is defined and not tools %}none{% endif %}", "none"),
        ("{{ messages[0].content.__class__ }}", ""),
    ],
)
def test_what_templates_may_use(template: str, prompt: str) -> None:
    assert by_itself(template) == prompt


def test_a_template_gets_the_requests_own_variables_and_no_generation_prompt_if_not_wanted() -> (
    None
):
    template = "{{ mode }}{{ add_generation_prompt }}"
    kwargs = {"mode": "fast"}
    assert by_itself(template, chat_template_kwargs=kwargs, add_generation_prompt=False) == (
        "fastFalse"
    )


@pytest.mark.parametrize("name", ["messages", "bos_token"])
def test_a_request_cannot_replace_what_the_server_sets(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        by_itself("x", chat_template_kwargs={name: "evil"})
    assert caught.value.param == f"$.chat_template_kwargs.{name}"


@pytest.mark.parametrize(
    ("template", "known"),
    [
        ("{% if tools %}{{ tools | tojson }}{% endif %}", True),
        ("{% if not tools is defined %}{% set tools = none %}{% endif %}", True),
        (
            "{% for tool in tools or [] %}{{ tool }}{% endfor %}",
            True,
        ),
        ("{{ messages[0].tools }} tools", False),
        ("{% set tools = [] %}", False),
        ("{% if tools", False),
        ("{{" + "(" * 5000, False),
        ("{{ tools }}" + "x" * jinja.MAX_TEMPLATE, False),
        ("", False),
        (None, False),
    ],
)
def test_a_template_knows_tools_when_it_reads_them(template: str | None, known: bool) -> None:
    assert knows_tools(template) is known


DOUBLED = (
    "{{% set ns = namespace(v={0}) %}}{{% for i in range(60) %}}{1}{{% endfor %}}{{{{ {2} }}}}"
)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ ().__class__.__mro__ }}", "attribute '__class__' of 'tuple' object is unsafe"),
        ("{{ cycler.__init__.__globals__ }}", "attribute '__init__' of 'Undefined' object"),
        ("{{ namespace.__init__.__globals__ }}", "attribute '__init__' of 'type' object is unsafe"),
        ("{{ ''|attr('__class__') }}", "No filter named 'attr'"),
        ("{{ (1).to_bytes(10**9, 'big') }}", "attribute 'to_bytes' of 'int' object is unsafe"),
        ("{{ messages.append(1) }}", "attribute 'append' of 'list' object is unsafe"),
        ("{% include 'x' %}", "no loader"),
        ("{{ lipsum(10000) }}", "'lipsum' is undefined"),
        ("{{ foo.bar }}", "'foo' is undefined"),
        ("{% if %}", "line 1: Expected an expression"),
        ("{{" + "(" * 5000, "RecursionError"),
        ("x" * (jinja.MAX_TEMPLATE + 1), "262144 are the limit"),
        ("{% for i in range(10**9) %}{% endfor %}", "Range too big"),
        ("{{ 'a'*10**9 }}", "a text of more than 16777216 characters"),
        ("{{ 10**9 * 'a' }}", "a text of more than 16777216 characters"),
        ("{{ [1] * 10**9 }}", "a list of more than 200000 items"),
        ("{{ 2**5000 }}", "a number of more than 4096 bits"),
        ("{{ (2**4000) * (2**4000) }}", "a number of more than 4096 bits"),
        ("{{ 'a'.center(10**9) }}", "attribute 'center' of 'str' object is unsafe"),
        ("{{ '%(a)1000000000s' % {'a': 1} }}", "formats with a width or a key"),
        ("{{ 1.5|round(6000000, 'floor') }}", "rounds to more than 20 digits"),
        ("{% set a = 1.5 %}{{ a|round(-6000000, 'ceil') }}", "rounds to more than 20 digits"),
        ("{{ strftime_now('%99999Y' * 300) }}", "its time has more than 200 characters"),
        (
            "{% set a = 'ab' * 8000000 %}" + "{% set a = a|upper|lower %}" * 900,
            "it takes longer than",
        ),
        ("{{ '%1000000000d' % 1 }}", "formats with a width"),
        ("{{ '{:>1000000000}'.format(1) }}", "formats with a width"),
        ("{{ [1]|tojson(indent=10**9) }}", "indents by more than 64"),
        ("{{ 'a\n'|indent(10**9) }}", "indents by more than 64"),
        ("{{ range(100000)|join('x'*1000000) }}", "a text of more than"),
        ("{{ ('x'*1000000).join(range(100000)) }}", "a text of more than"),
        ("{{ ('a'*10**6)|replace('a', 'b'*10**6) }}", "a text of more than"),
        ("{{ ('a'*10**6).replace('a', 'b'*10**6) }}", "a text of more than"),
        ("{{ ('a'*10**7)|list }}", "a list of more than 200000 items"),
        ("{% for i in range(9) %}{{ 'a'*2**21 }}{% endfor %}", "a text of more than"),
        (DOUBLED.format("'aa'", "{% set ns.v = ns.v ~ ns.v %}", "ns.v"), "a text of more than"),
        (DOUBLED.format("'aa'", "{% set ns.v = ns.v + ns.v %}", "ns.v"), "a text of more than"),
        (
            DOUBLED.format("'aa'", "{% set ns.v %}{{ ns.v }}{{ ns.v }}{% endset %}", "1"),
            "a text of",
        ),
        (DOUBLED.format("[1]", "{% set ns.v = ns.v + ns.v %}", "1"), "a list of more than"),
        (DOUBLED.format("[1]", "{% set ns.v = [ns.v, ns.v] %}", "ns.v"), "a list of more than"),
        (DOUBLED.format("{}", "{% set ns.v = {1: ns.v, 2: ns.v} %}", "ns.v|tojson"), "a list of"),
        (DOUBLED.format("[1]", "{% set ns.v = [ns.v, ns.v] %}", "ns.v|string"), "a list of"),
        (
            "{% macro m() %}{% for i in range(99999) %}" + "x" * 2000 + "{% endfor %}{% endmacro %}"
            "{% set y = m() %}",
            "writes more than 67108864 characters",
        ),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
    ],
)
def test_an_attack_ends_in_a_400_that_says_what_it_did(template: str, reason: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        by_itself(template)
    assert reason in caught.value.message
    assert caught.value.message.startswith("The model's chat template failed: ")


WORDS = [
    *(
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "-",
        " for m in messages ",
        " endfor ",
        " if ",
        " endif ",
    ),
    *(
        " else ",
        " set x = ",
        " macro x(a) ",
        " endmacro ",
        "messages",
        "[0]",
        ".content",
        "|tojson",
    ),
    *("|join", "'a'", "*", "99", "(", ")", ",", "~", " range(99) ", "x", "{prompt}", "\n", "\0"),
]


@settings(max_examples=300)
@given(st.lists(st.sampled_from(WORDS), max_size=14).map("".join))
def test_any_template_gives_a_prompt_or_says_what_is_wrong(template: str) -> None:
    began = time.process_time()
    for how in ({"chat_template": template}, {"prompt_template": template}):
        with contextlib.suppress(InvalidRequest, ModelCannotRun):
            assert isinstance(render(CHAT, **how), str)
    assert time.process_time() - began < 2 * jinja.MAX_SECONDS


def test_loops_without_output_end_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jinja, "MAX_SECONDS", 0.2)
    loops = "{% for i in r %}" * 4 + "{% endfor %}" * 4
    began = time.monotonic()
    with pytest.raises(InvalidRequest, match=r"takes longer than 0\.2 s"):
        by_itself("{% set r = range(99999) %}" + loops)
    assert time.monotonic() - began < 2


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
        (JANS_MISTRAL, [SYSTEM], "Be brief. [/INST]"),
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
    assert by_itself("{{ messages[0].content }}", [tricky]) == tricky["content"]


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
