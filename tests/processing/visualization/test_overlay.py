# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The picture that shows results."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ssp_sam.processing.visualization.overlay import COLOURS, choose_colours, draw_overlay, paint_results
from tests.helpers.models import make_image


def result(size, box=None, label="the red car", score=0.9) -> dict:
    """A result whose mask is the ellipse in `box` (left, top, right, bottom); None means no target."""
    mask = Image.new("L", size)
    if box is not None:
        ImageDraw.Draw(mask).ellipse(box, fill=255)
    corners = None if box is None else dict(zip(("xmin", "ymin", "xmax", "ymax"), box))
    return {"mask": mask, "score": score, "box": corners, "label": label, "no_target": box is None}


def has_colour(picture: Image.Image, colour) -> bool:
    return bool((np.asarray(picture) == np.array(colour)).all(-1).any())


@pytest.mark.parametrize("ground", [(0, 0, 0), (255, 255, 255), (230, 38, 60)])
def test_each_mask_has_its_own_colour_and_a_white_edge_on_every_ground(ground):
    image = Image.new("RGB", (600, 400), ground)
    results = [result(image.size, (50, 60, 250, 300)), result(image.size, (320, 60, 550, 300), "the dog")]
    picture = draw_overlay(image, results)
    inside = picture.crop((0, 0, 600, 400))
    first, second = choose_colours(image, results)
    assert picture.width == 600 and picture.height > 400 and first != second
    assert has_colour(inside, first) and has_colour(inside, second)
    assert inside.getpixel((150, 180)) != ground and inside.getpixel((10, 390)) == ground
    edge = [inside.getpixel((240 - x, 70 + x)) for x in range(60)]  # from a corner of the box into the first mask
    assert (255, 255, 255) in edge and first in edge


def test_nothing_found_is_stated_and_leaves_the_picture_alone():
    image = make_image(600, 400)
    missing, found = draw_overlay(image, [result(image.size)]), draw_overlay(image, [result(image.size, (1, 1, 2, 2))])
    assert np.array_equal(np.asarray(missing.crop((0, 0, 600, 400))), np.asarray(image))
    assert missing.size == found.size
    assert not np.array_equal(np.asarray(missing)[400:], np.asarray(found)[400:])


@pytest.mark.parametrize("size", [(1, 1), (20, 15), (1, 4000), (4000, 1), (700, 500)])
def test_pictures_of_every_shape_are_drawn(size):
    image = make_image(*size)
    results = [result(size, (0, 0, max(1, size[0] // 2), max(1, size[1] // 2))), result(size)]
    picture = draw_overlay(image, results)
    assert picture.width >= 512 and picture.height > 0


def test_small_pictures_are_enlarged():
    picture = draw_overlay(make_image(64, 48), [result((64, 48), (5, 5, 30, 30))])
    assert picture.width == 512 and picture.height > 384


def test_long_texts_many_results_and_odd_modes_are_drawn():
    size = (300, 200)
    labels = ["the red car " * 40, "x" * 500, "two\nlines\tand a tab", "红色的汽车"] * 4
    results = [result(size, (i, i, 100 + i, 100 + i), label) for i, label in enumerate(labels)]
    for mode in ("L", "RGBA", "P", "CMYK"):
        assert draw_overlay(make_image(*size).convert(mode), results).mode == "RGB"


def test_colours_differ_from_each_other_and_from_what_they_cover():
    image = Image.new("RGB", (50, 50), COLOURS[0])
    results = [result(image.size, (1, 1, 40, 40))] * len(COLOURS)
    colours = choose_colours(image, results)
    assert sorted(colours) == sorted(COLOURS) and colours[0] != COLOURS[0] and colours[-1] == COLOURS[0]
    assert len(choose_colours(image, results * 3)) == 3 * len(COLOURS)


def test_a_small_mask_keeps_its_colours_inside_a_large_one_whichever_comes_first():
    image = Image.new("RGB", (300, 200), (90, 90, 90))
    small, large = ({**result(image.size, box), "box": None} for box in ((100, 60, 180, 140), (5, 5, 290, 190)))
    red, blue = COLOURS[:2]
    pictures = [
        np.asarray(paint_results(image, results, colours, tags=False))
        for results, colours in (([small, large], [red, blue]), ([large, small], [blue, red]))
    ]
    assert np.array_equal(*pictures)
    assert (pictures[0][60:141, 100:181] == red).all(-1).sum() > 200  # its whole contour
    assert pictures[0][100, 140, 0] > pictures[0][100, 140, 2]


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"image's size \(40, 30\), got \(30, 40\) for expression 1"):
        draw_overlay(make_image(40, 30), [result((30, 40), (1, 1, 5, 5))])
