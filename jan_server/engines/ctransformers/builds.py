"""Which of ctransformers' native libraries fits this machine, without loading any.

The package carries one for each kind of processor, and one for NVIDIA devices. Light to import: the
server asks, for its start line, and the child asks, to load one.
"""

from __future__ import annotations

import importlib.util
import platform
from collections.abc import Collection
from importlib.machinery import ModuleSpec
from pathlib import Path

import msgspec

from jan_server.engines import machine
from jan_server.engines.base import ModelSpec
from jan_server.engines.decoding.sizing import threads_of
from jan_server.errors import ModelCannotRun

PACKAGE = "ctransformers"
LIBRARY_NAMES = {
    "Linux": "libctransformers.so",
    "Windows": "ctransformers.dll",
    "Darwin": "libctransformers.dylib",
}
X86_64 = frozenset({"x86_64", "amd64"})
# Best first: what each build was compiled with (ctransformers' CMakeLists.txt).
CPU_BUILDS = (("avx2", {"avx2", "fma", "f16c"}), ("avx", {"avx", "f16c"}), ("basic", set[str]()))
OTHER_ENGINE = (
    "The optional engine `llama-cpp` (a current llama.cpp) may run it: it is chosen by "
    '"engine": "llama-cpp" in the model\'s model.json'
)


class Build(msgspec.Struct, frozen=True):
    """One of the libraries in the package. `note` says why it is not what was asked for."""

    name: str
    gpu_layers: int = 0
    note: str = ""

    @property
    def device(self) -> str:
        if self.name == "cuda":
            return f"cuda, {self.gpu_layers} layers"
        return f"cpu ({self.name})"


def choose_build(
    *,
    system: str,
    processor: str,
    flags: Collection[str],
    builds: Collection[str],
    gpu_layers: int,
    devices: int,
) -> Build:
    """Which library of those in the package (`builds`) to use. Raises ModelCannotRun if none is.

    The package's libraries are for x86-64, but for `basic` on a Mac, which is for both kinds. A
    `local` one is there when somebody built ctransformers from source, for that machine. Without an
    NVIDIA device `gpu_layers` mean nothing: Jan's manifests ask for as many as there can be.
    """
    if "local" in builds:
        return Build("local", gpu_layers)
    note = ""
    if gpu_layers > 0 and devices:
        if "cuda" in builds:
            return Build("cuda", gpu_layers)
        note = f"ngl is {gpu_layers}, but this ctransformers has no library for NVIDIA devices"
    if processor.lower() not in X86_64:
        if system == "Darwin" and "basic" in builds:
            return Build("basic", note=note)
        raise ModelCannotRun(
            f"ctransformers has no library for {system} on {processor}. {OTHER_ENGINE}."
        )
    for name, needed in CPU_BUILDS:
        if name in builds and needed <= set(flags):
            return Build(name, note=note)
    raise ModelCannotRun(f"ctransformers has no library for {system}. {OTHER_ENGINE}.")


def find_build(gpu_layers: int) -> Build:
    """`choose_build` for this machine."""
    system = platform.system()
    return choose_build(
        system=system,
        processor=platform.machine(),
        flags=machine.processor_flags(),
        builds=installed_builds(package_folder() / "lib", system),
        gpu_layers=gpu_layers,
        devices=machine.nvidia_devices() if gpu_layers > 0 else 0,
    )


def package_spec() -> ModuleSpec:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise ModelCannotRun("ctransformers is not installed: pip install ctransformers==0.2.27")
    return spec


def package_folder() -> Path:
    return Path(package_spec().origin or "").parent


def installed_builds(folder: Path, system: str) -> set[str]:
    name = LIBRARY_NAMES.get(system, "")
    return {place.parent.name for place in folder.glob(f"*/{name}")} if name else set()


def device(spec: ModelSpec) -> str:
    """What would compute a model, for people: `cpu (avx2), 2 threads`. Raises ModelCannotRun."""
    return described(find_build(spec.gpu_layers), threads_of(spec))


def described(build: Build, threads: int) -> str:
    return f"{build.device}, {threads} threads" + (f" ({build.note})" if build.note else "")
