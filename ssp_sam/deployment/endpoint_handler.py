# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Answers the requests of a Hugging Face Inference Endpoint: an image and expressions in, masks as JSON out.

The exporter copies this file into a model repository as `handler.py`, where the package is not installed: it imports
nothing of it, and the classes come from the repository's own code or else from an installed `ssp_sam`.
"""

import base64
import binascii
import contextlib
import http.client
import importlib
import io
import ipaddress
import json
import math
import os
import socket
import ssl
import threading
import time
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import numpy as np
from PIL import Image
from transformers import pipeline

# Under which names clients send expressions: the last two are those of `InferenceClient`.
TEXT_NAMES = ("text", "expressions", "expression", "candidate_labels", "question")
SPATIAL_NAMES = {"points": "input_points", "point_labels": "input_labels", "boxes": "input_boxes"}
THRESHOLD_NAMES = ("mask_threshold", "no_target_threshold", "min_mask_pixels", "threshold")
NAMES = ("image", *TEXT_NAMES, *SPATIAL_NAMES, *THRESHOLD_NAMES, "mask_format")
MASK_FORMATS = ("png", "rle")
# Decoders that start other programs, such as Pillow's for PostScript, are not among them.
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
REDIRECTS = (301, 302, 303, 307, 308)
MAX_REDIRECTS = 3
MAX_SPATIAL_NUMBERS = 10_000


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


class EndpointHandler:
    """
    Segments what requests ask for, in as many threads as the server likes.

    Args:
        path (`str`): Folder of a model, such as an exported repository.
        limits (`EndpointLimits`, *optional*): Those of the environment when not given.
    """

    def __init__(self, path: str = "", limits: EndpointLimits | None = None):
        self.limits = EndpointLimits.from_environment() if limits is None else limits
        self.pipeline = _load_pipeline(path or ".")
        # Tokenizers cannot be shared by threads, and parallel passes of one model would only share its processor.
        self._lock = threading.Lock()

    def __call__(self, data: Any) -> list[dict[str, Any]]:
        """
        Answers one request.

        Args:
            data: `{"inputs": {"image": …, "text": …}}` or `{"inputs": image, "parameters": {"text": …}}`. The image is
                base64 with or without the prefix of a data URL, an http(s) URL, bytes or a PIL image; the text one
                expression or a list. Beside the text there may be `points` (`[[x, y], …]` for all expressions, or one
                such list each), `point_labels`, `boxes` (all in pixels of the upright image), `mask_threshold`,
                `no_target_threshold`, `min_mask_pixels`, `threshold` (answers of a lower score are left out) and
                `mask_format`, `"png"` or `"rle"`.

        Returns:
            One dict per expression: `label`, `score`, `mask` (a black and white PNG as base64, or COCO's run lengths),
            `box` (`xmin`, `ymin`, `xmax`, `ymax` or None) and `no_target`.

        Raises:
            PayloadError: If the request is wrong; the message is for the client.
        """
        given = _collect(data)
        texts = _read_texts(given, self.limits)
        options = _read_options(given)
        image = _read_image(given["image"], self.limits)
        mask_format, threshold = options.pop("mask_format"), options.pop("threshold", 0.0)
        try:
            with self._lock:
                results = self.pipeline(image, texts, **options)
        except (ValueError, TypeError) as error:
            raise PayloadError(_sentence(error)) from error
        encode = _png if mask_format == "png" else _run_lengths
        return [
            {
                "label": result["label"],
                "score": float(result["score"]),
                "mask": encode(result["mask"]),
                "box": result["box"],
                "no_target": bool(result["no_target"]),
            }
            for result in results
            if result["score"] >= threshold
        ]


def _load_pipeline(path: str):
    """The pipeline of a folder: with the code beside the weights if there is some, else with the package."""
    with open(os.path.join(path, "config.json"), encoding="utf-8") as file:
        brings_code = "auto_map" in json.load(file)
    if not brings_code:
        importlib.import_module("ssp_sam")
    return pipeline("referring-segmentation", model=path, trust_remote_code=brings_code)


# ---- what is asked for ------------------------------------------------------------------------------------------


def _collect(data: Any) -> dict[str, Any]:
    """The fields of a request by name, wherever in it they stand."""
    data = data if isinstance(data, dict) else {"inputs": data}
    inputs, parameters = data.get("inputs"), data.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise PayloadError(f"expected 'parameters' as an object, got {_shown(parameters)}")
    if isinstance(inputs, list):
        raise PayloadError(f"expected one image in 'inputs', got a list of {len(inputs)}; send a request for each")
    beside = {name: value for name, value in data.items() if name not in ("inputs", "parameters")}
    given: dict[str, Any] = {}
    for source in (inputs if isinstance(inputs, dict) else {"image": inputs}, parameters or {}, beside):
        for name, value in source.items():
            if name not in NAMES:
                raise PayloadError(f"unknown field {_shown(name)}; known are {', '.join(NAMES)}")
            if value is None:
                continue
            if name in given and given[name] != value:
                raise PayloadError(f"got {name!r} twice with different values; send it once")
            given[name] = value
    if "image" not in given:
        raise PayloadError("expected an image as 'inputs' or as 'image' in it, got none")
    return given


def _read_texts(given: dict[str, Any], limits: EndpointLimits) -> list[str]:
    names = [name for name in TEXT_NAMES if name in given]
    if len(names) != 1:
        found = " and ".join(names) or "none"
        raise PayloadError(f"expected 'text' with one expression or a list of them, got {found}")
    texts = [given[names[0]]] if isinstance(given[names[0]], str) else given[names[0]]
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise PayloadError(f"expected {names[0]!r} as a string or a list of strings, got {_shown(given[names[0]])}")
    if len(texts) > limits.max_expressions:
        raise PayloadError(f"expected at most {limits.max_expressions} expressions in a request, got {len(texts)}")
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise PayloadError(f"expected words in expression {number}, got {text!r}")
    return texts


def _read_options(given: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the pipeline, together with `threshold` and `mask_format`."""
    options: dict[str, Any] = {"mask_format": given.get("mask_format", "png")}
    if options["mask_format"] not in MASK_FORMATS:
        raise PayloadError(f"expected 'mask_format' {' or '.join(MASK_FORMATS)}, got {_shown(options['mask_format'])}")
    for name in THRESHOLD_NAMES:
        if name in given:
            limit = 2**31 if name == "min_mask_pixels" else 1
            number = _number(given[name], name)
            if not 0 <= number <= limit:
                raise PayloadError(f"expected {name!r} between 0 and {limit}, got {_shown(given[name])}")
            options[name] = int(number) if name == "min_mask_pixels" else number
    for name, argument in SPATIAL_NAMES.items():
        if name in given:
            if not isinstance(given[name], list):
                raise PayloadError(f"expected {name!r} as a list of numbers, got {_shown(given[name])}")
            _check_numbers(given[name], name)
            options[argument] = given[name]
    return options


def _number(value: Any, name: str) -> float:
    # Parameters in the query of a URL arrive as strings.
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise PayloadError(f"expected a number as {name!r}, got {_shown(value)}")
    return number


def _check_numbers(value: list, name: str) -> None:
    pending, count = list(value), 0
    while pending:
        item = pending.pop()
        count += 1
        if count > MAX_SPATIAL_NUMBERS:
            raise PayloadError(f"expected at most {MAX_SPATIAL_NUMBERS} numbers in {name!r}, got more")
        if isinstance(item, list):
            pending += item
        elif isinstance(item, str) or (item is not None and not math.isfinite(_number(item, name))):
            raise PayloadError(f"expected lists of numbers as {name!r}, got {_shown(item)} in them")


# ---- images -----------------------------------------------------------------------------------------------------


def _read_image(value: Any, limits: EndpointLimits) -> Image.Image:
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
        raise PayloadError(f"expected the image as base64 or URL, got {_shown(value)}")
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
            raise PayloadError(f"expected a data URL with ';base64,', got {_shown(text)}")
        text = encoded
    elif "://" in text[:40]:
        raise PayloadError(f"expected an http or https URL, got {_shown(text)}")
    # Line breaks, the URL-safe alphabet and missing padding are all in use.
    digits = "".join(text.split()).translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(digits + "=" * (-len(digits) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise PayloadError(f"expected the image as base64 or URL, got the text {_shown(text)}") from error


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
            raise PayloadError(f"expected an http or https URL, got {_shown(url)}") from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise PayloadError(f"expected an http or https URL without user name, got {_shown(url)}")
        if port not in (80, 443) and not limits.allow_private_urls:
            raise PayloadError(f"expected a URL with port 80 or 443, got {port}")
        status, location, content = _get(parts, port, deadline, limits)
        if status == 200:
            return content
        if status not in REDIRECTS or not location:
            raise PayloadError(f"expected an image from {_shown(url)}, got HTTP status {status}")
        url = urljoin(url, location)
    raise PayloadError(f"expected at most {MAX_REDIRECTS} redirects, got another one to {_shown(url)}")


def _get(parts: SplitResult, port: int, deadline: float, limits: EndpointLimits) -> tuple[int, str | None, bytes]:
    """One GET: HTTP status, target of a redirect, and the content if the status is 200."""
    host, limit = str(parts.hostname), int(limits.max_image_megabytes * 1e6)
    is_https = parts.scheme == "https"
    connection = (http.client.HTTPSConnection if is_https else http.client.HTTPConnection)(host, port)
    sock, alarm, expired = None, None, threading.Event()
    try:
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
    except (OSError, http.client.HTTPException, UnicodeError) as error:
        if expired.is_set() or isinstance(error, TimeoutError):
            raise PayloadError(f"fetching the image from {host!r} took longer than {limits.url_timeout:g} s") from error
        raise PayloadError(f"could not fetch the image from {host!r} ({type(error).__name__})") from error
    finally:
        if alarm is not None:
            alarm.cancel()
        connection.close()
        if sock is not None:
            sock.close()


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
        # Forms that carry an IPv4 address are judged by it, or refused.
        if address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        elif address.sixtofour is not None or address.teredo is not None or int(address) >> 32 == 0x0064FF9B << 64:
            return False
    return address.is_global and not address.is_multicast


# ---- answers ----------------------------------------------------------------------------------------------------


def _png(mask: Image.Image) -> str:
    buffer = io.BytesIO()
    mask.convert("L").save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _run_lengths(mask: Image.Image) -> dict[str, list[int]]:
    """COCO's uncompressed run lengths: column by column, counting zeros first; `size` is height, width."""
    column_major = (np.asarray(mask) > 127).T.ravel()
    borders = np.flatnonzero(np.diff(column_major)) + 1
    counts = np.diff(np.concatenate([[0], borders, [column_major.size]])).tolist()
    return {"size": [mask.height, mask.width], "counts": ([0] if column_major[0] else []) + counts}


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _sentence(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
