"""Manifests of models that are known to run here: one `<id>.json` each, in Jan's shape.

They are raw mappings of a model.json, shared: copy before changing one. A model that the user
gets has a file of its own in the data folder, which is the user's from then on. A context of 4096
tokens, also where the file could hold more, keeps what a default costs in memory small (SmolLM2:
90 MB).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Any


@functools.cache
def load() -> Mapping[str, dict[str, Any]]:
    """All manifests by id, in order of size: the smallest first."""
    files = [f for f in resources.files(__name__).iterdir() if f.name.endswith(".json")]
    manifests = [json.loads(f.read_text(encoding="utf-8")) for f in files]
    manifests.sort(key=lambda manifest: manifest["metadata"]["size"])
    return MappingProxyType({manifest["id"]: manifest for manifest in manifests})


def aliases(id: str) -> tuple[str, ...]:
    """The shorter names of a model; none for one that is not here."""
    return tuple(load().get(id, {}).get("aliases", ()))


def get(id: str) -> dict[str, Any] | None:
    """The manifest of that id, or None."""
    return load().get(id)
