"""What the machine has, read from copies of what other machines say."""

from __future__ import annotations

import ctypes
import os
import platform
from pathlib import Path

import pytest

from jan_server.engines import machine


def put(root: Path, name: str, text: str) -> None:
    place = root / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def test_flags_of_linux(tmp_path: Path) -> None:
    put(tmp_path, "proc/cpuinfo", "processor\t: 0\nflags\t\t: fpu avx avx2 f16c\nbugs\t\t:\n")
    assert machine.linux_flags(tmp_path) == {"fpu", "avx", "avx2", "f16c"}


def test_a_processor_without_flags_has_none(tmp_path: Path) -> None:
    put(tmp_path, "proc/cpuinfo", "processor\t: 0\nFeatures\t: fp asimd\n")
    assert machine.linux_flags(tmp_path) == frozenset()


def test_flags_of_a_mac(tmp_path: Path) -> None:
    sysctl = tmp_path / "sysctl"
    sysctl.write_text("#!/bin/sh\necho FPU AVX1.0 F16C FMA\necho AVX2 BMI2\n")
    sysctl.chmod(0o700)
    flags = machine.darwin_flags(tmp_path, command=str(sysctl))
    assert flags == {"fpu", "avx", "f16c", "fma", "avx2", "bmi2"}


@pytest.mark.parametrize("system", ["Linux", "Darwin", "Windows", "Plan9"])
def test_what_cannot_be_found_out_is_missing(
    system: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    assert machine.processor_flags(tmp_path) == frozenset()


@pytest.mark.parametrize(("has", "flags"), [(1, {"avx", "avx2", "fma", "f16c"}), (0, set())])
def test_flags_of_windows(
    has: int, flags: set[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Kernel:
        def IsProcessorFeaturePresent(self, feature: int) -> int:  # noqa: N802  # its name
            return has if feature == 40 else 0

    monkeypatch.setattr(ctypes, "CDLL", lambda name: Kernel())
    assert machine.windows_flags(tmp_path) == flags


def siblings(root: Path, groups: dict[int, str]) -> None:
    for cpu, text in groups.items():
        put(root, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", text + "\n")


@pytest.mark.parametrize(
    ("cpus", "quota", "cores"),
    [
        ({0, 1, 2, 3}, None, 2),
        ({0, 2}, None, 1),
        ({0, 1, 7}, None, 3),
        ({0, 1, 2, 3}, "100000 100000", 1),
        ({0, 1, 2, 3}, "150000 100000", 2),
        ({0, 1}, "max 100000", 2),
        ({0, 1}, "5 0", 2),
        (set(), None, 1),
    ],
)
def test_threads_are_the_cores_that_the_process_may_use(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cpus: set[int],
    quota: str | None,
    cores: int,
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    siblings(tmp_path, {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"})
    if quota is not None:
        put(tmp_path, "sys/fs/cgroup/cpu.max", quota + "\n")
    assert machine.physical_cores(tmp_path, lambda: cpus) == cores


def test_usable_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.usable_cpus() == os.sched_getaffinity(0)
    monkeypatch.delattr(os, "sched_getaffinity")
    assert machine.usable_cpus() == set(range(os.cpu_count() or 1))


class Driver:
    """The two functions of NVIDIA's driver that are asked."""

    def __init__(self, status: int, devices: int) -> None:
        self._status = status
        self._devices = devices

    def cuInit(self, flags: int) -> int:  # noqa: N802  # its name
        return self._status

    def cuDeviceGetCount(self, count: object) -> int:  # noqa: N802  # its name
        ctypes.cast(count, ctypes.POINTER(ctypes.c_int))[0] = self._devices  # type: ignore[arg-type]  # byref's own type has no name
        return 0


@pytest.mark.parametrize(("status", "devices", "found"), [(0, 2, 2), (0, 0, 0), (100, 2, 0)])
def test_the_driver_is_asked_for_its_devices(status: int, devices: int, found: int) -> None:
    driver = Driver(status, devices)
    assert machine.nvidia_devices(lambda name: driver) == found  # type: ignore[arg-type,return-value]  # a stand-in


def test_without_a_driver_there_are_no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.nvidia_devices(lambda name: ctypes.CDLL("/no/such/library.so")) == 0
    assert machine.nvidia_devices(lambda name: ctypes.CDLL(None)) == 0
