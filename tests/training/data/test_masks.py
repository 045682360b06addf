# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Run lengths of masks: to the pixel, and refused where damaged."""

import numpy as np
import pytest

from ssp_sam.training.data.masks import (
    area,
    bounding_box,
    decode,
    encode,
    from_polygons,
    intersection_area,
    uncompressed,
    union,
)


def test_a_square_has_the_run_lengths_worked_by_hand():
    # Columns 1 and 2 of three rows by four columns, rows 0 and 1: runs of 3 out, 2 in, 1 out, 2 in, 4 out.
    expected = np.zeros((3, 4), dtype=bool)
    expected[0:2, 1:3] = True
    # The fourth run is stored as its difference to the second, 2 - 2 = 0; the fifth likewise, 4 - 1 = 3.
    rle = {"size": [3, 4], "counts": "32103"}
    assert from_polygons([[1, 0, 3, 0, 3, 2, 1, 2]], 3, 4) == rle
    assert encode(expected) == rle
    assert uncompressed(rle) == {"size": [3, 4], "counts": [3, 2, 1, 2, 4]}
    assert (decode(rle) == expected).all() and (decode({"size": [3, 4], "counts": b"32103"}) == expected).all()
    assert (decode({"size": [3, 4], "counts": [3, 2, 1, 2, 4]}) == expected).all()
    assert bounding_box(rle) == (1, 0, 3, 2)


@pytest.mark.parametrize("filling", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_masks_come_back_from_every_form(filling):
    generator = np.random.default_rng(0)
    for size in [(1, 1), (1, 40), (40, 1), (13, 17), (500, 640)]:
        mask = generator.random(size) < filling
        rle = encode(mask)
        assert (decode(rle) == mask).all() and (decode(uncompressed(rle)) == mask).all()
        assert area(rle) == area(uncompressed(rle)) == mask.sum()


@pytest.mark.parametrize("filling", [0.01, 0.03, 0.5])
def test_the_bounding_box_is_that_of_the_pixels(filling):
    generator = np.random.default_rng(1)
    for size in [(1, 9), (9, 1), (12, 15)]:
        mask = generator.random(size) < filling
        mask[tuple(generator.integers(size))] = True
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        assert bounding_box(encode(mask)) == (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert bounding_box({"size": [3, 4], "counts": [3, 2, 0, 0, 1, 2, 0, 0, 4]}) == (1, 0, 3, 2)


def test_runs_of_length_zero_change_nothing():
    assert decode({"size": [3, 4], "counts": [3, 2, 0, 0, 1, 2, 0, 0, 4]}).sum() == 4
    assert decode({"size": [3, 4], "counts": [0, 12]}).all()


def test_what_lies_outside_the_image_is_cut_off_and_no_polygon_is_an_empty_mask():
    assert area(from_polygons([[-10, -10, 2, -10, 2, 2, -10, 2]], 5, 7)) == 4
    empty = from_polygons([], 5, 7)
    assert area(empty) == 0 and decode(empty).shape == (5, 7) and bounding_box(empty) is None


def test_areas_and_unions_agree_with_the_masks():
    generator = np.random.default_rng(3)
    for filling in (0.0, 0.1, 0.6, 1.0):
        masks = [generator.random((23, 31)) < filling for _ in range(3)]
        rles = [encode(mask) for mask in masks]
        assert [area(rle) for rle in rles] == [mask.sum() for mask in masks]
        assert intersection_area(rles[0], rles[1]) == (masks[0] & masks[1]).sum()
        assert union(rles) == union([uncompressed(rle) for rle in rles]) == encode(masks[0] | masks[1] | masks[2])


@pytest.mark.parametrize(
    "polygon, message",
    [
        ([1, 1, 2, 2], "at least three corners"),
        ([1, 1, 2, 2, 3], "at least three corners"),
        ([[1, 1], [2, 2], [3, 1]], "flat list"),
        ("1 1 2 2 3 1", "flat list"),
        ([1, 1, 2, 2, 3, 10**400], "flat list"),
        ([1, 1, 2, 2, 3, float("nan")], "outside any image"),
        ([1, 1, 2, 2, 3, float("inf")], "outside any image"),
        ([1, 1, 2, 2, 3, 1e12], "outside any image"),
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
        ({"size": [3, 4], "counts": [[3], [9]]}, "whole numbers"),
        ({"size": [3, 4], "counts": None}, "whole numbers"),
        ({"size": [3, 4], "counts": ""}, "empty"),
        ({"size": [3, 4], "counts": "32P"}, "cut off"),
        ({"size": [3, 4], "counts": "3 \x07"}, "damaged"),
        ({"size": [3, 4], "counts": "3é"}, "damaged"),
        ({"size": [3, 4], "counts": "o" * 12 + "0"}, "damaged"),
        ({"size": [4, 4], "counts": "32103"}, "add up to 4 x 4 = 16"),
        ({"size": [3], "counts": "<"}, "height and width"),
        ({"size": [0, 4], "counts": "0"}, "height and width"),
        ({"size": [10**9, 10**9], "counts": "0"}, "height and width"),
        ({"counts": "0"}, "height and width"),
        (None, "height and width"),
    ],
)
def test_damaged_run_lengths_are_refused(rle, message):
    for use in (decode, area, bounding_box, uncompressed, lambda damaged: union([damaged])):
        with pytest.raises(ValueError, match=message):
            use(rle)


def test_any_cut_or_changed_string_is_refused_or_decoded_to_what_it_says():
    """pycocotools alone reads such strings into masks with values that are neither 0 nor 1."""
    generator = np.random.default_rng(5)
    text = encode(generator.random((20, 30)) < 0.3)["counts"]
    refused = 0
    for _ in range(300):
        characters = list(text[: generator.integers(1, len(text) + 1)])
        characters[generator.integers(len(characters))] = chr(generator.integers(40, 125))
        rle = {"size": [20, 30], "counts": "".join(characters)}
        try:
            mask = decode(rle)
        except ValueError:
            refused += 1
            continue
        assert mask.sum() == area(rle) == sum(uncompressed(rle)["counts"][1::2])
    assert refused > 250


def test_masks_of_unequal_sizes_are_not_compared():
    with pytest.raises(ValueError, match=r"one size, got \(3, 4\) and \(4, 3\)"):
        intersection_area(encode(np.zeros((3, 4))), encode(np.zeros((4, 3))))
    with pytest.raises(ValueError, match="at least one mask"):
        union([])
    with pytest.raises(ValueError, match="two dimensions.*3, 4, 1"):
        encode(np.zeros((3, 4, 1)))
