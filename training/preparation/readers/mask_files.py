# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads masks from files: arrays, and lossless images in which the mask is in the colours or in the transparency.

What has one meaning is read; what has two, such as a map of several objects, is refused with both of them.
"""

from pathlib import Path

import numpy as np

from ....processing.image_files import load
from ....processing.image_inputs import open_image
from .records import BadRecord

COLOUR = 1 << 24  # added to a colour, 0xRRGGBB, so that it is no grey value

_LOSSY = (".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".avif", ".heic", ".heif")
# Where a second value is so much of what is inside, it is no smoothed edge but another object.
SECOND_PIXELS, SECOND_FRACTION = 50, 0.1


def read_mask_file(file: str | bytes, values: tuple[int, ...] | None = None, any_value: bool = False) -> np.ndarray:
    """
    Returns the mask of a file, (height, width) bool.

    Args:
        file: Path of an array (`.npy`, `.npz` of one array) or of an image in a lossless format, or such an image.
        values: Which values are inside, some of them in any mask that is not black; where not given all but 0, if they
            can be those of one object.
        any_value: Whether all but 0 are inside in any case.

    Raises:
        BadRecord: There is no such file, it is damaged, or what is inside is unclear.
    """
    labels = read_labels(file)
    if values is not None:
        inside, others = np.isin(labels, values), np.unique(labels[labels != 0])
        if not inside.any() and others.size:
            raise BadRecord(
                f"the mask {mask_name(file)} has none of the mask_values {' and '.join(map(str, values))}, but "
                f"{' and '.join(map(shown_label, others[:3]))}; give one that it has, or null as mask for nothing"
            )
        return inside
    inside = labels != 0
    different = [] if any_value else _objects_in(labels, inside)
    if different:
        raise BadRecord(
            f"the mask {mask_name(file)} holds several values, such as {' and '.join(different)}: is each an object? "
            f"Say by 'mask_values' which are meant, or save a mask of 0 and 255 per object"
        )
    return inside


def read_labels(file: str | bytes | Path, in_colours: bool = False) -> np.ndarray:
    """
    Returns the values of a mask, (height, width) int64: 0 for black, grey values and indices as they are, other colours
    as `COLOUR` + 0xRRGGBB, and so all of them where they are wanted in colours.

    Raises:
        BadRecord: There is no such file, or it is damaged.
    """
    if not isinstance(file, bytes) and not Path(file).is_file():
        raise BadRecord(f"there is no mask {mask_name(file)}")
    try:
        if not isinstance(file, bytes) and Path(file).suffix in (".npy", ".npz"):
            return _read_array(str(file))
        return _read_image(file if isinstance(file, bytes) else str(file), in_colours)
    except (OSError, ValueError, EOFError) as error:
        raise BadRecord(f"the mask {mask_name(file)} cannot be read ({' '.join(str(error).split())})") from error


def mask_name(file: str | bytes | Path) -> str:
    """Returns what a message calls the file of a mask."""
    return "in the record" if isinstance(file, bytes) else repr(str(file))


def _objects_in(labels: np.ndarray, inside: np.ndarray) -> list[str]:
    """The values that seem to be objects of their own; none where all of it may be one."""
    found = labels[inside]
    if not found.size or (found == found[0]).all():
        return []
    values, counts = np.unique(found, return_counts=True)
    order = np.argsort(counts)[::-1]
    is_map = values.max() < 128  # what was smoothed goes up to 255
    if is_map or counts[order[1]] >= max(SECOND_PIXELS, SECOND_FRACTION * found.size):
        return [shown_label(values[index]) for index in order[:2]]
    return []


def shown_label(value: int | np.integer) -> str:
    """Returns what a message shows of a value of a mask: a number, or a colour."""
    return str(int(value)) if value < COLOUR else f"#{int(value) - COLOUR:06x}"


def _read_array(path: str) -> np.ndarray:
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.lib.npyio.NpzFile):
            with content:
                if len(content.files) != 1:
                    raise BadRecord(f"the mask {path!r} must hold one array, got {', '.join(content.files) or 'none'}")
                content = content[content.files[0]]
    except BadRecord:
        raise
    except Exception as error:  # of a damaged header numpy tells whatever its parts run into, tokenizer errors too
        raise ValueError("it is no whole array of numpy") from error
    array = np.asarray(content)
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[-1]):
        array = array.squeeze(0 if array.shape[0] == 1 else -1)
    if array.ndim != 2:
        raise BadRecord(f"the mask {path!r} must be an array of two dimensions, got shape {array.shape}")
    return _whole_numbers(array, repr(path))


def _whole_numbers(array: np.ndarray, path: str) -> np.ndarray:
    if array.dtype.kind not in "buif":
        raise BadRecord(f"the mask {path} must hold whole numbers, got {array.dtype}")
    wrong = array[(array < 0) | (array != np.rint(array))] if array.dtype.kind in "if" else array[:0]
    if wrong.size:
        raise BadRecord(f"the mask {path} must hold whole numbers from 0 on, got {wrong.flat[0]:g}")
    return array.astype(np.int64)


def _read_image(file: str | bytes, in_colours: bool) -> np.ndarray:
    path = mask_name(file)
    if isinstance(file, str) and file.lower().endswith(_LOSSY):
        raise BadRecord(f"the mask {path} is in a format that smears edges; save it as PNG")
    image = load(open_image(file), path)
    if in_colours:
        pixels = np.asarray(image.convert("RGB")).astype(np.int64)
        return COLOUR + (pixels[..., 0] << 16) + (pixels[..., 1] << 8) + pixels[..., 2]
    if image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
        return _whole_numbers(np.asarray(image), path)
    if image.mode == "P" and "transparency" not in image.info:
        colours = _packed(np.asarray(image.convert("RGB")))
        # Tools that write maps of indices put black first; others choose the order of colours themselves.
        is_map = (image.getpalette() or [1])[:3] == [0, 0, 0]
        return np.where(colours == 0, 0, np.asarray(image)) if is_map else colours
    if not image.has_transparency_data:
        return _packed(np.asarray(image.convert("RGB")))
    pixels = np.asarray(image.convert("RGBA"))
    colours, alpha = _packed(pixels[..., :3]), pixels[..., 3]
    if (alpha == alpha.flat[0]).all() and alpha.flat[0] > 0:
        return colours
    visible, coloured = alpha > alpha.max() / 2, colours != 0
    if ((visible & coloured).any() and (visible & ~coloured).any()) or (not visible.any() and coloured.any()):
        raise BadRecord(
            f"the mask {path} shows one thing by its transparency and another by its colours; save it in black and "
            f"white without transparency"
        )
    return visible.astype(np.int64)


def _packed(colours: np.ndarray) -> np.ndarray:
    """Three channels as one label: 0 for black, grey values as they are, other colours as numbers above all greys."""
    red, green, blue = (colours[..., channel].astype(np.int64) for channel in range(3))
    grey = (red == green) & (green == blue)
    return np.where(grey, red, COLOUR + (red << 16) + (green << 8) + blue)
