from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jan_server import __version__, cli
from tests.cli.shell import completions


def test_version_is_said_both_ways(run):
    assert run("version").output == f"{__version__}\n"
    assert __version__ in run("--version").output


def test_help_shows_the_commands_under_their_headings(run):
    told = run("--help").output
    headings = [row.section for row in cli.COMMANDS]
    places = [told.index(f"\n{heading}:\n") for heading in dict.fromkeys(headings)]
    assert places == sorted(places)
    assert sorted(headings, key=headings.index) == headings
    assert all(f"\n  {row.name} " in told for row in cli.COMMANDS)


@pytest.mark.parametrize("name", [row.name for row in cli.COMMANDS])
def test_every_command_says_how_it_is_used(run, name):
    done = run(name, "--help")
    assert done.exit_code == 0, done.output
    assert f" {name} [OPTIONS]" in done.output


def test_an_error_cannot_speak_to_the_terminal(run, write, data_folder):
    done = run("stop", "a\x1b[31m\nb", "--data-folder", str(data_folder))
    assert (done.exit_code, done.stderr.count("\n"), "\x1b" in done.stderr) == (2, 1, False)


def test_an_unknown_command_is_wrong_usage(run):
    done = run("sevre")
    assert (done.exit_code, "No such command 'sevre'" in done.stderr) == (2, True)


def test_broken_settings_are_wrong_usage_for_every_command(run, write, data_folder):
    write(".jan_server/settings.toml", "prot = 1")
    for command in (["serve"], ["pull", "tiny"]):
        done = run(*command, "--data-folder", str(data_folder))
        assert (done.exit_code, "prot" in done.output) == (2, True)


def test_a_shell_completes_the_commands():
    assert completions("") == [row.name for row in cli.COMMANDS]
    assert completions("do") == ["doctor"]
    assert completions("doctor --f") == ["--fix"]
    assert "--read-only" in completions("--port 0 --rea")
    assert completions("--rea") == ["--read-only"]


def test_listing_and_completing_the_commands_imports_none_of_them():
    asked = (
        "import sys; from click import Context; from jan_server.cli import main;"
        "context = Context(main); main.get_help(context); main.shell_complete(context, '');"
        "main.list_commands(context);"
        "print([name for name in sys.modules if name in "
        "('rich', 'starlette', 'hypercorn', 'asyncio', 'jan_server.cli.version')])"
    )
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes_as_the_readme_switches_it_on():
    script = (
        'eval "$(_JAN_SERVER_COMPLETE=bash_source jan-server)"; COMP_WORDS=(jan-server do);'
        "COMP_CWORD=1; _jan_server_completion jan-server; echo ${COMPREPLY[@]}"
    )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    assert (done.stdout, done.stderr) == ("doctor\n", "")
