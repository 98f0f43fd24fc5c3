"""Getting models: a download is started and stopped here, and goes on in the background."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from jan_server.errors import (
    NAMING_A_MODEL,
    WRITING,
    AlreadyExists,
    DownloadElsewhere,
    DownloadFailed,
    DownloadProgressNotFound,
    InvalidId,
    InvalidRequest,
    LiesOutside,
    ModelCannotRun,
    ShuttingDown,
)
from jan_server.services import Services
from jan_server.types.download import (
    Download,
    DownloadStarted,
    JanDownload,
    JanDownloadSize,
    JanDownloadTime,
    StoppedDownload,
)
from jan_server.web.responses import json_response
from jan_server.web.routing import Route


async def download_model(services: Services, request: Request) -> Response:
    return json_response(await start(services, request.path_params["model_id"]))


async def start(services: Services, asked: str) -> DownloadStarted:
    """Raises as Getting.start."""
    id, is_new = await asyncio.to_thread(services.getting.start, asked)
    message = f"Starting download {id}" if is_new else f"{id} is here or on its way already"
    return DownloadStarted(message=message, id=id)


async def stop_download(services: Services, request: Request) -> Response:
    asked = request.path_params["model_id"]
    id, freed = await asyncio.to_thread(services.getting.stop, asked)
    return json_response(StoppedDownload(id=id, freed=freed))


async def jan_progress(services: Services, request: Request) -> Response:
    id = request.path_params["model_id"]
    found = await asyncio.to_thread(services.downloads.look, id)
    if found is None:
        raise DownloadProgressNotFound
    return json_response(_as_jan_shows_it(found))


def _as_jan_shows_it(found: Download) -> JanDownload:
    left = (found.total or found.bytes) - found.bytes
    return JanDownload(
        model_id=found.id,
        file_name=found.file,
        time=JanDownloadTime(
            elapsed=found.bytes / found.rate if found.rate else 0.0,
            remaining=left / found.rate if found.rate else 0.0,
        ),
        speed=found.rate,
        percent=found.bytes / found.total if found.total else 0.0,
        size=JanDownloadSize(total=found.total or 0, transferred=found.bytes),
        download_state="downloading" if found.is_running else "error",
        error=found.error or UNSET,
    )


DOWNLOAD = Route(
    "GET",
    "/models/download/{model_id:path}",
    download_model,
    operation_id="downloadModel",
    tag="Models",
    summary="Download a specific model",
    description=(
        "Starts in the background, or goes on from what is there of it; `GET /models/{model_id}` "
        "shows how far it is. So many run at once, others wait for their turn. Beside the ids of "
        "models that are known, `ORG/REPO` and `ORG/REPO:FILE` name what the hub has; the answer "
        "has the id of the model that becomes of it."
    ),
    response=DownloadStarted,
    names=("model file",),
    errors=(
        *(InvalidRequest, *NAMING_A_MODEL, ModelCannotRun, LiesOutside, AlreadyExists),
        ShuttingDown,
        *(DownloadFailed, *WRITING),
    ),
    changes=True,
)

ROUTES = [
    DOWNLOAD,
    # Jan's document describes a GET; its own example posts.
    replace(DOWNLOAD, method="POST", operation_id="startModelDownload", changes=False),
    Route(
        "DELETE",
        "/models/download/{model_id:path}",
        stop_download,
        operation_id="stopModelDownload",
        tag="Models",
        summary="Stop a download",
        description=(
            "One that runs, waits, was interrupted or has failed. The part of the files that is "
            "there is removed."
        ),
        response=StoppedDownload,
        names=("download",),
        errors=(*NAMING_A_MODEL, LiesOutside, DownloadElsewhere, *WRITING),
    ),
    Route(
        "GET",
        "/download/getDownloadProgress/{model_id:path}",
        jan_progress,
        operation_id="getDownloadProgress",
        tag="Models",
        summary="How far a download is, as Jan 0.4.7 shows it",
        response=JanDownload,
        errors=(InvalidId, DownloadProgressNotFound),
    ),
]
