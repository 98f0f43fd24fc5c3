"""Getting models: a download is started here and goes on in the background."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from jan_server.errors import InvalidId, LiesOutside, NotFound, ShuttingDown
from jan_server.services import Services
from jan_server.types.model import DownloadStarted
from jan_server.web.responses import json_response
from jan_server.web.routing import Route


async def download_model(services: Services, request: Request) -> Response:
    id = request.path_params["model_id"]
    started = await asyncio.to_thread(services.models.start_download, id)
    message = f"Starting download {id}" if started else f"{id} is here or on its way already"
    return json_response(DownloadStarted(message=message))


DOWNLOAD = Route(
    "GET",
    "/models/download/{model_id:path}",
    download_model,
    operation_id="downloadModel",
    tag="Models",
    summary="Download a specific model",
    description="Starts in the background; `GET /models/{model_id}` shows the state.",
    response=DownloadStarted,
    errors=(InvalidId, NotFound, LiesOutside, ShuttingDown),
    changes=True,
)

ROUTES = [
    DOWNLOAD,
    # Jan's document describes a GET; its own example posts.
    replace(DOWNLOAD, method="POST", operation_id="startModelDownload", changes=False),
]
