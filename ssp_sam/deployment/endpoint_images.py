# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Images of requests, sent or fetched, for a server that may be asked by strangers; and what one request may cost."""

import base64
import binascii
import contextlib
import http.client
import io
import ipaddress
import math
import os
import socket
import ssl
import threading
import time
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

from PIL import Image

# Decoders that start other programs, such as Pillow's for PostScript, are not among them.
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
REDIRECTS = (301, 302, 303, 307, 308)
MAX_REDIRECTS = 3
# Public by their numbers, and yet services of the very network that a cloud machine is in.
SPECIAL_NETWORKS = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "168.63.129.16/32")))
# The only part of IPv6 that is given out to the networks of the world.
GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")


class PayloadError(ValueError):
    """The request cannot be answered; the message says why, in a sentence meant for the client (HTTP 400)."""


@dataclass(frozen=True)
class EndpointLimits:
    """
    What one request may cost. On an endpoint, each is set by an environment variable: `SSP_SAM_` and its name in
    capitals, such as `SSP_SAM_URL_TIMEOUT=5`.

    Args:
        max_image_megabytes: size of an encoded image, sent or fetched.
        max_image_megapixels: width times height of the decoded image, in millions.
        max_expressions: expressions of one request.
        url_timeout: seconds that fetching an image from its URL may take altogether.
        allow_private_urls: whether URLs may point into private networks and to ports other than 80 and 443. Never
            allow it where strangers can send requests.
    """

    max_image_megabytes: float = 20.0
    max_image_megapixels: float = 50.0
    max_expressions: int = 100
    url_timeout: float = 10.0
    allow_private_urls: bool = False

    @classmethod
    def from_environment(cls) -> "EndpointLimits":
        """
        Reads the limits from the environment.

        Raises:
            ValueError: If a variable holds neither a positive number nor, for `allow_private_urls`, 0 or 1.
        """
        values = {}
        for field in fields(cls):
            name = f"SSP_SAM_{field.name.upper()}"
            text = os.environ.get(name)
            if text is None:
                continue
            try:
                number = float(text)
            except ValueError:
                number = math.nan
            if field.type is bool and number in (0, 1):
                values[field.name] = bool(number)
            elif field.type is not bool and 0 < number < math.inf:
                values[field.name] = field.type(number)
            else:
                raise ValueError(
                    f"expected {'0 or 1' if field.type is bool else 'a number above 0'} in {name}, got {text!r}"
                )
        return cls(**values)


def read_image(value: Any, limits: EndpointLimits) -> Image.Image:
    """
    Returns the decoded image of a request.

    Args:
        value: base64 with or without the prefix of a data URL, an http(s) URL, bytes or a PIL image.
        limits: what it may cost.

    Raises:
        PayloadError: If it is none of these, too large, or damaged.
    """
    if isinstance(value, str):
        is_url = value[:8].lower().startswith(("http://", "https://"))
        value = fetch(value.strip(), limits) if is_url else _decode_base64(value)
    if isinstance(value, Image.Image):
        image = value
    elif isinstance(value, bytes | bytearray | memoryview):
        if len(value) > limits.max_image_megabytes * 1e6:
            raise PayloadError(
                f"expected an image of at most {limits.max_image_megabytes:g} MB, got {len(value)} bytes"
            )
        try:
            image = Image.open(io.BytesIO(value), formats=IMAGE_FORMATS)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            wanted = ", ".join(IMAGE_FORMATS)
            raise PayloadError(f"expected an image as {wanted}, got {len(value)} bytes that are none") from error
    else:
        raise PayloadError(f"expected the image as base64 or URL, got {shown(value)}")
    if not 0 < image.width * image.height <= limits.max_image_megapixels * 1e6:
        raise PayloadError(
            f"expected an image of at most {limits.max_image_megapixels:g} megapixels, "
            f"got {image.width} x {image.height}"
        )
    try:
        image.load()
    except Exception as error:  # decoders fail in many ways, each of which means a bad file
        raise PayloadError(f"the image of {image.width} x {image.height} is damaged or cut off") from error
    return image


def _decode_base64(text: str) -> bytes:
    head, comma, encoded = text.partition(",")
    if head.lstrip()[:5].lower() == "data:":
        if not comma or not head.lower().rstrip().endswith(";base64"):
            raise PayloadError(f"expected a data URL with ';base64,', got {shown(text)}")
        text = encoded
    elif "://" in text[:40]:
        raise PayloadError(f"expected an http or https URL, got {shown(text)}")
    # Line breaks, the URL-safe alphabet and missing padding are all in use.
    digits = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise PayloadError(f"expected the image as base64 or URL, got the text {shown(text)}") from error


def fetch(url: str, limits: EndpointLimits) -> bytes:
    """
    Returns what lies at a URL, for a server that may be asked by strangers.

    Only http and https are spoken, without proxies or credentials, to ports 80 and 443 of public addresses. A name is
    resolved once and its address connected to, so that it cannot change in between; redirects are checked likewise.
    Time and size are limited altogether.

    Raises:
        PayloadError: If the URL is not allowed, or nothing comes from it in time.
    """
    deadline = time.monotonic() + limits.url_timeout
    for _ in range(MAX_REDIRECTS + 1):
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise PayloadError(f"expected an http or https URL, got {shown(url)}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise PayloadError(f"expected an http or https URL without user name, got {shown(url)}")
        if port not in (80, 443) and not limits.allow_private_urls:
            raise PayloadError(f"expected a URL with port 80 or 443, got {port}")
        status, location, content = _get(parts, port, deadline, limits)
        if status == 200:
            return content
        if status not in REDIRECTS or not location:
            raise PayloadError(f"expected an image from {shown(url)}, got HTTP status {status}")
        try:
            url = urljoin(url, location)
        except ValueError as error:
            raise PayloadError(f"{shown(url)} redirects to {shown(location)}, which is no URL") from error
    raise PayloadError(f"expected at most {MAX_REDIRECTS} redirects, got another one to {shown(url)}")


def _get(parts: SplitResult, port: int, deadline: float, limits: EndpointLimits) -> tuple[int, str | None, bytes]:
    """One GET: HTTP status, target of a redirect, and the content if the status is 200."""
    host, limit = str(parts.hostname), int(limits.max_image_megabytes * 1e6)
    is_https = parts.scheme == "https"
    connection, sock, alarm, expired = None, None, None, threading.Event()
    try:
        connection = (http.client.HTTPSConnection if is_https else http.client.HTTPConnection)(host, port)
        address = _resolve(host, port, limits.allow_private_urls)
        sock = socket.create_connection((address, port), timeout=max(deadline - time.monotonic(), 0.001))
        if is_https:
            context = ssl.create_default_context()
            sock = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
        # A socket's own time-out starts anew with every byte; this one ends the whole exchange.
        alarm = threading.Timer(max(deadline - time.monotonic(), 0.001), _cut, [sock, expired])
        alarm.daemon = True
        alarm.start()
        if is_https:
            sock.do_handshake()
        connection.sock = sock
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Accept": "image/*", "User-Agent": "ssp-sam-endpoint"})
        response = connection.getresponse()
        content = response.read(limit + 1) if response.status == 200 else b""
        if expired.is_set():
            raise TimeoutError
        if len(content) > limit:
            raise PayloadError(f"expected an image of at most {limits.max_image_megabytes:g} MB at {host!r}, got more")
        return response.status, response.headers.get("Location"), content
    except PayloadError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: of names that none can have
        if expired.is_set() or isinstance(error, TimeoutError):
            raise PayloadError(f"fetching the image from {host!r} took longer than {limits.url_timeout:g} s") from error
        raise PayloadError(f"could not fetch the image from {host!r} ({type(error).__name__})") from error
    finally:
        if alarm is not None:
            alarm.cancel()
        for opened in (connection, sock):
            if opened is not None:
                opened.close()


def _cut(sock: socket.socket, expired: threading.Event) -> None:
    expired.set()
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _resolve(host: str, port: int, allow_private: bool) -> str:
    addresses = [entry[4][0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    if not allow_private and not all(_is_public(str(address)) for address in addresses):
        raise PayloadError(f"expected a URL with a public address, but {host!r} is in a private or special network")
    return str(addresses[0])


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address not in GLOBAL_UNICAST or address.sixtofour is not None or address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast and not any(address in net for net in SPECIAL_NETWORKS)


def shown(value: Any) -> str:
    """Returns what a client sent, short enough for a sentence."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
