"""Which machines a download may ask: public ones by https, and those that the user configured.

A manifest, or a redirect on the way, must not make the server fetch from inside the user's network
(CVE-2026-5530 and its kin). Names are resolved here and once more when the connection is made. A
name that changes in between gains nothing: what is not configured must show a valid certificate
for the name in the address.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from urllib.parse import urlsplit

from jan_server.errors import DownloadFailed

HUB = "https://huggingface.co"


def endpoint() -> str:
    """The hub, or the mirror that the user configured."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def hubs() -> tuple[str, ...]:
    """The addresses that files of the hub are named by."""
    return (HUB, "https://hf.co", endpoint())


def check(url: str) -> None:
    """Raise DownloadFailed unless this address may be asked. Looks the name up."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host == urlsplit(endpoint()).hostname:
        return
    if parts.scheme != "https":
        raise DownloadFailed(f"{shown(url)} is not asked for a model: only https addresses are.")
    # Some proxies answer every name with a private address: the hub is known by its certificate.
    if host == urlsplit(HUB).hostname:
        return
    for address in _addresses(host):
        if not is_public(address):
            raise DownloadFailed(
                f"{shown(url)} is not asked for a model: {address} is inside a private network. "
                "A mirror of your own is named by HF_ENDPOINT."
            )


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet, also when wrapped into IPv6."""
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip.sixtofour or ip
    return ip.is_global and not ip.is_multicast


def shown(url: str) -> str:
    """An address for people: without user, password and the query, which may hold a signature."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _addresses(host: str) -> list[str]:
    """All addresses of a host; none when a proxy will look the name up in our place."""
    try:
        return [str(ipaddress.ip_address(host))]
    except ValueError:
        pass
    if _has_proxy(host):
        return []
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DownloadFailed(
            f"The name {host} cannot be resolved ({error}): check the address and the network."
        ) from error
    return [str(info[4][0]).partition("%")[0] for info in found]


def _has_proxy(host: str) -> bool:
    from urllib.request import getproxies, proxy_bypass  # 11 ms, for downloads only

    return "https" in getproxies() and not proxy_bypass(host)
