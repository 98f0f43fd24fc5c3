"""A model's file is there whole and verified, or it is not there; what is there of it is kept."""

from __future__ import annotations

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import pytest

from jan_server.downloads import DownloadProgress
from jan_server.downloads.records import DownloadRecord, FileRecord
from jan_server.errors import DiskFull, DownloadFailed, DownloadStopped, JanError
from tests.downloads.conftest import Place
from tests.downloads.hub import (
    ADDRESS,
    OTHER_SUM,
    PATH,
    SUM,
    WEIGHTS,
    Answer,
    Fault,
    Hub,
    manifest,
    published,
)

SIZE = len(WEIGHTS)


def test_a_file_of_the_hub_is_published_with_its_manifest(place: Place, hub: Hub) -> None:
    hub.answers[PATH] = Answer()
    document = manifest(sha256=SUM.upper(), size=SIZE)
    assert place.get(document) == place.folder / "m.gguf"
    assert place.files() == published(document)
    assert hub.asked == [f"HEAD {PATH}", f"GET {PATH}"]
    assert place.phases() == ["downloading", "publishing"]
    last = place.reports[-1]
    assert (last.id, last.file, last.bytes_done, last.bytes_total) == ("m", "m.gguf", SIZE, SIZE)
    assert place.verified == [("m.gguf", SUM)]


def test_a_manifest_of_jan_044_needs_no_sum_because_the_hub_has_one(place: Place, hub: Hub) -> None:
    hub.answers[PATH] = Answer()
    document = {"id": "m", "source_url": ADDRESS.replace("resolve", "blob")}
    place.get(document)
    assert place.files() == published(document)


def test_the_users_manifest_is_kept(place: Place, hub: Hub) -> None:
    hub.answers[PATH] = Answer()
    place.folder.mkdir(parents=True)
    (place.folder / "model.json").write_bytes(b"{}")
    place.get(manifest())
    assert place.files() == {"models/m/model.json": b"{}", "models/m/m.gguf": WEIGHTS}


def test_what_is_there_whole_is_not_got_again(place: Place, hub: Hub) -> None:
    hub.answers[PATH] = Answer()
    place.get(manifest(size=SIZE))
    place.reports.clear()
    hub.asked.clear()
    assert place.get(manifest(size=SIZE)) == place.folder / "m.gguf"
    assert hub.asked == []
    assert place.reports == [
        DownloadProgress(id="m", file="m.gguf", phase="present", bytes_done=SIZE, bytes_total=SIZE)
    ]


@pytest.mark.parametrize(("found", "size"), [(b"part", 5), (b"", None)])
def test_another_file_of_that_name_is_kept_and_named(
    found: bytes, size: int | None, place: Place
) -> None:
    place.folder.mkdir(parents=True)
    (place.folder / "m.gguf").write_bytes(found)
    with pytest.raises(DownloadFailed, match=r"is there already, with .* Move it away"):
        place.get(manifest(size=size))
    assert place.models() == {"models/m/m.gguf": found}


def test_a_link_to_a_disk_that_is_away_is_kept(place: Place, hub: Hub) -> None:
    hub.answers[PATH] = Answer()
    place.folder.mkdir(parents=True)
    link = place.folder / "m.gguf"
    link.symlink_to("/nowhere/m.gguf")
    with pytest.raises(DownloadFailed, match="leads nowhere"):
        place.get(manifest())
    assert link.is_symlink()


def test_a_file_that_appears_meanwhile_is_kept(place: Place, hub: Hub) -> None:
    hub.answers[PATH] = Answer()

    def interfere(progress: DownloadProgress) -> None:
        if progress.phase == "publishing":
            place.folder.mkdir(parents=True, exist_ok=True)
            (place.folder / "m.gguf").write_bytes(b"mine")

    with pytest.raises(DownloadFailed, match="made by somebody else meanwhile"):
        place.get(manifest(), interfere)
    assert place.files()["models/m/m.gguf"] == b"mine"


def test_all_sources_of_a_model_are_got_before_the_first_is_published(
    place: Place, hub: Hub
) -> None:
    other = PATH.replace("m.gguf", "p.gguf")
    hub.answers = {PATH: Answer(), other: Answer(status=404)}
    document = manifest(size=SIZE)
    document["sources"].append({"url": ADDRESS.replace("m.gguf", "p.gguf"), "size": SIZE})
    with pytest.raises(DownloadFailed, match="404"):
        place.get(document)
    assert place.models() == {}
    hub.answers[other] = Answer()
    hub.asked.clear()
    place.reports.clear()
    assert place.get(document) == place.folder / "m.gguf"
    assert place.files() == {**published(document), "models/m/p.gguf": WEIGHTS}
    assert hub.gets() == [""]  # The first was whole.
    totals = {report.bytes_total for report in place.reports if report.phase == "downloading"}
    assert totals == {2 * SIZE}
    assert place.reports[-1].bytes_done == 2 * SIZE


def test_a_connection_that_is_cut_is_continued(place: Place, hub: Hub) -> None:
    hub.answers[PATH] = Answer(fault=Fault(kind="cut", at=SIZE // 2, once=True))
    place.get(manifest())
    assert hub.gets() == ["", f"bytes={SIZE // 2}-"]
    assert place.files() == published(manifest())


def test_a_redirect_to_the_configured_host_is_followed(place: Place, hub: Hub) -> None:
    hub.answers[PATH] = Answer(status=302, location=f"{hub.url}/store/1?sig=x")
    hub.answers["/store/1?sig=x"] = Answer()
    place.get(manifest())
    assert place.files() == published(manifest())


def test_a_hub_that_is_not_there_is_said(place: Place, hub: Hub) -> None:
    hub.close()
    with pytest.raises(
        DownloadFailed, match=r"to 127\.0\.0\.1 was not possible .*: check the network"
    ):
        place.get(manifest())
    assert place.models() == {}


def test_offline_mode_is_said(place: Place, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadFailed, match="offline mode is enabled"):
        place.get(manifest())
    assert hub.asked == []


@pytest.mark.parametrize(
    ("sent", "complaint"),
    [(WEIGHTS[:-1], "file should be of size"), (WEIGHTS + b"x", "more than 1048576 bytes")],
)
def test_a_body_of_another_size_is_refused(
    sent: bytes, complaint: str, place: Place, hub: Hub
) -> None:
    hub.answers[PATH] = Answer(body=sent, claim=SIZE)
    with pytest.raises(DownloadFailed, match=complaint):
        place.get(manifest())
    assert place.models() == {}


def test_no_room_is_said_before_anything_is_asked(place: Place, hub: Hub) -> None:
    with pytest.raises(DiskFull, match=r"1000000000000 MB are needed in .*downloads"):
        place.get(manifest(size=10**18))
    assert hub.asked == []
    assert place.models() == {}


def test_no_room_for_what_only_the_hub_knows_the_size_of_is_said(place: Place, hub: Hub) -> None:
    hub.answers[PATH] = Answer(claim=10**18)
    with pytest.raises(DiskFull, match="1000000000000 MB are needed"):
        place.get(manifest())
    assert hub.asked == [f"HEAD {PATH}"]


def test_a_folder_that_cannot_be_written_is_said(place: Place, hub: Hub) -> None:
    hub.answers[PATH] = Answer()
    place.folder.parent.rmdir()
    place.folder.parent.write_bytes(b"a file where the models should be")
    with pytest.raises(JanError):
        place.get(manifest())
    assert place.models() == {}
    assert place.folder.parent.read_bytes() == b"a file where the models should be"


def test_a_model_without_an_address_cannot_be_got(place: Place) -> None:
    with pytest.raises(DownloadFailed, match="names no address"):
        place.get({"id": "gpt-4", "source_url": ""})


# --- going on --------------------------------------------------------------------------------


def stop_after(place: Place, size: int) -> Any:
    """A listener that stops the download when so many bytes have come."""

    def listen(progress: DownloadProgress) -> None:
        place.reports.append(progress)
        if progress.bytes_done >= size:
            place.stopped.set()

    return listen


def interrupt(place: Place, hub: Hub, document: dict[str, Any], at: int = SIZE // 2) -> int:
    """A download that was stopped there; how many bytes are kept of it."""
    hub.answers[PATH] = Answer(fault=Fault(kind="cut", at=at))
    with pytest.raises(DownloadStopped):
        place.get(document, stop_after(place, at))
    place.stopped.clear()
    place.reports.clear()
    hub.answers[PATH] = Answer()
    hub.asked.clear()
    kept = place.kept()
    assert kept is not None
    return kept


def test_a_stopped_download_goes_on_where_it_was(place: Place, hub: Hub) -> None:
    kept = interrupt(place, hub, manifest())
    assert 0 < kept <= SIZE // 2
    place.get(manifest())
    assert hub.gets() == [f"bytes={kept}-"]
    assert place.files() == published(manifest())
    assert place.phases() == ["verifying", "downloading", "publishing"]


def test_the_record_can_be_read_by_people(place: Place, hub: Hub) -> None:
    kept = interrupt(place, hub, manifest())
    path = place.root / ".jan_server" / "downloads" / "@m.json"
    record = json.loads(path.read_text())
    assert '\n  "status": "downloading",\n' in path.read_text()
    assert record["manifest"] == manifest()
    assert record["files"] == [
        {"filename": "m.gguf", "url": ADDRESS, "size": SIZE, "sha256": SUM, "on_disk": kept}
    ]
    partial = path.with_suffix("") / "m.gguf.partial"
    assert partial.read_bytes() == WEIGHTS[:kept]


def test_bytes_that_nobody_flushed_are_not_gone_on_with(place: Place, hub: Hub) -> None:
    kept = interrupt(place, hub, manifest())
    partial = place.root / ".jan_server" / "downloads" / "@m" / "m.gguf.partial"
    with partial.open("ab") as file:
        file.write(bytes(1000))  # What a power cut may leave.
    place.get(manifest())
    assert hub.gets() == [f"bytes={kept}-"]
    assert place.files() == published(manifest())


def test_a_partial_file_that_was_damaged_is_got_afresh(
    place: Place, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    kept = interrupt(place, hub, manifest())
    partial = place.root / ".jan_server" / "downloads" / "@m" / "m.gguf.partial"
    partial.write_bytes(bytes(kept))
    place.get(manifest())
    assert hub.gets() == [f"bytes={kept}-", ""]
    assert place.files() == published(manifest())
    assert "m.gguf is wrong after it was gone on with: afresh" in caplog.messages


@pytest.mark.parametrize("is_cut", [True, False])
def test_a_partial_file_that_is_away_is_got_afresh(is_cut: bool, place: Place, hub: Hub) -> None:
    interrupt(place, hub, manifest())
    partial = place.root / ".jan_server" / "downloads" / "@m" / "m.gguf.partial"
    if is_cut:
        partial.write_bytes(b"")
    else:
        partial.unlink()
    place.get(manifest())
    assert hub.gets() == [""]
    assert place.files() == published(manifest())


@pytest.mark.parametrize("text", ["", "{", '{"id": "m"}', '{"id": "other"}'])
def test_a_record_that_is_broken_counts_as_none(text: str, place: Place, hub: Hub) -> None:
    interrupt(place, hub, manifest())
    (place.root / ".jan_server" / "downloads" / "@m.json").write_text(text)
    place.get(manifest())
    assert hub.gets() == [""]
    assert place.files() == published(manifest())


def test_another_file_under_the_same_address_is_got_afresh_and_said(
    place: Place, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    import hashlib

    interrupt(place, hub, manifest())
    other = WEIGHTS[::-1]
    hub.answers[PATH] = Answer(body=other, etag=hashlib.sha256(other).hexdigest())
    place.get(manifest())
    assert hub.gets() == [""]
    assert place.files() == published(manifest(), other)
    assert "m.gguf is another file now than the one that was begun: afresh" in caplog.messages


@pytest.mark.parametrize("ranges", ["ignored", "refused"])
def test_a_server_that_cannot_continue_is_asked_from_the_start(
    ranges: Any, place: Place, hub: Hub
) -> None:
    interrupt(place, hub, manifest())
    hub.answers[PATH] = Answer(ranges=ranges)
    place.get(manifest())
    assert hub.gets()[0].startswith("bytes=")
    assert place.files() == published(manifest())


def test_a_manifest_that_says_another_sum_is_believed(place: Place, hub: Hub) -> None:
    interrupt(place, hub, manifest())
    with pytest.raises(DownloadFailed, match=f"SHA-256 is {SUM}, expected was {OTHER_SUM}"):
        place.get(manifest(sha256=OTHER_SUM))
    assert place.models() == {}


def test_ctrl_c_keeps_what_is_there_and_says_stopped(place: Place, hub: Hub) -> None:
    hub.answers[PATH] = Answer()

    def press(progress: DownloadProgress) -> None:
        if progress.bytes_done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place.get(manifest(), press)
    record = place.record()
    assert record is not None
    assert (record.status, record.is_unfinished) == ("stopped", False)
    assert place.kept()


def test_what_nobody_thought_of_is_a_failure_that_is_known(place: Place, hub: Hub) -> None:
    hub.answers[PATH] = Answer()

    def broken(_: DownloadProgress) -> None:
        raise ZeroDivisionError("nobody thought of it")

    with pytest.raises(DownloadFailed, match="It failed: ZeroDivisionError: nobody thought of it"):
        place.get(manifest(), broken)
    record = place.record()
    assert record is not None
    assert (record.status, record.error) == (
        "failed", "It failed: ZeroDivisionError: nobody thought of it",
    )  # fmt: skip


def test_a_record_knows_its_files() -> None:
    file = FileRecord(filename="m.gguf", url="u")
    record = DownloadRecord(
        id="m", status="queued", started="", updated="", pid=1, files=(file,), manifest={}
    )
    assert (record.of("m.gguf"), record.of("n.gguf"), record.is_unfinished) == (file, None, True)


def test_who_goes_on_is_told_from_where(
    place: Place, hub: Hub, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kept = interrupt(place, hub, manifest())
    place.get(manifest())
    assert f"m.gguf: going on from byte {kept}" in caplog.messages


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no second file system")
def test_on_another_disk_the_work_is_done_there(place: Place, hub: Hub) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        models = place.root / "models"
        models.rmdir()
        models.symlink_to(name)
        kept = interrupt(place, hub, manifest())
        partial = Path(name) / ".jan_server-download-@m" / "m.gguf.partial"
        assert partial.read_bytes() == WEIGHTS[:kept]
        place.get(manifest())
        assert hub.gets() == [f"bytes={kept}-"]
        assert [path.name for path in Path(name).iterdir()] == ["m"]
        assert (Path(name) / "m" / "m.gguf").read_bytes() == WEIGHTS
