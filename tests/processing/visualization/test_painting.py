# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Colours, wrapped text, tinted masks and their outlines."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ssp_sam.processing.visualization.lettering import Lettering, font_of
from ssp_sam.processing.visualization.painting import (
    COLOURS,
    MAX_LINES,
    choose_colours,
    fit_text,
    font_for,
    line_for,
    paint_masks,
    scaled_size,
    shorten_text,
    text_colour,
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


def test_the_work_of_wrapping_does_not_grow_with_what_is_left_out():
    measured = []

    class Counting(Lettering):
        def getlength(self, text):
            measured.append(len(text))
            return 8.0 * len(text)

    work = []
    for length in (2_000, 2_000_000):
        measured.clear()
        wrap_text("x" * length, Counting(15), ROOM)
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


# What readers without one of the three kinds of cones see of linear RGB (Machado and others, 2009).
VISIONS = {
    "all cones": np.eye(3),
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def lab(colours, vision) -> np.ndarray:
    """Colours in 0..255 as CIE L*a*b*, seen by one kind of vision."""
    values = np.asarray(colours, float) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4) @ np.array(vision).T
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = np.clip(linear, 0, 1) @ to_xyz.T / (0.9505, 1, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("vision", VISIONS)
def test_all_colours_are_told_apart_by_every_kind_of_vision(vision):
    values = lab(COLOURS, VISIONS[vision])
    distances = np.linalg.norm(values[:, None] - values, axis=-1)[np.triu_indices(len(COLOURS), 1)]
    assert distances.min() > 20  # 2.3 is a difference that is just noticed


def test_letters_on_each_colour_have_the_contrast_of_large_text():
    def luminance(colour):
        values = np.asarray(colour, float) / 255
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        return float(linear @ (0.2126, 0.7152, 0.0722))

    for colour in COLOURS:
        low, high = sorted((luminance(colour), luminance(text_colour(colour))))
        assert (high + 0.05) / (low + 0.05) >= 3, colour  # WCAG 2.2, 1.4.3


def test_colours_differ_from_each_other_and_from_what_they_cover():
    image = Image.new("RGB", (50, 50), COLOURS[0])
    masks = [ellipse(image.size, (1, 1, 40, 40))] * len(COLOURS)
    colours = choose_colours(image, masks)
    assert sorted(colours) == sorted(COLOURS) and colours[0] != COLOURS[0] and colours[-1] == COLOURS[0]
    assert len(choose_colours(image, masks * 3)) == 3 * len(COLOURS)


def test_colours_that_are_used_again_are_not_those_of_neighbours():
    image, count = Image.new("RGB", (800, 30)), len(COLOURS) + 5
    masks = [ellipse(image.size, (50 * i, 1, 50 * i + 40, 28)) for i in range(count)]
    masks[-1] = ellipse(image.size, (0, 1, 8 * 50 + 40, 28))  # over the first nine
    colours = choose_colours(image, masks)
    assert colours[-1] not in colours[:9] or set(COLOURS) <= {*colours[:9], *colours[len(COLOURS) : -1]}


@pytest.mark.parametrize("size", [(64, 64), (640, 480), (8000, 6000), (8000, 64)])
def test_letters_and_lines_grow_with_the_image(size):
    letters, line = font_for(size), line_for(size)
    assert 13 <= letters.size <= max(13, min(size)) and 2 <= line < letters.size
    assert letters.size >= 0.02 * min(size) and line >= 0.003 * min(size)


def test_a_tint_mixes_the_colour_in_and_leaves_the_rest_alone():
    pixels = np.full((2, 2, 3), 100, np.float32)
    tint(pixels, np.array([[True, False], [False, False]]), (200, 0, 100), opacity=0.25)
    assert pixels[0, 0].tolist() == [125, 75, 100] and (pixels.reshape(-1, 3)[1:] == 100).all()


def test_a_contour_has_a_white_halo_where_it_is_asked_for():
    canvas, mask = Image.new("RGB", (80, 60), (90, 90, 90)), ellipse((80, 60), (10, 10, 60, 50))
    plain, haloed = (np.asarray(paint_masks(canvas, [mask], [COLOURS[0]], 2, halo=halo)) for halo in (False, True))
    assert plain.min(-1).max() < 150 and haloed.min(-1).max() > 220
    for drawn in (plain, haloed):
        assert np.abs(drawn[30, 11].astype(int) - COLOURS[0]).max() < 10


def test_edges_are_smooth_and_where_the_mask_ends():
    canvas, mask = Image.new("RGB", (200, 200)), Image.new("L", (200, 200))
    ImageDraw.Draw(mask).polygon([(20, 20), (180, 60), (60, 180)], fill=255)
    drawn = np.asarray(paint_masks(canvas, [mask], [(255, 255, 255)], 0, opacity=1.0))[..., 0] / 255
    inside = np.asarray(mask) > 127
    assert abs(drawn.sum() - inside.sum()) < 0.01 * inside.sum()
    assert np.count_nonzero((drawn > 0.2) & (drawn < 0.8)) > 100  # not a staircase
    assert (drawn[inside].mean() > 0.97) and (drawn[~inside].mean() < 0.01)


@pytest.mark.parametrize("scale", [1, 8])
def test_a_contour_is_as_wide_as_asked_however_much_the_mask_is_enlarged(scale):
    mask = Image.new("L", (400 // scale, 240 // scale))
    mask.paste(255, (160 // scale, 40 // scale, 320 // scale, 200 // scale))
    drawn = np.asarray(paint_masks(Image.new("RGB", (400, 240)), [mask], [(255, 0, 0)], 6, halo=False, opacity=0.0))
    row = drawn[120, :, 0] / 255
    assert row[:240].sum() == pytest.approx(6, abs=0.8) and row[240:].sum() == pytest.approx(6, abs=0.8)
    assert row[160 - 8 : 160 + 12].sum() == pytest.approx(6, abs=0.8)


def test_thin_parts_do_not_vanish():
    mask = Image.new("L", (100, 60))
    mask.paste(255, (10, 30, 90, 31))
    drawn = np.asarray(paint_masks(Image.new("RGB", (100, 60)), [mask], [(255, 0, 0)], 3, halo=False))
    assert drawn[30, 20:80, 0].min() > 120


def test_a_small_mask_keeps_its_colours_inside_a_large_one_whichever_comes_first():
    canvas = Image.new("RGB", (300, 200), (90, 90, 90))
    small, large = (ellipse(canvas.size, box) for box in ((100, 60, 180, 140), (5, 5, 290, 190)))
    red, blue = (230, 38, 60), (0, 120, 230)
    drawings = [
        np.asarray(paint_masks(canvas, masks, colours, 2))
        for masks, colours in (([small, large], [red, blue]), ([large, small], [blue, red]))
    ]
    assert np.array_equal(*drawings)
    assert (drawings[0][60:141, 100:181] == red).all(-1).sum() > 150  # its whole contour
    assert drawings[0][100, 140, 0] > drawings[0][100, 140, 2]
