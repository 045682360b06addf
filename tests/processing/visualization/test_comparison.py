# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Predictions drawn against the truth: which cases are chosen, their colours, and the sheet."""

import numpy as np
import pytest
import torch
from PIL import Image

from ssp_sam.processing.visualization.comparison import (
    MISSED,
    RIGHT,
    TILE_HEIGHT,
    TILE_WIDTH,
    WRONG,
    Case,
    PredictionDrawings,
    choose_cases,
    draw_contact_sheet,
    paint_case,
)
from tests.helpers.evaluation import rectangle


def test_the_contact_sheet_shows_best_median_worst_and_what_is_not_meant():
    # Nine cases with IoU 0.1 to 0.9 on as many images; without a target one is predicted rightly and two wrongly.
    overlaps = [number / 10 for number in range(1, 10)] + [-2.0, -1.0, -1.0]
    cases = (list(range(12)), [0] * 12, overlaps)
    chosen = choose_cases(cases, 2)
    assert chosen["best"] == [(8, 0), (7, 0)]
    assert chosen["worst"] == [(0, 0), (1, 0)]
    assert chosen["median"][0] == (4, 0)
    assert chosen["nothing is meant"] == [(10, 0), (9, 0)]
    turned = tuple(values[::-1] for values in cases)
    assert choose_cases(turned, 2) == chosen


def test_colours_of_a_case_tell_right_wrong_and_missed_pixels():
    image = Image.new("RGB", (6, 6), (255, 255, 255))
    painted = np.asarray(paint_case(image, rectangle((6, 6), 0, 0, 6, 4), rectangle((6, 6), 0, 2, 6, 6))).astype(int)
    for column, colour in ((0, WRONG), (3, RIGHT), (5, MISSED)):
        distances = [abs(painted[3, column] - other).sum() for other in (WRONG, RIGHT, MISSED)]
        assert min(distances) == abs(painted[3, column] - colour).sum()
    with pytest.raises(ValueError, match=r"image's size \(6, 6\), got \(5, 6\)"):
        paint_case(image, np.zeros((5, 6), dtype=bool), np.zeros((6, 6), dtype=bool))


def test_a_sheet_of_one_case_with_long_words_is_drawn():
    mask = rectangle((20, 500), 0, 0, 20, 250)
    case = Case(Image.new("RGB", (500, 20)), "w" * 300 + " and more" * 40, mask, mask, "IoU 1.00")
    sheet = draw_contact_sheet({"best": [case]}, "t" * 500)
    assert sheet.width < 1500 and sheet.height < 500
    with pytest.raises(ValueError, match="at least one case"):
        draw_contact_sheet({}, "nothing")


def test_the_first_predictions_during_training_are_kept_as_drawings():
    drawings = PredictionDrawings(2)
    images = [Image.new("RGB", (6, 4), (90, 90, 90))] * 3
    batch = {"images": images, "true_masks": [None, np.ones((4, 6), bool), None], "expressions": ["a", "b", "c"]}
    for row in range(3):
        drawings(batch, row, {"mask": torch.zeros(4, 6, dtype=torch.bool)})
    assert [drawing.size for drawing in drawings.drawings] == [(TILE_WIDTH, TILE_HEIGHT)] * 2
    nothing, missed = (np.asarray(drawing).reshape(-1, 3) for drawing in drawings.drawings)
    blue = (missed[:, 2].astype(int) - missed[:, 0] > 60).sum()
    assert blue > 1000, "where the target was missed"
    assert not (nothing[:, 2].astype(int) - nothing[:, 0] > 60).any()
