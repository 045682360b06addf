# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Draws segmentation results over the image they belong to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Strong colours that differ in hue and lightness.
COLOURS = (
    (230, 38, 60),
    (0, 120, 230),
    (20, 160, 70),
    (250, 150, 20),
    (150, 60, 210),
    (0, 180, 190),
    (235, 70, 190),
    (150, 95, 40),
    (120, 140, 0),
    (90, 100, 120),
)
FILL_OPACITY = 0.42
PANEL_BACKGROUND = (24, 24, 27)
PANEL_TEXT = (244, 244, 245)
PANEL_MUTED = (168, 168, 176)
MAX_TAG_CHARACTERS = 32
CLEAR_DISTANCE = 140.0  # between a colour and what it is drawn on, in RGB


def draw_overlay(image: Image.Image, results: Sequence[dict[str, Any]], min_long_side: int = 512) -> Image.Image:
    """
    Returns a picture that shows which region belongs to which expression.

    Each mask gets its own colour, an outline, its box and a numbered tag; a panel below lists every expression in full
    with its score, and says so where nothing was found.

    Args:
        image: the picture that was segmented, upright, any mode.
        results: what `ReferringSegmentationPipeline` returns for that picture: dicts with `mask` ("L" image of the
            picture's size, 255 inside), `score`, `box` (dict of `xmin`, `ymin`, `xmax`, `ymax` in pixels, or None),
            `label` and `no_target`.
        min_long_side: smaller pictures are enlarged to this many pixels on their long side, so that lines and
            letters stay readable.

    Raises:
        ValueError: if a mask has another size than the image.
    """
    for number, result in enumerate(results, start=1):
        if result["mask"].size != image.size:
            raise ValueError(
                f"expected masks of the image's size {image.size}, got {result['mask'].size} for expression {number}"
            )
    scale = max(1.0, min_long_side / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    canvas = image.convert("RGB").resize(size, Image.Resampling.LANCZOS) if scale > 1 else image.convert("RGB")
    colours = choose_colours(image, results)
    canvas = paint_results(canvas, results, colours, (size[0] / image.width, size[1] / image.height))
    panel = _draw_panel(results, colours, max(size[0], min_long_side), _font_for(size))
    picture = Image.new("RGB", (max(size[0], panel.width), size[1] + panel.height), PANEL_BACKGROUND)
    picture.paste(canvas, ((picture.width - size[0]) // 2, 0))
    picture.paste(panel, (0, size[1]))
    return picture


def paint_results(
    canvas: Image.Image,
    results: Sequence[dict[str, Any]],
    colours: Sequence[tuple[int, int, int]],
    scale: tuple[float, float] = (1.0, 1.0),
    *,
    tags: bool = True,
) -> Image.Image:
    """
    Returns a picture with the masks and boxes of results on it, and nothing around it.

    Args:
        canvas: RGB, the picture that was segmented, at any size.
        results: as in `draw_overlay`.
        colours: one per result.
        scale: canvas pixels per pixel of the results' boxes, across and down.
        tags: whether each box gets a tag with number, expression and score.
    """
    line = max(2, round(max(canvas.size) / 320))
    canvas = _paint_masks(canvas, results, colours, line)
    _draw_boxes_and_tags(canvas, results, colours, scale, line, _font_for(canvas.size) if tags else None)
    return canvas


def _font_for(size: tuple[int, int]):
    return ImageFont.load_default(size=float(min(40, max(13, round(max(size) / 38)))))


def choose_colours(image: Image.Image, results: Sequence[dict[str, Any]]) -> list[tuple[int, int, int]]:
    """
    Gives each expression a colour of its own that stands out from what its mask covers and from what is around it.

    That is the first unused one of `COLOURS` that is far enough from the mean colours of the region and of the rest of
    its bounding box, or else the farthest; once all are used, they may be used again.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    chosen: list[tuple[int, int, int]] = []
    for result in results:
        inside = np.asarray(result["mask"]) > 127
        left, top, right, bottom = result["mask"].getbbox() or (0, 0, *image.size)
        around = ~inside[top:bottom, left:right]
        grounds = [
            region.mean(0) for region in (pixels[inside], pixels[top:bottom, left:right][around]) if len(region) > 0
        ]
        used = chosen[len(chosen) - len(chosen) % len(COLOURS) :]
        distances = {
            colour: min(float(np.linalg.norm(np.array(colour) - ground)) for ground in grounds)
            for colour in COLOURS
            if colour not in used
        }
        clear = [colour for colour, distance in distances.items() if distance >= CLEAR_DISTANCE]
        chosen.append(clear[0] if clear else max(distances, key=lambda colour: distances[colour]))
    return chosen


def _paint_masks(canvas: Image.Image, results: Sequence[dict[str, Any]], colours, line: int) -> Image.Image:
    """
    Tints each region and draws its contour, white around the colour so that it shows on any ground.

    The largest comes first, so that smaller ones inside it keep their colours.
    """
    pixels = np.asarray(canvas, dtype=np.float32).copy()
    regions = []  # each mask in its bounding box, that window of the picture, and its colour
    for result, colour in zip(results, colours):
        mask = result["mask"].resize(canvas.size, Image.Resampling.BILINEAR).point(_binary)
        left, top, right, bottom = mask.getbbox() or (0, 0, 0, 0)
        regions.append((np.asarray(mask)[top:bottom, left:right] > 0, pixels[top:bottom, left:right], colour))
    regions.sort(key=lambda region: -np.count_nonzero(region[0]))
    for inside, window, colour in regions:
        window[inside] = (1 - FILL_OPACITY) * window[inside] + FILL_OPACITY * np.array(colour, np.float32)
    for inside, window, colour in regions:
        for width, edge_colour in ((line + max(1, line // 2), (255, 255, 255)), (line, colour)):
            window[inside & ~_eroded(inside, width)] = edge_colour
    return Image.fromarray(pixels.round().astype(np.uint8))


def _eroded(inside: np.ndarray, width: int) -> np.ndarray:
    """`inside`, (height, width) bool, without its outermost `width` pixels; the array's edge counts as outside."""
    for _ in range(width):
        wide = np.pad(inside, 1)
        inside = inside & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return inside


def _binary(value: int) -> int:
    return 255 if value > 127 else 0


def _draw_boxes_and_tags(canvas, results, colours, scale, line, font) -> None:
    """Draws boxes first and, with a font, tags over them, each inside the image and clear of the tags before it."""
    draw = ImageDraw.Draw(canvas)
    found = [(index, result) for index, result in enumerate(results) if result["box"] and not result["no_target"]]
    boxes = {index: _scaled_box(result["box"], scale, canvas.size) for index, result in found}
    for index, box in boxes.items():
        halo = [box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1]
        draw.rectangle(halo, outline=(0, 0, 0), width=line + 2)
        draw.rectangle(box, outline=colours[index], width=line)
    taken: list[tuple[int, int, int, int]] = []
    for index, result in found if font is not None else ():
        text = f"{index + 1} {shorten_text(result['label'], MAX_TAG_CHARACTERS)} {result['score']:.2f}"
        place = _tag_place(draw, text, font, boxes[index], canvas.size, taken)
        if place is None:  # no room for letters at all: the panel below still names it
            continue
        taken.append(place)
        draw.rectangle(place, fill=colours[index], outline=(255, 255, 255))
        draw.text((place[0] + 4, place[1] + 2), text, font=font, fill=text_colour(colours[index]))


def _scaled_box(box: dict[str, int], scale: tuple[float, float], size: tuple[int, int]) -> list[float]:
    """The box in canvas pixels, at least one pixel wide and high and inside the canvas."""
    x_min, y_min = min(box["xmin"] * scale[0], size[0] - 2), min(box["ymin"] * scale[1], size[1] - 2)
    x_min, y_min = max(x_min, 0), max(y_min, 0)
    x_max = max(min(box["xmax"] * scale[0], size[0] - 1), x_min)
    y_max = max(min(box["ymax"] * scale[1], size[1] - 1), y_min)
    return [x_min, y_min, x_max, y_max]


def _tag_place(draw, text, font, box, size, taken) -> tuple[int, int, int, int] | None:
    """Where a tag goes: above the box, else in it, else further down; None when the image has no room."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = int(right - min(left, 0)) + 9, int(bottom - min(top, 0)) + 6
    if width > size[0] or height > size[1]:
        return None
    x = int(min(max(box[0], 0), size[0] - width - 1))
    x = max(x, 0)
    starts = [box[1] - height - 1, box[1] + 1, *range(0, size[1] - height, height + 1)]
    for y in (int(start) for start in starts):
        place = (x, y, x + width, y + height)
        inside = y >= 0 and y + height <= size[1]
        if inside and not any(_overlap(place, other) for other in taken):
            return place
    return None


def _overlap(a, b) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def _draw_panel(results: Sequence[dict[str, Any]], colours, width: int, font) -> Image.Image:
    """The list under the picture: number and colour, the whole expression, its score or "nothing found"."""
    probe = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    line_height = int(font.size * 1.45)
    margin, gap = int(font.size * 0.7), int(font.size * 0.5)
    swatch = int(font.size)
    notes = ["nothing found" if result["no_target"] else f"score {result['score']:.2f}" for result in results]
    note_width = int(max((probe.textlength(note, font=font) for note in notes), default=0))
    room = width - 2 * margin - swatch - 2 * gap - note_width
    rows = []
    for index, result in enumerate(results):
        rows.append(wrap_text(probe, f"{index + 1}  {result['label']}", font, max(room, 4 * swatch)))
    height = 2 * margin + line_height * max(1, sum(len(row) for row in rows))
    panel = Image.new("RGB", (width, height), PANEL_BACKGROUND)
    draw = ImageDraw.Draw(panel)
    y = margin
    for index, (row, note) in enumerate(zip(rows, notes)):
        missing = results[index]["no_target"]
        square = [margin, y + 2, margin + swatch, y + 2 + swatch]
        draw.rectangle(square, fill=None if missing else colours[index], outline=colours[index], width=2)
        note_x = width - margin - probe.textlength(note, font=font)
        draw.text((note_x, y), note, font=font, fill=PANEL_MUTED if missing else PANEL_TEXT)
        for text in row:
            draw.text((margin + swatch + gap, y), text, font=font, fill=PANEL_MUTED if missing else PANEL_TEXT)
            y += line_height
    return panel


def wrap_text(draw, text: str, font, room: float) -> list[str]:
    """Breaks `text` into lines of at most `room` pixels, between words, or inside a word that alone is too long."""
    lines, line = [], ""
    for word in text.split():
        candidate = f"{line} {word}" if line else word
        if draw.textlength(candidate, font=font) <= room:
            line = candidate
            continue
        if line:
            lines.append(line)
        while draw.textlength(word, font=font) > room and len(word) > 1:
            cut = len(word) - 1
            while cut > 1 and draw.textlength(word[:cut], font=font) > room:
                cut -= 1
            lines.append(word[:cut])
            word = word[cut:]
        line = word
    return [*lines, line]


def shorten_text(text: str, limit: int) -> str:
    """`text` in one line of at most `limit` characters."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def text_colour(background: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever stands out more (ITU-R BT.601 luma)."""
    luma = 0.299 * background[0] + 0.587 * background[1] + 0.114 * background[2]
    return (0, 0, 0) if luma > 150 else (255, 255, 255)
