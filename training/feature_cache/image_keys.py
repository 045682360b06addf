# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Names for images by what is in them: the pixels that the model sees, and the bytes of the file they came from."""

import hashlib
import os
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from ...processing.image_inputs import read_rgb

KEY_DIGITS = 32


def image_key(image: Any) -> str:
    """
    Returns the name of an image by its pixels as the processor sees them: upright, 8-bit RGB, transparency on white.

    The same picture has the same key whatever its file is called, wherever it lies, and in whatever lossless format it
    is stored; a picture that differs in one pixel has another.

    Args:
        image: Anything the processor takes (PIL image, array, tensor, path, URL), the bytes of an image file, or an
            undecoded picture of a dataset, `{"bytes": …, "path": …}`.

    Returns:
        32 hexadecimal digits: the first half of the SHA-256 of height, width and pixels.

    Raises:
        ValueError: It is no image, or is damaged.
    """
    picture, _ = read_rgb(open_image(image))
    digest = hashlib.sha256(f"{picture.height} {picture.width} RGB ".encode())
    digest.update(picture.tobytes())
    return digest.hexdigest()[:KEY_DIGITS]


def file_key(image: Any) -> str | None:
    """
    Returns the name of an image by the bytes of its file, without decoding it; `None` for an image that is no file.

    Args:
        image: As for `image_key`; bytes, paths of files and undecoded pictures have such a name.

    Returns:
        32 hexadecimal digits: the first half of the SHA-256 of the bytes.

    Raises:
        ValueError: The file cannot be read.
    """
    content = _encoded(image)
    if isinstance(content, str):
        try:
            content = Path(content).read_bytes()
        except OSError as error:
            raise ValueError(f"cannot read the image file {content!r}: {error.strerror}") from error
    return None if content is None else hashlib.sha256(content).hexdigest()[:KEY_DIGITS]


def open_image(image: Any) -> Any:
    """
    Returns what `read_rgb` takes: bytes and undecoded pictures of a dataset are opened, all else is returned as it is.

    Raises:
        ValueError: The bytes are no image.
    """
    content = _encoded(image)
    if not isinstance(content, bytes):
        return image if content is None else content
    try:
        return Image.open(BytesIO(content))
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
        raise ValueError(f"cannot read an image from {len(content)} bytes ({error}); replace the file") from error


def _encoded(image: Any) -> bytes | str | None:
    """Returns the bytes or the path of an image that is still a file, else `None`."""
    if isinstance(image, dict):
        content = image.get("bytes")
        image = image.get("path") if content is None else content
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, str | os.PathLike) and os.path.isfile(image):
        return os.fspath(image)
    return None
