from __future__ import annotations

from math import inf

import pytest

from jan_server.errors import SettingsInvalid
from jan_server.settings import Settings, resolve


@pytest.fixture
def settings_file(tmp_path):
    (tmp_path / ".jan_server").mkdir()
    return tmp_path / ".jan_server" / "settings.toml"


def test_without_anything_the_defaults_hold(tmp_path):
    assert resolve(tmp_path, {}) == Settings(data_folder=tmp_path, host="127.0.0.1", port=1337)


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path, settings_file):
    settings_file.write_text('port = 1\nhost = "localhost"\napi-key = "from the file"\n')
    environ = {"JAN_API_PORT": "2", "JAN_API_HOST": "::1"}

    found = resolve(tmp_path, environ, {"port": 3})

    assert (found.port, found.host, found.api_key) == (3, "::1", "from the file")


def test_an_empty_variable_counts_as_not_set(tmp_path):
    assert resolve(tmp_path, {"JAN_API_PORT": ""}).port == 1337


@pytest.mark.parametrize(
    ("said", "flushes"), [('"always"', True), ('"off"', False), ("false", False)]
)
def test_flushing_can_be_switched_off_for_tests(said, flushes, tmp_path, settings_file):
    assert resolve(tmp_path, {}).flushes
    settings_file.write_text(f"fsync = {said}\n")
    assert resolve(tmp_path, {}).flushes == flushes


def test_lists_are_written_as_toml_lists(tmp_path, settings_file):
    settings_file.write_text('allowed-host = ["box.local", "box"]\n')
    assert resolve(tmp_path, {}).allowed_host == ("box.local", "box")


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("keep-alive = 60", "keep_alive", 60.0),
        ("keep-alive = '1h30m'", "keep_alive", 5400.0),
        ("keep-alive = -1", "keep_alive", inf),
        ("keep-alive = 0", "keep_alive", 0.0),
        ("memory-budget = '8GB'", "memory_budget", 8 * 10**9),
        ("memory-budget = 1000", "memory_budget", 1000),
        ("max-queue = 0", "max_queue", 0),
        ("n-parallel = 4", "n_parallel", 4),
        ("stall-patience = 1.5", "stall_patience", 1.5),
    ],
)
def test_how_models_are_kept_and_shared_can_be_set(tmp_path, settings_file, text, name, value):
    settings_file.write_text(text)
    assert getattr(resolve(tmp_path, {}), name) == value


def test_units_are_understood_on_the_command_line(tmp_path):
    found = resolve(tmp_path, {}, {"keep_alive": "5m", "memory_budget": "512MiB"})
    assert (found.keep_alive, found.memory_budget) == (300.0, 2**29)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("keep-alive = 'long'", ["'keep_alive'", "'long' is no duration such as 30s"]),
        ("keep-alive = []", ["'keep_alive'", "settings.toml"]),
        ("keep-alive = 1" + "0" * 400, ["'keep_alive'", "settings.toml"]),
        ("memory-budget = 'much'", ["'memory_budget'", "'much' is no size such as 8GB"]),
        ("memory-budget = 0", ["'memory_budget'", ">= 1"]),
        ("max-queue = -1", ["'max_queue'", ">= 0"]),
        ("n-parallel = 65", ["'n_parallel'", "<= 64"]),
        ("stall-patience = 0", ["'stall_patience'", "> 0"]),
        ("prot = 1337", ["Unknown setting 'prot'", "settings.toml", "allowed-host"]),
        ("data-folder = 'x'", ["Unknown setting 'data_folder'"]),
        ("port = 'many'", ["'port'", "settings.toml", "int"]),
        ("port = 1337\nport = = 2", ["settings.toml cannot be read", "line 2"]),
        ("port = 99999", ["port must be between 0 and 65535"]),
        ("threads = -4", ["'threads'", ">= 1"]),
        ("max-body = -1", ["'max_body'", ">= 1024"]),
        ("load-patience = -1", ["'load_patience'", ">= 0"]),
        ("api-key = ''", ["'api_key'", "length >= 1"]),
        ("host = '0.0.0.0'", ["0.0.0.0 lets other machines in", "--api-key"]),
    ],
)
def test_a_wrong_setting_is_named_with_its_place(tmp_path, settings_file, text, words):
    settings_file.write_text(text)

    with pytest.raises(SettingsInvalid) as caught:
        resolve(tmp_path, {})

    for word in words:
        assert word in str(caught.value)


def test_a_file_that_is_not_text_is_named(tmp_path, settings_file):
    settings_file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        resolve(tmp_path, {})


def test_a_wrong_variable_is_named(tmp_path):
    with pytest.raises(SettingsInvalid, match="'port' in the environment"):
        resolve(tmp_path, {"JAN_API_PORT": "http"})


def test_another_address_is_possible_with_a_key(tmp_path):
    assert resolve(tmp_path, {"JAN_API_KEY": "k"}, {"host": "0.0.0.0"}).host == "0.0.0.0"


def test_an_empty_key_on_the_command_line_is_no_key_in_silence(tmp_path):
    with pytest.raises(SettingsInvalid, match="'api_key' in the command line"):
        resolve(tmp_path, {}, {"api_key": ""})
