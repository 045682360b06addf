# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The file behind an http or https address, within limits, or inside a data URL; it needs no other library.

Only public addresses are asked, so that nobody who hands in an address reads from the network of this machine.
"""

import base64
import contextlib
import http.client
import ipaddress
import os
import socket
import ssl
import threading
from urllib.parse import SplitResult, quote, urljoin, urlsplit

TIMEOUT_SECONDS = 20.0
MAX_REDIRECTS = 3
SCHEMES = ("http://", "https://")
ALLOW_PRIVATE = "SSP_SAM_ALLOW_PRIVATE_URLS"  # the environment variable that, with "1", allows private addresses
_REDIRECTS = (301, 302, 303, 307, 308)
# Public by their numbers, and yet services of the very network that a cloud machine is in.
_SPECIAL_NETWORKS = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "168.63.129.16/32")))
# The only part of IPv6 that is given out to the networks of the world.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


def fetch_file(
    address: str, max_bytes: int, timeout: float = TIMEOUT_SECONDS, allow_private: bool | None = None
) -> bytes:
    """Returns what lies at an http or https address.

    No proxies and no credentials are used, and of the ports 80 and 443. A name is resolved once and its address
    connected to, so that it cannot change in between; each of at most three redirects is checked likewise.

    Args:
        address (`str`): The address.
        max_bytes (`int`): Most bytes that are taken.
        timeout (`float`): Seconds that all of it may take, whatever the server does in between.
        allow_private (`bool`, *optional*): Whether private addresses and other ports may be asked; when not given, if
            the environment variable `SSP_SAM_ALLOW_PRIVATE_URLS` is 1. Never where strangers name addresses.

    Raises:
        `ValueError`: If the address is not allowed, or nothing comes from it in time, or too much, or another HTTP
            status than 200.
    """
    if allow_private is None:
        allow_private = os.environ.get(ALLOW_PRIVATE) == "1"
    outcome: dict[str, bytes | Exception] = {}
    sockets: list[socket.socket] = []

    def fetch():
        try:
            outcome["content"] = _follow(address, timeout, max_bytes, allow_private, sockets)
        except Exception as error:  # of sockets, of HTTP, of the address itself; each becomes the one sentence below
            outcome["error"] = error

    # A socket's own limit starts anew with every byte; only the end of this thread is waited for so long.
    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(timeout)
    content, error = outcome.get("content"), outcome.get("error")
    if isinstance(content, bytes):
        return content
    for opened in sockets:  # the thread then ends by itself
        with contextlib.suppress(OSError):
            socket.socket.shutdown(opened, socket.SHUT_RDWR)
    if error is None or isinstance(error, TimeoutError):
        reason = f"it took longer than {timeout:g} s"
    else:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
    raise ValueError(f"could not load an image from {address[:120]!r} ({reason}); check the URL") from None


def decode_base64(text: str) -> bytes:
    """Returns the bytes of a data URL or of base64 without its prefix, with any line breaks, alphabet and padding.

    Raises:
        `ValueError`: If it is neither.
    """
    head, comma, encoded = text[:200].partition(",")
    if head.lstrip()[:5].lower() == "data:":
        if not comma or not head.lower().rstrip().endswith(";base64"):
            raise ValueError(f"expected a data URL with ';base64,', got {text[:40]!r}")
        text = text[len(head) + 1 :]
    digits = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except ValueError as error:
        raise ValueError(f"expected an image in base64 or its URL, got the text {text[:40]!r}") from error


def _follow(address: str, timeout: float, max_bytes: int, allow_private: bool, sockets: list) -> bytes:
    for _ in range(MAX_REDIRECTS + 1):
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("it is no http or https address")
        if parts.username is not None:
            raise ValueError("it has a user name")
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if port not in (80, 443) and not allow_private:
            raise ValueError(f"its port is {port}, neither 80 nor 443; {ALLOW_PRIVATE}=1 allows it")
        status, target, content = _get(parts, port, timeout, max_bytes, allow_private, sockets)
        if status == 200:
            if len(content) > max_bytes:
                raise ValueError(f"it is larger than {max_bytes / 1e6:g} MB")
            return content
        if status not in _REDIRECTS or not target:
            raise ValueError(f"HTTP status {status}")
        try:
            address = urljoin(address, target)
        except ValueError as error:
            raise ValueError(f"it redirects to {target[:100]!r}, which is no address") from error
        if not address.lower().startswith(SCHEMES):
            raise ValueError(f"it redirects to {address[:100]!r}, which is no http or https address")
    raise ValueError(f"it has more than {MAX_REDIRECTS} redirects")


def _get(
    parts: SplitResult, port: int, timeout: float, max_bytes: int, allow_private: bool, sockets: list
) -> tuple[int, str | None, bytes]:
    """One GET: HTTP status, target of a redirect, and the content if the status is 200."""
    host, is_https = str(parts.hostname), parts.scheme == "https"
    connection = (http.client.HTTPSConnection if is_https else http.client.HTTPConnection)(host, port)
    opened = socket.create_connection((_resolve(host, port, allow_private), port), timeout=timeout)
    try:
        if is_https:
            context = ssl.create_default_context()
            opened = context.wrap_socket(opened, server_hostname=host, do_handshake_on_connect=False)
        sockets.append(opened)
        if is_https:
            opened.do_handshake()
        connection.sock = opened
        path = quote(parts.path or "/", safe="/%:=&~+!$,;'@()*") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers={"Accept": "image/*", "User-Agent": "ssp-sam"})
        response = connection.getresponse()
        content = response.read(max_bytes + 1) if response.status == 200 else b""
        return response.status, response.headers.get("Location"), content
    finally:
        connection.close()
        opened.close()


def _resolve(host: str, port: int, allow_private: bool) -> str:
    addresses = [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not allow_private and not all(map(_is_public, addresses)):
        raise ValueError(f"{host[:80]!r} is in a private or special network; {ALLOW_PRIVATE}=1 allows it")
    return addresses[0]


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address not in _GLOBAL_UNICAST or address.sixtofour is not None or address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast and not any(address in net for net in _SPECIAL_NETWORKS)
