"""The head of a model, left out where nobody reads what it makes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jan_server.engines.ctransformers import builds, head, library
from jan_server.engines.ctransformers.head import Head
from jan_server.engines.ctransformers.library import NativeModel
from tests.engines.ctransformers.conftest import Changed
from tests.tiny_gguf import write_tiny_gguf


def head_of(model: NativeModel, loaded: Any) -> Head | None:
    return head.find_head(loaded, model.context, width=model.width, rows=model.vocabulary_size)


PROMPT = [1, *range(60, 120)]


@pytest.fixture
def native(tmp_path: Path) -> Iterator[NativeModel]:
    """Its context is just large enough."""
    path = write_tiny_gguf(tmp_path / "tiny.gguf", vocabulary="spm", tied=False)
    loaded = library.open_library(builds.find_build(0))
    model = NativeModel(loaded, path, context_length=head.ROOMY, gpu_layers=0)
    yield model
    model.close()


def test_leaving_the_head_out_changes_no_logits(native: NativeModel) -> None:
    native.eval(PROMPT[:50], n_past=0, threads=1)
    native.eval(PROMPT[50:], n_past=50, threads=1)
    whole = native.logits().copy()
    native.eval(PROMPT[:50], n_past=0, threads=1, with_logits=False)
    assert not np.array_equal(native.logits(), whole)
    native.eval(PROMPT[50:], n_past=50, threads=1)
    assert np.array_equal(native.logits(), whole)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 50])
def test_applied_to_the_last_token_it_gives_what_the_library_does(
    native: NativeModel, tmp_path: Path, count: int, threads: int
) -> None:
    path = write_tiny_gguf(tmp_path / "other.gguf", vocabulary="spm", tied=False)
    # Its context is too small to leave anything out.
    plain = NativeModel(native._library, path, context_length=head.ROOMY - 1, gpu_layers=0)
    for model in (plain, native):
        model.eval(PROMPT[:count], n_past=0, threads=threads)
    assert np.array_equal(native.logits(), plain.logits())
    found = head_of(native, native._library)
    assert found
    native.logits().flags.writeable = True
    native.logits()[:] = 0
    state, logits = native.embedding(), native.logits()
    found.apply(state.ctypes.data, logits.ctypes.data, threads=threads)
    assert np.array_equal(native.logits(), plain.logits())
    found.close()
    plain.close()


def test_the_head_is_one_row_while_it_is_left_out(native: NativeModel) -> None:
    found = head_of(native, native._library)
    assert found
    assert found.rows == native.vocabulary_size
    with found.left_out():
        assert found.rows == 1
    assert found.rows == native.vocabulary_size
    with pytest.raises(ZeroDivisionError), found.left_out():
        raise ZeroDivisionError
    assert found.rows == native.vocabulary_size


def test_in_a_context_without_room_behind_the_result_it_is_not_left_out(tmp_path: Path) -> None:
    path = write_tiny_gguf(tmp_path / "tiny.gguf", vocabulary="spm", tied=False)
    loaded = library.open_library(builds.find_build(0))
    small = NativeModel(loaded, path, context_length=head.ROOMY - 1, gpu_layers=0)
    small.eval(PROMPT, n_past=0, threads=1)
    whole = small.logits().copy()
    small.eval(PROMPT, n_past=0, threads=1, with_logits=False)
    assert np.array_equal(small.logits(), whole)
    small.close()


@pytest.mark.parametrize("lacking", [head.TENSOR_MAP, "ggml_mul_mat"])
def test_where_the_head_is_not_found_it_is_never_left_out(
    tmp_path: Path, native: NativeModel, lacking: str
) -> None:
    path = write_tiny_gguf(tmp_path / "other.gguf", vocabulary="spm", tied=False)
    loaded = Changed(library.open_library(builds.find_build(0)), **{lacking: None})
    plain = NativeModel(loaded, path, context_length=head.ROOMY, gpu_layers=0)
    assert head_of(plain, loaded) is None
    for model in (plain, native):
        model.eval(PROMPT, n_past=0, threads=1, with_logits=model is native)
    plain.eval(PROMPT, n_past=0, threads=1, with_logits=False)
    logits = plain.logits().copy()
    native.eval(PROMPT, n_past=0, threads=1)
    assert np.array_equal(logits, native.logits())
    plain.close()


class Function:
    """A callable that takes the attributes of a ctypes function."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)


@pytest.mark.parametrize("vector", [(None, None), (4096, 4096), (4096, 4096 + 41)])
def test_a_list_of_tensors_that_is_not_as_expected_is_not_read(
    native: NativeModel, vector: tuple[int | None, int | None]
) -> None:
    tensors = head._Vector(*vector)
    found = Function(lambda _context: ctypes.pointer(tensors))
    changed = Changed(native._library, **{head.TENSOR_MAP: found})
    assert head_of(native, changed) is None


@pytest.mark.parametrize(
    ("where", "name", "value"), [(NativeModel, "width", 63), (head, "OUTPUT", b"output.height")]
)
def test_a_head_of_another_shape_or_name_is_not_touched(
    native: NativeModel, monkeypatch: pytest.MonkeyPatch, where: Any, name: str, value: Any
) -> None:
    monkeypatch.setattr(native if where is NativeModel else where, name, value)
    assert head_of(native, native._library) is None
