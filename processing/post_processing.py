# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""From the logits of one expression to what a caller reads: a mask at image size, a probability, a box."""

import math
from typing import Any

import torch

from .canvas_geometry import CanvasPlacement, has_pixels
from .mask_windows import LogitMap, MaskWindow


def calibrate(probability: float, temperature: float, bias: float) -> float:
    """Returns `sigmoid(logit(probability) / temperature + bias)`."""
    probability = min(max(probability, 1e-6), 1 - 1e-6)
    logit = math.log(probability / (1 - probability))
    return 0.5 + 0.5 * math.tanh((logit / temperature + bias) / 2)


def read_prediction(
    logits: LogitMap,
    no_target_probability: float | None,
    box_cxcywh: Any,
    placement: CanvasPlacement,
    *,
    mask_threshold: float,
    no_target_threshold: float,
    min_mask_pixels: int,
    score_temperature: float,
    score_bias: float,
) -> dict[str, Any]:
    """
    Decides what one expression means in the image, as `SspSamProcessor.post_process_referring_segmentation` explains
    it.

    Args:
        logits (`LogitMap`): Its mask logits.
        no_target_probability (`float`, *optional*): In 0..1.
        box_cxcywh (*optional*): (4,) in fractions of the canvas of `placement`.
        placement (`CanvasPlacement`): Where the image lies on that canvas.

    Returns:
        `dict`: `mask` (`MaskWindow`), `score` in 0..1, `box_xyxy` four floats in image pixels or None, `no_target`.

    Raises:
        `ValueError`: If a logit is not finite.
    """
    if not logits.low.isfinite().all():
        raise ValueError("expected finite mask logits, got NaN or infinity; run the model in float32 or bfloat16")
    nothing = {"mask": MaskWindow.empty(logits.size_hw), "box_xyxy": None, "no_target": True}
    if no_target_probability is not None and no_target_probability > no_target_threshold:
        return {**nothing, "score": no_target_probability}
    threshold = torch.logit(torch.tensor(float(mask_threshold), dtype=torch.float64)).item()
    mask, n_pixels, foreground = logits.mask(threshold)
    if n_pixels == 0:
        foreground = float(torch.tensor(logits.highest()).sigmoid())
    found = (1 - (no_target_probability or 0.0)) * calibrate(foreground, score_temperature, score_bias)
    if n_pixels < max(1, min_mask_pixels):
        return {**nothing, "score": 1 - found}
    box = None if box_cxcywh is None else placement.to_image(box_cxcywh, logits.size_hw)
    if box is None or not has_pixels(box):
        box = [float(side) for side in mask.bounds()]
    return {"mask": mask, "score": found, "box_xyxy": box, "no_target": False}


def size_rows(values: Any) -> list[tuple[int, int]]:
    """Returns sizes, an array (N, 2) or None, as pairs of integers."""
    return [] if values is None else [(int(first), int(second)) for first, second in values]


def image_of_each(image_index: Any, n_expressions: int, n_images: int) -> list[int]:
    """
    Returns the image of each expression: as given, or derived where every image has one or there is one image; raises
    `ValueError` where it can be neither.
    """
    if image_index is None:
        if n_images not in (1, n_expressions):
            raise ValueError(
                f"expected image_index, since {n_expressions} expressions are not one for each of {n_images} images"
            )
        return [0] * n_expressions if n_images == 1 else list(range(n_images))
    image_index = [int(index) for index in image_index]
    if len(image_index) != n_expressions or not all(0 <= index < n_images for index in image_index):
        raise ValueError(
            f"expected an image_index in 0..{n_images - 1} for each of {n_expressions} expressions, got {image_index}"
        )
    return image_index
