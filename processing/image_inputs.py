# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Reads whatever a user calls an image into an upright 8-bit RGB image: the one door for files of images.

Every kind of source is decoded in the same way, so that a file, its bytes and its address give the same pixels, and
whatever Pillow raises on a bad one becomes a `ValueError` of one sentence that names it.
"""

import base64
import contextlib
import functools
import importlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from .image_addresses import MAX_BYTES, SCHEMES, fetch_file

# Formats of photographs and drawings. Others that Pillow knows start programs (EPS) or are no images of a scene.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "JPEG2000", "PPM")
SUFFIXES = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff")
SUFFIXES += (".avif", ".heic", ".heif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm")
IMAGE_TYPES = "PIL image, array, tensor, path, URL, bytes of a file, open file, or {'bytes', 'path'} of a dataset"

_EXIF_ORIENTATION = 0x0112
_SHORTEST_BASE64 = 40  # no image is shorter; a path may be
_ORIENTATION_SOURCES = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_DEPTHS = (8, 10, 12, 14, 16)  # bits of cameras, scanners and files


def flatten_images(images: Any) -> list[Any]:
    """Returns a flat list of single images from one image, a nested list of them, or a 4-dimensional batch."""
    if isinstance(images, list | tuple):
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
    unit_range = False
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
        decoded, unit_range = _from_array(image, input_data_format, prefer_first=True)
    elif isinstance(image, np.ndarray):
        decoded, unit_range = _from_array(image, input_data_format, prefer_first=False)
    else:
        opened, name = _open(image)
        decoded = upright(load(opened, name))
        if decoded.mode in ("I", "F") or decoded.mode.startswith("I;16"):
            decoded, unit_range = _from_array(np.asarray(decoded), None, prefer_first=False)
    return (_convert(decoded, "RGBA") if keep_alpha else lay_on_white(decoded)), unit_range


def open_image(source: Any) -> Image.Image:
    """Opens an image without decoding it; its size, mode and orientation are then known.

    Args:
        source: A path, an http or https address, a data URL, base64 text, the bytes of a file, an open file, an
            undecoded image of a dataset (`{"bytes": …, "path": …}`), or a PIL image, which is returned as it is.

    Raises:
        `ValueError`: If there is no such file, or it is none of `FORMATS`; the sentence names it.
    """
    return _open(source)[0]


def load(image: Image.Image, name: str | None = None) -> Image.Image:
    """Decodes an image that was opened, and returns it.

    Raises:
        `ValueError`: If it is damaged or cut off, or has no pixels; the sentence gives `name`, or else its file.
    """
    try:
        image.load()
    except Exception as error:  # decoders fail in many ways, each of which means a bad file
        name = name or _name_of(image)
        raise ValueError(
            f"could not decode {name} ({_reason(error)}); the file is damaged or cut off: replace it"
        ) from error
    if 0 in image.size:
        raise ValueError(f"expected an image with pixels, got width {image.width} and height {image.height}")
    return image


def exif_orientation(image: Image.Image) -> int:
    """Returns the orientation that an image asks for, 1 to 8; 1 where it asks for none or its EXIF is damaged."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # parsers of EXIF and XMP fail in many ways; the pixels are whole nevertheless
        return 1
    return orientation if orientation in _TURNS else 1


def upright(image: Image.Image) -> Image.Image:
    """Returns a decoded image turned as its orientation asks, which the result no longer does."""
    turn = _TURNS.get(exif_orientation(image))
    if turn is None:
        return image
    turned = image.transpose(turn)
    for name in _ORIENTATION_SOURCES:
        turned.info.pop(name, None)
    return turned


def lay_on_white(image: Image.Image) -> Image.Image:
    """Returns an image of any mode as RGB, with white where it is transparent."""
    if not image.has_transparency_data:
        return _convert(image, "RGB")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, _convert(image, "RGBA")).convert("RGB")


def list_images(folder: str | os.PathLike) -> list[Path]:
    """Returns the image files of a folder by name: by their content, whatever their endings.

    A file with an image's ending that is none is among them, so that reading it says what is wrong. Hidden files are
    not, such as `._a.png`, in which macOS keeps what belongs to `a.png`.
    """
    files = sorted(path for path in Path(folder).iterdir() if path.is_file() and not path.name.startswith("."))
    return [path for path in files if path.suffix.lower() in SUFFIXES or _is_image(path)]


def _open(source: Any) -> tuple[Image.Image, str]:
    """The opened image, and how to name it in a sentence."""
    if isinstance(source, Image.Image):
        return source, _name_of(source)
    source, name = _file_of(source)
    try:
        return Image.open(source, formats=_known_formats()), name
    except Exception as error:  # readers of formats fail in many ways, each of which means a bad file
        raise ValueError(
            f"could not read an image from {name} ({_reason(error)}); give an image such as PNG or JPEG"
        ) from error


def _name_of(image: Image.Image) -> str:
    name = getattr(image, "filename", "")
    return repr(os.fsdecode(name)) if name else "the image"


def _is_image(path: Path) -> bool:
    try:
        open_image(path).close()
    except ValueError:
        return False
    return True


@functools.cache
def _known_formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow reads; HEIF needs the package pillow-heif."""
    with contextlib.suppress(ImportError):  # by name: it is not among what exported code may need
        importlib.import_module("pillow_heif").register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _file_of(source: Any) -> tuple[str | io.BytesIO, str]:
    """What Pillow opens, a path or a stream, and how to name it in a sentence."""
    if isinstance(source, dict) and ("bytes" in source or "path" in source):
        if source.get("bytes") is None:
            return _file_of(source.get("path"))
        content, name = source["bytes"], repr(str(source.get("path") or "")[:200])
        if isinstance(content, bytes | bytearray | memoryview):
            return io.BytesIO(content), name if len(name) > 2 else f"{len(content)} bytes"
    if hasattr(source, "read") and not isinstance(source, str | os.PathLike):
        try:
            source = source.read(MAX_BYTES + 1)
        except Exception as error:
            raise ValueError(f"could not read an image from the open file {source!r} ({_reason(error)})") from error
        if isinstance(source, str):
            raise ValueError("expected an image file opened in binary mode, got one opened as text")
    if isinstance(source, bytes | bytearray | memoryview):
        if len(source) > MAX_BYTES:
            raise ValueError(f"expected an image of at most {MAX_BYTES / 2**20:g} MiB, got more bytes than that")
        return io.BytesIO(source), f"{len(source)} bytes"
    if not isinstance(source, str | os.PathLike):
        raise ValueError(f"expected an image as {IMAGE_TYPES}, got {type(source).__name__}: {str(source)[:80]}")
    return _file_of_text(os.fspath(source))


def _file_of_text(text: str | bytes) -> tuple[str | io.BytesIO, str]:
    text = os.fsdecode(text)
    name = repr(text[:200])
    if text[:8].lower().startswith(SCHEMES):
        return io.BytesIO(fetch_file(text)), name
    if os.path.isfile(text):
        return text, name
    if os.path.exists(text):
        kind = "a folder" if os.path.isdir(text) else "no regular file"
        raise ValueError(f"expected an image file, but {name} is {kind}")
    head, _, rest = text.partition(",")
    encoded = rest if head.lower().startswith("data:") and head.lower().endswith(";base64") else text
    if len(encoded) >= _SHORTEST_BASE64:
        with contextlib.suppress(ValueError):  # text that is no base64
            return io.BytesIO(base64.b64decode("".join(encoded.split()), validate=True)), f"the text {text[:40]!r}…"
    raise ValueError(f"no image file at {name}; give the path of an existing image, a URL, a PIL image or an array")


def _reason(error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # whose message repeats the name
        return "it has the format of none"
    return " ".join(str(error).split())[:200] or type(error).__name__


def _convert(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == mode:
        return image
    try:
        return image.convert(mode)
    except ValueError as error:
        raise ValueError(f"cannot turn an image of mode {image.mode!r} into RGB; convert it to RGB first") from error


def _from_array(array: np.ndarray, input_data_format: Any, prefer_first: bool) -> tuple[Image.Image, bool]:
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError(
            f"expected an image of shape (height, width), (height, width, channels) or (channels, height, width), "
            f"got {array.shape}"
        )
    if array.ndim == 3 and _channels_first(array.shape, input_data_format, prefer_first):
        array = np.moveaxis(array, 0, -1)
    array, unit_range = _to_uint8(array)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    return Image.fromarray(np.ascontiguousarray(array)), unit_range


def _channels_first(shape: tuple[int, ...], input_data_format: Any, prefer_first: bool) -> bool:
    first, last = shape[0] in (1, 3, 4), shape[2] in (1, 3, 4)
    if input_data_format is not None:
        wanted_first = str(getattr(input_data_format, "value", input_data_format)) == "channels_first"
        first, last = first and wanted_first, last and not wanted_first
    if not (first or last):
        layout = "" if input_data_format is None else f" with input_data_format={input_data_format!r}"
        raise ValueError(f"expected 1, 3 or 4 channels as first or last axis, got an image of shape {shape}{layout}")
    return prefer_first if first and last else first


def _to_uint8(array: np.ndarray) -> tuple[np.ndarray, bool]:
    if array.dtype == np.uint8:
        return array, False
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255, False
    if not np.issubdtype(array.dtype, np.integer) and not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"expected bool, integer or float pixels, got dtype {array.dtype}")
    low, high = array.min(), array.max()
    if np.issubdtype(array.dtype, np.integer):
        if low < 0 or high > 65535:
            raise ValueError(f"expected integer pixels in 0..255 or 0..65535, got values from {low} to {high}")
        brightest = 2 ** next(bits for bits in _DEPTHS if high < 2**bits) - 1
        return ((array.astype(np.uint32) * 255 + brightest // 2) // brightest).astype(np.uint8), False
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"expected finite pixels, got an image of shape {array.shape} with NaN or infinite values")
    # Interpolation may leave 0..1 by rounding errors; anything further outside is not an image.
    unit_range = bool(high <= 1.001)
    if low < -0.001 or high > 255.001:
        raise ValueError(
            f"expected float pixels in 0..1 or 0..255, got values from {low:.4g} to {high:.4g}; "
            f"pass the image before any normalisation"
        )
    scaled = np.rint(array * 255.0 if unit_range else array)
    return np.clip(scaled, 0, 255).astype(np.uint8), unit_range
