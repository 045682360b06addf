# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Masks as COCO's run lengths, and polygons to masks pixel for pixel as `pycocotools` draws them.

A mask is a dict of `size` [height, width] and `counts`: the lengths of runs, column by column, of zeros and ones in
turn, zeros first, compressed into a string of printable characters. Everything is plain numpy; where `pycocotools` is
installed, polygons are drawn by it, which is faster and gives the same result.

Source: `maskApi.c` of the COCO API for the string and the rules of drawing; https://github.com/cocodataset/cocoapi
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

try:
    from pycocotools import _mask as coco_mask
except ImportError:
    coco_mask = None

# Corners are put on a grid this many times finer than pixels before lines are drawn between them.
_SUBPIXELS = 5
# Farther from the origin than any picture reaches; keeps lines short enough to be drawn.
MAX_COORDINATE = 100_000.0


def encode(mask: np.ndarray) -> dict[str, Any]:
    """
    Returns the run lengths of a mask.

    Args:
        mask: (height, width), anything but zero is inside.

    Returns:
        `size` [height, width] and the compressed `counts`.

    Raises:
        ValueError: The array has another number of dimensions.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"a mask has two dimensions, height and width, got an array of shape {mask.shape}")
    column_major = mask.astype(bool).T.ravel()
    borders = np.flatnonzero(column_major[1:] != column_major[:-1]) + 1
    if column_major.size and column_major[0]:
        borders = np.concatenate([[0], borders])
    return _from_borders(borders, *mask.shape)


def decode(rle: dict[str, Any]) -> np.ndarray:
    """
    Returns the mask, (height, width) bool, of run lengths; `counts` may be compressed or a list of lengths.

    Raises:
        ValueError: The run lengths are damaged or do not fill the size.
    """
    height, width = _size(rle)
    counts = _counts(rle)
    inside = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return np.ascontiguousarray(inside.reshape(width, height).T)


def from_polygons(polygons: Sequence[Sequence[float]], height: int, width: int) -> dict[str, Any]:
    """
    Draws polygons and returns the run lengths of what any of them covers; what lies outside the picture is cut off.

    Args:
        polygons: each flat, `[x1, y1, x2, y2, …]`, in pixels, at least three corners; none gives an empty mask.
        height: of the picture, in pixels.
        width: of the picture, in pixels.

    Raises:
        ValueError: A polygon has too few corners, half a corner, or coordinates that no picture has.
    """
    corners = [_checked_polygon(polygon, number) for number, polygon in enumerate(polygons)]
    _size({"size": (height, width)})
    if coco_mask is not None:
        parts = [_borders(_counts(part)) for part in coco_mask.frPoly(corners, height, width)] if corners else []
    else:
        parts = [_draw(polygon, height, width) for polygon in corners]
    return _from_borders(parts[0] if len(parts) == 1 else _union_borders(parts), height, width)


def from_uncompressed(counts: Sequence[int], size: Sequence[int]) -> dict[str, Any]:
    """
    Returns compressed run lengths for a list of them.

    Args:
        counts: lengths of runs, column by column, zeros first.
        size: height and width.

    Raises:
        ValueError: The runs are not whole numbers from 0 on, or do not fill the size.
    """
    rle = {"size": list(size), "counts": list(counts)}
    return _from_borders(_borders(_counts(rle)), *_size(rle))


def union(rles: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Returns the run lengths of what any of the masks covers; raises `ValueError` for none and for unequal sizes."""
    if not rles:
        raise ValueError("expected at least one mask to unite, got none")
    _same_size(rles)
    return _from_borders(_union_borders([_borders(_counts(rle)) for rle in rles]), *_size(rles[0]))


def area(rle: dict[str, Any]) -> int:
    """Returns the number of pixels inside, without drawing the mask."""
    return int(_counts(rle)[1::2].sum())


def intersection_area(a: dict[str, Any], b: dict[str, Any]) -> int:
    """Returns the number of pixels inside both masks, without drawing them; raises `ValueError` for unequal sizes."""
    _same_size([a, b])
    positions, depth = _depths([_borders(_counts(a)), _borders(_counts(b))])
    lengths = np.diff(positions, append=np.prod(_size(a), dtype=np.int64))
    return int(lengths[depth == 2].sum())


# ---- Runs and their borders -----------------------------------------------------------------------------------------
# Borders are the positions, in ascending order, at which the mask changes, counted column by column from outside.


def _size(rle: dict[str, Any]) -> tuple[int, int]:
    size = rle.get("size")
    try:
        height, width = (int(side) for side in size)  # pyright: ignore[reportOptionalIterable]
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1 or height * width >= 2**31:
        raise ValueError(f"the size of a mask is its height and width from 1 on, got {size!r}")
    return height, width


def _same_size(rles: Sequence[dict[str, Any]]):
    sizes = {_size(rle) for rle in rles}
    if len(sizes) > 1:
        raise ValueError(f"masks must have one size, got {' and '.join(map(str, sorted(sizes)))}")


def _counts(rle: dict[str, Any]) -> np.ndarray:
    """The run lengths as int64, checked to be positive and to fill the size."""
    counts, pixels = rle.get("counts"), int(np.prod(_size(rle), dtype=np.int64))
    if isinstance(counts, str | bytes):
        runs = _decompress(counts)
    else:
        runs = np.asarray(counts)
        if runs.ndim != 1 or (runs.size and runs.dtype.kind not in "iu"):
            raise ValueError(f"run lengths are a string or a list of whole numbers, got {_shortened(counts)}")
        runs = runs.astype(np.int64)
    if (runs < 0).any() or (runs > pixels).any() or runs.sum() != pixels:
        height, width = _size(rle)
        raise ValueError(
            f"run lengths must be 0 or more and add up to {height} x {width} = {pixels}, "
            f"got {len(runs)} runs that add up to {int(runs.sum())}: {_shortened(counts)}"
        )
    return runs


def _borders(counts: np.ndarray) -> np.ndarray:
    borders = np.cumsum(counts)[:-1]
    return _distinct(borders[borders < counts.sum()])


def _distinct(borders: np.ndarray) -> np.ndarray:
    """The borders in ascending order, without pairs at one place, where the mask changes and changes back."""
    places, times = np.unique(borders, return_counts=True)
    return places[times % 2 == 1]


def _from_borders(borders: np.ndarray, height: int, width: int) -> dict[str, Any]:
    """Run lengths, none of them 0 but perhaps the first."""
    counts = np.diff(borders, prepend=0, append=height * width).astype(np.int64)
    return {"size": [int(height), int(width)], "counts": _compress(counts)}


def _depths(parts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """All borders of several masks in ascending order, and how many of the masks cover what follows each."""
    positions = np.concatenate([np.zeros(0, np.int64), *parts])
    steps = np.concatenate([np.zeros(0, np.int64), *(1 - 2 * (np.arange(len(part)) % 2) for part in parts)])
    order = np.argsort(positions, kind="stable")
    return positions[order], np.cumsum(steps[order])


def _union_borders(parts: list[np.ndarray]) -> np.ndarray:
    positions, depth = _depths(parts)
    last = np.append(positions[1:] != positions[:-1], True)[: len(positions)]  # what holds after all at one place
    positions, covered = positions[last], depth[last] > 0
    return positions[np.diff(covered, prepend=False)]


# ---- The string -----------------------------------------------------------------------------------------------------


def _compress(counts: np.ndarray) -> str:
    """From the fourth on, the difference to the run two before, in groups of 5 bits, the lowest first."""
    values = counts.copy()
    values[3:] -= counts[1:-2]
    columns, open_ = [], np.ones(len(values), dtype=bool)
    while open_.any():
        low = values & 31
        values = values >> 5
        more = np.where(low & 16, values != -1, values != 0)
        columns.append(np.where(open_, low + 32 * more + 48, 0))
        open_ &= more
    characters = np.stack(columns, axis=1).astype(np.uint8).ravel()
    return characters[characters > 0].tobytes().decode("ascii")


def _decompress(text: str | bytes) -> np.ndarray:
    raw = text.encode("latin1", "replace") if isinstance(text, str) else text
    groups = np.frombuffer(raw, dtype=np.uint8).astype(np.int64) - 48
    if not len(groups):
        raise ValueError("the run lengths of a mask are empty: ''")
    if groups.min() < 0 or groups.max() > 63 or groups[-1] & 32:
        raise ValueError(f"the compressed run lengths are damaged or cut off: {_shortened(text)}")
    ends = np.flatnonzero((groups & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:  # more than any picture's number of pixels needs
        raise ValueError(f"the compressed run lengths are damaged or cut off: {_shortened(text)}")
    shifts = 5 * (np.arange(len(groups)) - np.repeat(starts, lengths))
    values = np.add.reduceat((groups & 31) << shifts, starts)
    values -= np.where(groups[ends] & 16, np.int64(1) << (5 * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


# ---- Polygons -------------------------------------------------------------------------------------------------------


def _checked_polygon(polygon: Sequence[float], number: int) -> np.ndarray:
    try:
        corners = np.asarray(polygon)
        corners = corners.astype(np.float64) if corners.dtype.kind in "iuf" else np.zeros((0, 0))  # text is none
    except (TypeError, ValueError):
        corners = np.zeros((0, 0))
    if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2:
        raise ValueError(
            f"a polygon is a flat list of numbers, at least three corners, x and y in turn, got {_shortened(polygon)} "
            f"as polygon {number}"
        )
    if not (np.abs(corners) <= MAX_COORDINATE).all():  # false for what is not a number, too
        raise ValueError(f"polygon {number} has coordinates outside any picture: {_shortened(polygon)}")
    return corners


def _draw(corners: np.ndarray, height: int, width: int) -> np.ndarray:
    """
    The borders of a polygon: where its outline crosses the middles of the pixel columns.

    The lines are drawn on the finer grid by Bresenham's rule with its very roundings (towards zero), so that the result
    is that of `rleFrPoly` of `maskApi.c` in every pixel.
    """
    x, y = (np.trunc(_SUBPIXELS * corners[axis::2] + 0.5).astype(np.int64) for axis in (0, 1))
    x_end, y_end = np.roll(x, -1), np.roll(y, -1)
    dx, dy = np.abs(x_end - x), np.abs(y_end - y)
    flat = dx >= dy  # lines that are drawn along x
    flip = np.where(flat, x > x_end, y > y_end)  # lines are drawn from their lower end
    x_low, y_low = np.where(flip, x_end, x), np.where(flip, y_end, y)
    rise = np.where(flat, np.where(flip, y - y_end, y_end - y), np.where(flip, x - x_end, x_end - x))
    run = np.maximum(dx, dy)
    slope = np.divide(rise, run, out=np.zeros(len(run)), where=run > 0)

    points = run + 1
    line = np.repeat(np.arange(len(run)), points)
    step = np.arange(len(line)) - np.repeat(np.cumsum(points) - points, points)
    step = np.where(flip[line], run[line] - step, step)
    across = np.trunc(np.where(flat, y_low, x_low)[line] + slope[line] * step + 0.5).astype(np.int64)
    along = np.where(flat, x_low, y_low)[line] + step
    u, v = np.where(flat[line], along, across), np.where(flat[line], across, along)

    crosses = np.flatnonzero(u[1:] != u[:-1]) + 1
    left = np.where(u[crosses] < u[crosses - 1], u[crosses], u[crosses] - 1)
    column = (left + 0.5) / _SUBPIXELS - 0.5
    keep = (np.floor(column) == column) & (column >= 0) & (column <= width - 1)
    top = (np.minimum(v[crosses], v[crosses - 1])[keep] + 0.5) / _SUBPIXELS - 0.5
    row = np.ceil(np.clip(top, 0, height)).astype(np.int64)
    crossings = column[keep].astype(np.int64) * height + row
    return _distinct(crossings[crossings < height * width])


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
