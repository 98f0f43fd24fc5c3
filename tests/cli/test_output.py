from __future__ import annotations

import json

import pytest

from jan_server.cli.output import duration, json_text, print_table, size

NAMES = ("ID", "SIZE", "NOTE")


def test_columns_are_as_wide_as_they_must_be_and_nothing_is_cut(capsys):
    print_table(NAMES, [("a" * 200, "1", ""), ("日本", "22", "x")])
    assert capsys.readouterr().out.splitlines() == [
        "ID" + " " * 200 + "SIZE  NOTE",
        "a" * 200 + "  1",
        "日本" + " " * 196 + "  22    x",
    ]


def test_a_terminal_that_is_too_narrow_gets_paragraphs(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    print_table(NAMES, [("a" * 50, "1", ""), ("[b]", "22", "x")])
    assert capsys.readouterr().out.splitlines() == [
        f"\x1b[1m{'a' * 50}\x1b[0m",
        "  SIZE: 1",
        "\x1b[1m[b]\x1b[0m",
        "  SIZE: 22",
        "  NOTE: x",
    ]


@pytest.mark.parametrize(
    ("columns", "note"), [("40", "日本語 and…"), ("80", "日本語 and more than fits")]
)
def test_a_last_cell_may_be_cut_for_a_terminal(capsys, monkeypatch, columns, note):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", columns)
    rows = [("a" * 20, "1", "日本語 and more than fits")]
    print_table(NAMES, rows, cut_last=True)
    assert capsys.readouterr().out.splitlines()[1] == f"{'a' * 20}  1     {note}"
    print_table(NAMES, [("a" * 40, "1", "x")], cut_last=True)
    assert capsys.readouterr().out.splitlines()[-1] == {"40": "  NOTE: x"}.get(
        columns, f"{'a' * 40}  1     x"
    )


@pytest.mark.parametrize(("no_color", "first"), [("", "\x1b[1mID"), ("1", "ID")])
def test_style_is_for_terminals_that_want_it(capsys, monkeypatch, no_color, first):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", no_color)
    print_table(NAMES, [("a", "1", "x")])
    assert capsys.readouterr().out.startswith(first)


def test_nothing_that_a_terminal_obeys_is_printed(capsys):
    print_table(NAMES, [("\x1b[2J", "a\nb", "\x9b")])
    assert capsys.readouterr().out.splitlines()[1].split() == [r"\x1b[2J", r"a\nb", r"\x9b"]


def test_json_is_the_value_and_holds_no_controls():
    value = {"text": "\x1b \x7f \x9b \u2028 é"}
    text = json_text(value)
    assert json.loads(text) == value
    assert "é" in text
    assert not set("\x1b\x7f\x9b\u2028") & set(text)


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (None, ""),
        (0, "0 B"),
        (999, "999 B"),
        (98_362_432, "98.4 MB"),
        (1_500, "1.5 kB"),
        (8 * 10**9, "8.0 GB"),
    ],
)
def test_sizes_are_said_as_people_say_them(count, said):
    assert size(count) == said


@pytest.mark.parametrize(("seconds", "said"), [(0, "0 s"), (840, "14 min"), (7200, "2.0 h")])
def test_durations_too(seconds, said):
    assert duration(seconds) == said
