# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Files of images: opened within limits, decoded, turned upright, as 8-bit RGB; it needs numpy and Pillow alone.

Every door reads files through here, so that a file, its bytes and its address give the same pixels, and whatever
Pillow raises on a bad one becomes a `ValueError` of one sentence that names it.
"""

import contextlib
import functools
import importlib
import io
import os

import numpy as np
from PIL import Image, UnidentifiedImageError

# Formats of photographs and drawings. Others that Pillow knows start programs (EPS) or are no images of a scene.
FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF", "PPM")
SUFFIXES = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff")
SUFFIXES += (".avif", ".heic", ".heif", ".ppm", ".pgm", ".pbm", ".pnm")
MAX_BYTES = 256 * 2**20
MAX_PIXELS = 178_956_970  # of the decoded image, Pillow's own limit

_EXIF_ORIENTATION = 0x0112
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


def open_file(
    source: str | os.PathLike | bytes | bytearray | memoryview,
    name: str | None = None,
    max_bytes: float = MAX_BYTES,
    max_pixels: float = MAX_PIXELS,
) -> Image.Image:
    """Opens an image file without decoding it; its size, mode and orientation are then known.

    Args:
        source: Its path, or its bytes.
        name (`str`, *optional*): What a sentence calls it; its path or the number of its bytes when not given.
        max_bytes, max_pixels (`float`): Most bytes of the file, most pixels of the image.

    Raises:
        `ValueError`: If there is no such file, it is too large, or it is none of `FORMATS`.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        size, name, source = len(source), name or f"{len(source)} bytes", io.BytesIO(source)
    else:
        source = os.fspath(source)
        name = name or repr(source[:200])
        if not os.path.isfile(source):
            kind = "a folder" if os.path.isdir(source) else "no regular file" if os.path.exists(source) else "missing"
            raise ValueError(f"expected an image file, but {name} is {kind}")
        size = os.path.getsize(source)
    if size == 0:
        raise ValueError(f"could not read an image from {name} (it is empty); give an image such as PNG or JPEG")
    if size > max_bytes:
        raise ValueError(f"expected an image file of at most {max_bytes / 1e6:g} MB, got {size} bytes in {name}")
    try:
        image = Image.open(source, formats=_known_formats())
    except Image.DecompressionBombError as error:
        raise ValueError(f"the image in {name} has more than {MAX_PIXELS / 1e6:.0f} megapixels; shrink it") from error
    except Exception as error:  # readers of formats fail in many ways, each of which means a bad file
        raise ValueError(
            f"could not read an image from {name} ({_reason(error)}); give an image such as PNG or JPEG"
        ) from error
    if image.width * image.height > max_pixels:
        size = f"{image.width} x {image.height}"
        raise ValueError(f"expected an image of at most {max_pixels / 1e6:.6g} megapixels, got {size} in {name}")
    return image


def load(image: Image.Image, name: str | None = None) -> Image.Image:
    """Decodes an image that was opened, and returns it.

    Raises:
        `ValueError`: If it is damaged or cut off, or has no pixels; the sentence gives `name`, or else its file.
    """
    if image.format == "EPS":
        raise ValueError("expected an image of pixels, got one of EPS, which would start a program; convert it first")
    try:
        image = _with_plain_ycbcr(image)
        image.load()
    except Exception as error:  # decoders fail in many ways, each of which means a bad file
        name = name or (repr(os.fsdecode(image.filename)) if getattr(image, "filename", "") else "the image")
        raise ValueError(
            f"could not decode {name} ({_reason(error)}); the file is damaged or cut off: replace it"
        ) from error
    if 0 in image.size:
        raise ValueError(f"expected an image with pixels, got width {image.width} and height {image.height}")
    return image


def as_rgb(image: Image.Image, keep_alpha: bool = False) -> tuple[Image.Image, bool]:
    """Returns a decoded image of any mode upright as 8-bit RGB, and whether its pixels were floats in 0..1.

    Args:
        image (`PIL.Image.Image`): The image. Transparency is laid on white; of more than 8 bits, see `to_uint8`.
        keep_alpha (`bool`, defaults to `False`): Return RGBA instead, with nothing laid on white.

    Raises:
        `ValueError`: If it has values or a mode that no image has.
    """
    image, unit_range = upright(image), False
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        pixels, unit_range = to_uint8(np.asarray(image))
        image = Image.fromarray(pixels)
    return (_convert(image, "RGBA") if keep_alpha else lay_on_white(image)), unit_range


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


def to_uint8(array: np.ndarray) -> tuple[np.ndarray, bool]:
    """Returns pixels as 8-bit integers, and whether they were floats in 0..1.

    Integers of more than 8 bits are scaled by the range of the fewest bits, of 8, 10, 12, 14 and 16, that hold the
    brightest pixel; floats are in 0..1 or 0..255.

    Raises:
        `ValueError`: If they have a type or values that no image has.
    """
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


@functools.cache
def _known_formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow reads; HEIF needs the package pillow-heif."""
    with contextlib.suppress(ImportError):  # by name: it is not among what exported code may need
        importlib.import_module("pillow_heif").register_heif_opener()
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _with_plain_ycbcr(image: Image.Image) -> Image.Image:
    """A TIFF whose pixels are YCbCr as they stand, which Pillow writes so and takes for cut-off RGB."""
    tags = getattr(image, "tag_v2", {})
    if tags.get(262) != 6 or tags.get(259) not in (1, 5, 8, 32946, 32773) or tuple(tags.get(530, ())) != (1, 1):
        return image
    if len(image.tile) == 0:
        return image
    image.tile = [(*tile[:3], ("RGB", *tile[3][1:])) for tile in image.tile]
    image.load()
    return Image.frombytes("YCbCr", image.size, image.tobytes()).convert("RGB")


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
