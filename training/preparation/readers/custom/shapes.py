# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Shapes of annotation tools as polygons or run lengths of COCO."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ....data import masks as run_lengths
from ..records import BadRecord

_CORNERS = 72  # of the polygon that stands for an ellipse


def numbers(values: Sequence[Any], name: str) -> list[float]:
    """Returns finite numbers; raises `BadRecord` for what is none, naming the field."""
    try:
        found = [float(value) for value in values]
    except (TypeError, ValueError, OverflowError) as error:
        raise BadRecord(f"the field {name!r} must hold numbers, got {values!r:.80}") from error
    if not all(map(math.isfinite, found)):
        raise BadRecord(f"the field {name!r} must hold finite numbers, got {values!r:.80}")
    return found


def rectangle(points: Sequence[float]) -> list[float]:
    """Returns the four corners of the upright rectangle around points, x and y in turn."""
    left, top, right, bottom = min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])
    return [left, top, right, top, right, bottom, left, bottom]


def ellipse(x: float, y: float, radius_x: float, radius_y: float, degrees: float = 0.0) -> list[float]:
    """Returns a polygon for an ellipse around (x, y), turned clockwise as seen in the image."""
    turn, corners = math.radians(degrees), []
    for step in range(_CORNERS):
        angle = 2 * math.pi * step / _CORNERS
        across, down = radius_x * math.cos(angle), radius_y * math.sin(angle)
        corners += [x + across * math.cos(turn) - down * math.sin(turn)]
        corners += [y + across * math.sin(turn) + down * math.cos(turn)]
    return corners


def placed(mask: np.ndarray, left: int, top: int, size_hw: tuple[int, int]) -> dict[str, Any]:
    """Returns the run lengths of a mask that lies somewhere in an image; raises `BadRecord` where it does not fit."""
    (height, width), (image_height, image_width) = mask.shape, size_hw
    if left < 0 or top < 0 or left + width > image_width or top + height > image_height:
        raise BadRecord(
            f"its mask of {height} x {width} at left {left}, top {top} leaves the image of {image_height} x "
            f"{image_width}"
        )
    canvas = np.zeros(size_hw, dtype=bool)
    canvas[top : top + height, left : left + width] = mask
    return run_lengths.encode(canvas)
