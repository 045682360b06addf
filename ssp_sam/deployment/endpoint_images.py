# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Images of requests, sent or fetched, and what one request of a stranger may cost."""

import math
import os
from dataclasses import dataclass, fields
from typing import Any

from PIL import Image

from ..processing.image_addresses import SCHEMES, decode_base64, fetch_file
from ..processing.image_files import load, open_file


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
        Reads the limits from the environment; raises `ValueError` for what is neither a positive number nor, for
        `allow_private_urls`, 0 or 1.
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
    max_bytes, max_pixels = limits.max_image_megabytes * 1e6, limits.max_image_megapixels * 1e6
    try:
        if isinstance(value, str):
            value = _content(value.strip(), limits)
        if isinstance(value, bytes | bytearray | memoryview):
            value = open_file(value, max_bytes=max_bytes, max_pixels=max_pixels)
        elif not isinstance(value, Image.Image):
            raise PayloadError(f"expected the image as base64 or URL, got {shown(value)}")
        elif value.width * value.height > max_pixels:
            size = f"{value.width} x {value.height}"
            raise PayloadError(f"expected an image of at most {max_pixels / 1e6:g} megapixels, got {size}")
        return load(value)
    except ValueError as error:
        raise error if isinstance(error, PayloadError) else PayloadError(str(error)) from error


def _content(text: str, limits: EndpointLimits) -> bytes:
    if text[:8].lower().startswith(SCHEMES):
        max_bytes = int(limits.max_image_megabytes * 1e6)
        return fetch_file(text, max_bytes, limits.url_timeout, limits.allow_private_urls)
    if "://" in text[:40] and text[:5].lower() != "data:":
        raise PayloadError(f"expected an http or https URL, got {shown(text)}")
    return decode_base64(text)


def shown(value: Any) -> str:
    """Returns what a client sent, short enough for a sentence."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
