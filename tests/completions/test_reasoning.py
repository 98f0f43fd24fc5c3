"""Reasoning, told apart from the answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jan_server.completions.reasoning import MARKS, ReasoningSplitter, begins_inside, find

THINK = MARKS[0]


def split(pieces, *, inside=False, marks=THINK):
    splitter = ReasoningSplitter(marks, inside=inside)
    told = [splitter.push(piece) for piece in pieces] + [splitter.finish()]
    return tuple("".join(texts) for texts in zip(*told, strict=True))


ANSWERS = [
    ("<think>\nTwo and two.\n</think>\n\n4\n", "Two and two.", "4\n"),
    ("\n<think>a\n\nb</think>c</think>", "a\n\nb", "c</think>"),
    ("<think>\n\n</think>\n\nHi", "", "Hi"),
    ("<think>\nI wonder ", "I wonder", ""),
    ("<think>a</thin", "a</thin", ""),
    ("<think>a</think>", "a", ""),
    ("Hi <think>a</think>", "", "Hi <think>a</think>"),
    ("<thin", "", "<thin"),
    (" <thing>", "", " <thing>"),
    ("", "", ""),
]


@pytest.mark.parametrize(("answer", "reasoning", "rest"), ANSWERS)
def test_reasoning_stands_at_the_beginning(answer, reasoning, rest):
    assert split([answer]) == split(answer) == (reasoning, rest)


@pytest.mark.parametrize(
    ("answer", "reasoning", "rest"),
    [
        ("\nTwo.\n</think>\n\n4", "Two.", "4"),
        ("Two.", "Two.", ""),
        ("</think>4", "", "4"),
        ("<think>a</think>4", "<think>a", "4"),
    ],
)
def test_an_answer_may_begin_inside(answer, reasoning, rest):
    assert split([answer], inside=True) == split(answer, inside=True) == (reasoning, rest)


@pytest.mark.parametrize("inside", [True, False])
@given(
    pieces=st.lists(
        st.text("<>/thinkTHINK[] \n", max_size=4) | st.sampled_from(["<think>", "</think>"])
    )
)
def test_however_it_is_cut_it_says_the_same(pieces, inside):
    text = "".join(pieces)
    assert (
        split(pieces, inside=inside) == split([text], inside=inside) == split(text, inside=inside)
    )


def test_it_is_told_as_it_comes():
    splitter = ReasoningSplitter(THINK, inside=False)
    pieces = ["<thi", "nk>", "One ", "two <", "b> ", "</", "think>", "\n", "Yes", " no"]
    assert [splitter.push(piece) for piece in pieces] == [
        ("", ""),
        ("", ""),
        ("One", ""),
        (" two", ""),
        (" <b>", ""),
        ("", ""),
        ("", ""),
        ("", ""),
        ("", "Yes"),
        ("", " no"),
    ]


@pytest.mark.parametrize("marks", MARKS, ids=lambda marks: marks.opens)
def test_marks_are_found_in_the_template_and_used(marks):
    template = "{{ message.content.split('" + marks.closes + "')[-1] }}"
    assert find(template) == marks
    assert split([f"{marks.opens}a{marks.closes}b"], marks=marks) == ("a", "b")


@pytest.mark.parametrize("template", [None, "", "{{ messages }}"])
def test_a_template_without_marks_is_of_a_model_that_does_not_reason(template):
    assert find(template) is None


@pytest.mark.parametrize(
    ("prompt", "inside"),
    [
        ("<|im_start|>assistant\n<think>\n", True),
        ("<｜Assistant｜><think>", True),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("<|im_start|>assistant\n", False),
        ("", False),
    ],
)
def test_a_template_may_have_opened_the_reasoning(prompt, inside):
    assert begins_inside(prompt, THINK) is inside
