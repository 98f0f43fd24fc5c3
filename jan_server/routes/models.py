"""Models: list, read, start, stop, delete."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from jan_server import amounts, representations
from jan_server.errors import (
    NAMING_A_MODEL,
    WRITING,
    DataFolderMissing,
    EngineDied,
    FileBroken,
    InvalidRequest,
    LiesOutside,
    ModelCannotRun,
    ModelDownloading,
    ModelLoading,
    ModelNotDownloaded,
    NotEditable,
    PreconditionFailed,
    QueueFull,
    ShuttingDown,
)
from jan_server.models import KnownModel
from jan_server.services import Services
from jan_server.store.formats import PROTECTED
from jan_server.types.model import (
    DeletedModel,
    Model,
    ModelChanges,
    ModelList,
    ModelSettings,
    StartedModel,
    StoppedModel,
)
from jan_server.web.conditions import condition, resource_headers, resource_response
from jan_server.web.requests import decode_json, read_body, read_json, read_query
from jan_server.web.responses import json_response
from jan_server.web.routing import Route

log = logging.getLogger(__name__)


class ModelsQuery(Struct, kw_only=True, frozen=True):
    """`state=all` adds the models of the catalogue that are not downloaded."""

    state: Literal["all"] | UnsetType = UNSET


class DeleteQuery(Struct, kw_only=True, frozen=True):
    """`now=true` frees the disk space at once instead of moving the weights to the trash."""

    now: bool = False


class StartSettings(Struct, kw_only=True, frozen=True):
    """How to load it, instead of what its manifest says; each may be written as a string."""

    ctx_len: int | str | UnsetType = UNSET
    ngl: int | str | UnsetType = UNSET
    cpu_threads: int | str | UnsetType = UNSET
    n_parallel: int | str | UnsetType = UNSET
    keep_alive: float | str | UnsetType = UNSET


NOT_CHANGED = PROTECTED | {
    "state",
    "parts",
    "mmproj",
    "download",
    "download_error",
    "weights_changed",
}
"""What a client may send back as it got it: ours to say."""

STARTING = frozenset(StartSettings.__struct_fields__)


async def list_models(services: Services, request: Request) -> Response:
    query = read_query(request, ModelsQuery)
    everything = query.state is not UNSET
    found = await asyncio.to_thread(services.models.list, everything=everything)
    return json_response(representations.list_object(found, show=shown))


async def retrieve_model(services: Services, request: Request) -> Response:
    model = await asyncio.to_thread(services.models.get, request.path_params["model_id"])
    return resource_response(request, shown(model), etag=model.etag, stale=model.stale)


async def start_model(services: Services, request: Request) -> Response:
    settings = await _sent_settings(request)
    model = await services.models.start(request.path_params["model_id"], settings)
    return json_response(StartedModel(id=model.id))


async def stop_model(services: Services, request: Request) -> Response:
    model = await services.models.stop(request.path_params["model_id"])
    return json_response(StoppedModel(id=model.id))


async def _sent_settings(request: Request) -> ModelSettings:
    """What is known of the body. Jan 0.4 sends an object, or one as a JSON string.

    Raises InvalidRequest for a value that a manifest's reader would leave out.
    """
    body = await read_body(request, limit=request.state.body_limit)
    if body.lstrip().startswith(b'"'):
        body = _unquoted(body)
    _, sent = decode_json(body.strip() or b"{}", dict[str, Any])
    return settings_of(sent)


def settings_of(sent: Mapping[str, Any]) -> ModelSettings:
    """How to load a model, as far as it is known here. Raises InvalidRequest as above."""
    for name in sent.keys() - STARTING:
        log.warning("a model is started with %.40r, which says nothing here", name)
    known = {name: sent[name] for name in sent.keys() & STARTING if sent[name] is not None}
    for name, value in known.items():
        _check_setting(name, value)
    return msgspec.convert(known, ModelSettings, strict=False)


def _check_setting(name: str, value: Any) -> None:
    try:
        if name == "keep_alive":  # Whose type says no more than a pattern.
            amounts.seconds(value)
        msgspec.convert({name: value}, ModelSettings, strict=False)
    except (ValueError, TypeError, OverflowError) as error:  # msgspec's are ValueErrors.
        reason = str(error).partition(" - at ")[0]
        raise InvalidRequest(
            f"$.{name}: {reason[:1].lower()}{reason[1:]}.", param=f"$.{name}"
        ) from error


def _unquoted(body: bytes) -> bytes:
    try:
        return msgspec.json.decode(body, type=str).encode()
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The body is not JSON: {error}.") from error


async def change_model(services: Services, request: Request) -> Response:
    _, sent = await read_json(request, ModelChanges)
    model = await asyncio.to_thread(
        services.models.change,
        request.path_params["model_id"],
        {key: value for key, value in sent.items() if key not in NOT_CHANGED},
        condition=condition(request),
    )
    headers = resource_headers(model.etag, stale=model.stale)
    return json_response(shown(model), headers=headers)


async def delete_model(services: Services, request: Request) -> Response:
    query = read_query(request, DeleteQuery)
    id = request.path_params["model_id"]
    deleted = await services.removing.remove(id, now=query.now, condition=condition(request))
    return json_response(deleted)


def shown(model: KnownModel) -> dict[str, Any]:
    sources = model.manifest.downloads()
    answer = representations.model(
        model.value,
        id=model.id,
        created=model.created,
        owned_by=str(model.manifest.metadata.get("author", "")),
        state=model.state,
        source_url=sources[0].url if sources else "",
    )
    download = model.download
    told = {
        "download": download if download and download.is_running else None,
        "download_error": download.error or None if download else None,
        "parts": [path.name for path in model.parts],
        "mmproj": model.mmproj.name if model.mmproj else None,
        "weights_changed": model.weights_changed,
    }
    return {**answer, **{key: said for key, said in told.items() if said}}


CHANGE = Route(
    "PATCH",
    "/models/{model_id:path}",
    change_model,
    operation_id="modifyModel",
    tag="Models",
    summary="Modify model",
    description="Top-level keys of its `model.json` get new values, which hold from the next load "
    "on. Weights without one get one. A `model.yml` is only read: edit the file.",
    request=ModelChanges,
    response=Model,
    errors=(
        InvalidRequest,
        *NAMING_A_MODEL,
        ModelNotDownloaded,
        FileBroken,
        NotEditable,
        LiesOutside,
        PreconditionFailed,
        *WRITING,
    ),
)

START = Route(
    "PUT",
    "/models/{model_id:path}/start",
    start_model,
    operation_id="startModel",
    tag="Models",
    summary="Load a model",
    description="Answers when it is in memory. The body may name settings of its manifest, which "
    "hold until it is stopped.",
    request=StartSettings,
    request_required=False,
    response=StartedModel,
    names=("model file",),
    errors=(
        InvalidRequest,
        *NAMING_A_MODEL,
        ModelNotDownloaded,
        ModelCannotRun,
        QueueFull,
        EngineDied,
        ModelLoading,
        ShuttingDown,
    ),
    keeps_nothing=True,
)

STOP = Route(
    "PUT",
    "/models/{model_id:path}/stop",
    stop_model,
    operation_id="stopModel",
    tag="Models",
    summary="Unload a model",
    description="Answers that it still gives end with an error. One that is not loaded is fine.",
    response=StoppedModel,
    errors=NAMING_A_MODEL,
    keeps_nothing=True,
)

ROUTES = [
    Route(
        "GET",
        "/models",
        list_models,
        operation_id="listModels",
        tag="Models",
        summary="List models",
        description="The models that can answer. `?state=all` adds those of the catalogue.",
        query=ModelsQuery,
        response=ModelList,
        errors=(InvalidRequest, DataFolderMissing),
    ),
    START,
    replace(START, method="POST", operation_id="postModelStart"),
    STOP,
    replace(STOP, method="POST", operation_id="postModelStop"),
    Route(
        "GET",
        "/models/{model_id:path}",
        retrieve_model,
        operation_id="retrieveModel",
        tag="Models",
        summary="Retrieve model",
        description="One model, also one of the catalogue that is not downloaded.",
        response=Model,
        errors=(*NAMING_A_MODEL, PreconditionFailed),
    ),
    CHANGE,
    replace(CHANGE, method="POST", operation_id="postModel"),
    Route(
        "DELETE",
        "/models/{model_id:path}",
        delete_model,
        operation_id="deleteModel",
        tag="Models",
        summary="Delete model",
        description="Unloads the model, whose running answers end with an error, and moves it to "
        "the trash. Its manifest stays when the catalogue has it. Each file is accounted for.",
        query=DeleteQuery,
        response=DeletedModel,
        errors=(
            InvalidRequest,
            *NAMING_A_MODEL,
            ModelNotDownloaded,
            ModelDownloading,
            FileBroken,
            LiesOutside,
            PreconditionFailed,
            *WRITING,
        ),
    ),
]
