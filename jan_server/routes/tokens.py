"""Texts and tokens."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from jan_server.routes import answering
from jan_server.services import Services
from jan_server.types.tokens import Detokenized, DetokenizeRequest, Tokenized, TokenizeRequest
from jan_server.web.requests import read_json
from jan_server.web.responses import json_response, while_connected
from jan_server.web.routing import Route


async def tokenize(services: Services, request: Request) -> Response:
    asked, _ = await read_json(request, TokenizeRequest)
    work = services.completions.tokens.tokenize(asked)
    return json_response(await while_connected(request, work))


async def detokenize(services: Services, request: Request) -> Response:
    asked, _ = await read_json(request, DetokenizeRequest)
    work = services.completions.tokens.detokenize(asked)
    return json_response(await while_connected(request, work))


ROUTES = [
    Route(
        "POST",
        "/tokenize",
        tokenize,
        operation_id="tokenize",
        tag="Tokens",
        summary="Text to tokens",
        description="The ids of a text's tokens, by the model's own tokenizer.",
        request=TokenizeRequest,
        response=Tokenized,
        keeps_nothing=True,
        names=answering.NAMES,
        errors=answering.ERRORS,
    ),
    Route(
        "POST",
        "/detokenize",
        detokenize,
        operation_id="detokenize",
        tag="Tokens",
        summary="Tokens to text",
        description="The text of token ids, control tokens spelled.",
        request=DetokenizeRequest,
        response=Detokenized,
        keeps_nothing=True,
        names=answering.NAMES,
        errors=answering.ERRORS,
    ),
]
