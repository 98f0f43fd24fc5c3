"""Where the data folder is: probed in a fixed order, and the answer says why.

Flag, environment, the pointer file of each Jan, a Jan folder that exists, else `~/jan`. Nothing is
created here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import platformdirs

from jan_server.errors import SettingsInvalid

VARIABLES = ("JAN_DATA_FOLDER", "JAN_DATA_DIRECTORY")

# What tells a Jan folder from any other folder called `jan`.
SIGNS = ("threads", "assistants", "models")


class DataFolder(msgspec.Struct, frozen=True):
    """`why` completes the sentence "this folder, because of ..."."""

    path: Path
    why: str


class Places(msgspec.Struct, frozen=True, kw_only=True):
    """The folders of this user in which a Jan keeps things; tests give their own."""

    home: Path
    config: Path
    data: Path

    @classmethod
    def of_this_user(cls) -> Places:
        return cls(
            home=Path.home(),
            config=Path(platformdirs.user_config_path(roaming=True)),
            data=Path(platformdirs.user_data_path(roaming=True)),
        )


def find(flag: str | Path | None, environ: Mapping[str, str], places: Places) -> DataFolder:
    """The data folder to use, absolute. Raises SettingsInvalid when a pointer file is broken."""
    if flag is not None:
        if not str(flag):
            raise SettingsInvalid("--data-folder is empty: name a folder.")
        return _absolute(flag, "--data-folder")
    for name in VARIABLES:
        if environ.get(name):
            return _absolute(environ[name], name)
    for pointer in _pointers(places):
        if (folder := _pointed_at(pointer)) is not None:
            return DataFolder(folder, f"Jan's own settings in {pointer}")
    for folder in _existing(places):
        if any((folder / sign).is_dir() for sign in SIGNS):
            return DataFolder(folder, "an existing Jan folder")
    return DataFolder(places.home / "jan", "the default")


def _absolute(path: str | Path, why: str) -> DataFolder:
    return DataFolder(Path(path).expanduser().absolute(), why)


def _pointers(places: Places) -> Iterator[Path]:
    """Electron's Jan wrote the first, today's (Tauri) the second when the first is not there."""
    yield places.config / "Jan" / "settings.json"
    yield places.data / "jan.ai.app" / "settings.json"


def _existing(places: Places) -> Iterator[Path]:
    """Jan to 0.5.2, 0.5.3 to 0.5.16, and today's."""
    yield places.home / "jan"
    yield places.config / "Jan" / "data"
    yield places.data / "Jan" / "data"


def _pointed_at(pointer: Path) -> Path | None:
    try:
        raw = pointer.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise SettingsInvalid(f"Jan's settings file {pointer} cannot be read: {error}.") from error
    try:
        value = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise SettingsInvalid(
            f"Jan's settings file {pointer} is broken ({error}): mend it, or say --data-folder."
        ) from error
    folder = value.get("data_folder") if isinstance(value, dict) else None
    return Path(folder) if isinstance(folder, str) and folder else None
