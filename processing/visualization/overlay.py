# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Results over the image they belong to, with a legend that names them."""

import math
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw

from .lettering import Lettering
from .painting import (
    PANEL_BACKGROUND,
    PANEL_MUTED,
    PANEL_TEXT,
    Colour,
    choose_colours,
    font_for,
    joined,
    line_for,
    paint_masks,
    scaled_size,
    soft_region,
    text_colour,
    wrap_text,
)
from .tags import Box, draw_tags

STYLES = ("masks", "boxes", "outline", "cutout")
TALL = 1.3  # height by width from which the legend stands beside the image
LEGEND_EMS = 24  # most that a column of the legend needs in width, in heights of its letters


def draw_overlay(
    image: Image.Image,
    results: Sequence[dict[str, Any]],
    min_long_side: int = 512,
    *,
    style: str = "masks",
    legend: bool = True,
    compare: bool = False,
) -> Image.Image:
    """
    Returns a drawing that shows which region belongs to which expression.

    With a legend each region has its number on it, and the legend lists every expression with its score, and says so
    where nothing was found. Without one the tags on the image give expression and score, as far as there is room.

    Args:
        image: the image that was segmented, upright, any mode.
        results: what `ReferringSegmentationPipeline` returns for that image.
        min_long_side: smaller images are enlarged to this many pixels on their long side, so that lines and letters
            stay readable.
        style: "masks" for tinted regions with an outline, "boxes" for the bounding boxes of the masks, "outline" for
            outlines alone, "cutout" for what the masks hold on a transparent ground, without tags and legend.
        legend: whether there is one.
        compare: whether the image as it is stands beside the drawing.

    Returns:
        An RGB image, or RGBA with the style "cutout".

    Raises:
        ValueError: if a mask has another size than the image, or there is no such style.
    """
    if style not in STYLES:
        raise ValueError(f"expected a style of {', '.join(STYLES)}, got {style!r}")
    for number, result in enumerate(results, start=1):
        if result["mask"].size != image.size:
            raise ValueError(
                f"expected masks of the image's size {image.size}, got {result['mask'].size} for expression {number}"
            )
    size = scaled_size(image.size, max(1.0, min_long_side / max(image.size)))
    canvas = image.convert("RGB")
    canvas = canvas.resize(size, Image.Resampling.LANCZOS) if size != image.size else canvas
    colours = choose_colours(image, [result["mask"] for result in results])
    if style == "cutout":
        drawing = _cut_out(canvas, results)
    else:
        drawing = paint_results(canvas, results, colours, style=style, tags="number" if legend else "text")
    if compare:
        drawing = joined([canvas.convert(drawing.mode), drawing], gap=max(4, line_for(size) * 2))
    return _with_legend(drawing, results, colours, font_for(size)) if legend and style != "cutout" else drawing


def paint_results(
    canvas: Image.Image,
    results: Sequence[dict[str, Any]],
    colours: Sequence[Colour],
    *,
    style: str = "masks",
    tags: str | None = "number",
) -> Image.Image:
    """
    Returns an image with the regions of results on it, and nothing around it.

    Args:
        canvas: RGB, the image that was segmented, at any size.
        results: dicts of `ReferringSegmentationPipeline`.
        colours: one per result.
        style: "masks", "boxes" or "outline", as of `draw_overlay`.
        tags: what regions are tagged with: "number", "text" for expression and score, or None.
    """
    line, letters = line_for(canvas.size), font_for(canvas.size)
    found = [index for index, result in enumerate(results) if not result["no_target"] and result["mask"].getbbox()]
    masks, shown = [results[index]["mask"] for index in found], [colours[index] for index in found]
    boxes = [_box_of(mask, canvas.size) for mask in masks]
    if style == "boxes":
        canvas = canvas.copy()
        draw = ImageDraw.Draw(canvas)
        for box, colour in zip(boxes, shown):
            outer = tuple(value + sign for value, sign in zip(box, (-1, -1, 1, 1)))
            draw.rectangle(outer, outline=(255, 255, 255), width=line + 2)
            draw.rectangle(box, outline=colour, width=line)
    else:
        canvas = paint_masks(canvas, masks, shown, line, **({"opacity": 0.0} if style == "outline" else {}))
    if tags is not None:
        numbers = tags == "number"
        texts = [str(index + 1) if numbers else results[index]["label"] for index in found]
        notes = ["" if numbers else f"  {results[index]['score']:.2f}" for index in found]
        draw_tags(canvas, texts, notes, masks, boxes, shown, letters, inside=numbers and style != "boxes")
    return canvas


def _box_of(mask: Image.Image, size: tuple[int, int]) -> Box:
    """The bounding box of a mask in pixels of a canvas, last column and row included, inside the canvas."""
    left, top, right, bottom = mask.getbbox() or (0, 0, 1, 1)
    across, down = size[0] / mask.width, size[1] / mask.height
    x, y = min(round(left * across), size[0] - 1), min(round(top * down), size[1] - 1)
    return x, y, max(min(round(right * across), size[0]) - 1, x), max(min(round(bottom * down), size[1]) - 1, y)


def _cut_out(canvas: Image.Image, results: Sequence[dict[str, Any]]) -> Image.Image:
    """What any of the masks holds, on a transparent ground."""
    alpha = Image.new("L", canvas.size)
    for result in results:
        if (region := soft_region(result["mask"], canvas.size, margin=2)) is not None:
            alpha.paste(255, region[0], region[1])
    drawing = canvas.convert("RGBA")
    drawing.putalpha(alpha)
    return drawing


def _with_legend(
    drawing: Image.Image, results: Sequence[dict[str, Any]], colours: Sequence[Colour], letters: Lettering
) -> Image.Image:
    """A drawing with the legend under it, or beside it where it is tall."""
    least = round(LEGEND_EMS * letters.size)
    beside = drawing.height > TALL * drawing.width
    panel = _draw_legend(results, colours, letters, least if beside else max(drawing.width, least), 1 if beside else 0)
    return joined([drawing, panel], down=not beside)


def _draw_legend(
    results: Sequence[dict[str, Any]], colours: Sequence[Colour], letters: Lettering, width: int, columns: int
) -> Image.Image:
    """The list of numbers, expressions and scores, in so many columns, or as many as have room for 0."""
    size = letters.size
    line_height, margin, gap, chip = (round(size * factor) for factor in (1.5, 0.8, 0.5, 1.35))
    notes = ["nothing found" if result["no_target"] else f"{result['score']:.2f}" for result in results]
    note_width = max(map(letters.getlength, notes), default=0)
    frame = 2 * margin + chip + 2 * gap + note_width
    if not columns:
        longest = max((letters.getlength(result["label"][:200]) for result in results), default=0)
        columns = max(1, min(len(results), int(width // min(frame + longest, LEGEND_EMS * size))))
        columns = math.ceil(len(results) / math.ceil(len(results) / columns)) if results else 1
    column_width = width // columns
    room = max(column_width - frame, 4 * chip)
    rows = [wrap_text(result["label"], letters, room) for result in results]
    per_column = math.ceil(len(rows) / columns)
    groups = [range(start, min(start + per_column, len(rows))) for start in range(0, len(rows), per_column or 1)]
    heights = [sum(len(rows[index]) * line_height for index in group) for group in groups]
    panel = Image.new("RGB", (width, 2 * margin + max([line_height, *heights])), PANEL_BACKGROUND)
    draw = ImageDraw.Draw(panel)
    for number, group in enumerate(groups):
        x, y = margin + number * column_width, margin
        for index in group:
            missing, colour = results[index]["no_target"], colours[index]
            box = (x, y, x + chip, y + chip)
            draw.rounded_rectangle(
                box, chip // 5, fill=None if missing else colour, outline=PANEL_MUTED if missing else colour
            )
            middle = (x + chip / 2, y + chip / 2)
            fill = PANEL_MUTED if missing else text_colour(colour)
            letters.write(draw, middle, str(index + 1), fill, anchor="mm")
            fill, right = PANEL_MUTED if missing else PANEL_TEXT, x + column_width - 2 * margin
            letters.write(draw, (right, y + chip / 2), notes[index], PANEL_MUTED, anchor="rm")
            for text in rows[index]:
                letters.write(draw, (x + chip + gap, y + chip / 2), text, fill, anchor="lm")
                y += line_height
    return panel


__all__ = ["STYLES", "draw_overlay", "paint_results"]
