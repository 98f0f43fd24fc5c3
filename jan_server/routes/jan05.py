"""What only Jan 0.5's own UI asks for: the last Jan that spoke HTTP to its backend for everything.

It had a backend that could install engines, keep a list of places where models come from, and be
configured over HTTP. Here engines are packages, and settings a file of the user's: what it asks of
them is answered truly, and a change says that nothing was changed. No call takes a path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from jan_server import __version__, engines, hardware
from jan_server.errors import (
    NAMING_A_MODEL,
    DataFolderMissing,
    InvalidId,
    InvalidRequest,
    NotFound,
    ShuttingDown,
)
from jan_server.representations import UNNAMED_ENGINE
from jan_server.routes import answering, downloads, models
from jan_server.services import Services
from jan_server.types.download import DownloadStarted
from jan_server.types.jan05 import (
    Configured,
    DefaultEngine,
    EngineVariant,
    ModelStatus,
    NamedModel,
    NothingListed,
    PulledModel,
    Told,
    Unloaded,
)
from jan_server.types.model import StartedModel, StoppedModel
from jan_server.web.requests import read_json
from jan_server.web.responses import json_response
from jan_server.web.routing import Route

SILENT_SOCKETS = ("/events",)
"""Without it the UI tries again every second, and takes each try for a model that has stopped."""

PACKAGES = {"ctransformers": "ctransformers", "llama-cpp": "xllamacpp"}
"""Where an engine's version comes from; others are of this package."""


async def list_engines(services: Services, _request: Request) -> Response:
    return json_response(await asyncio.to_thread(_engines, services))


async def get_engine(services: Services, request: Request) -> Response:
    return json_response([await _engine(services, request)])


async def default_engine(services: Services, request: Request) -> Response:
    found = await _engine(services, request)
    return json_response(
        DefaultEngine(engine=found.engine, variant=found.name, version=found.version)
    )


async def update_engine(services: Services, request: Request) -> Response:
    found = await _engine(services, request)
    return json_response(
        Told(message=f"Nothing was changed: {found.engine} is updated by updating its package.")
    )


async def get_hardware(services: Services, _request: Request) -> Response:
    return json_response(await asyncio.to_thread(hardware.look, services.settings.data_folder))


async def get_configs(_services: Services, _request: Request) -> Response:
    return json_response(Configured(message="Settings are in .jan_server/settings.toml."))


async def change_configs(_services: Services, _request: Request) -> Response:
    told = "Nothing was changed: settings are in .jan_server/settings.toml."
    return json_response(Configured(message=told))


async def list_nothing(_services: Services, _request: Request) -> Response:
    return json_response(NothingListed())


async def start_model(services: Services, request: Request) -> Response:
    asked, sent = await read_json(request, NamedModel)
    said = {key: value for key, value in sent.items() if key not in ("model", "engine")}
    model = await services.models.start(asked.model, models.settings_of(said))
    return json_response(StartedModel(id=model.id))


async def stop_model(services: Services, request: Request) -> Response:
    asked, _ = await read_json(request, NamedModel)
    model = await services.models.stop(asked.model)
    return json_response(StoppedModel(id=model.id))


async def model_status(services: Services, request: Request) -> Response:
    id = request.path_params["model_id"]
    model = await asyncio.to_thread(services.models.get, id)
    if model.state != "running":
        raise NotFound("running model", id, hint=f"It is known, and {model.state}.")
    return json_response(ModelStatus(id=model.id, state=model.state))


async def pull_model(services: Services, request: Request) -> Response:
    asked, _ = await read_json(request, PulledModel)
    return json_response(await downloads.start(services, asked.model))


async def unload_all(services: Services, _request: Request) -> Response:
    """Its backend ended by this. Ours goes on, without the models."""
    loaded = sorted(services.pool.running())
    await asyncio.gather(*(services.pool.stop(id) for id in loaded))
    return json_response(Unloaded(message="All models are unloaded.", models=loaded))


async def _engine(services: Services, request: Request) -> EngineVariant:
    name = request.path_params["engine"]
    found = await asyncio.to_thread(_engines, services)
    if name not in found:
        raise NotFound("engine", name, hint=f"There are: {', '.join(found)}.")
    return found[name][0]


def _engines(services: Services) -> dict[str, list[EngineVariant]]:
    """Those that are installed, and those that models here name: the UI shows no others."""
    named = {
        model.manifest.engine or UNNAMED_ENGINE: bool(model.remote)
        for model in services.models.list()
    }
    own = {name: False for name in engines.ENGINES if not engines.is_remote(name)}
    found: Mapping[str, bool] = {**own, **named}
    return {
        name: [_variant(name, is_remote=is_remote)]
        for name, is_remote in found.items()
        if is_remote or name in named or _version(name)
    }


def _variant(name: str, *, is_remote: bool) -> EngineVariant:
    return EngineVariant(
        engine=name,
        name=name,
        type="remote" if is_remote else "local",
        version=_version(name) or __version__,
    )


def _version(name: str) -> str:
    """Empty for one that needs a package which is not installed."""
    if name not in PACKAGES:
        return __version__
    try:
        return version(PACKAGES[name])
    except PackageNotFoundError:
        return ""


def _row(
    method: str, path: str, handler: Any, id: str, summary: str, response: Any, **more: Any
) -> Route[Services]:
    return Route(
        method, path, handler, operation_id=id, tag="Jan 0.5", summary=summary, response=response,
        keeps_nothing=True, **more,
    )  # fmt: skip


# fmt: off
ROUTES = [
    _row("GET", "/engines", list_engines, "listEngines", "Engines", dict[str, list[EngineVariant]]),
    _row("GET", "/engines/{engine}", get_engine, "getEngine", "One engine", list[EngineVariant],
         errors=(NotFound, InvalidId)),
    _row("GET", "/engines/{engine}/default", default_engine, "getDefaultEngine",
         "The variant of an engine that is used", DefaultEngine, errors=(NotFound, InvalidId)),
    _row("POST", "/engines/{engine}/update", update_engine, "updateEngine",
         "Says how an engine is updated", Told, errors=(NotFound, InvalidId)),
    _row("GET", "/hardware", get_hardware, "getHardware", "What machine this is",
         hardware.Hardware, errors=(DataFolderMissing,)),
    _row("GET", "/configs", get_configs, "getConfigs", "Says where the settings are", Configured),
    _row("PATCH", "/configs", change_configs, "changeConfigs",
         "Says where the settings are", Configured),
    _row("GET", "/models/sources", list_nothing, "listModelSources",
         "Places where models come from: none is kept", NothingListed),
    _row("GET", "/models/hub", list_nothing, "listHub", "Models of such places", NothingListed),
    _row("GET", "/models/status/{model_id:path}", model_status, "getModelStatus",
         "Whether a model is loaded", ModelStatus, names=("running model",), errors=NAMING_A_MODEL),
    replace(models.START, path="/models/start", handler=start_model, request=NamedModel,
            request_required=True, method="POST", operation_id="startNamedModel", tag="Jan 0.5",
            names=answering.NAMES, response=StartedModel),
    replace(models.STOP, path="/models/stop", handler=stop_model, request=NamedModel,
            method="POST", operation_id="stopNamedModel", tag="Jan 0.5", names=("model",),
            errors=(InvalidRequest, *models.STOP.errors), response=StoppedModel),
    replace(downloads.DOWNLOAD, path="/models/pull", handler=pull_model, request=PulledModel,
            method="POST", operation_id="pullModel", tag="Jan 0.5", names=answering.NAMES,
            errors=(InvalidRequest, *downloads.DOWNLOAD.errors), response=DownloadStarted),
    _row("DELETE", "/processmanager/destroy", unload_all, "unloadAll", "Unload all models",
         Unloaded, at_root=True, errors=(ShuttingDown,)),
]
# fmt: on
