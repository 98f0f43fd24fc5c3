"""The data folder, looked at without a server. Nothing is written."""

from __future__ import annotations

from jan_server.cli.options import check_there
from jan_server.settings import Settings
from jan_server.store import Store


def open_store(settings: Settings) -> Store:
    """Raises SettingsInvalid when there is no such folder."""
    check_there(settings)
    return Store(settings.data_folder, read_only=True).open()
