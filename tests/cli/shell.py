"""A shell that asks the installed command what it completes."""

from __future__ import annotations

import os
import subprocess
import sys


def completions(words: str) -> list[str]:
    """What a shell offers after `jan-server WORDS`, the last of which is being typed."""
    typed = f"jan-server {words}"
    done = subprocess.run(
        [sys.executable, "-c", "from jan_server.cli import main; main(prog_name='jan-server')"],
        env={
            **os.environ,
            "_JAN_SERVER_COMPLETE": "bash_complete",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(typed.count(" ")),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]
