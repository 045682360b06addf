# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The drawing of results over their image."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ssp_sam.processing.visualization.overlay import draw_overlay
from ssp_sam.processing.visualization.painting import MAX_LINES, choose_colours
from tests.helpers.models import make_image


def make_result(size, box=None, label="the red car", score=0.9) -> dict:
    """A result whose mask is the ellipse in `box` (left, top, right, bottom); None means no target."""
    mask = Image.new("L", size)
    if box is not None:
        ImageDraw.Draw(mask).ellipse(box, fill=255)
    corners = None if box is None else dict(zip(("xmin", "ymin", "xmax", "ymax"), box))
    return {"mask": mask, "score": score, "box": corners, "label": label, "no_target": box is None}


def has_colour(drawing: Image.Image, colour) -> bool:
    return bool((np.asarray(drawing) == np.array(colour)).all(-1).any())


@pytest.mark.parametrize("ground", [(0, 0, 0), (255, 255, 255), (230, 38, 60)])
def test_each_mask_has_its_own_colour_and_a_white_edge_on_every_ground(ground):
    image = Image.new("RGB", (600, 400), ground)
    results = [make_result(image.size, (50, 60, 250, 300)), make_result(image.size, (320, 60, 550, 300), "the dog")]
    drawing = draw_overlay(image, results)
    inside = drawing.crop((0, 0, 600, 400))
    first, second = choose_colours(image, [item["mask"] for item in results])
    assert drawing.width == 600 and drawing.height > 400 and first != second
    assert has_colour(inside, first) and has_colour(inside, second)
    assert inside.getpixel((150, 180)) != ground and inside.getpixel((10, 390)) == ground
    edge = [inside.getpixel((240 - x, 70 + x)) for x in range(60)]  # from a corner of the box into the first mask
    assert (255, 255, 255) in edge and first in edge


def test_nothing_found_is_stated_and_leaves_the_image_alone():
    image = make_image(600, 400)
    missing, found = (draw_overlay(image, [make_result(image.size, box)]) for box in (None, (1, 1, 2, 2)))
    assert np.array_equal(np.asarray(missing.crop((0, 0, 600, 400))), np.asarray(image))
    assert missing.size == found.size
    assert not np.array_equal(np.asarray(missing)[400:], np.asarray(found)[400:])


@pytest.mark.parametrize("size", [(1, 1), (20, 15), (1, 4000), (4000, 1), (700, 500)])
def test_images_of_every_shape_are_drawn(size):
    image = make_image(*size)
    results = [make_result(size, (0, 0, max(1, size[0] // 2), max(1, size[1] // 2))), make_result(size)]
    drawing = draw_overlay(image, results)
    assert drawing.width >= 512 and drawing.height > 0


def test_small_images_are_enlarged():
    drawing = draw_overlay(make_image(64, 48), [make_result((64, 48), (5, 5, 30, 30))])
    assert drawing.width == 512 and drawing.height > 384


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_images_of_odd_modes_are_drawn(mode):
    image = make_image(60, 40).convert(mode)
    assert draw_overlay(image, [make_result(image.size, (1, 1, 30, 30))]).mode == "RGB"


def test_many_results_and_texts_of_any_length_are_drawn():
    size = (300, 200)
    labels = ["the red car " * 40, "x" * 100_000, "two\nlines\tand a tab", "红色的汽车", ""] * 4
    results = [make_result(size, (i, i, 100 + i, 100 + i), label) for i, label in enumerate(labels)]
    drawing = draw_overlay(make_image(*size), results)
    assert drawing.width == 512 and drawing.height < 341 + len(labels) * MAX_LINES * 19


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"image's size \(40, 30\), got \(30, 40\) for expression 1"):
        draw_overlay(make_image(40, 30), [make_result((30, 40), (1, 1, 5, 5))])
