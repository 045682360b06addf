# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Where an image lies on the two square canvases of the model, and how boxes and masks move there and back.

Letters: H, W image height and width; S side of SAM's canvas; s side of the semantic canvas; M side of the mask labels.
"""

from typing import NamedTuple

import numpy as np


class CanvasPlacement(NamedTuple):
    """How an image was scaled and shifted onto the canvas that boxes are normalised to.

    Args:
        ratio_h, ratio_w (`float`): Canvas pixels per image pixel, down and across. They differ a little, because the
            sides of the resized image are whole pixels.
        left, top (`int`): Offset of the image on the canvas, in canvas pixels.
        width, height (`int`): Sides of the canvas.
    """

    ratio_h: float
    ratio_w: float
    left: int
    top: int
    width: int
    height: int

    @classmethod
    def of(cls, size_hw, resized_hw, offset: tuple[int, int], canvas_hw) -> "CanvasPlacement":
        """Returns where an image of `size_hw` lies, resized to `resized_hw`, at the (left, top) `offset`."""
        ratio_h, ratio_w = (resized / size for resized, size in zip(resized_hw, size_hw, strict=True))
        return cls(ratio_h, ratio_w, *offset, width=canvas_hw[1], height=canvas_hw[0])

    def to_canvas(self, box_xyxy) -> np.ndarray:
        """Turns a box in image pixels into (cx, cy, w, h) in fractions of the canvas, float32 of shape (4,)."""
        x0, y0, x1, y1 = (float(value) for value in box_xyxy)
        x0, x1 = ((x * self.ratio_w + self.left) / self.width for x in (x0, x1))
        y0, y1 = ((y * self.ratio_h + self.top) / self.height for y in (y0, y1))
        return np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dtype=np.float32)

    def to_image(self, box_cxcywh, size_hw: tuple[int, int]) -> list[float]:
        """Turns (cx, cy, w, h) in fractions of the canvas into [x0, y0, x1, y1] in pixels of an image of `size_hw`."""
        cx, cy, w, h = (float(value) for value in box_cxcywh)
        height, width = size_hw
        corners = [
            ((cx - w / 2) * self.width - self.left, self.ratio_w, width),
            ((cy - h / 2) * self.height - self.top, self.ratio_h, height),
            ((cx + w / 2) * self.width - self.left, self.ratio_w, width),
            ((cy + h / 2) * self.height - self.top, self.ratio_h, height),
        ]
        return [min(max(value, 0.0) / ratio, float(side)) for value, ratio, side in corners]


def has_pixels(box_xyxy) -> bool:
    """Whether a box in image pixels is a pixel wide and high; one from the head need not be, nor lie in the image."""
    return box_xyxy[2] - box_xyxy[0] >= 1 and box_xyxy[3] - box_xyxy[1] >= 1


def fit_segmenter(size_hw: tuple[int, int], longest_edge: int) -> tuple[int, int]:
    """Returns the (height, width) of an image whose long side is scaled to `longest_edge`, rounded as SAM rounds.

    No side falls below one pixel.
    """
    scale = longest_edge * 1.0 / max(size_hw)
    height, width = (max(1, int(side * scale + 0.5)) for side in size_hw)
    return height, width


def fit_semantic(size_hw: tuple[int, int], side: int) -> tuple[int, int]:
    """Returns the (height, width) of an image whose long side is scaled to `side`, rounded to the nearest even half.

    No side falls below one pixel. Source: SSP-SAM (arXiv 2603.18086), test-time preprocessing.
    """
    ratio = side / float(max(size_hw))
    height, width = (max(1, round(length * ratio)) for length in size_hw)
    return height, width


def centred_offset(resized_hw: tuple[int, int], side: int) -> tuple[int, int]:
    """Returns the (left, top) offset that centres an image of `resized_hw` on a square canvas."""
    height, width = resized_hw
    return round((side - width) / 2 - 0.1), round((side - height) / 2 - 0.1)


def shifted_offset(resized_hw: tuple[int, int], side: int, draws) -> tuple[int, int]:
    """Returns the (left, top) offset that two draws in [0, 1), across and down, pick for an image of `resized_hw`."""
    (height, width), (across, down) = resized_hw, draws
    return int(across * (side - width + 1)), int(down * (side - height + 1))


def tight_box_xyxy(mask: np.ndarray) -> list[float] | None:
    """Returns the tight box [x0, y0, x1, y1] of a mask (H, W) bool, right and bottom exclusive; None for no pixel."""
    rows = np.flatnonzero(mask.any(axis=1))
    if rows.size == 0:
        return None
    columns = np.flatnonzero(mask.any(axis=0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def box_iou_xyxy(first, second) -> float:
    """
    Returns the overlap of two boxes (left, top, right, bottom) in the same units, 0 for boxes without area.

    Either may be `None`, a missing box, which overlaps nothing.
    """
    if first is None or second is None:
        return 0.0
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return float(width * height / (sum(areas) - width * height))


def mask_label(mask: np.ndarray, resized_hw: tuple[int, int], canvas_hw: tuple[int, int], mask_size: int) -> np.ndarray:
    """Returns the training label of a mask: bilinear to the canvas, > 0, zero padding, nearest to (M, M).

    A bilinear sample is positive exactly when one of its neighbours with a positive weight is, so only the sampled
    rows and columns are read and no canvas is made.

    Args:
        mask (`np.ndarray`): (H, W) bool at image resolution.
        resized_hw (`tuple[int, int]`): Size of the image on SAM's canvas.
        canvas_hw (`tuple[int, int]`): Size of the canvas, padding included.
        mask_size (`int`): M.

    Returns:
        `np.ndarray`: (M, M) bool.
    """
    picked = _pick(mask, resized_hw, canvas_hw, (mask_size, mask_size))
    label = np.zeros((mask_size, mask_size), dtype=bool)
    label[: picked.shape[0], : picked.shape[1]] = picked
    return label


def shrink_mask(mask: np.ndarray, resized_hw: tuple[int, int]) -> np.ndarray:
    """Returns a mask (H, W) bool at another size: bilinear, > 0. `mask_label` makes the same of it as of the mask."""
    return _pick(mask, resized_hw, resized_hw, resized_hw)


def _pick(mask: np.ndarray, resized_hw, canvas_hw, label_hw) -> np.ndarray:
    (row_low, row_high), (column_low, column_high) = (
        _bilinear_neighbours(*sides) for sides in zip(mask.shape, resized_hw, canvas_hw, label_hw, strict=True)
    )
    picked = mask.take(column_low, axis=1) | mask.take(column_high, axis=1)
    return picked[row_low] | picked[row_high]


def _bilinear_neighbours(original: int, resized: int, canvas: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    # One axis: label index -> canvas index (nearest) -> the one or two image indices that bilinear resizing reads.
    index = np.arange(size, dtype=np.int64) * canvas // size
    index = index[index < resized]
    position = (2 * index + 1) * original - resized  # in units of 1 / (2 * resized), so that it stays an integer
    position = np.maximum(position, 0)
    low = position // (2 * resized)
    high = np.minimum(low + (position % (2 * resized) > 0), original - 1)
    return low, high
