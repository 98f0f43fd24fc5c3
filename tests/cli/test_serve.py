from __future__ import annotations

from math import inf

import pytest

from jan_server import server


def test_without_a_command_it_serves(monkeypatch, run, data_folder):
    seen = []
    monkeypatch.setattr(
        server, "run", lambda settings, folder_reason: seen.append((settings, folder_reason))
    )
    for arguments in (["serve"], [], ["serve", "--allowed-host", "a", "--allowed-host", "b"]):
        done = run(*arguments, "--port", "0", "--data-folder", str(data_folder))
        assert done.exit_code == 0, done.output
    assert [(settings.port, why) for settings, why in seen] == [(0, "--data-folder")] * 3
    assert seen[0][0].data_folder == data_folder
    assert seen[2][0].allowed_host == ("a", "b")


@pytest.mark.parametrize(
    ("flag", "given", "name", "value"),
    [
        ("--n-parallel", "3", "n_parallel", 3),
        ("--keep-alive", "5m", "keep_alive", 300.0),
        ("--keep-alive", "-1", "keep_alive", inf),
        ("--max-queue", "7", "max_queue", 7),
        ("--memory-budget", "8GB", "memory_budget", 8 * 10**9),
        ("--stall-patience", "30", "stall_patience", 30.0),
    ],
)
def test_how_models_are_kept_and_shared_is_said_by_flags(
    monkeypatch, run, data_folder, flag, given, name, value
):
    seen = []
    monkeypatch.setattr(server, "run", lambda settings, folder_reason: seen.append(settings))
    done = run("serve", flag, given, "--data-folder", str(data_folder))
    assert done.exit_code == 0, done.output
    assert getattr(seen[0], name) == value
