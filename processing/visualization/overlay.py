# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Draws segmentation results over the image they belong to."""

from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from .painting import (
    PANEL_BACKGROUND,
    PANEL_MUTED,
    PANEL_TEXT,
    PROBE,
    Colour,
    choose_colours,
    font_for,
    paint_results,
    scaled_size,
    wrap_text,
)


def draw_overlay(image: Image.Image, results: Sequence[dict[str, Any]], min_long_side: int = 512) -> Image.Image:
    """
    Returns a drawing that shows which region belongs to which expression.

    Each mask gets its own colour, an outline, its box and a numbered tag; a panel below lists every expression with its
    score, and says so where nothing was found.

    Args:
        image: the image that was segmented, upright, any mode.
        results: what `ReferringSegmentationPipeline` returns for that image: dicts with `mask` ("L" image of the
            image's size, 255 inside), `score`, `box` (dict of `xmin`, `ymin`, `xmax`, `ymax` in pixels, or None),
            `label` and `no_target`.
        min_long_side: smaller images are enlarged to this many pixels on their long side, so that lines and letters
            stay readable.

    Raises:
        ValueError: if a mask has another size than the image.
    """
    for number, result in enumerate(results, start=1):
        if result["mask"].size != image.size:
            raise ValueError(
                f"expected masks of the image's size {image.size}, got {result['mask'].size} for expression {number}"
            )
    scale = max(1.0, min_long_side / max(image.size))
    size = scaled_size(image.size, scale)
    canvas = image.convert("RGB").resize(size, Image.Resampling.LANCZOS) if scale > 1 else image.convert("RGB")
    colours = choose_colours(image, [result["mask"] for result in results])
    canvas = paint_results(canvas, results, colours, (size[0] / image.width, size[1] / image.height))
    panel = _draw_panel(results, colours, max(size[0], min_long_side), font_for(size))
    drawing = Image.new("RGB", (max(size[0], panel.width), size[1] + panel.height), PANEL_BACKGROUND)
    drawing.paste(canvas, ((drawing.width - size[0]) // 2, 0))
    drawing.paste(panel, (0, size[1]))
    return drawing


def _draw_panel(results: Sequence[dict[str, Any]], colours: Sequence[Colour], width: int, font) -> Image.Image:
    """The list under the image: number and colour, the expression, its score or "nothing found"."""
    line_height, margin, gap, swatch = (int(font.size * factor) for factor in (1.45, 0.7, 0.5, 1.0))
    notes = ["nothing found" if result["no_target"] else f"score {result['score']:.2f}" for result in results]
    note_width = int(max((PROBE.textlength(note, font=font) for note in notes), default=0))
    room = max(width - 2 * margin - swatch - 2 * gap - note_width, 4 * swatch)
    rows = [wrap_text(f"{index}  {result['label']}", font, room) for index, result in enumerate(results, start=1)]
    height = 2 * margin + line_height * max(1, sum(map(len, rows)))
    panel = Image.new("RGB", (width, height), PANEL_BACKGROUND)
    draw = ImageDraw.Draw(panel)
    y = margin
    for result, lines, note, colour in zip(results, rows, notes, colours):
        missing = result["no_target"]
        fill = PANEL_MUTED if missing else PANEL_TEXT
        square = [margin, y + 2, margin + swatch, y + 2 + swatch]
        draw.rectangle(square, fill=None if missing else colour, outline=colour, width=2)
        draw.text((width - margin - PROBE.textlength(note, font=font), y), note, font=font, fill=fill)
        for text in lines:
            draw.text((margin + swatch + gap, y), text, font=font, fill=fill)
            y += line_height
    return panel


__all__ = ["draw_overlay"]
