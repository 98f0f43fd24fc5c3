"""Texts -> tokens and back, by a model's own tokenizer."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from jan_server.completions.opening import Opening
from jan_server.errors import InvalidRequest, ParameterNotSupported
from jan_server.types.tokens import Detokenized, DetokenizeRequest, Tokenized, TokenizeRequest


class Tokens:
    """Asks the models that are there."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening

    async def tokenize(self, request: TokenizeRequest) -> Tokenized:
        text = _text(request)
        _check_kept_to(request)
        model = await self._opening.find(request.model)
        async with self._opening.load(model) as opened:
            tokens = await opened.lease.tokenize(text, _begins(request))
            length = opened.lease.info.context_length
        return Tokenized(tokens=tokens, count=len(tokens), max_model_len=length)

    async def detokenize(self, request: DetokenizeRequest) -> Detokenized:
        model = await self._opening.find(request.model)
        async with self._opening.load(model) as opened:
            text = await opened.lease.detokenize(request.tokens)
        return Detokenized(content=text, prompt=text)


def _text(request: TokenizeRequest) -> str:
    said = [request.content, request.prompt, request.text]
    texts = [text for text in said if not isinstance(text, UnsetType)]
    if len(texts) != 1:
        raise InvalidRequest(
            "$.content: say one text, as `content`, `prompt` or `text`.", param="$.content"
        )
    return texts[0]


def _check_kept_to(request: TokenizeRequest) -> None:
    """Raises ParameterNotSupported for what would have to change the answer and does not."""
    for name, only in (
        ("parse_special", True),
        ("with_pieces", False),
        ("return_token_strs", False),
    ):
        if getattr(request, name) is (not only):
            raise ParameterNotSupported(
                f"$.{name}: is always {str(only).lower()} here: leave it out.", param=f"$.{name}"
            )


def _begins(request: TokenizeRequest) -> bool:
    """llama-server adds nothing to a `content` by itself, vLLM does to a `prompt`."""
    for said in (request.add_special, request.add_special_tokens):
        if not isinstance(said, UnsetType):
            return said
    return request.content is UNSET
