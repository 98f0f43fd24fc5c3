from __future__ import annotations

import json

import pytest

from jan_server.data_folder import DataFolder, Places, find
from jan_server.errors import SettingsInvalid


@pytest.fixture
def places(tmp_path):
    return Places(home=tmp_path, config=tmp_path / ".config", data=tmp_path / ".local" / "share")


def make_jan_folder(folder):
    (folder / "threads").mkdir(parents=True)
    return folder


def write_pointer(file, folder):
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"data_folder": str(folder)}))


def test_the_flag_wins_over_everything(places, tmp_path):
    make_jan_folder(tmp_path / "jan")
    found = find(tmp_path / "mine", {"JAN_DATA_FOLDER": "/elsewhere"}, places)
    assert found == DataFolder(tmp_path / "mine", "--data-folder")


@pytest.mark.parametrize("name", ["JAN_DATA_FOLDER", "JAN_DATA_DIRECTORY"])
def test_a_variable_wins_over_jans_pointer(places, tmp_path, name):
    write_pointer(places.config / "Jan" / "settings.json", tmp_path / "pointed")
    assert find(None, {name: "/srv/jan"}, places) == DataFolder(
        tmp_path.__class__("/srv/jan"), name
    )


@pytest.mark.parametrize("pointer", ["config/Jan", "data/jan.ai.app"])
def test_jans_pointer_wins_over_an_existing_folder(places, tmp_path, pointer):
    base, _, name = pointer.partition("/")
    file = getattr(places, base) / name / "settings.json"
    write_pointer(file, tmp_path / "pointed")
    make_jan_folder(tmp_path / "jan")

    assert find(None, {}, places) == DataFolder(
        tmp_path / "pointed", f"Jan's own settings in {file}"
    )


def test_a_pointer_without_a_folder_is_passed_over(places, tmp_path):
    file = places.config / "Jan" / "settings.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"quick_ask": false}')
    assert find(None, {}, places) == DataFolder(tmp_path / "jan", "the default")


def test_a_broken_pointer_is_not_guessed_around(places):
    file = places.config / "Jan" / "settings.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    with pytest.raises(SettingsInvalid, match="is broken"):
        find(None, {}, places)


def test_an_unreadable_pointer_is_said(places):
    (places.config / "Jan" / "settings.json").mkdir(parents=True)
    with pytest.raises(SettingsInvalid, match="cannot be read"):
        find(None, {}, places)


@pytest.mark.parametrize("where", ["home/jan", "config/Jan/data", "data/Jan/data"])
def test_an_existing_jan_folder_is_used(places, where):
    base, _, name = where.partition("/")
    folder = make_jan_folder(getattr(places, base) / name)
    assert find(None, {}, places) == DataFolder(folder, "an existing Jan folder")


def test_a_folder_that_is_only_called_jan_is_still_the_default(places, tmp_path):
    (tmp_path / "jan").mkdir()
    assert find(None, {}, places) == DataFolder(tmp_path / "jan", "the default")


def test_the_places_of_this_user_are_absolute():
    found = Places.of_this_user()
    assert all(path.is_absolute() for path in (found.home, found.config, found.data))


def test_an_empty_flag_is_refused(places):
    with pytest.raises(SettingsInvalid, match="--data-folder is empty"):
        find("", {}, places)
