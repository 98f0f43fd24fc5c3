"""What runs: in the server of the data folder, or nowhere. Commands need not know which.

Which models there are and what they are made of is on the disk, whoever runs (`models_of`); only a
server knows what is in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Protocol

import msgspec

from jan_server import representations
from jan_server.cli.client import Client, quoted, running_server
from jan_server.cli.options import check_there
from jan_server.engines.pooled import Seen
from jan_server.models import Models
from jan_server.services import Services
from jan_server.settings import Settings
from jan_server.types.model import DeletedModel, StoppedModel
from jan_server.types.trash import Restored


class Backend(Protocol):
    """A server's calls raise as Client.ask."""

    @property
    def address(self) -> str:
        """Where a server answers; empty when none runs."""
        ...

    def states(self) -> Mapping[str, str]:
        """The states of models by their ids; one that is not in it is as the disk says."""
        ...

    def loaded(self) -> list[Seen]:
        """What is in memory, or on its way there."""
        ...

    def stop(self, name: str) -> str:
        """Unload a model; one that is not loaded is fine. Its id, of an alias too.

        Raises NotFound.
        """
        ...

    def remove(self, id: str, *, now: bool) -> DeletedModel:
        """Raises as Removing.remove."""
        ...

    def restore(self, deletion: str) -> Restored:
        """Raises as Store.restore."""
        ...


class FolderBackend:
    """No server runs. Nothing is written, unless a model is removed."""

    address = ""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def states(self) -> Mapping[str, str]:
        return {}

    def loaded(self) -> list[Seen]:
        return []

    def stop(self, name: str) -> str:
        return models_of(self._settings).get(name).id

    def remove(self, id: str, *, now: bool) -> DeletedModel:
        services = Services(self._settings)
        services.store.check_writable()
        return asyncio.run(services.removing.remove(id, now=now))

    def restore(self, deletion: str) -> Restored:
        store = Services(self._settings).store
        store.check_writable()
        restored = representations.restored(deletion, store.restore(deletion))
        store.close()
        return restored


class ServerBackend:
    """A server runs, and is asked."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.address = client.presence.url

    def states(self) -> Mapping[str, str]:
        listed = self._client.ask("GET", "/v1/models", query={"state": "all"}, type=_List)
        return {model.id: model.state for model in listed.data}

    def loaded(self) -> list[Seen]:
        return self._client.ask("GET", "/healthz", type=_Health).loaded

    def stop(self, name: str) -> str:
        return self._client.ask("PUT", f"/v1/models/{quoted(name)}/stop", type=StoppedModel).id

    def remove(self, id: str, *, now: bool) -> DeletedModel:
        query = {"now": "true" if now else "false"}
        return self._client.ask(
            "DELETE", f"/v1/models/{quoted(id)}", query=query, type=DeletedModel
        )

    def restore(self, deletion: str) -> Restored:
        return self._client.ask("POST", f"/v1/trash/{quoted(deletion)}/restore", type=Restored)


@contextmanager
def open_backend(settings: Settings) -> Iterator[Backend]:
    """Raises SettingsInvalid when there is no such data folder."""
    check_there(settings)
    with running_server(settings) as client:
        yield ServerBackend(client) if client else FolderBackend(settings)


def models_of(settings: Settings) -> Models:
    """The models that the disk knows of. Looking writes nothing."""
    return Services(msgspec.structs.replace(settings, read_only=True, watch="off")).models


class _Listed(msgspec.Struct):
    id: str
    state: str


class _List(msgspec.Struct):
    data: list[_Listed]


class _Health(msgspec.Struct):
    loaded: list[Seen]
