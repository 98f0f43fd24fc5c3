"""What `doctor` and `GET /diagnostics` say of a data folder."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType


class Finding(Struct, kw_only=True, frozen=True):
    """One problem. `file` is told from the data folder on; lines and columns count from 1.

    `fix` is what `doctor --fix` would do; where it would do nothing, `hint` is what a person can.
    """

    file: Annotated[str, Meta(examples=["threads/jan_1705312345/messages.jsonl"])]
    line: int | None = None
    column: int | None = None
    code: Annotated[str, Meta(examples=["broken_line"])]
    reason: Annotated[str, Meta(examples=["expected ','"])]
    fix: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        """`threads/x/messages.jsonl:17:42 expected ','`."""
        place = "" if self.line is None else f":{self.line}:{self.column}"
        return f"{self.file}{place} {self.reason}"


class TrashSize(Struct, kw_only=True, frozen=True):
    """How much was deleted and is still there; `oldest` is when the first of it was, in UTC."""

    deletions: int = 0
    bytes: int = 0
    oldest: Annotated[str | None, Meta(examples=["2026-01-31T09:30:00Z"])] = None


class Checked(Struct, kw_only=True):
    """How much was looked at. `replies` are those that grow, or were left when a server ended."""

    threads: int = 0
    messages: int = 0
    replies: int = 0
    assistants: int = 0
    models: int = 0


class Diagnosis(Struct, kw_only=True):
    """`findings` is empty when all is well. `mended` is what `doctor --fix` has mended."""

    object: Literal["diagnostics"] = "diagnostics"
    findings: list[Finding]
    mended: list[Finding] | UnsetType = UNSET
    trash: TrashSize
    checked: Checked


class DiagnosticsQuery(Struct, kw_only=True, frozen=True):
    models: Annotated[
        bool, Meta(description="Compute the models' sums too: seconds for each gigabyte.")
    ] = False
