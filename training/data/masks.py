# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Masks as COCO's run lengths, by `pycocotools`, which is handed only what was checked to be whole.

A mask is a dict of `size` [height, width] and `counts`: the lengths of runs, column by column, of zeros and ones in
turn, zeros first, as a list or compressed into a string of printable characters. `pycocotools` reads a damaged string
into garbage without an error, so the run lengths of each are decoded here first and compared with the size.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco

from ...processing.expressions import shortened

# Farther from the origin than any image reaches; keeps the outlines short enough to be drawn.
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
    return _with_text(coco.encode(np.asfortranarray(mask.astype(bool), dtype=np.uint8)))


def decode(rle: Mapping[str, Any]) -> np.ndarray:
    """
    Returns the mask, (height, width) bool, of run lengths, compressed or a list; raises `ValueError` for damaged ones.
    """
    return coco.decode(_checked(rle)).astype(bool)


def from_polygons(polygons: Sequence[Sequence[float]], height: int, width: int) -> dict[str, Any]:
    """
    Draws polygons and returns the run lengths of what any of them covers; what lies outside the image is cut off.

    Args:
        polygons: Each flat, `[x1, y1, x2, y2, …]`, in pixels, at least three corners; none gives an empty mask.
        height: Of the image, in pixels.
        width: Of the image, in pixels.

    Raises:
        ValueError: A polygon has too few corners, half a corner, or coordinates that no image has.
    """
    height, width = _size({"size": (height, width)})
    corners = [_checked_polygon(polygon, index) for index, polygon in enumerate(polygons)]
    if not corners:
        return encode(np.zeros((height, width), dtype=bool))
    return _with_text(coco.merge(coco.frPyObjects(corners, height, width)))


def union(rles: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the run lengths of what any of the masks covers; raises `ValueError` for none and for unequal sizes."""
    if not rles:
        raise ValueError("expected at least one mask to unite, got none")
    return _with_text(coco.merge(_of_one_size(rles)))


def area(rle: Mapping[str, Any]) -> int:
    """Returns the number of pixels inside, without drawing the mask."""
    return int(_counts(rle)[1::2].sum())


def intersection_area(a: Mapping[str, Any], b: Mapping[str, Any]) -> int:
    """Returns the number of pixels inside both masks, without drawing them; raises `ValueError` for unequal sizes."""
    return int(coco.area(coco.merge(_of_one_size([a, b]), intersect=True)))


def bounding_box(rle: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """Returns left, top, right, bottom of the pixels inside, in pixels, right and bottom behind the last; or None."""
    height, runs = _size(rle)[0], _counts(rle)
    ends = np.cumsum(runs)
    inside = np.flatnonzero((np.arange(len(runs)) % 2 == 1) & (runs > 0))
    if not len(inside):
        return None
    first, last = (ends - runs)[inside], ends[inside] - 1
    one_column = first // height == last // height
    top = np.where(one_column, first % height, 0).min()
    bottom = np.where(one_column, last % height, height - 1).max()
    return float(first[0] // height), float(top), float(last[-1] // height + 1), float(bottom + 1)


def uncompressed(rle: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the run lengths with `counts` as a list of whole numbers, which any JSON reader understands."""
    return {"size": list(_size(rle)), "counts": _counts(rle).tolist()}


def to_polygon(rle: Mapping[str, Any]) -> list[float]:
    """
    Returns the outline of a mask as one flat polygon, which `from_polygons` draws to the very same mask.

    It runs along the edges of pixels. Parts and holes are joined by slits without area, since several readers of COCO's
    format take one polygon for an object. It is empty for an empty mask.
    """
    inside = np.pad(decode(rle), 1).astype(np.int8)
    ends: dict[tuple[int, int], list[tuple[int, int]]] = {}
    # An edge has the inside to its right: along the top of a pixel it runs right, along its left side up.
    for axis in (0, 1):
        change = np.diff(inside, axis=axis)
        for y, x in np.argwhere(change != 0).tolist():
            edge = ((x - 1, y), (x, y)) if axis == 0 else ((x, y), (x, y - 1))
            start, end = edge if change[y, x] > 0 else edge[::-1]
            ends.setdefault(start, []).append(end)
    loops = []
    while ends:
        corner = start = next(iter(ends))
        loop = [start]
        while (corner := _taken(ends, corner)) != start:
            loop.append(corner)
        loops.append(_corners(loop))
    path = [corner for loop in loops for corner in [*loop, loop[0]]] + [loop[0] for loop in loops[-2::-1]]
    return [float(value) for corner in path for value in corner]


def _taken(ends: dict[tuple[int, int], list[tuple[int, int]]], start: tuple[int, int]) -> tuple[int, int]:
    end = ends[start].pop()
    if not ends[start]:
        del ends[start]
    return end


def _corners(loop: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """A loop of steps along one axis each without the points at which it goes straight on."""
    neighbours = zip([loop[-1], *loop], loop, [*loop[1:], loop[0]])
    return [point for before, point, after in neighbours if (before[0] == point[0]) != (point[0] == after[0])]


def _with_text(rle: dict[str, Any]) -> dict[str, Any]:
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def _of_one_size(rles: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    sizes = {_size(rle) for rle in rles}
    if len(sizes) > 1:
        raise ValueError(f"masks must have one size, got {' and '.join(map(str, sorted(sizes)))}")
    return [_checked(rle) for rle in rles]


def _checked(rle: Mapping[str, Any]) -> dict[str, Any]:
    """The run lengths as `pycocotools` takes them, known to be whole."""
    size, counts = _size(rle), rle.get("counts")
    runs = _counts(rle)
    if isinstance(counts, str | bytes):
        return {"size": size, "counts": counts}
    return coco.frPyObjects({"size": size, "counts": runs.tolist()}, *size)


def _size(rle: Mapping[str, Any]) -> tuple[int, int]:
    size = rle.get("size") if isinstance(rle, Mapping) else None
    try:
        height, width = (int(side) for side in size)  # pyright: ignore[reportOptionalIterable]
    except (TypeError, ValueError, OverflowError):
        height = width = 0
    if height < 1 or width < 1 or height * width >= 2**31:
        raise ValueError(f"the size of a mask is its height and width from 1 on, got {shortened(size)}")
    return height, width


def _counts(rle: Mapping[str, Any]) -> np.ndarray:
    """The run lengths as int64, checked to be 0 or more and to fill the size."""
    (height, width), counts = _size(rle), rle.get("counts")
    if isinstance(counts, str | bytes):
        runs = _decompress(counts)
    else:
        runs = np.asarray(counts) if isinstance(counts, list | tuple | np.ndarray) else np.asarray(None)
        if runs.ndim != 1 or (runs.size and runs.dtype.kind not in "iu"):
            raise ValueError(f"run lengths are a string or a list of whole numbers, got {shortened(counts)}")
        runs = runs.astype(np.int64)
    pixels = height * width
    if (runs < 0).any() or (runs > pixels).any() or runs.sum() != pixels:
        raise ValueError(
            f"run lengths must be 0 or more and add up to {height} x {width} = {pixels}, "
            f"got {len(runs)} runs that add up to {int(runs.sum())}: {shortened(counts)}"
        )
    return runs


def _decompress(text: str | bytes) -> np.ndarray:
    """
    The run lengths of a string: groups of 5 bits, the lowest first, from the fourth run on as difference to two before.

    Source: `rleFrString` of `maskApi.c`, https://github.com/cocodataset/cocoapi
    """
    raw = text.encode("latin1", "replace") if isinstance(text, str) else text
    groups = np.frombuffer(raw, dtype=np.uint8).astype(np.int64) - 48
    if not len(groups):
        raise ValueError("the run lengths of a mask are empty: ''")
    ends = np.flatnonzero((groups & 32) == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    # No image has so many pixels that a run needs more than 7 groups.
    if groups.min() < 0 or groups.max() > 63 or groups[-1] & 32 or lengths.max() > 7:
        raise ValueError(f"the compressed run lengths are damaged or cut off: {shortened(text)}")
    shifts = 5 * (np.arange(len(groups)) - np.repeat(starts, lengths))
    values = np.add.reduceat((groups & 31) << shifts, starts)
    values -= np.where(groups[ends] & 16, np.int64(1) << (5 * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values


def _checked_polygon(polygon: Sequence[float], index: int) -> list[float]:
    try:
        corners = np.asarray(polygon)
        corners = corners.astype(np.float64) if corners.dtype.kind in "iuf" else np.zeros((0, 0))  # text is none
    except (TypeError, ValueError, OverflowError):
        corners = np.zeros((0, 0))
    if corners.ndim != 1 or len(corners) < 6 or len(corners) % 2:
        raise ValueError(
            f"a polygon is a flat list of numbers, at least three corners, x and y in turn, got {shortened(polygon)} "
            f"as polygon {index}"
        )
    if not (np.abs(corners) <= MAX_COORDINATE).all():  # false for what is not a number, too
        raise ValueError(f"polygon {index} has coordinates outside any image: {shortened(polygon)}")
    return corners.tolist()
