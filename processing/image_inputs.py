# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Reads whatever a user calls an image into an upright 8-bit RGB picture."""

import os
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers.image_utils import load_image

_EXIF_ORIENTATION = 0x0112


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
        image (`PIL.Image.Image`, `np.ndarray`, `torch.Tensor`, `str` or `os.PathLike`):
            A picture of any mode; an array or tensor, (height, width) or with 1, 3 or 4 channels first or last, bool,
            integers of 8 or 16 bits, or floats in 0..1 or 0..255; a path; a URL; base64 text. Where the channels
            could be either axis, arrays are read channels last and tensors channels first.
        input_data_format (`str` or `ChannelDimension`, *optional*):
            `"channels_first"` or `"channels_last"` decides the layout of arrays and tensors.
        keep_alpha (`bool`, defaults to `False`): Return RGBA instead, with nothing laid on white.

    Returns:
        `tuple[PIL.Image.Image, bool]`: The picture, and whether its pixels came as floats in 0..1.

    Raises:
        `ValueError`: If it is not an image, is damaged, or has values that no picture has.
    """
    unit_range = False
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu()
        image = (image.float() if image.is_floating_point() else image).numpy()
        picture, unit_range = _array_to_picture(image, input_data_format, prefer_first=True)
    elif isinstance(image, np.ndarray):
        picture, unit_range = _array_to_picture(image, input_data_format, prefer_first=False)
    elif isinstance(image, str | os.PathLike | Image.Image):
        picture = _decode(image if isinstance(image, Image.Image) else _open(os.fspath(image)))
        if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
            picture, unit_range = _array_to_picture(np.asarray(picture), None, prefer_first=False)
    else:
        raise ValueError(
            f"expected an image as PIL image, array, tensor, path or URL, got {type(image).__name__}: {str(image)[:80]}"
        )
    return (_convert(picture, "RGBA") if keep_alpha else lay_on_white(picture)), unit_range


def lay_on_white(picture: Image.Image) -> Image.Image:
    """Returns a picture of any mode as RGB, with white where it is transparent."""
    if not picture.has_transparency_data:
        return _convert(picture, "RGB")
    white = Image.new("RGBA", picture.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, _convert(picture, "RGBA")).convert("RGB")


def _convert(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode == mode:
        return picture
    try:
        return picture.convert(mode)
    except ValueError as error:
        raise ValueError(f"cannot turn an image of mode {picture.mode!r} into RGB; convert it to RGB first") from error


def _open(source: str) -> Image.Image:
    if source.startswith(("http://", "https://", "data:image/")) or not os.path.exists(source):
        try:
            return load_image(source)
        except Exception as error:
            if source.startswith(("http://", "https://", "data:image/")):
                raise ValueError(f"could not load an image from {source[:200]!r} ({error}); check the URL") from error
            raise ValueError(
                f"no image file at {source[:200]!r}; give the path of an existing image, a URL, a PIL image or an array"
            ) from error
    try:
        return Image.open(source)
    except (OSError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"could not read an image from {source!r} ({error}); give a picture such as PNG or JPEG"
        ) from error


def _decode(picture: Image.Image) -> Image.Image:
    try:
        picture.load()
        if picture.getexif().get(_EXIF_ORIENTATION, 1) != 1:
            picture = ImageOps.exif_transpose(picture)
    except Exception as error:  # decoders fail in many ways, each of which means a bad file
        name = repr(getattr(picture, "filename", "") or "the image")
        raise ValueError(f"could not decode {name} ({error}); the file is damaged or cut off: replace it") from error
    if 0 in picture.size:
        raise ValueError(f"expected an image with pixels, got width {picture.width} and height {picture.height}")
    return picture


def _array_to_picture(array: np.ndarray, input_data_format: Any, prefer_first: bool) -> tuple[Image.Image, bool]:
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
        if array.dtype == np.uint16 or high > 255:
            return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8), False
        return array.astype(np.uint8), False
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"expected finite pixels, got an image of shape {array.shape} with NaN or infinite values")
    # Interpolation may leave 0..1 by rounding errors; anything further outside is not a picture.
    unit_range = bool(high <= 1.001)
    if low < -0.001 or high > 255.001:
        raise ValueError(
            f"expected float pixels in 0..1 or 0..255, got values from {low:.4g} to {high:.4g}; "
            f"pass the image before any normalisation"
        )
    scaled = np.rint(array * 255.0 if unit_range else array)
    return np.clip(scaled, 0, 255).astype(np.uint8), unit_range
