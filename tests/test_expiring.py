"""Emptying the trash in the background."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from jan_server.errors import DataFolderMissing
from jan_server.expiring import Expiring


def test_it_is_done_at_the_start_and_again_and_again_until_it_is_closed() -> None:
    async def run() -> list[str]:
        loop, done, threads = asyncio.get_running_loop(), asyncio.Event(), []

        def expire() -> None:
            threads.append(threading.current_thread().name)
            if len(threads) == 3:
                loop.call_soon_threadsafe(done.set)

        expiring = Expiring(expire, every=0)
        assert repr(expiring) == "<Expiring not started>"
        expiring.start()
        assert repr(expiring) == "<Expiring started>"
        await done.wait()
        await expiring.close()
        return threads

    threads = asyncio.run(run())
    assert threading.main_thread().name not in threads


def test_a_day_on_which_the_folder_is_away_is_not_the_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        loop, done, days = asyncio.get_running_loop(), asyncio.Event(), iter((1, 2))

        def expire() -> None:
            if next(days) == 1:
                raise DataFolderMissing(tmp_path)
            loop.call_soon_threadsafe(done.set)

        expiring = Expiring(expire, every=0)
        expiring.start()
        await done.wait()
        await expiring.close()

    asyncio.run(run())
    assert caplog.messages[0].startswith("the trash is not emptied today: The data folder")


def test_what_was_never_started_is_closed_too() -> None:
    asyncio.run(Expiring(lambda: None).close())


def test_by_day_it_waits_for_the_next() -> None:
    async def run() -> int:
        done, calls = asyncio.Event(), []
        loop = asyncio.get_running_loop()

        def expire() -> None:
            calls.append(1)
            loop.call_soon_threadsafe(done.set)

        expiring = Expiring(expire)
        expiring.start()
        await done.wait()
        await expiring.close()
        return len(calls)

    assert asyncio.run(run()) == 1
