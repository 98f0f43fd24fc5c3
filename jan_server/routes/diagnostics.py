"""What is wrong in the data folder. The command `doctor` tells the same, and mends."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from jan_server import catalogue
from jan_server.errors import DataFolderMissing, InvalidRequest
from jan_server.services import Services
from jan_server.types.diagnostics import Diagnosis, DiagnosticsQuery
from jan_server.web.requests import read_query
from jan_server.web.responses import json_response
from jan_server.web.routing import Route


async def diagnose(services: Services, request: Request) -> Response:
    # Here: a server that nobody asks starts without it.
    from jan_server.store.doctor import Doctor

    query = read_query(request, DiagnosticsQuery)
    doctor = Doctor(services.store, catalogue=catalogue.load())
    return json_response(await asyncio.to_thread(doctor.examine, sums=query.models))


ROUTES = [
    Route(
        "GET",
        "/diagnostics",
        diagnose,
        operation_id="getDiagnostics",
        tag="Server",
        summary="What is wrong in the data folder",
        description="Every problem with its place, and what `doctor --fix` would do. "
        "Nothing is changed.",
        query=DiagnosticsQuery,
        response=Diagnosis,
        errors=(InvalidRequest, DataFolderMissing),
    )
]
