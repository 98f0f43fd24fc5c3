"""What machine this is, in figures that people are shown. Asked for, never remembered."""

from __future__ import annotations

import os
import platform
from typing import Any

from msgspec import Struct

from jan_server.engines import machine


class Processor(Struct, kw_only=True):
    """`usage` is in percent of all cores, since the last time it was asked for."""

    arch: str
    cores: int
    model: str
    instructions: list[str]
    usage: float


class Memory(Struct, kw_only=True):
    """In MiB."""

    total: int
    available: int


class System(Struct, kw_only=True):
    name: str
    version: str


class Storage(Struct, kw_only=True):
    """Of the disk with the data folder, in GiB."""

    total: int
    available: int


class Hardware(Struct, kw_only=True):
    """`gpus` are those that models could use; what is known of each."""

    cpu: Processor
    ram: Memory
    os: System
    storage: Storage
    gpus: list[dict[str, Any]]


def look(data_folder: str | os.PathLike[str]) -> Hardware:
    """Takes some milliseconds. Raises OSError when the folder's disk is away."""
    import psutil  # 15 ms, for those who ask.

    memory, disk = psutil.virtual_memory(), psutil.disk_usage(os.fspath(data_folder))
    return Hardware(
        cpu=Processor(
            arch=platform.machine(),
            cores=len(machine.usable_cpus()),
            model=platform.processor() or platform.machine(),
            instructions=sorted(machine.processor_flags()),
            usage=psutil.cpu_percent(interval=None),
        ),
        ram=Memory(total=memory.total >> 20, available=memory.available >> 20),
        os=System(name=platform.system(), version=platform.release()),
        storage=Storage(total=disk.total >> 30, available=disk.free >> 30),
        gpus=[{"id": str(number), "activated": True} for number in range(machine.nvidia_devices())],
    )
