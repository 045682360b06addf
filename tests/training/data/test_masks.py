# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Run lengths of masks: COCO's own, to the character and to the pixel."""

import numpy as np
import pytest

from ssp_sam.training.data import masks as run_lengths
from ssp_sam.training.data.masks import (
    area,
    decode,
    encode,
    from_polygons,
    from_uncompressed,
    intersection_area,
    union,
)

HEIGHT, WIDTH = 23, 31


@pytest.fixture(params=["numpy alone", "with pycocotools"])
def drawing(request, monkeypatch):
    """Both ways of drawing polygons."""
    if request.param == "numpy alone":
        monkeypatch.setattr(run_lengths, "coco_mask", None)
    elif run_lengths.coco_mask is None:
        pytest.skip("pycocotools is not installed")
    return request.param


def random_polygons(kind: str, generator: np.random.Generator) -> list[list[float]]:
    """One to three polygons that reach out of the picture or are degenerate in the way of `kind`."""
    polygons = []
    for _ in range(generator.integers(1, 4)):
        corners = generator.uniform(-0.4, 1.4, (generator.integers(3, 12), 2)) * (WIDTH, HEIGHT)
        if kind == "whole pixels":
            corners = np.round(corners)
        elif kind == "on the grid of drawing":
            corners = np.round(corners * 10) / 10
        elif kind == "a point or a line":
            corners = corners[:1] + generator.integers(0, 2, (len(corners), 1)) * generator.integers(-9, 9, 2)
        elif kind == "corners repeated":
            corners = np.repeat(corners, 2, axis=0)
        elif kind == "far outside":
            corners = corners * 15
        polygons.append(corners.ravel().tolist())
    return polygons


KINDS = ["anywhere", "whole pixels", "on the grid of drawing", "a point or a line", "corners repeated", "far outside"]


@pytest.mark.parametrize("kind", KINDS)
def test_polygons_are_drawn_as_pycocotools_draws_them(kind, drawing):
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is what is compared with")
    native = pytest.importorskip("pycocotools._mask")
    generator = np.random.default_rng(KINDS.index(kind))
    for _ in range(60):
        polygons = random_polygons(kind, generator)
        expected = coco.merge(native.frPoly(polygons, HEIGHT, WIDTH))
        drawn = from_polygons(polygons, HEIGHT, WIDTH)
        assert (decode(drawn) == coco.decode(expected).astype(bool)).all(), polygons
        assert coco.decode(drawn).sum() == area(drawn) == coco.area(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_drawing_gives_the_same_string_with_and_without_pycocotools(kind, monkeypatch):
    pytest.importorskip("pycocotools.mask", reason="pycocotools is what is compared with")
    generator = np.random.default_rng(100 + KINDS.index(kind))
    cases = [random_polygons(kind, generator) for _ in range(30)]
    with_it = [from_polygons(polygons, HEIGHT, WIDTH) for polygons in cases]
    monkeypatch.setattr(run_lengths, "coco_mask", None)
    assert [from_polygons(polygons, HEIGHT, WIDTH) for polygons in cases] == with_it


@pytest.mark.parametrize("filling", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_strings_are_those_of_pycocotools(filling):
    coco = pytest.importorskip("pycocotools.mask", reason="pycocotools is what is compared with")
    generator = np.random.default_rng(0)
    for size in [(1, 1), (1, 40), (40, 1), (13, 17), (500, 640)]:
        mask = generator.random(size) < filling
        expected = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert encode(mask) == {"size": list(size), "counts": expected["counts"].decode()}
        assert (decode({"size": size, "counts": expected["counts"]}) == mask).all()


def test_a_square_has_the_run_lengths_worked_by_hand(drawing):
    # Columns 1 and 2 of three rows by four columns, rows 0 and 1: runs of 3 out, 2 in, 1 out, 2 in, 4 out.
    expected = np.zeros((3, 4), dtype=bool)
    expected[0:2, 1:3] = True
    # The fourth run is stored as its difference to the second, 2 - 2 = 0; the fifth likewise, 4 - 1 = 3.
    rle = {"size": [3, 4], "counts": "32103"}
    assert from_polygons([[1, 0, 3, 0, 3, 2, 1, 2]], 3, 4) == rle
    assert encode(expected) == rle
    assert from_uncompressed([3, 2, 1, 2, 4], [3, 4]) == rle
    assert (decode(rle) == expected).all()
    assert (decode({"size": [3, 4], "counts": [3, 2, 1, 2, 4]}) == expected).all()


def test_runs_of_length_zero_change_nothing():
    assert from_uncompressed([3, 2, 0, 0, 1, 2, 0, 0, 4], [3, 4]) == from_uncompressed([3, 2, 1, 2, 4], [3, 4])
    assert from_uncompressed([0, 12], [3, 4]) == encode(np.ones((3, 4)))


def test_no_polygons_give_an_empty_mask(drawing):
    assert area(from_polygons([], 5, 7)) == 0
    assert decode(from_polygons([], 5, 7)).shape == (5, 7)


def test_areas_and_unions_agree_with_the_masks():
    generator = np.random.default_rng(3)
    for filling in (0.0, 0.1, 0.6, 1.0):
        masks = [generator.random((HEIGHT, WIDTH)) < filling for _ in range(3)]
        rles = [encode(mask) for mask in masks]
        assert [area(rle) for rle in rles] == [mask.sum() for mask in masks]
        assert intersection_area(rles[0], rles[1]) == (masks[0] & masks[1]).sum()
        assert union(rles) == encode(masks[0] | masks[1] | masks[2])


@pytest.mark.parametrize(
    "polygon, message",
    [
        ([1, 1, 2, 2], "at least three corners"),
        ([1, 1, 2, 2, 3], "at least three corners"),
        ([[1, 1], [2, 2], [3, 1]], "flat list"),
        ("1 1 2 2 3 1", "flat list"),
        ([1, 1, 2, 2, 3, float("nan")], "outside any picture"),
        ([1, 1, 2, 2, 3, float("inf")], "outside any picture"),
        ([1, 1, 2, 2, 3, 1e12], "outside any picture"),
    ],
)
def test_a_polygon_that_cannot_be_drawn_is_refused(polygon, message):
    with pytest.raises(ValueError, match=message):
        from_polygons([[0, 0, 4, 0, 4, 4], polygon], 10, 10)


@pytest.mark.parametrize(
    "rle, message",
    [
        ({"size": [3, 4], "counts": [3, 2]}, "add up to 3 x 4 = 12"),
        ({"size": [3, 4], "counts": [13, -1]}, "must be 0 or more"),
        ({"size": [3, 4], "counts": [6.5, 5.5]}, "whole numbers"),
        ({"size": [3, 4], "counts": None}, "whole numbers"),
        ({"size": [3, 4], "counts": ""}, "empty"),
        ({"size": [3, 4], "counts": "32P"}, "cut off"),
        ({"size": [3, 4], "counts": "3 \x07"}, "damaged"),
        ({"size": [3, 4], "counts": "o" * 12 + "0"}, "damaged"),
        ({"size": [3], "counts": "<"}, "height and width"),
        ({"size": [0, 4], "counts": "0"}, "height and width"),
        ({"counts": "0"}, "height and width"),
    ],
)
def test_damaged_run_lengths_are_refused(rle, message):
    for use in (decode, area):
        with pytest.raises(ValueError, match=message):
            use(rle)


def test_masks_of_unequal_sizes_are_not_compared():
    with pytest.raises(ValueError, match=r"one size, got \(3, 4\) and \(4, 3\)"):
        intersection_area(encode(np.zeros((3, 4))), encode(np.zeros((4, 3))))
    with pytest.raises(ValueError, match="two dimensions.*3, 4, 1"):
        encode(np.zeros((3, 4, 1)))
