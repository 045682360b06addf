# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Reads whatever a user calls an image into an upright 8-bit RGB image."""

import contextlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from .image_addresses import SCHEMES, decode_base64, fetch_file
from .image_files import MAX_BYTES, MAX_PIXELS, SUFFIXES, as_rgb, load, open_file, to_uint8

IMAGE_TYPES = "PIL image, array, tensor, path, URL, bytes of a file, open file, or {'bytes', 'path'} of a dataset"
_SHORTEST_BASE64 = 40  # no image is shorter; a path may be


def flatten_images(images: Any) -> list[Any]:
    """
    Returns a flat list of single images from one image, a nested list of them, or a 4-dimensional batch; raises
    `ValueError` for an empty list in the list, since what follows would belong to another expression.
    """
    if isinstance(images, list | tuple):
        if any(isinstance(item, list | tuple) and not item for item in images):
            counts = [len(item) if isinstance(item, list | tuple) else 1 for item in images]
            raise ValueError(f"expected an image in each list of images, got {counts} of them")
        return [image for item in images for image in flatten_images(item)]
    if isinstance(images, np.ndarray | torch.Tensor) and images.ndim == 4:
        return list(images)
    return [images]


def read_rgb(image: Any, input_data_format: Any = None, keep_alpha: bool = False) -> tuple[Image.Image, bool]:
    """Reads one image, applies its EXIF orientation, lays transparency on white and returns it as 8-bit RGB.

    Args:
        image (`PIL.Image.Image`, `np.ndarray`, `torch.Tensor`, or a source that `open_image` takes):
            An image of any mode; an array or tensor, (height, width) or with 1, 3 or 4 channels first or last, bool,
            integers of 8 to 16 bits, or floats in 0..1 or 0..255; a path, a URL, base64 text, the bytes of a file, an
            open file, or an undecoded image of a dataset. Where the channels could be either axis, arrays are read
            channels last and tensors channels first. Integers of more than 8 bits are scaled by the range of the
            fewest bits, of 8, 10, 12, 14 and 16, that hold the brightest pixel.
        input_data_format (`str` or `ChannelDimension`, *optional*):
            `"channels_first"` or `"channels_last"` decides the layout of arrays and tensors.
        keep_alpha (`bool`, defaults to `False`): Return RGBA instead, with nothing laid on white.

    Returns:
        `tuple[PIL.Image.Image, bool]`: The image, and whether its pixels came as floats in 0..1.

    Raises:
        `ValueError`: If it is not an image, is damaged, or has values that no image has.
    """
    is_tensor = isinstance(image, torch.Tensor)
    if not is_tensor and not isinstance(image, np.ndarray):
        opened, name = _open(image)
        return as_rgb(load(opened, name), keep_alpha)
    shape = tuple(image.shape)
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(
            f"expected an image of shape (height, width), (height, width, channels) or (channels, height, width), "
            f"got {shape}"
        )
    first = len(shape) == 3 and _channels_first(shape, input_data_format, prefer_first=is_tensor)
    height, width = shape[1:] if first else shape[:2]
    if height * width > MAX_PIXELS:
        raise ValueError(f"expected an image of at most {MAX_PIXELS / 1e6:.0f} megapixels, got {width} x {height}")
    array = _values(image) if is_tensor else image
    pixels, unit_range = to_uint8(np.moveaxis(array, 0, -1) if first else array)
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    return as_rgb(Image.fromarray(np.ascontiguousarray(pixels)), keep_alpha)[0], unit_range


def open_image(source: Any) -> Image.Image:
    """Opens an image without decoding it; its size, mode and orientation are then known.

    Args:
        source: A path, an http or https address, a data URL, base64 text, the bytes of a file, an open file, an
            undecoded image of a dataset (`{"bytes": …, "path": …}`), or a PIL image, which is returned as it is.

    Raises:
        `ValueError`: If there is no such file, or it is none of `FORMATS`; the sentence names it.
    """
    return _open(source)[0]


def list_images(folder: str | os.PathLike) -> list[Path]:
    """Returns the image files of a folder by name: by their content, whatever their endings.

    A file with an image's ending that is none is among them, so that reading it says what is wrong. Hidden files are
    not, such as `._a.png`, in which macOS keeps what belongs to `a.png`.
    """
    files = sorted(path for path in Path(folder).iterdir() if path.is_file() and not path.name.startswith("."))
    return [path for path in files if path.suffix.lower() in SUFFIXES or _is_image(path)]


def _is_image(path: Path) -> bool:
    try:
        open_file(path).close()
    except ValueError:
        return False
    return True


def _open(source: Any) -> tuple[Image.Image, str | None]:
    """The opened image, and how to name it in a sentence; None for its own name."""
    if isinstance(source, Image.Image):
        return source, None
    if isinstance(source, dict) and ("bytes" in source or "path" in source):
        if source.get("bytes") is None:
            return _open(source.get("path"))
        source, name = source["bytes"], repr(str(source["path"])[:200]) if source.get("path") else None
    else:
        name = None
    if hasattr(source, "read") and not isinstance(source, str | os.PathLike):
        source = _read(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return open_file(source, name), name or f"{len(source)} bytes"
    if not isinstance(source, str | os.PathLike):
        raise ValueError(f"expected an image as {IMAGE_TYPES}, got {type(source).__name__}: {str(source)[:80]}")
    return _open_text(os.fsdecode(source))


def _open_text(text: str) -> tuple[Image.Image, str | None]:
    """The image at a path or an address, or that a text is in base64."""
    name = repr(text[:200])
    if text.strip()[:8].lower().startswith(SCHEMES):
        return open_file(fetch_file(text.strip(), MAX_BYTES), name), name
    if os.path.exists(text):
        return open_file(text, name), name
    if len(text) >= _SHORTEST_BASE64:
        with contextlib.suppress(ValueError):  # text that is no base64
            content = decode_base64(text)
            name = f"the text {text[:40]!r}…"
            return open_file(content, name), name
    raise ValueError(f"no image file at {name}; give the path of an existing image, a URL, a PIL image or an array")


def _read(stream: Any) -> bytes:
    """What an open file holds."""
    try:
        content = stream.read(MAX_BYTES + 1)
    except Exception as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(f"could not read an image from the open file {str(stream)[:80]} ({reason})") from error
    if not isinstance(content, bytes | bytearray | memoryview):
        raise ValueError(f"expected an image file opened in binary mode, got one that gives {type(content).__name__}")
    return content


def _values(tensor: torch.Tensor) -> np.ndarray:
    try:
        tensor = tensor.detach().cpu()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    except (TypeError, RuntimeError, NotImplementedError) as error:  # tensors without values, sparse, complex, …
        raise ValueError(
            f"expected a plain tensor with values as image, got one of dtype {tensor.dtype}, layout {tensor.layout}, "
            f"on device {tensor.device}"
        ) from error


def _channels_first(shape: tuple[int, ...], input_data_format: Any, prefer_first: bool) -> bool:
    first, last = shape[0] in (1, 3, 4), shape[2] in (1, 3, 4)
    if input_data_format is not None:
        wanted_first = str(getattr(input_data_format, "value", input_data_format)) == "channels_first"
        first, last = first and wanted_first, last and not wanted_first
    if not (first or last):
        layout = "" if input_data_format is None else f" with input_data_format={input_data_format!r}"
        raise ValueError(f"expected 1, 3 or 4 channels as first or last axis, got an image of shape {shape}{layout}")
    return prefer_first if first and last else first
