# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Curves of a training: where they run, and what is left out."""

import numpy as np
import pytest

from ssp_sam.processing.visualization.curves import BOTTOM, PANEL_HEIGHT, PANEL_WIDTH, draw_curves
from ssp_sam.processing.visualization.painting import COLOURS


def rows_of(drawing, colour, columns):
    """The mean row of a colour in some columns of the plotted area, without the legend."""
    pixels = np.asarray(drawing)[: 32 + PANEL_HEIGHT - BOTTOM + 4, columns]
    found = np.nonzero((pixels == colour).all(-1))[0]
    return found.mean() if len(found) else None


def test_a_rising_curve_rises_and_a_falling_one_falls():
    steps = range(0, 100, 2)
    curves = {"up": [(s, s / 100) for s in steps], "down": [(s, 1 - s / 100) for s in steps]}
    drawing = draw_curves({"both": curves}, "a run")
    early, late = slice(80, 120), slice(PANEL_WIDTH - 70, PANEL_WIDTH - 30)
    assert rows_of(drawing, COLOURS[0], early) > rows_of(drawing, COLOURS[0], late) + 80
    assert rows_of(drawing, COLOURS[1], early) < rows_of(drawing, COLOURS[1], late) - 80


def test_panels_stand_two_in_a_row():
    panel = {"loss": [(1, 2.0), (2, 1.0)]}
    assert draw_curves(dict.fromkeys("abc", panel), "").size == (2 * PANEL_WIDTH, 2 * PANEL_HEIGHT + 32)


@pytest.mark.parametrize("curve", [[(5, 1.0)], [(1, 3.0), (2, 3.0)], [(1, 1.0), (2, float("nan")), (3, 2.0)]])
def test_one_point_a_level_curve_and_a_gap_are_drawn(curve):
    assert np.asarray(draw_curves({"loss": {"loss": curve}}, "x")).std() > 0


def test_no_curve_is_refused():
    with pytest.raises(ValueError, match="expected at least one curve with a value, got none"):
        draw_curves({"loss": {"loss": []}}, "x")
