# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Colours, wrapped text, tinted masks, boxes and tags."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ssp_sam.processing.visualization import painting
from ssp_sam.processing.visualization.painting import (
    COLOURS,
    MAX_LINES,
    choose_colours,
    fit_text,
    font_of,
    paint_masks,
    paint_results,
    scaled_size,
    shorten_text,
    tint,
    wrap_text,
)

FONT, ROOM = font_of(15), 200


def ellipse(size, box) -> Image.Image:
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return mask


# ---- text -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["", "the dog", "the red car on the left of the house " * 3, "x" * 200, "红色的汽车" * 20]
)
def test_wrapped_lines_have_room_and_hold_the_whole_text(text):
    lines = wrap_text(text, FONT, ROOM)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(FONT.getlength(line) <= ROOM for line in lines)


def test_lines_break_between_words_and_inside_a_word_only_where_it_alone_is_too_long():
    lines = wrap_text("red " * 40 + "y" * 60, FONT, ROOM)
    assert all(set(line.split()) == {"red"} for line in lines[:-3]) and lines[-2].startswith("yyy")


@pytest.mark.parametrize("text", ["the red car " * 1000, "x" * 100_000])
def test_what_is_too_long_for_all_lines_ends_in_dots(text):
    for limit in (1, 3, MAX_LINES):
        lines = wrap_text(text, FONT, ROOM, limit)
        assert len(lines) == limit and lines[-1].endswith("…") and "…" not in "".join(lines)[:-1]
        assert all(FONT.getlength(line) <= ROOM for line in lines)


@pytest.mark.parametrize("room", [1, 3, 9])
def test_a_room_narrower_than_a_letter_takes_one_letter_a_line(room):
    assert wrap_text("mmm", FONT, room) == ["m", "m", "m"]


def test_the_work_of_wrapping_does_not_grow_with_what_is_left_out(monkeypatch):
    measured = []

    class Probe:
        def textlength(self, text, font):
            measured.append(len(text))
            return 8.0 * len(text)

    monkeypatch.setattr(painting, "PROBE", Probe())
    work = []
    for length in (2_000, 2_000_000):
        measured.clear()
        wrap_text("x" * length, FONT, ROOM)
        work.append(sum(measured))
    assert work[0] == work[1] < MAX_LINES * ROOM * 10


def test_a_text_that_has_room_stays_and_others_end_in_dots():
    assert fit_text("the dog", FONT, ROOM) == "the dog"
    text = "the dog on the left of the red car " * 3
    short = fit_text(text, FONT, ROOM)
    assert short.endswith("…") and text.startswith(short[:-1]) and 0.8 * ROOM < FONT.getlength(short) <= ROOM
    assert fit_text("the dog", FONT, 1) == "…"


def test_a_text_is_shortened_to_one_line():
    assert shorten_text(" the\n red\tcar ", 20) == "the red car"
    assert shorten_text("the red car", 8) == "the red…"


# ---- colours and masks ----------------------------------------------------------------------------------------------


def test_no_side_is_scaled_away():
    assert scaled_size((400, 1), 0.5) == (200, 1) and scaled_size((3, 2), 2) == (6, 4)


def test_colours_differ_from_each_other_and_from_what_they_cover():
    image = Image.new("RGB", (50, 50), COLOURS[0])
    masks = [ellipse(image.size, (1, 1, 40, 40))] * len(COLOURS)
    colours = choose_colours(image, masks)
    assert sorted(colours) == sorted(COLOURS) and colours[0] != COLOURS[0] and colours[-1] == COLOURS[0]
    assert len(choose_colours(image, masks * 3)) == 3 * len(COLOURS)


def test_a_tint_mixes_the_colour_in_and_leaves_the_rest_alone():
    pixels = np.full((2, 2, 3), 100, np.float32)
    tint(pixels, np.array([[True, False], [False, False]]), (200, 0, 100), opacity=0.25)
    assert pixels[0, 0].tolist() == [125, 75, 100] and (pixels.reshape(-1, 3)[1:] == 100).all()


def test_a_contour_has_a_white_halo_where_it_is_asked_for():
    canvas, mask = Image.new("RGB", (80, 60), (90, 90, 90)), ellipse((80, 60), (10, 10, 60, 50))
    plain, haloed = (np.asarray(paint_masks(canvas, [mask], [COLOURS[0]], 2, halo)) for halo in (False, True))
    assert not (plain == 255).all(-1).any() and (haloed == 255).all(-1).any()
    assert ((plain == COLOURS[0]).all(-1) == (haloed == COLOURS[0]).all(-1)).all() and (plain == COLOURS[0]).all(
        -1
    ).any()


def test_a_small_mask_keeps_its_colours_inside_a_large_one_whichever_comes_first():
    canvas = Image.new("RGB", (300, 200), (90, 90, 90))
    small, large = (ellipse(canvas.size, box) for box in ((100, 60, 180, 140), (5, 5, 290, 190)))
    red, blue = COLOURS[:2]
    drawings = [
        np.asarray(paint_masks(canvas, masks, colours, 2))
        for masks, colours in (([small, large], [red, blue]), ([large, small], [blue, red]))
    ]
    assert np.array_equal(*drawings)
    assert (drawings[0][60:141, 100:181] == red).all(-1).sum() > 200  # its whole contour
    assert drawings[0][100, 140, 0] > drawings[0][100, 140, 2]


def test_tags_are_clear_of_each_other():
    box = {"xmin": 10, "ymin": 40, "xmax": 200, "ymax": 90}
    result = {"mask": Image.new("L", (300, 200)), "score": 0.5, "box": box, "label": "the dog", "no_target": False}
    tags = [
        np.asarray(paint_results(Image.new("RGB", (300, 200)), [result] * count, COLOURS[:count]))
        for count in (1, 2, 3)
    ]
    areas = [sum(int((drawing == colour).all(-1).sum()) for colour in COLOURS[:3]) for drawing in tags]
    assert areas[0] < areas[1] < areas[2]
