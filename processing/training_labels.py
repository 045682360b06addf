# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Turns what expressions mean, maps and boxes at image size, into the labels of the losses.

Letters: N images, E expressions, M side of the mask labels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from .canvas_geometry import CanvasPlacement, mask_label, tight_box_xyxy


def flatten_labels(maps: Any, boxes: Any, n_images: int) -> tuple[list | None, list | None, list[int]]:
    """
    Flattens maps (height, width) and boxes (4,), for one image one of them or several, for N images a list of N such.

    Returns:
        `tuple`: E maps or None, E boxes or None, and the image index of each.

    Raises:
        `ValueError`: If they do not match the number of images or each other.
    """
    per_image = {}
    for name, values, ndim in (("segmentation_maps", maps, 2), ("boxes", boxes, 1)):
        if values is None:
            continue
        # One image: a label (ndim axes), several (ndim + 1), or a list of one such list (ndim + 2).
        wrapped = n_images > 1 or (isinstance(values, list | tuple) and len(values) == 1 and _depth(values) == ndim + 2)
        values = list(values) if wrapped else [values]
        if len(values) != n_images:
            raise ValueError(f"expected {name} for each image, got {len(values)} for {n_images} images")
        per_image[name] = [_as_list(value, ndim) for value in values]
    counts = [[len(values) for values in nested] for nested in per_image.values()]
    if counts[-1] != counts[0]:
        raise ValueError(f"expected one box per segmentation map, got {counts[1]} boxes for {counts[0]} maps per image")
    flat = {name: [value for values in nested for value in values] for name, nested in per_image.items()}
    image_index = [index for index, count in enumerate(counts[0]) for _ in range(count)]
    return flat.get("segmentation_maps"), flat.get("boxes"), image_index


def _depth(value: Any) -> int:
    if isinstance(value, Image.Image):
        return 2
    if isinstance(value, list | tuple):
        return 1 + max(map(_depth, value), default=0)
    return np.ndim(value) if value is not None else 0


def _as_list(value: Any, ndim: int) -> list:
    if value is None or isinstance(value, Image.Image):
        return [value]
    return [value] if _depth(value) == ndim and len(value) > 0 else list(value)


def make_labels(
    maps: Sequence | None,
    boxes: Sequence | None,
    image_index: Sequence[int],
    sizes_hw: Sequence[tuple[int, int]],
    resized_hw: Sequence[tuple[int, int]],
    placements: Sequence[CanvasPlacement],
    canvas_hw: tuple[int, int],
    mask_size: int,
) -> dict[str, np.ndarray]:
    """Makes the labels of E expressions.

    Args:
        maps (*optional*): E maps (height, width), bool, 0/1 or 0/255, or `None` for no target.
        boxes (*optional*): E boxes [x0, y0, x1, y1] in image pixels, or `None`; the tight box of the map by default.
        image_index (`Sequence[int]`): The image of each expression.
        sizes_hw, resized_hw: Size of each image, and its size on SAM's canvas.
        placements: Where each image lies on the canvas of the boxes.
        canvas_hw (`tuple[int, int]`): Size of SAM's canvas.
        mask_size (`int`): M.

    Returns:
        `dict`: `mask_labels` (E, M, M) if there are maps, `box_labels` (E, 4), `no_target_labels` (E,); float32.

    Raises:
        `ValueError`: If a map has not the size of its image, a box has no area, or their number is not E.
    """
    n_expressions = len(image_index)
    for name, values in (("segmentation maps", maps), ("boxes", boxes)):
        if values is not None and len(values) != n_expressions:
            raise ValueError(f"expected {name} for {n_expressions} expressions, got {len(values)}")
    mask_labels = np.zeros((n_expressions, mask_size, mask_size), dtype=np.float32)
    box_labels = np.zeros((n_expressions, 4), dtype=np.float32)
    no_target = np.zeros(n_expressions, dtype=np.float32)
    for row, image in enumerate(image_index):
        box = None if boxes is None else _read_box(boxes[row], row)
        if maps is not None:
            mask = _read_map(maps[row], row, sizes_hw[image])
            mask_box = tight_box_xyxy(mask)
            mask_labels[row] = mask_label(mask, resized_hw[image], canvas_hw, mask_size)
            box = None if mask_box is None else (box or mask_box)
        if box is None:
            no_target[row] = 1.0
        else:
            box_labels[row] = placements[image].to_canvas(box)
    labels = {} if maps is None else {"mask_labels": mask_labels}
    return {**labels, "box_labels": box_labels, "no_target_labels": no_target}


def _read_map(value: Any, row: int, size_hw: tuple[int, int]) -> np.ndarray:
    if value is None:
        return np.zeros(size_hw, dtype=bool)
    value = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    if value.ndim == 3 and 1 in (value.shape[0], value.shape[-1]):
        value = value[0] if value.shape[0] == 1 else value[..., 0]
    if value.shape != tuple(size_hw):
        raise ValueError(
            f"segmentation map {row} has shape {value.shape}, but its upright image has height {size_hw[0]} and "
            f"width {size_hw[1]}; give maps at image size"
        )
    return value if value.dtype == np.bool_ else value != 0


def _read_box(value: Any, row: int) -> list[float] | None:
    if value is None:
        return None
    box = np.asarray(value, dtype=np.float64)
    if box.shape != (4,) or not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError(f"box {row} must be [x0, y0, x1, y1] with x0 < x1 and y0 < y1, got {np.ravel(box).tolist()}")
    return box.tolist()
