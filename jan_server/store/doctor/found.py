"""A problem that a check found, worded, with what would mend it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from jan_server.printable import printable
from jan_server.types.diagnostics import Finding

How = Literal["lines", "thread", "id", "leftover", "copy"]
"""The ways of mending; `mending.py` has one function for each."""


class Mend(NamedTuple):
    """What `--fix` would do, and to what. `lock` is the name of the resource that it changes."""

    how: How
    path: Path
    lock: str


class Found(NamedTuple):
    finding: Finding
    mend: Mend | None = None


class Advice(NamedTuple):
    """`fix` is said of what can be mended, `hint` of what a person must decide."""

    fix: str = ""
    hint: str = ""


_PERMISSIONS = "Check its owner and permissions; the server must be able to read it."
_RENAME = "Rename it; nothing of that name is shown."
_BY_HAND = "Mend it in an editor. It is kept as it is and hides nothing else."

ADVICE: dict[str, Advice] = {
    "broken_line": Advice(hint=_BY_HAND),
    "torn_line": Advice(fix="move the unfinished line to .jan_server/torn/"),
    "zeros": Advice(fix="take the zeros out"),
    "glued_records": Advice(fix="put the newline between the two"),
    "duplicate_message_id": Advice(fix="write the id by which it is served, {address!r}"),
    "unusable_message_id": Advice(hint="Give it another id, or none; until then it has one."),
    "long_line": Advice(hint="Every look at this thread reads it. Shorten it if you can."),
    "more_lines": Advice(
        fix="mend those of them that can be",
        hint="Mend those that are told; or is this no history at all?",
    ),
    "broken_document": Advice(
        hint="Mend it in an editor; JSON has no comments and no trailing commas."
    ),
    "no_thread_document": Advice(fix="write a thread.json"),
    "no_document": Advice(hint="Move the folder away, or give it its file."),
    "empty_folder": Advice(hint="Delete it, or put into it what it was made for."),
    "copied_id": Advice(fix="write the folder's name as its id", hint="Write its own id into it."),
    "same_id": Advice(hint="Rename one of the folders, and write its name as the id in it."),
    "other_id": Advice(hint="Rename the folder, or write its name as the id in it."),
    "taken_id": Advice(hint="Remove one of the two if they are one model, or give it another id."),
    "unreadable": Advice(hint=_PERMISSIONS),
    "name_not_utf8": Advice(hint=_RENAME),
    "unusable_name": Advice(hint=_RENAME),
    "special_file": Advice(hint="Move it away: only files and folders are read."),
    "link_leads_out": Advice(hint="Put what it leads to into the data folder, or remove the link."),
    "link_leads_nowhere": Advice(hint="Bring back what it leads to, or remove the link."),
    "leftover": Advice(fix="move it to the trash", hint="Remove it."),
    "equal_conflict_copy": Advice(fix="move the copy to the trash", hint="Remove the copy."),
    "conflict_copy": Advice(hint="Compare the two, keep what you want, then delete the copy."),
    "weights_missing": Advice(hint="Put the file there, or mend what the manifest names."),
    "broken_weights": Advice(hint="Move the file away and get the model again."),
    "wrong_size": Advice(hint="Move the file away and get the model again."),
    "wrong_sum": Advice(hint="Move the file away and get the model again."),
    "changed_weights": Advice(
        hint="Verify it: `python -m jan_server doctor` reads the whole file."
    ),
    "other_sum": Advice(
        hint="If you changed it, take it out of .jan_server/sums.json; else get the model again."
    ),
}


def found(
    code: str,
    file: str,
    reason: str,
    *,
    line: int | None = None,
    column: int | None = None,
    mend: Mend | None = None,
    address: str = "",
) -> Found:
    """`address` is the id that is written where the fix is to write one."""
    advice = ADVICE[code]
    finding = Finding(
        file=printable(file),
        line=line,
        column=column,
        code=code,
        reason=printable(reason),
        fix=advice.fix.format(address=address) if mend else None,
        hint=None if mend else advice.hint,
    )
    return Found(finding, mend)
