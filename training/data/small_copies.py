# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Copies of large photographs as small as a model sees them, with their masks, for trainings that read them many times.

A training sees each image often, and reading 12 megapixels and their masks takes longer than learning from them.
"""

import functools
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Image, concatenate_datasets
from PIL.Image import Resampling

from ...processing.canvas_geometry import fit_segmenter, shrink_mask
from ..atomic_files import write_aside
from .masks import encode
from .prepared import decode_masks, read_image

LARGE = 2  # times the long side of a copy; what is smaller is read almost as fast as a copy


def with_small_copies(rows: Dataset, longest_edge: int, folder: str | Path, resample: int = Resampling.BILINEAR):
    """
    Returns references that point to copies of large images, with masks and boxes to match.

    Where SAM's canvas is the only one, and `longest_edge` its own, a model sees a copy as it would the image, and the
    processor makes the same labels; only a mask that lies between the pixels of the copy keeps one of them. What a
    semantic tower of another size sees is resized twice, and a side of it may differ by a pixel.

    Args:
        rows: Prepared references, as `data.prepared.load_prepared` opens them.
        longest_edge: Long side of the copies, in pixels; images of more than `LARGE` times that are copied.
        folder: Where copies are written, and found by a later call while an image's file is the same.
        resample: How Pillow resizes, as the image processor does.

    Returns:
        `datasets.Dataset`: In the same order; the rows with copies are held in memory.

    Raises:
        ValueError: An image or mask is damaged, or of another size than its row says; names it.
        WriteError: The folder cannot be written.
    """
    is_large = np.array([max(size_hw) > LARGE * longest_edge for size_hw in rows["size_hw"]], dtype=bool)
    if not is_large.any():
        return rows
    rows = rows.cast_column("image", Image(decode=False))
    options = {"longest_edge": longest_edge, "folder": Path(folder), "resample": resample}
    copied = rows.select(np.flatnonzero(is_large)).map(
        functools.partial(_with_copy, **options), desc="shrinking large images", keep_in_memory=True
    )
    order = np.argsort(np.argsort(is_large, kind="stable"))
    return concatenate_datasets([rows.select(np.flatnonzero(~is_large)), copied]).select(order)


def _with_copy(row: dict[str, Any], longest_edge: int, folder: Path, resample: int) -> dict[str, Any]:
    height, width = row["size_hw"]
    small_hw = fit_segmenter((height, width), longest_edge)
    scale_xy = small_hw[1] / width, small_hw[0] / height
    box = row["box_xyxy"] and [side * scale_xy[number % 2] for number, side in enumerate(row["box_xyxy"])]
    path = _copied(row, small_hw, folder, resample)
    changed = {"image": {"bytes": None, "path": str(path)}, "size_hw": list(small_hw), "box_xyxy": box}
    if row["masks"]:
        mask = decode_masks(row)
        small = shrink_mask(mask, small_hw)
        if mask.any() and not small.any():
            y, x = np.argwhere(mask).mean(axis=0)
            small[int(y * scale_xy[1]), int(x * scale_xy[0])] = True
        changed["masks"] = [encode(small)]
    return row | changed


def _copied(row: dict[str, Any], small_hw: tuple[int, int], folder: Path, resample: int) -> Path:
    """Returns the copy of a row's image, which is written unless it is there."""
    content = row["image"]["bytes"]
    if content is None:
        status = os.stat(row["image"]["path"])
        content = repr((row["image"]["path"], status.st_mtime_ns, status.st_size)).encode()
    name = hashlib.sha256(content + repr((small_hw, int(resample))).encode()).hexdigest()[:32]
    path = folder.absolute() / f"{name}.png"
    if not path.is_file():
        small = read_image(row).resize(small_hw[::-1], resample)
        with write_aside(path) as aside:
            small.save(aside, "PNG", compress_level=1)
    return path
