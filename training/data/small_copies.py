# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Copies of large photographs as small as a model sees them, with their masks, for trainings that read them many times.

A training sees each image often, and reading 12 megapixels and their masks takes longer than learning from them.
"""

import functools
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset, Image
from PIL.Image import Resampling

from ...processing.canvas_geometry import fit_segmenter, shrink_mask
from ..atomic_files import write_aside
from .masks import encode
from .prepared import decode_masks, read_image

LARGE = 2  # times the long side of a copy; what is smaller is read almost as fast as a copy


def with_small_copies(rows: Dataset, longest_edge: int, folder: str | Path) -> Dataset:
    """
    Returns references that point to copies of large images, with masks and boxes to match.

    Where the model sees images with a long side of `longest_edge`, it sees a copy as it would the image, and the
    processor makes the same labels; but a mask that lies between the pixels of the copy keeps one of them.

    Args:
        rows: Prepared references, as `data.prepared.load_prepared` opens them.
        longest_edge: Long side of the copies, in pixels; images of more than `LARGE` times that are copied.
        folder: Where copies are written, and found by a later call.

    Raises:
        ValueError: An image or mask is damaged, or of another size than its row says; names it.
        WriteError: The folder cannot be written.
    """
    if not any(max(size_hw) > LARGE * longest_edge for size_hw in rows["size_hw"]):
        return rows
    return rows.cast_column("image", Image(decode=False)).map(
        functools.partial(_with_copy, longest_edge=longest_edge, folder=Path(folder)),
        desc="shrinking large images",
        load_from_cache_file=False,  # which would not notice that a copy is gone
    )


def _with_copy(row: dict[str, Any], longest_edge: int, folder: Path) -> dict[str, Any]:
    height, width = row["size_hw"]
    if max(height, width) <= LARGE * longest_edge:
        return row
    small_hw = fit_segmenter((height, width), longest_edge)
    scale_xy = small_hw[1] / width, small_hw[0] / height
    box = row["box_xyxy"] and [side * scale_xy[number % 2] for number, side in enumerate(row["box_xyxy"])]
    changed = {"image": {"bytes": None, "path": str(_copied(row, small_hw, folder))}, "size_hw": list(small_hw)}
    if row["masks"]:
        small = shrink_mask(decode_masks(row), small_hw)
        if not small.any() and box:
            small[int((box[1] + box[3]) / 2), int((box[0] + box[2]) / 2)] = True
        changed["masks"] = [encode(small)]
    return row | changed | {"box_xyxy": box}


def _copied(row: dict[str, Any], small_hw: tuple[int, int], folder: Path) -> Path:
    """Returns the copy of a row's image, which is written unless it is there."""
    content = row["image"]["bytes"] or str(row["image"]["path"]).encode()
    name = hashlib.sha256(content + np.array(small_hw, dtype="<i8").tobytes()).hexdigest()[:32]
    path = folder.absolute() / f"{name}.png"
    if not path.is_file():
        small = read_image(row).resize(small_hw[::-1], Resampling.BILINEAR)
        with write_aside(path) as aside:
            small.save(aside, "PNG", compress_level=1)
    return path
