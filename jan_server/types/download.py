"""Downloads: what is told of one that waits, runs, or has ended."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

DownloadState = Literal[
    "queued", "downloading", "verifying", "publishing", "done", "stopped", "failed"
]


class Download(Struct, kw_only=True, frozen=True):
    """How far a model is on its way here.

    `bytes` and `total` are of all its files; of the one that is read while it is `verifying`.
    `total` is null while nobody knows it, `rate` is in bytes per second.
    """

    id: Annotated[str, Meta(description="The model's.")]
    object: Literal["model.download"] = "model.download"
    state: DownloadState
    file: Annotated[str, Meta(description="Which of its files is got just now.")] = ""
    bytes: int = 0
    total: int | None = None
    rate: float = 0.0
    error: str | UnsetType = UNSET

    @property
    def is_running(self) -> bool:
        """Whether somebody is at it, or it waits for its turn."""
        return self.state not in ("done", "stopped", "failed")


class DownloadStarted(Struct, kw_only=True):
    """The download runs in the background, or waits for its turn; `GET /models/{id}` shows how far
    it is. `id` is the model's: of a repository's it is not the name that was asked for."""

    message: Annotated[str, Meta(examples=["Starting download tinyllama-1.1b"])]
    id: str


class StoppedDownload(Struct, kw_only=True):
    """The download is no more, and neither are its partial files, of so many bytes."""

    id: str
    object: Literal["model.download"] = "model.download"
    deleted: bool = True
    freed: int = 0


class JanDownloadTime(Struct, kw_only=True):
    """In seconds."""

    elapsed: float
    remaining: float


class JanDownloadSize(Struct, kw_only=True):
    """In bytes."""

    total: int
    transferred: int


class JanDownload(Struct, kw_only=True, rename="camel"):
    """A download as Jan 0.4.7 shows it; `percent` is from 0 to 1, `speed` in bytes per second."""

    model_id: str
    file_name: str
    time: JanDownloadTime
    speed: float
    percent: float
    size: JanDownloadSize
    download_state: Literal["downloading", "error", "end"]
    error: str | UnsetType = UNSET
