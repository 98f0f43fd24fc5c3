from __future__ import annotations

import os

import pytest

from jan_server.errors import ModelCannotRun, NotImportable
from jan_server.importing import select
from tests.importing.conftest import small_gguf, split_gguf


def chosen(*paths, mmproj=None):
    files = select(paths, mmproj=mmproj)
    projector = files.projector.path.name if files.projector else None
    return [part.path.name for part in files.parts], projector


def refusal(*paths, mmproj=None, error=NotImportable):
    with pytest.raises(error) as caught:
        select(paths, mmproj=mmproj)
    return caught.value.message


def test_one_file_is_a_model_and_its_path_becomes_whole(outside, monkeypatch):
    small_gguf(outside / "m.gguf")
    monkeypatch.chdir(outside)
    files = select([outside.__class__("m.gguf")])
    assert [file.path for file in files.files] == [outside / "m.gguf"]
    assert files.bytes == (outside / "m.gguf").stat().st_size


def test_a_name_without_gguf_will_do_since_the_header_decides(outside):
    assert chosen(small_gguf(outside / "sha256-abc")) == (["sha256-abc"], None)


@pytest.mark.parametrize("named", [0, 1, 2])
def test_any_part_of_a_split_model_stands_for_all(outside, named):
    parts = split_gguf(outside)
    assert chosen(parts[named]) == ([part.name for part in parts], None)


def test_a_missing_part_is_named(outside):
    parts = split_gguf(outside)
    parts[1].unlink()
    for named in parts:
        assert refusal(named) == (
            f"{named.name} is one of 3 parts, and there is no big-00002-of-00003.gguf beside it."
        )


def test_many_missing_parts_are_counted(outside):
    small_gguf(outside / "big-00001-of-00009.gguf")
    assert "big-00006-of-00009.gguf and 3 more beside it" in refusal(
        outside / "big-00001-of-00009.gguf"
    )


def test_parts_that_are_renamed_are_not_taken_for_a_model(outside):
    parts = split_gguf(outside)
    lone = parts[1].rename(outside / "lone.gguf")
    assert refusal(lone) == (
        "lone.gguf says that it is part 2 of 3. Give the parts their names back: "
        "NAME-00001-of-00003.gguf."
    )
    parts[0].rename(outside / "x")
    parts[2].rename(outside / "big-00001-of-00002.gguf")
    (outside / "x").rename(outside / "big-00002-of-00002.gguf")
    assert "says that it is part 3 of 3" in refusal(outside / "big-00002-of-00002.gguf")


def test_parts_of_two_models_are_not_mixed(outside):
    parts = split_gguf(outside)
    small_gguf(parts[1], tensors=2, split_count=3, split_no=1, split_tensors_count=6)
    assert refusal(parts[0]) == (
        "The parts of big-00001-of-00003.gguf hold 4 tensors where there should be 3: "
        "they are not of one model."
    )


@pytest.mark.parametrize("name", ["m-00004-of-00003.gguf", "m-00000-of-00001.gguf"])
def test_a_name_that_only_looks_like_a_parts_is_refused(outside, name):
    """Nobody would find the model by it."""
    expected = f"{name} is called as a part that cannot be. Rename it."
    assert refusal(small_gguf(outside / name)) == expected


@pytest.mark.parametrize(
    "name", ["m-00001-of-00001.gguf", "m-00000-of-00000.gguf", "m-1-of-2.gguf"]
)
def test_a_name_that_is_no_parts_or_the_only_ones_is_a_name(outside, name):
    assert chosen(small_gguf(outside / name)) == ([name], None)


def test_a_folder_with_one_model_will_do_and_its_projector_goes_along(outside):
    small_gguf(outside / "m.gguf")
    small_gguf(outside / ".hidden.gguf")
    (outside / "readme.md").write_text("#")
    assert chosen(outside) == (["m.gguf"], None)
    small_gguf(outside / "mmproj-m.gguf", architecture="clip")
    assert chosen(outside) == (["m.gguf"], "mmproj-m.gguf")


def test_a_split_model_is_one_whether_its_folder_or_all_its_files_are_named(outside):
    parts = split_gguf(outside)
    expected = [part.name for part in parts], None
    assert chosen(outside) == chosen(*parts) == chosen(*reversed(parts)) == expected


def test_several_models_are_listed(outside):
    for name in "abcdefg":
        small_gguf(outside / f"{name}.gguf")
    expected = (
        "These are 7 models: a.gguf, b.gguf, c.gguf, d.gguf, e.gguf and 2 more. "
        "Import them one by one."
    )
    assert refusal(outside) == refusal(*sorted(outside.iterdir())) == expected


def test_an_empty_folder_is_said(outside):
    assert refusal(outside) == f"There is no .gguf in {outside}."


def test_a_folder_that_cannot_be_listed_is_said(outside, monkeypatch):
    def denied(_path):
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr("pathlib.Path.iterdir", denied)
    assert refusal(outside) == f"{outside} cannot be listed: Permission denied."


def test_a_projector_beside_it_goes_along_when_it_is_named(outside):
    model = small_gguf(outside / "m.gguf")
    projector = small_gguf(outside / "clip.gguf", architecture="clip")
    small_gguf(outside / "mmproj-other.gguf", architecture="clip")
    assert chosen(model) == (["m.gguf"], None)
    assert chosen(model, mmproj=projector) == (["m.gguf"], "clip.gguf")
    assert chosen(outside / "m.gguf", outside / "mmproj-other.gguf")[1] == "mmproj-other.gguf"


def test_several_projectors_are_the_users_choice(outside):
    small_gguf(outside / "m.gguf")
    for size in ("f16", "f32"):
        small_gguf(outside / f"mmproj-{size}.gguf", architecture="clip")
    assert refusal(outside) == (
        "These are several projectors: mmproj-f16.gguf, mmproj-f32.gguf. Name one with --mmproj."
    )
    assert chosen(outside, mmproj=outside / "mmproj-f32.gguf")[1] == "mmproj-f32.gguf"


@pytest.mark.parametrize(
    ("name", "keys", "reason"),
    [
        ("mmproj.gguf", {"architecture": "clip"}, "mmproj.gguf is a projector"),
        ("eyes.gguf", {"architecture": "clip"}, "eyes.gguf is a projector"),
        ("eyes.gguf", {"general_type": "mmproj"}, "eyes.gguf is a projector"),
        ("lora.gguf", {"general_type": "adapter"}, "is an adapter for another model, and no model"),
        ("i.gguf", {"general_type": "imatrix"}, "is an importance matrix, and no model"),
    ],
)
def test_what_is_no_model_by_its_header_is_not_taken_for_one(outside, name, keys, reason):
    assert reason in refusal(small_gguf(outside / name, **keys))


def test_a_model_is_no_projector(outside):
    model = small_gguf(outside / "m.gguf")
    assert refusal(model, mmproj=model) == "m.gguf is no projector: it cannot be an mmproj."


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"GGUF", "cut short or damaged"),
        (b"<html>", "text of a web page"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_broken_file_is_said_in_the_words_of_our_reader(outside, content, reason):
    if content is not None:
        (outside / "m.gguf").write_bytes(content)
    assert reason in refusal(outside / "m.gguf", error=ModelCannotRun)


def test_a_cut_file_is_an_error(outside):
    path = small_gguf(outside / "m.gguf")
    path.write_bytes(path.read_bytes()[:-1])
    assert "cut short" in refusal(path, error=ModelCannotRun)


def test_a_pipe_is_not_waited_for(outside):
    os.mkfifo(outside / "m.gguf")
    assert "is not a file" in refusal(outside / "m.gguf", error=ModelCannotRun)
