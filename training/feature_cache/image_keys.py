# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Names for images by what is in them: the pixels that the model sees."""

import hashlib
from typing import Any

from ...processing.image_inputs import read_rgb


def image_key(image: Any) -> str:
    """
    Returns the name of an image by its pixels as the processor sees them: upright, 8-bit RGB, transparency on white.

    The same image has the same key whatever its file is called, wherever it lies, and in whatever lossless format it
    is stored; an image that differs in one pixel has another.

    Args:
        image: Anything the processor takes (PIL image, array, tensor, path, URL), the bytes of an image file, or an
            undecoded image of a dataset, `{"bytes": …, "path": …}`.

    Returns:
        32 hexadecimal digits: the first half of the SHA-256 of height, width and pixels.

    Raises:
        ValueError: It is no image, or is damaged.
    """
    rgb, _ = read_rgb(image)
    digest = hashlib.sha256(f"{rgb.height} {rgb.width} RGB ".encode())
    digest.update(rgb.tobytes())
    return digest.hexdigest()[:32]
