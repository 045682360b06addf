# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What about a row looks as if its label were wrong, though it can be read."""

from collections.abc import Sequence
from typing import Any

from ...processing.canvas_geometry import box_iou_xyxy
from ..data.masks import area, bounding_box, union

EMPTY = "no pixel is inside its mask"
WHOLE_IMAGE = "its mask covers nearly the whole image"
TINY = "its mask has fewer than 10 pixels"
UNLIKE = "its box and its mask differ"
OUTSIDE = "its box leaves the image"
DARK = "its image is nearly black"
KINDS = (EMPTY, WHOLE_IMAGE, TINY, UNLIKE, OUTSIDE, DARK)
TOUCHES_BORDER = "masks_touching_the_border"

WHOLE_FRACTION, TINY_PIXELS = 0.95, 10
LEAST_IOU = 0.5  # of a box and the hull of its mask; those of COCO agree to a pixel
BEYOND = 2.0  # pixels by which a box may leave the image, as rounding lets it


def suspicions(row: dict[str, Any], is_dark: bool = False) -> list[str]:
    """Returns which of `KINDS` apply to a row of a prepared benchmark; `is_dark`: no pixel of its image is bright."""
    (height, width), box = row["size_hw"], row["box_xyxy"]
    found = [DARK] if is_dark else []
    if box is not None and (min(box[:2]) < -BEYOND or box[2] > width + BEYOND or box[3] > height + BEYOND):
        found.append(OUTSIDE)
    if not row["masks"]:
        return found
    mask = union(row["masks"])
    pixels, hull = area(mask), bounding_box(mask)
    if hull is None:
        return [*found, EMPTY]
    if pixels > WHOLE_FRACTION * height * width:
        found.append(WHOLE_IMAGE)
    if pixels < TINY_PIXELS:
        found.append(TINY)
    elif box is not None and box_iou_xyxy(box, hull) < LEAST_IOU:
        found.append(UNLIKE)
    return found


def touches_border(row: dict[str, Any]) -> bool:
    """Returns whether what a row means reaches the border of its image."""
    hull = bounding_box(union(row["masks"])) if row["masks"] else None
    height, width = row["size_hw"]
    return hull is not None and (hull[0] == 0 or hull[1] == 0 or hull[2] == width or hull[3] == height)


def looks_like_corners(box_xyxy: Sequence[float], hull: Sequence[float]) -> bool:
    """Returns whether a box, read from left, top, width and height, fits the hull of its mask only as two corners."""
    left, top, right, bottom = box_xyxy
    as_corners = (left, top, right - left, bottom - top)
    return box_iou_xyxy(box_xyxy, hull) < LEAST_IOU and box_iou_xyxy(as_corners, hull) > 0.8
