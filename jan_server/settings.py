"""How the server is set up: defaults < settings file < environment < command line.

The settings file is `.jan_server/settings.toml` in the data folder, its keys named as the long
flags (`allowed-host`, dashes or underscores). It is the user's: read at the start, never written.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from jan_server import amounts
from jan_server.errors import SettingsInvalid

SETTINGS_FILE = Path(".jan_server") / "settings.toml"
LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")

# The variables that Jan's own server reads, and one for our key. The data folder has its own rules
# (`data_folder.py`).
ENVIRONMENT = {"JAN_API_HOST": "host", "JAN_API_PORT": "port", "JAN_API_KEY": "api_key"}

# Settings that may be written with a unit.
UNITS: dict[str, Callable[[Any], float]] = {
    "keep_alive": amounts.seconds,
    "memory_budget": amounts.size,
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set. Sizes are in bytes, times in seconds.

    After `trash_days` days deletions are removed for good; 0 is never. `watch` is how changes by
    others are heard of: `polling` is for network folders; with `off` every list looks at all files.
    New files have the shape of `new_files`: today's Jan's where it has left its signs or a thread,
    else Jan 0.4's. `fsync` is `always`, or `off` for tests: then nothing is flushed.

    A model that nobody uses is unloaded after `keep_alive`; negative is never. Beside those it
    works on, so many of its requests may wait as `max_queue` says. All models together take no
    more than `memory_budget`, by default 80 % of what there is. `n_parallel` is how many requests
    a model works on at once, where its manifest does not say; by default the engine chooses. A
    model that says nothing for `stall_patience` hangs, and is ended; one that is being loaded does
    when it does nothing for five times as long. A remote server that says nothing for
    `remote_patience` is left.

    Requests may import files from each `import_folder` and below; where none is named, from
    anywhere if only this machine can ask, else from nowhere. Of models that are downloaded at once
    there are `max_downloads`; others wait.
    """

    data_folder: Path
    host: str = "127.0.0.1"
    port: int = 1337
    api_key: Annotated[str, Meta(min_length=1)] | None = None
    allowed_host: tuple[str, ...] = ()
    allowed_origin: tuple[str, ...] = ()
    default_model: str | None = None
    default_assistant: str = "jan"
    threads: Annotated[int, Meta(ge=1, le=512)] | None = None
    max_body: Annotated[int, Meta(ge=1024)] = 10 * 1024 * 1024
    load_patience: Annotated[float, Meta(ge=0)] = 60.0
    keep_alive: float = 900.0
    max_queue: Annotated[int, Meta(ge=0)] = 64
    memory_budget: Annotated[int, Meta(ge=1)] | None = None
    n_parallel: Annotated[int, Meta(ge=1, le=64)] | None = None
    stall_patience: Annotated[float, Meta(gt=0)] = 120.0
    remote_patience: Annotated[float, Meta(gt=0)] = 300.0
    fsync: bool | Literal["always", "off"] = "always"
    watch: Literal["auto", "polling", "off"] = "auto"
    new_files: Literal["auto", "jan-0.4", "jan-today"] = "auto"
    read_only: bool = False
    trash_days: Annotated[float, Meta(ge=0)] = 30.0
    import_folder: tuple[str, ...] = ()
    max_downloads: Annotated[int, Meta(ge=1, le=16)] = 2

    @property
    def flushes(self) -> bool:
        """Whether what is answered is on the disk first."""
        return self.fsync not in (False, "off")


def resolve(
    data_folder: Path, environ: Mapping[str, str], flags: Mapping[str, Any] = MappingProxyType({})
) -> Settings:
    """The settings that hold for a data folder; `flags` are those given on the command line.

    Raises SettingsInvalid with the key and where it came from.
    """
    values: dict[str, Any] = {}
    file = data_folder / SETTINGS_FILE
    _take(values, _from_file(file), source=str(file))
    _take(values, _from_environment(environ), source="the environment")
    _take(values, flags, source="the command line")
    settings = Settings(data_folder=data_folder, **values)
    _refuse_an_open_door(settings)
    return settings


def _from_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsInvalid(f"{path} cannot be read: {error}.") from error
    return {key.replace("-", "_"): value for key, value in found.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    return {key: environ[name] for name, key in ENVIRONMENT.items() if environ.get(name)}


def _take(values: dict[str, Any], found: Mapping[str, Any], *, source: str) -> None:
    """Put `found` over `values`, each checked by the type of its field."""
    fields = get_type_hints(Settings, include_extras=True)
    del fields["data_folder"]
    for key, value in found.items():
        if key not in fields:
            known = ", ".join(name.replace("_", "-") for name in fields)
            raise SettingsInvalid(f"Unknown setting {key!r} in {source}; known are: {known}.")
        try:
            read = UNITS[key](value) if key in UNITS else value
            values[key] = msgspec.convert(read, fields[key], strict=False)
        except (ValueError, TypeError, OverflowError) as error:  # msgspec's are ValueErrors.
            raise SettingsInvalid(f"The setting {key!r} in {source} is wrong: {error}.") from error


def _refuse_an_open_door(settings: Settings) -> None:
    if not 0 <= settings.port <= 65535:
        raise SettingsInvalid(f"The port must be between 0 and 65535, not {settings.port}.")
    if settings.host not in LOOPBACK_HOSTS and not settings.api_key:
        raise SettingsInvalid(
            f"Listening on {settings.host} lets other machines in: set an API key "
            "(--api-key or JAN_API_KEY), or use --host 127.0.0.1."
        )
