# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The parts of an explanation's drawing: the prediction, a map over the image, and the weighted words."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from .lettering import font_of
from .overlay import paint_results
from .painting import (
    PANEL_BACKGROUND,
    PANEL_MUTED,
    PANEL_TEXT,
    as_image,
    choose_colours,
    scaled_size,
    shorten_text,
    text_colour,
    wrap_text,
)

IMAGE_SIDE = 320  # the long side of the image in a panel; letters stay readable in the demo's half of a window
MIN_PANEL_WIDTH = 260  # of a narrow image, so that title and scale have room
MARGIN = 14
TITLE_FONT = font_of(17)
WORD_FONT = font_of(18)
SMALL_FONT = font_of(15)
DIVIDER = (212, 212, 220)
# From low to high: colours of growing lightness, which also differ for those who see no red or green.
SCALE = np.array([(8, 6, 26), (72, 15, 108), (165, 44, 96), (229, 92, 48), (252, 172, 28), (252, 253, 170)], np.float32)
MAP_OPACITY = 0.62
GREY_STRENGTH = 0.75  # so that a white image does not outshine the map
MAX_UNREAD_CHARACTERS = 90


def fit_in_panel(image: Image.Image) -> Image.Image:
    """The image at the size that it has in a panel."""
    size = scaled_size(image.size, IMAGE_SIDE / max(image.size))
    return image.convert("RGB").resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)


def draw_prediction(image: Image.Image, result: dict[str, Any]) -> Image.Image:
    """
    The image, at its size in the panel, with the mask of a result of the pipeline, under the score, over the box; or
    the plain image where nothing was found.
    """
    note, box = "no mask and no box", result["box"]
    if box:
        note = f"box {box['xmin']}, {box['ymin']} to {box['xmax']}, {box['ymax']}"
    mask = result["mask"].resize(image.size, Image.Resampling.BILINEAR)
    canvas = paint_results(image, [result], choose_colours(image, [mask]), tags=None)
    verdict = "nothing found" if result["no_target"] else "found"
    panel, draw, corner = _framed(canvas, f"{verdict}, score {result['score']:.2f}")
    SMALL_FONT.write(draw, corner, note, PANEL_MUTED)
    return panel


def draw_map(image: Image.Image, title: str, values: np.ndarray | None) -> Image.Image:
    """
    A map, (height, width), in colours over the grey image of its size, with its scale below; without one, a line that
    says so.
    """
    grey = GREY_STRENGTH * np.asarray(image.convert("L"), np.float32)[..., None]
    if values is None:
        panel, draw, corner = _framed(Image.fromarray((grey / 3).repeat(3, axis=2).astype(np.uint8)), title)
        SMALL_FONT.write(draw, corner, f"this model has no {title} map", PANEL_MUTED)
        return panel
    low, high = float(values.min()), float(values.max())
    colours = colour_of((values - low) / (high - low) if high > low else np.zeros_like(values))
    canvas = MAP_OPACITY * colours + (1 - MAP_OPACITY) * grey
    panel, draw, corner = _framed(as_image(canvas), title)
    _draw_scale(panel, draw, corner, low, high)
    return panel


def draw_words(words: Sequence[Any], unread: str, width: int) -> Image.Image:
    """
    The expression, each `WordWeight` on a ground as strong as its weight and with its percentage below it, in a panel
    of a width in pixels. Special tokens are small and have no ground; `unread` is what the model did not read.
    """
    strongest = max((word.weight or 0.0 for word in words if not word.special), default=0.0)
    weighted = any(word.weight is not None for word in words)
    pitch = 58 if weighted else 40

    # 1. A chip per word, or several where a word is wider than the panel.
    chips: list[tuple[str, Any, tuple[int, int, int, int], bool]] = []
    x, y = MARGIN, MARGIN + 24
    for word in words:
        font = SMALL_FONT if word.special else WORD_FONT
        for number, text in enumerate(wrap_text(word.text, font, width - 2 * MARGIN - 16)):
            chip_width = max(int(font.getlength(text)) + 16, 36)
            if x > MARGIN and x + chip_width > width - MARGIN:
                x, y = MARGIN, y + pitch
            chips.append((text, word, (x, y, x + chip_width, y + 30), number == 0))
            x += chip_width + 6
    note = f"not read: {shorten_text(unread, MAX_UNREAD_CHARACTERS)}" if unread else ""
    notes = wrap_text(note, SMALL_FONT, width - 2 * MARGIN) if note else []

    # 2. Drawn below each other.
    bottom = y + pitch
    panel = Image.new("RGB", (width, bottom + 18 * len(notes) + 6), PANEL_BACKGROUND)
    draw = ImageDraw.Draw(panel)
    title = "weight of each word, in percent" if weighted else "the expression; this model does not weigh its words"
    SMALL_FONT.write(draw, (MARGIN, MARGIN - 6), title, PANEL_MUTED)
    for text, word, box, first in chips:
        _draw_chip(draw, text, word, box, strongest, with_percentage=first)
    for number, line in enumerate(notes):
        SMALL_FONT.write(draw, (MARGIN, bottom - 4 + 18 * number), line, PANEL_MUTED)
    return panel


def _draw_chip(draw, text: str, word: Any, box: tuple[int, int, int, int], strongest: float, with_percentage: bool):
    """A word, or a part of it, in its box; a special token without a ground."""
    font, fill = (SMALL_FONT, PANEL_MUTED) if word.special else (WORD_FONT, PANEL_TEXT)
    if not word.special:
        ground = PANEL_BACKGROUND
        if word.weight is not None and strongest > 0:
            red, green, blue = (int(value) for value in colour_of(np.array(word.weight / strongest)).round())
            ground = (red, green, blue)
        fill = text_colour(ground)
        draw.rounded_rectangle(box, radius=6, fill=ground, outline=DIVIDER)
    middle = (box[0] + box[2]) / 2
    font.write(draw, (middle, box[1] + 15), text, fill, anchor="mm")
    if word.weight is not None and with_percentage:
        percentage = f"{100 * word.weight:.0f}" if word.weight >= 0.0995 else f"{100 * word.weight:.1f}"
        SMALL_FONT.write(draw, (middle, box[1] + 40), percentage, PANEL_MUTED, anchor="mm")


def colour_of(values: np.ndarray) -> np.ndarray:
    """Colours (…, 3) in 0..255 of values (…) in 0..1."""
    steps = np.linspace(0, 1, len(SCALE))
    return np.stack([np.interp(values, steps, SCALE[:, channel]) for channel in range(3)], axis=-1)


def _framed(image: Image.Image, title: str) -> tuple[Image.Image, ImageDraw.ImageDraw, tuple[int, int]]:
    """A panel with a title, the image under it and room below; also where the room below begins."""
    width = max(image.width, MIN_PANEL_WIDTH) + 2 * MARGIN
    panel = Image.new("RGB", (width, image.height + 74), PANEL_BACKGROUND)
    draw = ImageDraw.Draw(panel)
    TITLE_FONT.write(draw, (MARGIN, 11), title, PANEL_TEXT)
    panel.paste(image, ((width - image.width) // 2, 38))
    return panel, draw, (MARGIN, 38 + image.height + 8)


def _draw_scale(panel: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], low: float, high: float):
    """The colours from low to high between the values they stand for."""
    lowest, highest = _numbers(low, high)
    start = corner[0] + int(SMALL_FONT.getlength(lowest)) + 8
    end = panel.width - MARGIN - int(SMALL_FONT.getlength(highest)) - 8
    bar = colour_of(np.linspace(0, 1, end - start)[None].repeat(12, axis=0))
    panel.paste(as_image(bar), (start, corner[1] + 4))
    SMALL_FONT.write(draw, corner, lowest, PANEL_MUTED)
    SMALL_FONT.write(draw, (end + 8, corner[1]), highest, PANEL_MUTED)


def _numbers(low: float, high: float) -> tuple[str, str]:
    """Both values with as many decimals as it takes to tell them apart, from 2 to 6."""
    for decimals in range(2, 7):
        pair = f"{low:.{decimals}f}", f"{high:.{decimals}f}"
        if pair[0] != pair[1] or low == high:
            break
    return pair
