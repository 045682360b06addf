# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Draws samples of a prepared benchmark: each image with what is meant in it, and the sentences that mean it."""

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw

from .lettering import font_of
from .painting import (
    PANEL_BACKGROUND,
    PANEL_MUTED,
    PANEL_TEXT,
    choose_colours,
    joined,
    paint_masks,
    scaled_size,
    wrap_text,
)

CELL_WIDTH = 380
IMAGE_HEIGHT = 285
MARGIN = 10
FONT_SIZE = 15
MAX_SENTENCES = 6  # of a sample; how many more there are is said
NO_TARGET_COLOUR = (190, 90, 0)
NO_TARGET_TEXT = "nothing is meant"


def draw_data_sheet(rows: Sequence[Mapping[str, Any]], columns: int = 4) -> Image.Image:
    """
    Returns one drawing of all the samples, at least one, so many beside each other.

    Each object has a colour of its own that stands out, the hull of all boxes is drawn dashed, and a sample in which
    nothing is meant has an orange frame and says so.

    Args:
        rows: Rows of a prepared benchmark with decoded images, and masks as (height, width) bool. Lines under
            `suspicions` are drawn in orange.
    """
    if not rows or columns < 1:
        raise ValueError(f"expected at least one sample and one column, got {len(rows)} and {columns}")
    columns = min(columns, len(rows))
    cells = [_draw_cell(row) for row in rows]
    lines = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    return joined([joined(line, least_width=columns * CELL_WIDTH) for line in lines], down=True)


def _draw_cell(row: Mapping[str, Any]) -> Image.Image:
    width, font, line_height = CELL_WIDTH - 2 * MARGIN, font_of(FONT_SIZE), round(FONT_SIZE * 1.35)
    image = _draw_image(row, width)
    lines = [(f"{row['source']} {row['split']} {row['ref_id']}", PANEL_MUTED)]
    if row["no_target"]:
        lines.append((NO_TARGET_TEXT, NO_TARGET_COLOUR))
    elif row["category"]:
        lines.append((row["category"], PANEL_MUTED))
    lines += [(text, NO_TARGET_COLOUR) for text in row.get("suspicions", ())]
    lines += [(text, PANEL_TEXT) for text in row["expressions"][:MAX_SENTENCES]]
    if len(row["expressions"]) > MAX_SENTENCES:
        lines.append((f"and {len(row['expressions']) - MAX_SENTENCES} more", PANEL_MUTED))
    wrapped = [(part, colour) for text, colour in lines for part in wrap_text(text, font, width)]
    cell = Image.new("RGB", (CELL_WIDTH, IMAGE_HEIGHT + 3 * MARGIN + line_height * len(wrapped)), PANEL_BACKGROUND)
    cell.paste(image, (MARGIN + (width - image.width) // 2, MARGIN + (IMAGE_HEIGHT - image.height) // 2))
    draw = ImageDraw.Draw(cell)
    for number, (text, colour) in enumerate(wrapped):
        font.write(draw, (MARGIN, IMAGE_HEIGHT + 2 * MARGIN + number * line_height), text, colour)
    return cell


def _draw_image(row: Mapping[str, Any], width: int) -> Image.Image:
    """The image as large as the cell allows, with masks, the box, and a frame where nothing is meant."""
    image = row["image"].convert("RGB")
    size = scaled_size(image.size, min(width / image.width, IMAGE_HEIGHT / image.height))
    smaller = image.resize(size, Image.Resampling.LANCZOS)
    masks = [Image.fromarray(mask).convert("L").resize(size, Image.Resampling.BILINEAR) for mask in row["masks"]]
    drawn = paint_masks(smaller, masks, choose_colours(smaller, masks), line=2, halo=False)
    draw = ImageDraw.Draw(drawn)
    if row["box_xyxy"] is not None:
        across, down = size[0] / image.width, size[1] / image.height
        left, top, right, bottom = row["box_xyxy"]
        corners = (left * across, top * down, min(right * across, size[0] - 1), min(bottom * down, size[1] - 1))
        _dashed_rectangle(draw, corners)
    if row["no_target"]:
        draw.rectangle((0, 0, size[0] - 1, size[1] - 1), outline=NO_TARGET_COLOUR, width=4)
    return drawn


def _dashed_rectangle(draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], dash: int = 6):
    """A box of white dashes on black, which shows on any ground."""
    left, top, right, bottom = (round(value) for value in box)
    right, bottom = max(right, left), max(bottom, top)
    draw.rectangle((left, top, right, bottom), outline=(0, 0, 0), width=2)
    for start in range(left, right, 2 * dash):
        for y in (top, bottom):
            draw.line((start, y, min(start + dash, right), y), fill=(255, 255, 255), width=2)
    for start in range(top, bottom, 2 * dash):
        for x in (left, right):
            draw.line((x, start, x, min(start + dash, bottom)), fill=(255, 255, 255), width=2)
