"""POST /v1/embeddings, with the engine that counts words."""

from __future__ import annotations

import base64
import struct

import pytest

from jan_server.completions.embeddings import check_length
from jan_server.engines.base import ModelInfo
from jan_server.errors import ParameterNotSupported
from jan_server.types.embedding import EmbeddingsRequest


@pytest.fixture
def embed(client, echo):
    def post(input="a", **more):
        return client.post("/v1/embeddings", json={"model": echo, "input": input, **more})

    return post


def vectors(answer):
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert [one["index"] for one in data] == list(range(len(data)))
    return [one["embedding"] for one in data]


def test_an_embedding_in_openais_shape(embed):
    answer = embed("a").json()
    [data] = answer.pop("data")
    assert answer == {
        "object": "list",
        "model": "echo",
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }
    vector = data.pop("embedding")
    assert data == {"object": "embedding", "index": 0}
    assert sorted(vector) == [0.0] * 7 + [1.0]


def test_each_input_has_its_own(embed, client, echo):
    [a], [b] = vectors(embed("a")), vectors(embed("b"))
    assert a != b
    assert vectors(embed(["a", "b"])) == [a, b]
    assert embed(["a", "b b"]).json()["usage"]["prompt_tokens"] == 3
    tokens = client.post("/v1/tokenize", json={"model": echo, "prompt": "b"}).json()["tokens"]
    assert vectors(embed(tokens)) == [b]
    assert vectors(embed([tokens, "a"])) == [b, a]


def test_base64_is_of_little_endian_floats(embed):
    [plain], [text] = vectors(embed()), vectors(embed(encoding_format="base64"))
    assert list(struct.unpack("<8f", base64.b64decode(text))) == plain
    assert vectors(embed(encoding_format="float")) == [plain]


def test_dimensions_can_only_be_the_models_own(embed):
    assert embed(dimensions=8).status_code == 200
    answer = embed(dimensions=4)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "$.dimensions")
    assert "8 numbers" in answer.json()["message"]


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        ({"input": ""}, "$.input"),
        ({"input": ["a", ""]}, "$.input[1]"),
        ({"input": []}, "$.input"),
        ({"input": [None]}, "$.input[0]"),
        ({"input": None}, "$.input"),
        ({"encoding_format": "int8"}, "$.encoding_format"),
        ({"dimensions": 0}, "$.dimensions"),
        ({"input": ["a", "a " * 3000]}, "$.input"),
    ],
)
def test_what_is_wrong_is_a_400_with_its_place(embed, sent, param):
    answer = embed(**sent)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_model_that_embeds_nothing_says_so():
    request = EmbeddingsRequest(input="x")
    with pytest.raises(ParameterNotSupported) as caught:
        check_length(request, "mute", ModelInfo(context_length=8, embedding_length=0))
    assert caught.value.param == "$.model"
    assert "'mute' embeds nothing" in caught.value.message


def test_a_model_that_is_not_there_is_a_404(embed):
    assert embed(model="nope").status_code == 404
