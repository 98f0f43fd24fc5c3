"""Models: import a file of this machine."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from jan_server.errors import (
    WRITING,
    AlreadyExists,
    ImportFailed,
    ImportNotAllowed,
    ImportStopped,
    InvalidId,
    InvalidRequest,
    LiesOutside,
    NotImportable,
)
from jan_server.services import Services
from jan_server.types.importing import ImportedModel, ImportRequest
from jan_server.web.requests import read_json
from jan_server.web.responses import json_response
from jan_server.web.routing import Route


async def import_model(services: Services, request: Request) -> Response:
    body, _ = await read_json(request, ImportRequest)
    return json_response(await services.importing.import_model(body))


ROUTES = [
    Route(
        "POST",
        "/models/import",
        import_model,
        operation_id="importModel",
        tag="Models",
        summary="Make a model of a file of this machine",
        description="Answers when it is there, whole. The original stays as it is.",
        request=ImportRequest,
        response=ImportedModel,
        errors=(
            InvalidRequest,
            InvalidId,
            NotImportable,
            ImportNotAllowed,
            AlreadyExists,
            ImportFailed,
            ImportStopped,
            LiesOutside,
            *WRITING,
        ),
    ),
]
