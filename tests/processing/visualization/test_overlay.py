# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The drawing of results over their image."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ssp_sam.processing.visualization.overlay import STYLES, draw_overlay
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
    assert max(min(pixel) for pixel in edge) > 200 or ground == (255, 255, 255)


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
    assert max(drawing.size) >= 512 and drawing.size > size


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
    assert drawing.width == 512 and drawing.height < 341 + len(labels) * MAX_LINES * 21


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"image's size \(40, 30\), got \(30, 40\) for expression 1"):
        draw_overlay(make_image(40, 30), [make_result((30, 40), (1, 1, 5, 5))])


SIZE = (600, 400)
RESULTS = [make_result(SIZE, (50, 60, 250, 300)), make_result(SIZE, (320, 60, 550, 300), "the dog"), make_result(SIZE)]


def test_styles_differ_and_others_are_refused():
    drawings = [draw_overlay(make_image(*SIZE), RESULTS, style=style, legend=False) for style in STYLES]
    assert all(drawing.size == SIZE for drawing in drawings)
    pixels = [np.asarray(drawing.convert("RGB")) for drawing in drawings]
    assert not any(np.array_equal(a, b) for i, a in enumerate(pixels) for b in pixels[:i])
    with pytest.raises(ValueError, match="expected a style of masks, boxes, outline, cutout, got 'mask'"):
        draw_overlay(make_image(*SIZE), RESULTS, style="mask")


def test_a_cutout_keeps_what_is_inside_and_is_transparent_elsewhere():
    image = make_image(*SIZE)
    drawing = draw_overlay(image, RESULTS, style="cutout")
    alpha = np.asarray(drawing.getchannel("A"))
    assert drawing.mode == "RGBA" and drawing.size == SIZE  # no legend
    assert alpha[180, 150] == alpha[180, 430] == 255 and alpha[180, 285] == alpha[0, 0] == 0
    assert drawing.getpixel((150, 180))[:3] == image.getpixel((150, 180))


def test_outlines_leave_what_is_inside_as_it_is():
    image = make_image(*SIZE)
    drawing = draw_overlay(image, [RESULTS[1]], style="outline")
    assert drawing.getpixel((360, 150)) == image.getpixel((360, 150))  # clear of contour and tag


def test_the_box_that_is_drawn_is_that_of_the_mask():
    image = Image.new("RGB", SIZE)
    result = {**RESULTS[0], "box": {"xmin": 0, "ymin": 0, "xmax": 5, "ymax": 5}}
    drawing = np.asarray(draw_overlay(image, [result], style="boxes", legend=False))
    rows, columns = np.flatnonzero(drawing[200].any(-1)), np.flatnonzero(drawing[:, 150].any(-1))
    assert abs(rows[0] - 50) <= 2 and abs(rows[-1] - 250) <= 2 and abs(columns[-1] - 300) <= 2
    assert not drawing[:20, :20].any()


def test_with_a_legend_tags_are_numbers_and_without_one_words():
    image = Image.new("RGB", SIZE)
    with_legend, without = (np.asarray(draw_overlay(image, RESULTS, legend=legend)) for legend in (True, False))
    assert with_legend.shape[0] > 400 and without.shape[:2] == (400, 600)
    assert not np.array_equal(with_legend[:400], without)


def test_the_image_as_it_is_stands_beside_the_drawing():
    image = make_image(*SIZE)
    drawing = draw_overlay(image, RESULTS, compare=True, legend=False)
    assert drawing.width > 1200 and np.array_equal(np.asarray(drawing)[:, :600], np.asarray(image))
    assert np.array_equal(np.asarray(drawing)[:, -600:], np.asarray(draw_overlay(image, RESULTS, legend=False)))


@pytest.mark.parametrize("size", [(300, 1200), (300, 400)])
def test_the_legend_of_a_tall_image_stands_beside_it_with_room_for_words(size):
    label = "the small red car on the left of the house"
    drawing = draw_overlay(make_image(*size), [make_result(size, (5, 5, 100, 100), label)] * 3)
    assert drawing.height == max(512, size[1]) and drawing.width > size[0] * drawing.height / size[1] + 200


def test_many_expressions_share_the_room_below_a_wide_image():
    size = (1600, 300)
    drawing = draw_overlay(make_image(*size), [make_result(size, (5, 5, 100, 100), f"dog {i}") for i in range(8)])
    assert drawing.height < 300 + 8 * 1.5 * 19
