"""The server's downloads: one for each model, so many at once, gone on with by the next server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jan_server.downloads import Downloads, Order
from jan_server.errors import DownloadElsewhere, NotFound, ShuttingDown
from jan_server.types.download import Download
from tests.downloads.conftest import Place
from tests.downloads.hub import (
    ADDRESS,
    PATH,
    PATIENCE,
    WEIGHTS,
    Answer,
    Fault,
    Hub,
    manifest,
    pause,
    published,
)


class Told:
    """What the registry told, without what differs from run to run."""

    def __init__(self) -> None:
        self.all: list[Download] = []

    def states(self, id: str = "m") -> list[str]:
        return list(dict.fromkeys(told.state for told in self.all if told.id == id))


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def start(place: Place, told: Told) -> Iterator[Callable[..., Downloads]]:
    """As many registries as servers would have, one after the other or beside each other."""
    made: list[Downloads] = []

    def make(at_once: int = 2) -> Downloads:
        made.append(
            Downloads(place.workshop, place.session(), on_change=told.all.append, at_once=at_once)
        )
        return made[-1]

    yield make
    for downloads in made:
        downloads.close()


@contextmanager
def held(hub: Hub, path: str = PATH) -> Iterator[threading.Event]:
    """Half of the file is sent, the rest at the end of the block; the event says so."""
    reached, go_on = threading.Event(), threading.Event()
    hub.answers[path] = Answer(half=pause(reached, go_on))
    try:
        yield reached
    finally:
        go_on.set()


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def orders(place: Place, *ids: str) -> list[Order]:
    return [
        Order(
            id=id,
            document={"sources": [{"url": ADDRESS.replace("m.gguf", f"{id}.gguf")}]},
            folder=place.folder.parent / id,
        )
        for id in ids
    ]


def test_the_same_asked_twice_is_one_download(
    place: Place, hub: Hub, start: Callable[..., Downloads], told: Told
) -> None:
    downloads = start()
    with held(hub) as reached:
        assert downloads.start(place.order(manifest()))
        assert reached.wait(PATIENCE)
        assert not downloads.start(place.order(manifest()))
        shown = downloads.look("m")
        assert shown is not None
        assert (shown.state, shown.total) == ("downloading", len(WEIGHTS))
        assert repr(downloads) == "<Downloads ['m']>"
    downloads.wait("m", PATIENCE)
    wait_for(lambda: told.states()[-1] == "done")
    assert downloads.look("m") is None
    assert place.files() == published(manifest())
    assert hub.gets() == [""]
    assert told.states() == ["queued", "downloading", "publishing", "done"]


def test_it_is_told_of_about_once_a_second(
    place: Place, hub: Hub, start: Callable[..., Downloads], told: Told
) -> None:
    hub.answers[PATH] = Answer(pace=0.1)
    downloads = start()
    began = time.monotonic()
    downloads.start(place.order(manifest()))
    downloads.wait("m", PATIENCE)
    took = time.monotonic() - began
    running = [one for one in told.all if one.state == "downloading"]
    assert 2 <= len(running) <= took + 2
    assert running[-1].bytes > running[0].bytes


def test_so_many_run_at_once_and_others_wait_in_their_order(
    place: Place, hub: Hub, start: Callable[..., Downloads]
) -> None:
    downloads = start(at_once=1)
    paths = {id: PATH.replace("m.gguf", f"{id}.gguf") for id in "abc"}
    hub.answers = {path: Answer() for path in paths.values()}
    with held(hub, paths["a"]) as reached:
        for order in orders(place, "a", "b", "c"):
            assert downloads.start(order)
        assert reached.wait(PATIENCE)
        shown = {id: downloads.look(id) for id in "bc"}
        assert {id: one.state for id, one in shown.items() if one} == {"b": "queued", "c": "queued"}
        assert {r.id: r.status for r in place.workshop.records.all()} == {
            "a": "downloading", "b": "queued", "c": "queued",
        }  # fmt: skip
        assert downloads.stop(orders(place, "b")[0]) == 0
        assert downloads.look("b") is None
        assert place.workshop.records.read("b") is None
    downloads.wait("a", PATIENCE)
    downloads.wait("c", PATIENCE)
    assert sorted(place.models()) == [
        f"models/{id}/{name}" for id in "ac" for name in (f"{id}.gguf", "model.json")
    ]
    assert paths["b"] not in "".join(hub.asked)


def test_a_failure_is_kept_and_logged_until_the_next_try(
    place: Place, hub: Hub, start: Callable[..., Downloads], caplog: pytest.LogCaptureFixture,
    told: Told,
) -> None:  # fmt: skip
    downloads = start()
    downloads.start(place.order(manifest()))
    downloads.wait("m", PATIENCE)
    failed = downloads.look("m")
    assert failed is not None
    assert (failed.state, failed.is_running) == ("failed", False)
    assert "answered 404: there is no such file" in str(failed.error)
    assert f"Download of m: {failed.error}" in caplog.messages
    wait_for(lambda: told.states()[-1] == "failed")
    assert told.all[-1].error == failed.error
    assert start().look("m") == failed  # The next server knows it too.
    hub.answers[PATH] = Answer()
    downloads.start(place.order(manifest()))
    downloads.wait("m", PATIENCE)
    assert downloads.look("m") is None
    assert place.files() == published(manifest())


def test_stopping_frees_what_is_there(
    place: Place, hub: Hub, start: Callable[..., Downloads], told: Told
) -> None:
    hub.answers[PATH] = Answer(pace=0.1)
    downloads = start()
    downloads.start(place.order(manifest()))
    wait_for(lambda: told.all[-1].bytes)
    assert 0 < downloads.stop(place.order(manifest())) < len(WEIGHTS)
    assert (downloads.look("m"), place.files()) == (None, {})
    wait_for(lambda: told.states()[-1] == "stopped")
    with pytest.raises(NotFound, match="No download has the id 'm'"):
        downloads.stop(place.order(manifest()))


def test_what_ran_or_waited_when_the_server_ended_is_gone_on_with(
    place: Place, hub: Hub, start: Callable[..., Downloads], told: Told
) -> None:
    first = start(at_once=1)
    hub.answers[PATH] = Answer(pace=0.1)
    hub.answers[PATH.replace("m.gguf", "b.gguf")] = Answer()
    first.start(place.order(manifest()))
    first.start(orders(place, "b")[0])
    wait_for(lambda: told.all[-1].bytes)
    first.close()
    with pytest.raises(ShuttingDown):
        first.start(place.order(manifest()))
    assert {r.id: r.status for r in first.records()} == {"b": "queued", "m": "downloading"}
    kept = place.kept()
    hub.answers[PATH] = Answer()
    hub.asked.clear()
    second = start()
    for record in second.records():
        assert record.is_unfinished
        folder = place.folder.parent / record.id
        second.start(Order(id=record.id, document=record.manifest, folder=folder))
    second.wait("m", PATIENCE)
    second.wait("b", PATIENCE)
    assert f"GET {PATH} bytes={kept}-" in hub.asked
    assert place.models()["models/m/m.gguf"] == WEIGHTS
    assert second.records() == []


def test_another_server_follows_and_ends_the_same_way(
    place: Place, hub: Hub, start: Callable[..., Downloads]
) -> None:
    one, other = start(), start()
    with held(hub) as reached:
        assert one.start(place.order(manifest()))
        assert reached.wait(PATIENCE)
        shown = other.look("m")
        assert shown is not None
        assert shown.is_running
        with pytest.raises(NotFound):
            other.stop(orders(place, "b")[0])
        with pytest.raises(DownloadElsewhere, match="got by another process, number"):
            other.stop(place.order(manifest()))
        assert not other.start(place.order(manifest()))
        with pytest.raises(DownloadElsewhere):
            other.stop(place.order(manifest()))
    one.wait("m", PATIENCE)
    other.wait("m", PATIENCE)
    assert hub.gets() == [""]
    assert place.files() == published(manifest())
    assert other.look("m") is None


def test_who_follows_one_that_is_stopped_is_stopped(
    place: Place, hub: Hub, start: Callable[..., Downloads], told: Told
) -> None:
    hub.answers[PATH] = Answer(pace=0.1)
    one, other = start(), start()
    one.start(place.order(manifest()))
    other.start(place.order(manifest()))
    wait_for(lambda: told.all[-1].bytes)
    one.stop(place.order(manifest()))
    other.wait("m", PATIENCE)
    wait_for(lambda: [one.state for one in told.all].count("stopped") == 2)
    assert place.files() == {}


def test_who_follows_one_that_fails_fails_with_the_same_words(
    place: Place, hub: Hub, start: Callable[..., Downloads], told: Told
) -> None:
    hub.answers[PATH] = Answer(pace=0.1, fault=Fault(kind="wrong", at=WEIGHTS.index(b"\xff")))
    one, other = start(), start()
    one.start(place.order(manifest()))
    other.start(place.order(manifest()))
    one.wait("m", PATIENCE)
    other.wait("m", PATIENCE)
    wait_for(lambda: [one.state for one in told.all].count("failed") == 2)
    errors = {one.error for one in told.all if one.state == "failed"}
    assert len(errors) == 1
    assert "its SHA-256 is" in str(errors)


def test_who_follows_goes_on_in_the_place_of_one_that_died(
    place: Place, hub: Hub, start: Callable[..., Downloads]
) -> None:
    hub.answers[PATH] = Answer()
    dead = place.workshop.claim("m")
    assert dead is not None
    downloads = start()
    assert not downloads.start(place.order(manifest()))
    assert downloads.look("m") is not None
    dead.release()
    downloads.wait("m", PATIENCE)
    assert place.files() == published(manifest())


def test_files_that_nobody_will_go_on_with_are_swept(place: Place, tmp_path: Path) -> None:
    downloads = Downloads(place.workshop)
    downloads.sweep()
    orphan = tmp_path / ".jan_server" / "downloads" / "@x"
    orphan.mkdir(parents=True)
    (orphan / "x.partial").write_bytes(b"x")
    downloads.sweep()
    assert not orphan.exists()


def test_waiting_for_nothing_returns(start: Callable[..., Downloads]) -> None:
    start().wait("m")
