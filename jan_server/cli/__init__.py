"""The command line: `python -m jan_server [COMMAND]`, also installed as `jan-server`.

One file per command, which holds its click command under the name `command`, and one row for it
below. Exit codes: 0 fine, 1 the command failed or found problems, 2 wrong usage, broken settings
or cannot start.
What a command does not need it does not import: serving must start fast, so must completion in a
shell. That is why the summaries are here.
"""

from __future__ import annotations

import click

from jan_server import __version__, logs
from jan_server.cli.group import Commands, Row

COMMANDS = (
    Row("serve", "Server", "Serve the API until Ctrl-C. What is done when no command is named."),
    Row("ps", "Server", "Show which models the running server has in memory."),
    Row("stop", "Server", "Unload a model from the running server."),
    Row("models", "Models", "List the models: size, quantization, engine, state."),
    Row("show", "Models", "Show what a model is, and whether it runs on this machine."),
    Row("pull", "Models", "Get a model of the catalogue or the hub."),
    Row("import", "Models", "Make a model of a .gguf that lies here.", module="importing"),
    Row("remove", "Models", "Unload a model and move it to the trash."),
    Row("run", "Chats", "Chat with a model in the terminal, or have it answer one prompt."),
    Row("watch", "Chats", "Answer what is written into threads by hand."),
    Row("threads", "Chats", "Read the threads of the data folder: list, show, search."),
    Row("trash", "Care", "Show what was deleted, and put it back: list, restore."),
    Row("doctor", "Care", "Say what is wrong in the data folder, and mend it."),
    Row("torture", "Care", "Kill a server again and again: does it lose anything?"),
    Row("version", "Care", "Say which version this is."),
)


@click.group(cls=Commands, rows=COMMANDS, default="serve")
@click.version_option(__version__, prog_name="jan_server")
def main() -> None:
    """A local server for Jan's and OpenAI's API over plain files. Without a command it serves."""
    logs.configure_errors()  # Commands that log more say so.
