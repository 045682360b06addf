# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What references lack for a training to succeed, said before it starts."""

from typing import Any

import numpy as np

from ..processing.canvas_geometry import fit_segmenter

# Below this many images a model knows them by heart rather than what they have in common.
FEW_IMAGES = 20
# A target of half a patch's side leaves no trace that the patches' features could carry.
SMALLEST_IN_PATCHES = 0.5


def what_is_missing(rows: Any, *, canvas_size: int, patch_size: int) -> list[str]:
    """
    Returns what prepared references lack for a training, in sentences; raises `ValueError` where no mask could be
    learned.

    Args:
        canvas_size, patch_size: Sides of the square that the segmenter sees images on and of its patches, in pixels.
    """
    columns = rows.select_columns(["image_id", "size_hw", "box_xyxy", "no_target", "expressions"]).to_dict()
    targeted = [index for index, none in enumerate(columns["no_target"]) if not none]
    if not targeted:
        raise ValueError(
            f"none of the {len(rows)} training references has a mask, so there is nothing to segment; give some a mask"
        )
    said = []
    images, expressions = len(set(columns["image_id"])), {text for texts in columns["expressions"] for text in texts}
    if images < FEW_IMAGES:
        said.append(f"few images ({images}): what is learned from them may not hold for others; more would help most")
    if len(expressions) == 1:
        said.append(
            f"one expression alone ({expressions.pop()!r}): the model learns what it means, but not to tell it from "
            f"another; lines with other expressions, and with mask null, teach that"
        )
    sides = [
        _side_on_canvas(columns["box_xyxy"][index], columns["size_hw"][index], canvas_size)
        for index in targeted
        if columns["box_xyxy"][index]
    ]
    smallest = SMALLEST_IN_PATCHES * patch_size
    if sides and np.median(sides) < smallest:
        said.append(
            f"targets are too small to be seen: half of them are under {np.median(sides):.1f} of the {canvas_size} "
            f"pixels that this model sees of an image, and it needs about {smallest:.0f}; cut images into tiles, or "
            f"start from a model with a larger canvas"
        )
    return said


def _side_on_canvas(box_xyxy: list[float], size_hw: list[int], canvas_size: int) -> float:
    """Returns the square root of a box's area where its image is fitted to the canvas, in pixels."""
    left, top, right, bottom = box_xyxy
    height, width = size_hw
    fitted_height, fitted_width = fit_segmenter((height, width), canvas_size)
    area = (right - left) * (bottom - top) * fitted_height * fitted_width / (height * width)
    return float(np.sqrt(max(0.0, area)))
