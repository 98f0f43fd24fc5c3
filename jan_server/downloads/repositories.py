"""What a repository of the hub holds, asked by huggingface_hub.

Imported when somebody names one: huggingface_hub takes 0.2 s.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from huggingface_hub import HfApi

from jan_server.downloads import addresses, references
from jan_server.downloads.asking import requests
from jan_server.downloads.references import Address, Reference, RepositoryFile


def look_up(reference: Reference | Address) -> tuple[str, dict[str, Any]]:
    """The id and the manifest of what is meant; the addresses in it are of this very revision.

    Raises NotFound with the choices, and DownloadFailed when the hub does not answer.
    """
    if isinstance(reference, Address):
        return _of_address(reference)
    endpoint = addresses.endpoint()
    with requests(f"{endpoint}/{reference.repo}"):
        info = HfApi(endpoint=endpoint).model_info(
            reference.repo, revision=reference.revision, files_metadata=True, timeout=30.0
        )
    listed = [
        RepositoryFile(
            name=file.rfilename, size=file.size, sha256=file.lfs.sha256 if file.lfs else None
        )
        for file in info.siblings or ()
    ]
    files = references.choose(reference, listed)
    id = references.model_id(reference, files)
    base = f"{addresses.HUB}/{reference.repo}/resolve/{info.sha or reference.revision}"
    return id, references.manifest(
        id,
        author=reference.repo.partition("/")[0],
        files=[(f"{base}/{quote(file.name)}", file) for file in files],
    )


def _of_address(address: Address) -> tuple[str, dict[str, Any]]:
    name = address.url.partition("?")[0].rpartition("/")[2]
    id = references.model_id(address)
    file = RepositoryFile(name=name, sha256=address.sha256)
    return id, references.manifest(id, author="", files=[(address.url, file)])
