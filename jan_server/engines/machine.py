"""What this machine can compute with: processor flags, cores, NVIDIA devices.

Our own look instead of py-cpuinfo's, which ctransformers would ask: that takes 1.2 s, six times the
rest of a load. Nothing here is remembered, and what cannot be found out is taken as missing.
"""

from __future__ import annotations

import ctypes
import math
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path

CUDA_DRIVERS = {"Linux": "libcuda.so.1", "Windows": "nvcuda.dll"}
# winnt.h; Windows does not tell of F16C and FMA, which every processor with AVX2 has.
PF_AVX2_INSTRUCTIONS_AVAILABLE = 40


def processor_flags(root: Path = Path("/")) -> frozenset[str]:
    """Lower-case flags as Linux spells them, such as `avx2`, `fma`, `f16c`."""
    try:
        return FLAG_READERS[platform.system()](root)
    except (KeyError, OSError, subprocess.SubprocessError):
        return frozenset()


def linux_flags(root: Path) -> frozenset[str]:
    with (root / "proc/cpuinfo").open() as lines:
        for line in lines:
            if line.startswith("flags"):
                return frozenset(line.partition(":")[2].split())
    return frozenset()


def darwin_flags(_: Path, command: str = "/usr/sbin/sysctl") -> frozenset[str]:
    keys = ["machdep.cpu.features", "machdep.cpu.leaf7_features"]
    asked = [command, "-n", *keys]
    answer = subprocess.run(
        asked, capture_output=True, text=True, timeout=5, check=False
    )  # a fixed command
    return frozenset(answer.stdout.lower().replace("avx1.0", "avx").split())


def windows_flags(_: Path) -> frozenset[str]:
    kernel = ctypes.CDLL("kernel32")
    has_avx2 = kernel.IsProcessorFeaturePresent(PF_AVX2_INSTRUCTIONS_AVAILABLE)
    return frozenset({"avx", "avx2", "fma", "f16c"} if has_avx2 else ())


FLAG_READERS: dict[str, Callable[[Path], frozenset[str]]] = {
    "Linux": linux_flags,
    "Darwin": darwin_flags,
    "Windows": windows_flags,
}


def usable_cpus() -> set[int]:
    """The CPUs that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def physical_cores(root: Path = Path("/"), cpus: Callable[[], set[int]] = usable_cpus) -> int:
    """How many threads compute fastest: one per physical core that this process may use.

    A second thread on the same core waits for the same arithmetic units and costs speed. A
    container's share of the CPU time counts too: more threads than that are stopped in turns.
    """
    cores = {_siblings(root, cpu) for cpu in cpus()}
    return max(1, min(len(cores), _quota(root)))


def _siblings(root: Path, cpu: int) -> str:
    place = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
    try:
        return place.read_text().strip()
    except OSError:  # Not Linux: every CPU counts as a core.
        return str(cpu)


def _quota(root: Path) -> int:
    """The control group's CPU time as a number of CPUs; `cpu.max` is `max 100000` without one."""
    try:
        quota, period = (root / "sys/fs/cgroup/cpu.max").read_text().split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return os.cpu_count() or 1


def nvidia_devices(load: Callable[[str], ctypes.CDLL] = ctypes.CDLL) -> int:
    """How many devices the NVIDIA driver has; 0 without a driver.

    Asked of the driver itself: the CUDA build ends the process when there is none.
    """
    try:
        driver = load(CUDA_DRIVERS.get(platform.system(), ""))
        count = ctypes.c_int(0)
        if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    except (OSError, AttributeError):
        pass
    return 0
