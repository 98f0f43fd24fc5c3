"""What can go wrong, named after what happened, worded for the person who can fix it.

Each class carries the HTTP status, OpenAI's error type and a code that programs can test. Nothing
here knows an HTTP library: `web/errors.py` is the only translator.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path


class JanError(Exception):
    """The root of the family. `param` names the offending field; `retry_after` is in seconds."""

    status = 500
    type = "server_error"
    code = "internal_error"

    def __init__(
        self, message: str, *, param: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after


class InvalidRequest(JanError):
    """The request is malformed, or a value in it is not allowed."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class InvalidId(InvalidRequest):
    """A name that is never made into a path."""

    code = "invalid_id"

    def __init__(self, kind: str, value: str, reason: str, *, param: str | None = None) -> None:
        shown = value if len(value) <= 80 else value[:77] + "..."
        super().__init__(f"{shown!r} is not a valid {kind} id: {reason}.", param=param)


class ParameterNotSupported(InvalidRequest):
    """A parameter that is known but cannot be honoured: said, never ignored in silence."""

    code = "unsupported_parameter"


class ContextLengthExceeded(InvalidRequest):
    """The prompt does not fit into the model's context; not all of it need have been counted.

    Clients that shorten a conversation by themselves know it by its code, or by OpenAI's words
    ("maximum context length is") or Anthropic's ("prompt is too long").
    """

    code = "context_length_exceeded"

    def __init__(self, prompt_tokens: int, context_length: int, *, is_all: bool = True) -> None:
        count = f"{prompt_tokens}" if is_all else f"at least {prompt_tokens}"
        super().__init__(
            f"The prompt is too long: it has {count} tokens, and this model's maximum context "
            f"length is {context_length} tokens, at least one of them for an answer. Shorten it "
            "(for a chat, `truncation: auto` does), or raise ctx_len in the model's model.json.",
            param="$.messages",
        )


class PromptLimitExceeded(InvalidRequest):
    """The prompt has more tokens than the request allows it."""

    code = "prompt_limit_exceeded"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The prompt has more than the {limit} tokens that max_prompt_tokens allows.",
            param="$.max_prompt_tokens",
        )


class RunActive(InvalidRequest):
    """A thread has one run at a time, and nothing is added to it meanwhile. OpenAI's words."""

    code = "run_active"

    def __init__(self, thread_id: str, run_id: str, *, adding: bool = False) -> None:
        super().__init__(
            f"Can't add messages to {thread_id} while a run {run_id} is active."
            if adding
            else f"Thread {thread_id} already has an active run {run_id}."
        )


class RunNotActive(InvalidRequest):
    """What is asked of a run is not possible in its state. OpenAI's words."""

    code = "run_not_active"


class Unauthorized(JanError):
    """The server demands a key, and the request has none, or another one (`sent`)."""

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"

    def __init__(self, *, sent: bool = False) -> None:
        told = "it was started with another one than you sent. Send" if sent else "send"
        super().__init__(
            f"This server demands its API key: {told} "
            "'Authorization: Bearer KEY' or 'X-Api-Key: KEY'."
        )


class Forbidden(JanError):
    status = 403
    type = "permission_error"
    code = "forbidden"


class HostNotAllowed(Forbidden):
    """The `Host` is a name that a web page could have pointed at this machine."""

    code = "host_not_allowed"


class OriginNotAllowed(Forbidden):
    """A page of another site wants to change something."""

    code = "origin_not_allowed"


class ImportNotAllowed(Forbidden):
    """A request names a file from where none may be imported by requests."""

    code = "import_not_allowed"

    def __init__(self, *, param: str | None = None) -> None:
        super().__init__(
            "Requests may not import files from there: name their folder with --import-folder, or "
            "import-folder in .jan_server/settings.toml. On the server's machine "
            "`python -m jan_server import FILE` does it.",
            param=param,
        )


class ReadOnly(Forbidden):
    """The server was started with --read-only: nothing below the data folder is changed."""

    code = "read_only"

    def __init__(self, instead: str = "start it without --read-only to change things.") -> None:
        super().__init__(f"This server is read-only: {instead}")


class NotFound(JanError):
    """No thread, message, assistant, model or route of that name."""

    status = 404
    type = "invalid_request_error"

    def __init__(self, kind: str, id: str, *, hint: str = "") -> None:
        super().__init__(f"No {kind} has the id {id!r}." + (f" {hint}" if hint else ""))
        self.code = f"{kind.replace(' ', '_')}_not_found"


class RouteNotFound(JanError):
    status = 404
    type = "invalid_request_error"
    code = "route_not_found"


class ModelNotDownloaded(JanError):
    """The catalogue or a manifest knows the model, but its weights are not here."""

    status = 404
    type = "invalid_request_error"
    code = "model_not_downloaded"

    def __init__(self, id: str, *, data_folder: Path) -> None:
        # With the folder: whoever serves one by a flag would get the model into another.
        super().__init__(
            f"The model {id!r} is known but not downloaded. Get it with: "
            f"python -m jan_server pull {id} --data-folder {shlex.quote(str(data_folder))}"
        )


class MethodNotAllowed(JanError):
    """`allowed` are the methods that the path knows."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"

    def __init__(self, method: str, allowed: tuple[str, ...]) -> None:
        super().__init__(f"{method} is not possible here; {', '.join(allowed)} is.")
        self.allowed = allowed


class FileBroken(JanError):
    """The file cannot be read as what it should be, so it is not changed or deleted either."""

    status = 409
    type = "invalid_request_error"
    code = "file_broken"

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}. Mend the file by hand; nothing was written.")


class NotEditable(JanError):
    """A file of a kind that we only read."""

    status = 409
    type = "invalid_request_error"
    code = "not_editable"

    def __init__(self, file: str) -> None:
        super().__init__(
            f"{file} is YAML, which cannot be changed here without losing how it is written. Edit "
            "the file: what it says holds from the next load on."
        )


class AmbiguousAlias(InvalidRequest):
    """A short name that more than one model has."""

    code = "ambiguous_model"

    def __init__(self, alias: str, ids: Sequence[str]) -> None:
        named = " and ".join(map(repr, ids))
        super().__init__(f"{alias!r} is an alias of {named}: ask for one of these.", param="model")


class ModelDownloading(JanError):
    """What is asked would disturb a download that runs."""

    status = 409
    type = "invalid_request_error"
    code = "model_downloading"

    def __init__(self, id: str) -> None:
        super().__init__(
            f"The model {id!r} is being downloaded. Stop that first: "
            f"DELETE /v1/models/download/{id}, or Ctrl-C where it was begun."
        )


class BodyTimeout(JanError):
    """The request's body did not arrive in time."""

    status = 408
    type = "invalid_request_error"
    code = "body_timeout"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The body did not arrive within {seconds:g} seconds.")


class PreconditionFailed(JanError):
    """The resource is not, or not any more, what the request's If-Match or If-None-Match says.

    Not a 409: OpenAI's clients repeat that one.
    """

    status = 412
    type = "invalid_request_error"
    code = "precondition_failed"

    def __init__(self, etag: str) -> None:
        super().__init__(
            f"The file was changed since you read it; its ETag is {etag} now. "
            "Read it again, then repeat the change. Nothing was written."
        )


class BodyTooLarge(JanError):
    status = 413
    type = "invalid_request_error"
    code = "body_too_large"


class UnsupportedMediaType(JanError):
    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"


class QueueFull(JanError):
    """As many requests wait for this model as are let wait."""

    status = 429
    type = "rate_limit_error"
    code = "queue_full"

    def __init__(self, model: str, waiting: int, *, retry_after: int) -> None:
        super().__init__(
            f"{waiting} requests wait for the model {model!r} already. Try again later.",
            retry_after=retry_after,
        )


class ModelCannotRun(JanError):
    """This file, or this model on this machine: the message says which, and what would run it."""

    status = 422
    type = "invalid_request_error"
    code = "model_cannot_run"


class FileUnreadable(JanError):
    """A file of the data folder is broken or unreadable, and no good version of it is known."""

    code = "file_unreadable"

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(f"{place}: {reason}.")
        self.place = place
        self.reason = reason


class WriteUncertain(JanError):
    """A write failed half-way: the file may or may not hold the change."""

    code = "write_uncertain"


class EngineDied(JanError):
    """The model's process ended under the request. The next request starts a new one."""

    status = 503
    code = "engine_died"


class EngineFailed(JanError):
    """The engine raised what an engine does not raise: a fault of it or of a file. It goes on."""

    code = "engine_failed"

    def __init__(self, reason: str | BaseException) -> None:
        # Not the exception's own text: it can quote the prompt, and this message is logged.
        if isinstance(reason, BaseException):
            reason = f"{type(reason).__name__}; the server's log says where"
        super().__init__(f"The engine failed: {reason}")


class ConstraintFailed(JanError):
    """The answer was held to a schema or a grammar, and cannot go on under it."""

    code = "constraint_failed"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The answer cannot go on as its schema, expression or grammar demands: {reason}. "
            "A simpler one may help."
        )


class RemoteRefused(JanError):
    """The server that a remote model runs on finds the request wrong: its words."""

    status = 400
    type = "invalid_request_error"
    code = "remote_refused"

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        type: str = "",
        code: str = "",
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message, param=param, retry_after=retry_after)
        self.status = status
        self.type = type or self.type
        self.code = code or self.code


class RemoteFailed(JanError):
    """The server that a remote model runs on failed, or cannot be reached."""

    status = 502
    code = "remote_failed"


class RemoteTimeout(JanError):
    """The server that a remote model runs on did not answer in time."""

    status = 504
    code = "remote_timeout"


class ModelLoading(JanError):
    """The model is still being prepared or loaded; the work goes on."""

    status = 503
    code = "model_loading"


class NotReady(JanError):
    """The first look at the data folder is not done yet, and a list is never partial."""

    status = 503
    code = "not_ready"


class DataFolderMissing(JanError):
    """The data folder was moved away, or its disk is not there."""

    status = 503
    code = "data_folder_missing"

    def __init__(self, folder: Path) -> None:
        super().__init__(f"The data folder {folder} is not there. Put it back; the server waits.")


class ShuttingDown(JanError):
    """The server is being stopped; answers that ran were let end first."""

    status = 503
    code = "shutting_down"


class WriteFailed(JanError):
    """A write failed, and the file is as it was."""

    code = "write_failed"


class NotWritable(WriteFailed):
    """The system lets us read this place, but not change it."""

    code = "not_writable"


class LiesOutside(JanError):
    """A link leads out of the data folder: what is there is read, and not ours to change."""

    status = 409
    type = "invalid_request_error"
    code = "lies_outside"

    def __init__(self, place: str) -> None:
        super().__init__(
            f"{place} lies outside the data folder, behind a link: it is read there, and never "
            "moved, deleted or written to. Do that by hand."
        )


class AlreadyExists(JanError):
    """A new thing was to get a name that is taken."""

    status = 409
    type = "invalid_request_error"
    code = "already_exists"

    def __init__(self, kind: str, id: str, *, hint: str = "") -> None:
        there = f"There is already {_with_article(kind)} with the id {id!r}."
        super().__init__(f"{there} {hint}".strip(), param="id")


def _with_article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


class DiskFull(JanError):
    """There is no room for what was to be written; the file is as it was."""

    status = 507
    code = "disk_full"


WRITING = (DataFolderMissing, DiskFull, NotWritable, WriteFailed, WriteUncertain)
"""What every operation that writes may meet."""

NAMING_A_MODEL = (InvalidId, AmbiguousAlias, NotFound, FileUnreadable)
"""What every operation that names a model may meet."""


class NotImportable(InvalidRequest):
    """What was named is no model that could be imported: the message says what is in the way."""

    code = "not_importable"


class ImportFailed(JanError):
    """A model's file could not be read to its end, or changed meanwhile; nothing was made."""

    status = 409
    type = "invalid_request_error"
    code = "import_failed"


class ImportStopped(JanError):
    """The server is being stopped; nothing was made."""

    status = 503
    code = "import_stopped"


class SettingsInvalid(JanError):
    """The server cannot start with these settings; the command line exits with 2."""

    code = "settings_invalid"


class DownloadFailed(JanError):
    """Getting a model failed; nothing was published."""

    status = 502
    code = "download_failed"


class DownloadProgressNotFound(JanError):
    """In Jan's own words."""

    status = 404
    type = "invalid_request_error"
    code = "download_not_found"

    def __init__(self) -> None:
        super().__init__("Download progress not found")


class DownloadElsewhere(JanError):
    """Another process is getting the model: it alone can stop that."""

    status = 409
    type = "invalid_request_error"
    code = "download_elsewhere"

    def __init__(self, id: str, pid: int) -> None:
        super().__init__(
            f"The model {id!r} is got by another process, number {pid}. End that one (Ctrl-C): "
            "what it has got stays, and can then be dropped."
        )


class DownloadStopped(JanError):
    """Somebody stopped the download, or the server is shutting down; nothing was published."""

    status = 503
    code = "download_stopped"
