# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Masks at image size, computed and kept only in the window that holds their pixels.

A logit at image size is a weighted mean of up to sixteen logits of the model. So no pixel can be inside but near those
that are, and a mask of a small thing in a large photograph costs what the thing is large.

Letters: H, W image height and width; h, w sides of the low-resolution logits.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

# Logits at image size that are computed at once: one MiB on a CPU, whose caches are small; all on other devices.
CPU_BLOCK = 1 << 18


class MaskWindow(NamedTuple):
    """
    A mask as the rectangle that holds its pixels.

    Args:
        size_hw (`tuple[int, int]`): H and W.
        top, left (`int`): Where the rectangle begins.
        bits (`np.ndarray`): Its rows, uint8, eight pixels to a byte; the last byte of a row is filled up with zeros.
        width (`int`): Its width in pixels.
    """

    size_hw: tuple[int, int]
    top: int
    left: int
    bits: np.ndarray
    width: int

    @classmethod
    def of(cls, mask: np.ndarray) -> "MaskWindow":
        """Returns the window of a mask (H, W) bool."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            return cls.empty(mask.shape)
        inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        return cls(tuple(mask.shape), int(rows[0]), int(columns[0]), np.packbits(inner, axis=1), inner.shape[1])

    @classmethod
    def empty(cls, size_hw: tuple[int, int]) -> "MaskWindow":
        """Returns a mask without pixels."""
        return cls(tuple(size_hw), 0, 0, np.zeros((0, 0), np.uint8), 0)

    def pixels(self) -> np.ndarray:
        """Returns the rectangle, bool."""
        return np.unpackbits(self.bits, axis=1, count=self.width).view(bool)

    def inside(self) -> np.ndarray:
        """Returns the mask, (H, W) bool."""
        inside = np.zeros(self.size_hw, dtype=bool)
        inside[self.top : self.top + len(self.bits), self.left : self.left + self.width] = self.pixels()
        return inside

    def bounds(self) -> tuple[int, int, int, int] | None:
        """Returns the tight box (left, top, right, bottom), right and bottom exclusive; `None` for no pixel."""
        pixels = self.pixels()
        rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
        if not len(rows):
            return None
        left, top = self.left + int(columns[0]), self.top + int(rows[0])
        return left, top, self.left + int(columns[-1]) + 1, self.top + int(rows[-1]) + 1

    def area(self) -> int:
        """Returns how many pixels are inside."""
        return int(np.count_nonzero(self.pixels()))

    def run_lengths(self) -> dict[str, list[int]]:
        """Returns COCO's uncompressed run lengths of the mask: column by column, zeros first."""
        height, width = self.size_hw
        columns = np.zeros((self.width, len(self.bits) + 2), np.int8)
        columns[:, 1:-1] = self.pixels().T
        column, row = np.nonzero(np.diff(columns, axis=1))  # each run of a column begins, and then ends
        borders = (self.left + column) * height + self.top + row
        # A run that ends with its column goes on where the next one begins.
        joined = np.flatnonzero(borders[1:-1:2] == borders[2::2]) * 2 + 1
        borders = np.delete(borders, np.concatenate([joined, joined + 1]))
        counts = np.diff(np.concatenate([[0], borders, [height * width]])).tolist()
        return {"size": [height, width], "counts": counts if counts[-1] or len(counts) == 1 else counts[:-1]}


class MaskImage(Image.Image):
    """A mask of mode "L", 255 inside and 0 outside, which takes its full size in memory only once it is read."""

    window: MaskWindow | None = None

    def __init__(self, window: MaskWindow):
        super().__init__()
        self._mode, self._size = "L", window.size_hw[::-1]
        self.window = window

    def load(self) -> Any:
        if self.window is not None:
            full = Image.new("L", self.size)
            if self.window.width:
                inner = Image.fromarray(self.window.pixels().view(np.uint8) * np.uint8(255))
                full.paste(inner, (self.window.left, self.window.top))
            self.im, self.window = full.im, None
        return super().load()

    def __eq__(self, other: object) -> bool:
        return self.copy() == (other.copy() if isinstance(other, Image.Image) else other)


class _Neighbours(NamedTuple):
    """The two sources of every sample along one axis, and how much of the second goes into it."""

    low: torch.Tensor
    high: torch.Tensor
    weight: torch.Tensor

    @classmethod
    def of(cls, start: int, stop: int, num_sources: int, num_samples: int) -> "_Neighbours":
        """Of the samples from `start` to `stop`, rounded as PyTorch rounds them."""
        scale = torch.tensor([float(num_sources)]) / num_samples
        position = torch.addcmul(torch.tensor([-0.5]), torch.arange(start, stop) + 0.5, scale).clamp_min(0)
        low = position.long().clamp_max(num_sources - 1)
        return cls(low, (low + 1).clamp_max(num_sources - 1), position - low)

    def shifted(self, first: int, device: torch.device) -> "_Neighbours":
        """The same where sources are counted from `first`."""
        return _Neighbours((self.low - first).to(device), (self.high - first).to(device), self.weight.to(device))

    def mix(self, values: torch.Tensor, axis: int) -> torch.Tensor:
        """Samples the rows (0) or columns (1) of `values`."""
        weight = self.weight.unsqueeze(1 - axis)
        mixed = values.index_select(axis, self.high).mul_(weight)
        return mixed.addcmul_(values.index_select(axis, self.low), 1 - weight)


class _Axis(NamedTuple):
    """How low-resolution logits become those of the canvas, and these the image's, along one axis."""

    start: int
    to_canvas: _Neighbours
    to_image: _Neighbours

    @classmethod
    def of(cls, marked: range, sizes: tuple[int, int, int, int], device: torch.device) -> "_Axis | None":
        """
        Args:
            marked: Low-resolution logits whose reach is wanted.
            sizes: Low-resolution logits, canvas, image on the canvas, image.
        """
        num_low, canvas, resized, size = sizes
        reach = _reach(_reach(marked, num_low, canvas, resized), resized, size, size)
        if not reach:
            return None
        to_image = _Neighbours.of(reach.start, reach.stop, resized, size)
        first, last = int(to_image.low[0]), int(to_image.high[-1])
        to_canvas = _Neighbours.of(first, last + 1, num_low, canvas)
        return cls(reach.start, to_canvas.shifted(0, device), to_image.shifted(first, device))


def _reach(marked: range, num_sources: int, num_samples: int, limit: int) -> range:
    """Returns all samples below `limit` that read any of the sources `marked`, and at most a few others."""
    scale = num_samples / num_sources
    start, stop = (marked.start - 0.5) * scale - 0.5, (marked.stop + 0.5) * scale + 0.5
    return range(max(0, math.floor(start)), min(limit, math.ceil(stop))) if marked else range(0)


class LogitMap(NamedTuple):
    """
    The logits of one expression.

    Args:
        low (`torch.Tensor`): (h, w) float32, before the sigmoid, over the whole canvas; finite.
        canvas_hw, resized_hw, size_hw (`tuple[int, int]`): Size of SAM's canvas, of the image on it, and of the image.
    """

    low: torch.Tensor
    canvas_hw: tuple[int, int]
    resized_hw: tuple[int, int]
    size_hw: tuple[int, int]

    def blocks(self, rows: range, columns: range):
        """
        Yields the logits at image size that any of these low-resolution logits has a part in, some rows at a time.

        Bilinear to the canvas, padding cut off, bilinear to the image, as segment-anything's `postprocess_masks`.

        Yields:
            `tuple`: (rows, columns) float32 logits, and the row and the column of the first.
        """
        sizes = zip(self.low.shape, self.canvas_hw, self.resized_hw, self.size_hw)
        axes = [_Axis.of(marked, own, self.low.device) for marked, own in zip((rows, columns), sizes)]
        if None in axes:
            return
        down, across = axes
        values = self.low
        for axis, neighbours in ((1, across.to_canvas), (0, down.to_canvas), (1, across.to_image)):
            values = neighbours.mix(values, axis)
        num_rows = max(1, CPU_BLOCK // values.shape[1]) if values.device.type == "cpu" else len(down.to_image.low)
        parts = zip(*(part.split(num_rows) for part in down.to_image))
        for number, part in enumerate(parts):
            yield _Neighbours(*part).mix(values, 0), down.start + number * num_rows, across.start

    def where_above(self, threshold: float) -> tuple[range, range]:
        """Returns the rows and columns of low-resolution logits without which no logit exceeds the threshold."""
        above = self.low >= threshold - 1e-5 * float(self.low.abs().max())  # sums are rounded
        return tuple(_range_of(above.any(dim=axis)) for axis in (1, 0))

    def highest(self) -> float:
        """Returns the highest logit at image size."""
        height, width = (
            math.ceil(low * resized / canvas)
            for low, resized, canvas in zip(self.low.shape, self.resized_hw, self.canvas_hw)
        )
        row, column = divmod(int(self.low[:height, :width].argmax()), width)
        least = max(float(block.max()) for block, *_ in self.blocks(range(row, row + 1), range(column, column + 1)))
        return max(float(block.max()) for block, *_ in self.blocks(*self.where_above(least)))

    def mask(self, threshold: float) -> tuple[MaskWindow, int, float]:
        """Returns where logits exceed the threshold, in how many pixels, and the mean probability of these."""
        bits, counts, sums, corner, width = [], [], [], None, 0
        for logits, top, left in self.blocks(*self.where_above(threshold)):
            inside = logits > threshold
            counts.append(inside.count_nonzero())
            sums.append(logits.sigmoid_().mul_(inside).sum())
            bits.append(np.packbits(inside.cpu().numpy(), axis=1))
            corner, width = corner or (top, left), logits.shape[1]
        count = int(sum(counts))
        if count == 0:
            return MaskWindow.empty(self.size_hw), 0, 0.0
        window = MaskWindow(tuple(self.size_hw), *corner, np.concatenate(bits), width)
        return window, count, sum(map(float, sums)) / count


def _range_of(marked: torch.Tensor) -> range:
    indices = marked.nonzero().flatten()
    return range(int(indices[0]), int(indices[-1]) + 1) if len(indices) else range(0)
