from __future__ import annotations

import pytest

from jan_server import quantization
from jan_server.gguf import GGML_TYPES, read_header
from tests.tiny_gguf import write_tiny_gguf


def header(tmp_path, **metadata):
    return read_header(write_tiny_gguf(tmp_path / "m.gguf", extra_metadata=metadata))


@pytest.mark.parametrize(
    ("file_type", "name"), [(0, "F32"), (1, "F16"), (15, "Q4_K_M"), (30, "IQ4_XS")]
)
def test_the_file_says_how_it_was_quantized(tmp_path, file_type, name):
    assert quantization.of_header(header(tmp_path, **{"general.file_type": file_type})) == name


@pytest.mark.parametrize("metadata", [{}, {"general.file_type": 4711}])
def test_of_a_file_that_does_not_say_the_type_of_most_bytes_counts(tmp_path, metadata):
    assert quantization.of_header(header(tmp_path, **metadata)) == "F32"


def test_every_name_begins_with_a_type_of_ggml_or_ends_as_one():
    known = {type.name for type in GGML_TYPES.values()}
    for name in quantization.FILE_TYPES.values():
        assert any(name.startswith(type[:4]) for type in known), name


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "Q4_1"),
        ("mistral-7b-instruct-v0.2.Q4_K_M.gguf", "Q4_K_M"),
        ("qwen-iq3_xxs-00001-of-00002.gguf", "IQ3_XXS"),
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("model-bf16.gguf", "BF16"),
        ("model-f16.gguf", "F16"),
        ("Q-star.gguf", None),
        ("model.gguf", None),
    ],
)
def test_the_name_of_a_file_says_it_too(name, found):
    assert quantization.of_name(name) == found
