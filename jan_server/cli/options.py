"""What several commands take: which data folder and key, the settings that hold, JSON."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from jan_server import data_folder, settings
from jan_server.errors import SettingsInvalid
from jan_server.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


def data_folder_option(command: F) -> F:
    """The command gets `data_folder`, for `find_folder` or `find_settings`."""
    return click.option(
        "--data-folder",
        type=str,
        metavar="DIR",
        help="The Jan data folder. Default: JAN_DATA_FOLDER, Jan's own setting, "
        "an existing Jan folder, else ~/jan.",
    )(command)


def api_key_option(command: F) -> F:
    """The command gets `api_key`, for `find_settings`."""
    return click.option(
        "--api-key",
        metavar="KEY",
        help="The key of the running server. Default: JAN_API_KEY, or as the settings file says.",
    )(command)


def json_option(command: F) -> F:
    """The command gets `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else.")(
        command
    )


def find_folder(flag: str | None) -> data_folder.DataFolder:
    """Raises SettingsInvalid."""
    return data_folder.find(flag, os.environ, data_folder.Places.of_this_user())


def find_settings(flag: str | None, *, api_key: str | None = None) -> Settings:
    """Those that hold for the data folder. Raises SettingsInvalid."""
    flags = {} if api_key is None else {"api_key": api_key}
    return settings.resolve(find_folder(flag).path, os.environ, flags)


def check_there(settings: Settings) -> None:
    """For commands that make no data folder. Raises SettingsInvalid when there is none."""
    if not settings.data_folder.is_dir():
        raise SettingsInvalid(f"There is no data folder {settings.data_folder}.")
