"""What chat templates may use, and what those that attack meet."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jan_server.errors import InvalidRequest, ModelCannotRun
from jan_server.templates import jinja, knows_tools, render

HI = {"role": "user", "content": "Hi"}
HELLO = {"role": "assistant", "content": "Hello!"}
CHAT = [{"role": "system", "content": "Be brief."}, HI, HELLO, {"role": "user", "content": "Who?"}]


def by_itself(template: str, messages: list[dict[str, Any]] | None = None, **more: Any) -> str:
    return render(
        messages or [HI], chat_template=template, bos_token="<s>", eos_token="</s>", **more
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
        ("{{ '%s and %d' | format('x', 1) }}{{ '%s' | format('y') }}", "x and 1y"),
        ("{{ [1, 2.5] | sum }}{{ [{'n': 3}] | sum(attribute='n', start=1) }}", "3.54"),
        ("{% for role, turns in messages | groupby('role') %}{{ role }}{% endfor %}", "user"),
        ("{{ 'one two' | wordcount }}{{ 'abc'.isascii() }}", "2True"),
        ("{% for m in messages[::-1] %}{{ m['content'][:1] }}{% endfor %}", "H"),
        (
            "{% set d = dict(a=1, b=2) %}{% for k, v in d.items() %}{{ k }}{{ v }}{% endfor %}",
            "a1b2",
        ),
        (
            "{{ messages[0].get('name', 'nobody') }}{{ messages[0] | items | list | length }}",
            "nobody2",
        ),
        (
            "{{ messages | selectattr('role', 'equalto', 'user')"
            " | map(attribute='content') | list }}",
            "['Hi']",
        ),
        ("{{ messages | rejectattr('role', 'in', ['user']) | list }}", "[]"),
        (
            "{{ messages is iterable }}{{ messages[0] is mapping }}"
            "{{ messages[0].content is string }}"
            "{{ messages is sequence }}{{ 1 is number }}{{ none is none }}{{ x is undefined }}",
            "True" * 7,
        ),
        (
            "{% macro m(a, b=2) %}{{ a }}{{ b }}{{ caller() }}{% endmacro %}"
            "{% call m(1) %}c{% endcall %}",
            "12c",
        ),
        (
            "{% for a in [1, 2] recursive %}{{ loop.index }}{{ loop.last }}"
            "{{ loop.cycle('x', 'y') }}{% endfor %}",
            "1Falsex2Truey",
        ),
        (
            "{% for i in [1, 2, 3] %}{% if i == 2 %}{% continue %}{% endif %}{{ i }}{% endfor %}",
            "13",
        ),
        (
            "{{ {'b': [1], 'a': none} | tojson(sort_keys=true, separators=(',', ':')) }}",
            '{"a":null,"b":[1]}',
        ),
        ("{{ 'ü' | tojson(ensure_ascii=true) }}", '"\\u00fc"'),
        ("{% filter upper %}a{% endfilter %}{% set t %}b{% endset %}{{ t }}", "Ab"),
        ("a\n    {% if true %}\n  b\n    {% endif %}\nc", "a\n  b\nc"),
        ("{{ documents is none and tools is none }}", "True"),
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
        ("{{ '%1000000000d'|format(1) }}", "formats with a width"),
        ("{{ ('%s' * 999)|format('a' * 99999) }}", "a text of more than"),
        ("{{ [[1]]|sum(start=[1]) }}", "adds up what are no numbers"),
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
