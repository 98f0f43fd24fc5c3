"""Calls of tools, read out of an answer as it grows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jan_server.completions.tools.calls import ToolCallParser
from jan_server.completions.tools.formats import FORMATS, HERMES
from jan_server.types.tool import FunctionCallDelta, ToolCallDelta
from tests.completions.tools.transcripts import NAMES, NOW, PARIS, ROME, TRANSCRIPTS, hermes


def read(form, pieces, *, one=False):
    """The content and the calls of an answer that comes in these pieces."""
    parser = ToolCallParser(form, NAMES, one=one)
    parts = [part for piece in pieces for part in parser.push(piece)] + parser.finish()
    content = "".join(part for part in parts if isinstance(part, str))
    calls = []
    for part in parts:
        if isinstance(part, ToolCallDelta) and part.function.name:
            calls.append((part.function.name, ""))
        elif isinstance(part, ToolCallDelta):
            name, arguments = calls[part.index]
            calls[part.index] = (name, arguments + part.function.arguments)
    assert parser.calls == len(calls)
    return content, calls


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda row: f"{row.form.name}: {row.text}")
def test_an_answer_is_content_and_calls(transcript):
    form, text, content, calls = transcript
    assert read(form, [text]) == (content, calls)
    assert read(form, text) == (content, calls)  # letter by letter


@st.composite
def cut(draw, texts):
    text = draw(texts)
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


@given(st.data())
def test_however_an_answer_is_cut_it_says_the_same(data):
    transcript = data.draw(st.sampled_from(TRANSCRIPTS))
    pieces = data.draw(cut(st.just(transcript.text)))
    assert read(transcript.form, pieces) == (transcript.content, transcript.calls)


def scraps(form):
    """What answers of the form are made of, and what is like it."""
    whole = [form.trigger, form.opens, form.head, form.middle, form.tail, form.joint, form.closes]
    scraps = [*whole, form.before, form.aside, "get_time", "{}", '{"city": "}"}', "<", "[", "]"]
    return [*(scrap for scrap in scraps if scrap), "{", "}", '"', " ", "\n", ",", "x", hermes(*NOW)]


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
@given(st.data())
def test_nonsense_is_the_same_however_it_is_cut(form, data):
    scrap = st.sampled_from(scraps(form))
    pieces = data.draw(st.lists(st.lists(scrap).map("".join)))
    text = "".join(pieces)
    assert read(form, pieces) == read(form, [text]) == read(form, text)


def test_a_call_is_told_as_openai_does_and_its_arguments_letter_by_letter():
    parser = ToolCallParser(HERMES, NAMES, one=False)
    parts = [part for letter in hermes(*ROME) for part in parser.push(letter) if part]
    first, *rest = parts
    assert first == ToolCallDelta(
        index=0,
        id=first.id,
        type="function",
        function=FunctionCallDelta(name="get_weather", arguments=""),
    )
    assert first.id.startswith("call_")
    assert rest == [
        ToolCallDelta(index=0, function=FunctionCallDelta(arguments=letter)) for letter in ROME[1]
    ]


def test_every_call_has_an_id_of_its_own():
    parser = ToolCallParser(HERMES, NAMES, one=False)
    parts = parser.push(hermes(*NOW) * 3)
    ids = [part.id for part in parts if isinstance(part, ToolCallDelta) and part.id]
    assert len(set(ids)) == 3


def test_of_one_call_nothing_follows():
    text = f"See: {hermes(*PARIS)}\n{hermes(*NOW)} and more"
    assert read(HERMES, [text], one=True) == ("See:", [PARIS])


def test_text_is_told_as_soon_as_it_can_be_no_call():
    parser = ToolCallParser(HERMES, NAMES, one=False)
    pieces = ["Hello", " <", "b", ">", "<tool", "_call>", "x"]
    told = ["".join(map(str, parser.push(piece))) for piece in pieces]
    assert told == ["Hello", "", " <b", ">", "", "", "<tool_call>x"]


@pytest.mark.parametrize(
    ("cut_off", "calls"),
    [
        ('<tool_call>\n{"name": "get_weather", "arguments": {"ci', [("get_weather", '{"ci')]),
        (hermes(*NOW)[:-5], [NOW]),
        (f"{hermes(*NOW)}\n{hermes(*NOW)[:20]}", [NOW]),
    ],
)
def test_a_call_that_was_cut_off_stays_as_it_is(cut_off, calls):
    assert read(HERMES, [cut_off]) == ("", calls)


def test_no_text_says_nothing():
    parser = ToolCallParser(HERMES, NAMES, one=False)
    parser.push(hermes(*PARIS)[:-25])
    assert [part for part in parser.push("") if part] == []
