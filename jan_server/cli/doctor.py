"""`doctor`: what is wrong in a data folder, told in the terminal, and mended with `--fix`.

One line for each finding, `threads/x/messages.jsonl:17:42 expected ','`, and below it what `--fix`
would do or what a person can. `--json` prints one object instead, as `GET /v1/diagnostics` answers.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime

import click
import msgspec
from msgspec import UNSET

from jan_server import catalogue, logs
from jan_server.cli.group import FAILED
from jan_server.cli.options import data_folder_option, find_settings
from jan_server.errors import SettingsInvalid
from jan_server.settings import Settings
from jan_server.store import Store
from jan_server.store.doctor import Doctor
from jan_server.types.diagnostics import Checked, Diagnosis, Finding, TrashSize


@click.command()
@data_folder_option
@click.option("--fix", is_flag=True, help="Mend what can be mended; copies go to the trash.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(data_folder: str | None, fix: bool, as_json: bool) -> None:
    """Say what is wrong in the data folder. Exit code 1 when something is."""
    logs.configure()
    if not examine(find_settings(data_folder), fix=fix, as_json=as_json):
        sys.exit(FAILED)


def examine(settings: Settings, *, fix: bool = False, as_json: bool = False) -> bool:
    """Whether all is well, after mending if that was asked for.

    Raises SettingsInvalid for a folder that is not there, or is not to be changed.
    """
    if not settings.data_folder.is_dir():
        raise SettingsInvalid(f"There is no data folder {settings.data_folder}.")
    if fix and settings.read_only:
        raise SettingsInvalid("This folder is set to be read only: --fix would change it.")
    store = Store(settings.data_folder, fsync=settings.flushes, read_only=settings.read_only)
    doctor = Doctor(store, catalogue=catalogue.load())
    diagnosis = doctor.mend(sums=True) if fix else doctor.examine(sums=True)
    store.close()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(diagnosis), indent=2))
    else:
        click.echo("\n".join(told(diagnosis)))
    return not diagnosis.findings


def told(diagnosis: Diagnosis) -> Iterator[str]:
    """The lines for a person."""
    mended = [] if diagnosis.mended is UNSET else diagnosis.mended
    for finding in mended:
        yield f"{finding}\n    mended: {finding.fix}"
    for finding in diagnosis.findings:
        yield f"{finding}\n    {_advice(finding)}"
    looked = f"Looked at {_counted(diagnosis.checked)}"
    yield f"{looked}: {_summed(diagnosis.findings, mended)}."
    yield f"{_trash(diagnosis.trash)}."


def _advice(finding: Finding) -> str:
    return f"--fix would {finding.fix}" if finding.fix else str(finding.hint)


def _counted(checked: Checked) -> str:
    counts = msgspec.structs.asdict(checked)
    return ", ".join(
        f"{number:,} {kind if number != 1 else _ONE[kind]}" for kind, number in counts.items()
    )


_ONE = {
    "threads": "thread",
    "messages": "message",
    "replies": "reply",
    "assistants": "assistant",
    "models": "model",
}


def _summed(findings: list[Finding], mended: list[Finding]) -> str:
    problems = "1 problem" if len(findings) == 1 else f"{len(findings) or 'no'} problems"
    fixable = sum(1 for finding in findings if finding.fix)
    parts = [problems]
    if mended:
        parts = [f"{len(mended)} mended", f"{problems} left"]
    elif fixable:
        parts.append(f"--fix would mend {fixable}")
    return ", ".join(parts)


def _trash(trash: TrashSize) -> str:
    if not trash.deletions or trash.oldest is None:
        return "The trash is empty"
    day = datetime.fromisoformat(trash.oldest).date()
    number = "1 deletion" if trash.deletions == 1 else f"{trash.deletions:,} deletions"
    return f"The trash holds {number}, {trash.bytes / 1e6:,.1f} MB; the oldest is of {day}"
