# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Tags on an image, clear of each other."""

import itertools

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ssp_sam.processing.visualization import tags
from ssp_sam.processing.visualization.lettering import font_of
from ssp_sam.processing.visualization.painting import COLOURS, touch

SIZE = (400, 300)


def draw(boxes, monkeypatch, inside=False, text="the red car", size=SIZE):
    """The corners of the tags drawn for boxes, and the drawing."""
    corners = []

    class Recording(ImageDraw.ImageDraw):
        def rounded_rectangle(self, xy, *args, **kwargs):
            corners.append(tuple(xy))
            super().rounded_rectangle(xy, *args, **kwargs)

    monkeypatch.setattr(tags.ImageDraw, "Draw", Recording)
    canvas, masks = Image.new("RGB", size), []
    for box in boxes:
        mask = Image.new("L", size)
        mask.paste(255, box)
        masks.append(mask)
    count = len(boxes)
    colours = [COLOURS[index % len(COLOURS)] for index in range(count)]
    shown = tags.draw_tags(canvas, [text] * count, [" 0.5"] * count, masks, boxes, colours, font_of(13), inside=inside)
    assert shown.count(True) == len(corners)
    return corners, canvas


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("count", [1, 2, 12, 40])
def test_no_tag_lies_on_another_or_leaves_the_image(count, inside, monkeypatch):
    generator = np.random.default_rng(count)
    starts = generator.integers(0, (300, 200), (count, 2))
    boxes = [(int(x), int(y), int(x) + 90, int(y) + 90) for x, y in starts]
    corners, _ = draw(boxes, monkeypatch, inside)
    assert not any(touch(a, b) for a, b in itertools.combinations(corners, 2))
    assert all(0 <= left < right < 400 and 0 <= top < bottom < 300 for left, top, right, bottom in corners)
    assert len(corners) == count if count <= 12 else len(corners) > 20


def test_the_same_box_many_times_has_a_tag_for_each(monkeypatch):
    corners, _ = draw([(100, 100, 200, 200)] * 8, monkeypatch)
    assert len(set(corners)) == 8


def test_a_short_tag_lies_in_the_middle_of_a_large_region(monkeypatch):
    [(left, top, right, bottom)], _ = draw([(100, 50, 300, 250)], monkeypatch, inside=True, text="1")
    assert abs((left + right) / 2 - 200) < 12 and abs((top + bottom) / 2 - 150) < 12


def test_a_tag_of_a_small_region_leaves_it_visible(monkeypatch):
    box = (100, 100, 115, 115)
    [corners], _ = draw([box], monkeypatch, inside=True, text="1")
    assert not touch(corners, (101, 101, 114, 114))


def test_a_long_text_is_cut_off_before_its_note(monkeypatch):
    [(left, _, right, _)], _ = draw([(10, 100, 390, 250)], monkeypatch, text="the red car on the left " * 9)
    assert right - left < 21 * 13


def test_there_is_no_tag_where_there_is_no_room(monkeypatch):
    assert draw([(1, 1, 9, 5)], monkeypatch, size=(10, 6))[0] == []
