"""`watch [THREAD]`: answer what is written into threads by hand, without a server."""

from __future__ import annotations

import asyncio
import signal

import click

from jan_server import logs
from jan_server.cli.arguments import complete_threads
from jan_server.cli.options import check_there, data_folder_option, find_settings
from jan_server.services import Services
from jan_server.settings import Settings

DRAIN_SECONDS = 10


@click.command()
@click.argument("thread", required=False, shell_complete=complete_threads)
@data_folder_option
def command(thread: str | None, data_folder: str | None) -> None:
    """Answer what is written into the file of THREAD, until Ctrl-C.

    Append a line to its messages.jsonl, with an editor or `echo '{"role": "user", "content":
    "Hi"}' >> messages.jsonl`, and the answer is appended to it. Without a THREAD that is so in
    all threads, but for those whose thread.json says `"metadata": {"auto_reply": false}`. A
    server that runs does it by itself where that is `true`.
    """
    settings = find_settings(data_folder)
    check_there(settings)
    logs.configure()
    asyncio.run(_watch(settings, thread))


async def _watch(settings: Settings, thread: str | None) -> None:
    """Raises NotFound, ReadOnly, and InvalidId."""
    services = Services(settings)
    services.store.check_writable()
    if thread is not None:
        services.store.threads.get(thread)
    services.replying.answer_in(thread)
    services.start()
    try:
        await asyncio.to_thread(services.store.wait_until_read)
        click.echo(f"watching {thread or 'all threads'} of {settings.data_folder} (Ctrl-C stops)")
        await _until_stopped()
        await services.drain(DRAIN_SECONDS)
    finally:
        await services.close()


async def _until_stopped() -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stop.set)
    await stop.wait()
    for sign in (signal.SIGINT, signal.SIGTERM):  # A second one stops at once.
        loop.remove_signal_handler(sign)
