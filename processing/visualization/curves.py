# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Numbers over the steps of a training as curves, one panel for each group of them."""

import math
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from .lettering import font_of
from .painting import COLOURS, PANEL_BACKGROUND, PANEL_MUTED, PANEL_TEXT, fit_text

PANEL_WIDTH, PANEL_HEIGHT, COLUMNS = 480, 290, 2
LEFT, RIGHT, TOP, BOTTOM = 66, 16, 34, 92  # margins around the plotted area of a panel; the legend is below it
GRID = (224, 224, 230)
SMOOTHING = 4  # pixels across that make one of a curve
FONT, SMALL = font_of(15), font_of(12)

Curve = Sequence[tuple[float, float]]  # (step, value), in the order of steps


def draw_curves(panels: Mapping[str, Mapping[str, Curve]], title: str) -> Image.Image:
    """
    Draws curves under a title, in panels beside and below each other, all over the same steps; values that are not
    finite leave a gap. Raises `ValueError` where there is no curve with a value.
    """
    steps = [step for curves in panels.values() for curve in curves.values() for step, _ in curve]
    if not steps:
        raise ValueError("expected at least one curve with a value, got none")
    rows = math.ceil(len(panels) / COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * PANEL_WIDTH, rows * PANEL_HEIGHT + 32), PANEL_BACKGROUND)
    FONT.write(ImageDraw.Draw(sheet), (16, 9), fit_text(title, FONT, sheet.width - 32), PANEL_TEXT)
    for number, (name, curves) in enumerate(panels.items()):
        corner = (number % COLUMNS * PANEL_WIDTH, 32 + number // COLUMNS * PANEL_HEIGHT)
        sheet.paste(_draw_panel(name, curves, (min(steps), max(steps))), corner)
    return sheet


def _draw_panel(name: str, curves: Mapping[str, Curve], span: tuple[float, float]) -> Image.Image:
    panel = Image.new("RGB", (PANEL_WIDTH, PANEL_HEIGHT), PANEL_BACKGROUND)
    draw = ImageDraw.Draw(panel)
    FONT.write(draw, (LEFT, 8), fit_text(name, FONT, PANEL_WIDTH - LEFT - RIGHT), PANEL_TEXT)
    values = [value for curve in curves.values() for _, value in curve if math.isfinite(value)]
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    width, height = PANEL_WIDTH - LEFT - RIGHT, PANEL_HEIGHT - TOP - BOTTOM
    length = span[1] - span[0] or 1

    def place(step: float, value: float) -> tuple[float, float]:
        return LEFT + (step - span[0]) / length * width, TOP + (high - value) / (high - low) * height

    for value in (low, (low + high) / 2, high):
        x, y = place(span[0], value)
        draw.line((x, y, LEFT + width, y), fill=GRID)
        SMALL.write(draw, (LEFT - 8, y), f"{value:.3g}", PANEL_MUTED, anchor="rm")
    for step, anchor in ((span[0], "la"), (span[1], "ra")):
        SMALL.write(draw, (place(step, low)[0], TOP + height + 6), f"{step:g}", PANEL_MUTED, anchor=anchor)
    x, y = LEFT, PANEL_HEIGHT - BOTTOM + 26
    for number, (label, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        _draw_curve(panel, [place(*point) if math.isfinite(point[1]) else None for point in curve], colour)
        room = 27 + int(SMALL.getlength(label))
        if x + room > PANEL_WIDTH:
            x, y = LEFT, y + 19
        draw.rectangle((x, y + 3, x + 10, y + 13), fill=colour)
        SMALL.write(draw, (x + 15, y), label, PANEL_MUTED)
        x += room
    return panel


def _draw_curve(panel: Image.Image, points: list[tuple[float, float] | None], colour):
    """Joins points that follow each other, and dots them where there are few; with smooth edges."""
    drawn = Image.new("L", (SMOOTHING * panel.width, SMOOTHING * panel.height))
    draw = ImageDraw.Draw(drawn)
    scaled = [point and (SMOOTHING * point[0], SMOOTHING * point[1]) for point in points]
    for one, other in zip(scaled, scaled[1:]):
        if one is not None and other is not None:
            draw.line((*one, *other), fill=255, width=2 * SMOOTHING)
    if len(points) <= 24:
        radius = 3 * SMOOTHING
        for x, y in filter(None, scaled):
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    panel.paste(colour, (0, 0), drawn.reduce(SMOOTHING))
