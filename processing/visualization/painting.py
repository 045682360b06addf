# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What every drawing is made of: colours, letters, wrapped text, tinted masks, boxes and tags."""

import bisect
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

# Strong colours that differ in hue and lightness.
COLOURS: tuple[Colour, ...] = (
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
PANEL_BACKGROUND, PANEL_TEXT, PANEL_MUTED = (24, 24, 27), (244, 244, 245), (168, 168, 176)
FILL_OPACITY = 0.42
MAX_TAG_CHARACTERS = 32
MAX_LINES = 24  # of one wrapped text
CLEAR_DISTANCE = 140.0  # between a colour and what it is drawn on, in RGB

PROBE = ImageDraw.Draw(Image.new("RGB", (1, 1)))  # measures text before there is anything to draw on


# ---- sizes and text -------------------------------------------------------------------------------------------------


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Returns width and height times `scale`, at least one pixel each."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


@functools.cache
def font_of(size: float):
    """Returns the font of all drawings at a size in pixels."""
    return ImageFont.load_default(size=float(size))


def font_for(image_size: tuple[int, int]):
    """Returns the font that suits an image of this width and height."""
    return font_of(min(40, max(13, round(max(image_size) / 38))))


def wrap_text(text: str, font, room: float, max_lines: int = MAX_LINES) -> list[str]:
    """
    Breaks `text` into at most `max_lines` lines of at most `room` pixels, between words, or inside a word that alone is
    too long. Where lines are left out, the last one ends in "…". The work is linear in the length of what is kept.
    """
    lines, line = [], ""
    for word in text.split():
        candidate = f"{line} {word}" if line else word
        if _fits(candidate, font, room):
            line = candidate
            continue
        if line:
            lines.append(line)
        while len(word) > 1 and not _fits(word, font, room) and len(lines) <= max_lines:
            cut = max(1, min(len(word) - 1, _fitting_characters(word, font, room)))
            lines.append(word[:cut])
            word = word[cut:]
        line = word
        if len(lines) >= max_lines:
            break
    lines.append(line)
    if len(lines) > max_lines:
        lines = [*lines[: max_lines - 1], fit_text(f"{lines[max_lines - 1]} {lines[max_lines]}", font, room, cut=True)]
    return lines


def fit_text(text: str, font, room: float, cut: bool = False) -> str:
    """Returns `text`, or as much of its start as has room together with "…"; with `cut` the "…" in any case."""
    if not cut and _fits(text, font, room):
        return text
    return text[: _fitting_characters(text, font, room - font.getlength("…"))].rstrip() + "…"


def shorten_text(text: str, limit: int) -> str:
    """Returns `text` in one line of at most `limit` characters."""
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def text_colour(background: Colour) -> Colour:
    """Returns black or white, whichever stands out more (ITU-R BT.601 luma)."""
    luma = 0.299 * background[0] + 0.587 * background[1] + 0.114 * background[2]
    return (0, 0, 0) if luma > 150 else (255, 255, 255)


def _fits(text: str, font, room: float) -> bool:
    # Letters of less than a pixel could not be read, so no line has more letters than pixels; this bounds the work.
    return len(text) <= max(1, room) and PROBE.textlength(text, font=font) <= room


def _fitting_characters(text: str, font, room: float) -> int:
    """The number of characters at the start of a text that have room beside each other."""
    counts = range(1, min(len(text), max(1, int(room))) + 1)
    return bisect.bisect_right(counts, room, key=lambda count: PROBE.textlength(text[:count], font=font))


# ---- colours and masks ----------------------------------------------------------------------------------------------


def choose_colours(image: Image.Image, masks: Sequence[Image.Image]) -> list[Colour]:
    """
    Gives each mask a colour of its own that stands out from what it covers and from what is around it.

    That is the first unused one of `COLOURS` that is far enough from the mean colours of the region and of the rest of
    its bounding box, or else the farthest; once all are used, they may be used again.

    Args:
        image: what the masks lie on.
        masks: "L" images of its size, above 127 inside.
    """
    pixels = np.asarray(image.convert("RGB"), dtype=np.float32)
    chosen: list[Colour] = []
    for mask in masks:
        inside = np.asarray(mask) > 127
        left, top, right, bottom = mask.getbbox() or (0, 0, *image.size)
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


def tint(pixels: np.ndarray, region: np.ndarray, colour: Colour, opacity: float = FILL_OPACITY) -> None:
    """Tints a region, (height, width) bool, of pixels, (height, width, 3) float32 in 0..255, where they lie."""
    pixels[region] = (1 - opacity) * pixels[region] + opacity * np.array(colour, np.float32)


def as_image(pixels: np.ndarray) -> Image.Image:
    """Returns (height, width, 3) float32 pixels in 0..255 as an RGB image."""
    return Image.fromarray(pixels.round().astype(np.uint8))


def paint_masks(
    canvas: Image.Image, masks: Sequence[Image.Image], colours: Sequence[Colour], line: int, halo: bool = True
) -> Image.Image:
    """
    Tints each region and draws its contour, with a halo in white around the colour so that it shows on any ground.

    The largest comes first, so that smaller ones inside it keep their colours.

    Args:
        canvas: RGB.
        masks: "L" images of any size, which are stretched over the canvas.
        colours: one per mask.
        line: width of the contour in pixels.
        halo: whether the contour has a white one around it.
    """
    pixels = np.asarray(canvas, dtype=np.float32).copy()
    regions = []  # each mask in its bounding box, that window of the canvas, and its colour
    for mask, colour in zip(masks, colours):
        mask = mask.resize(canvas.size, Image.Resampling.BILINEAR).point(lambda value: 255 if value > 127 else 0)
        left, top, right, bottom = mask.getbbox() or (0, 0, 0, 0)
        regions.append((np.asarray(mask)[top:bottom, left:right] > 0, pixels[top:bottom, left:right], colour))
    regions.sort(key=lambda region: -np.count_nonzero(region[0]))
    for inside, window, colour in regions:
        tint(window, inside, colour)
    for inside, window, colour in regions:
        if halo:
            window[inside & ~_eroded(inside, line + max(1, line // 2))] = (255, 255, 255)
        window[inside & ~_eroded(inside, line)] = colour
    return as_image(pixels)


def _eroded(inside: np.ndarray, width: int) -> np.ndarray:
    """`inside`, (height, width) bool, without its outermost `width` pixels; the array's edge counts as outside."""
    for _ in range(width):
        wide = np.pad(inside, 1)
        inside = inside & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return inside


# ---- results of the pipeline ----------------------------------------------------------------------------------------


def paint_results(
    canvas: Image.Image,
    results: Sequence[dict[str, Any]],
    colours: Sequence[Colour],
    scale: tuple[float, float] = (1.0, 1.0),
    *,
    tags: bool = True,
) -> Image.Image:
    """
    Returns an image with the masks and boxes of results on it, and nothing around it.

    Args:
        canvas: RGB, the image that was segmented, at any size.
        results: dicts of `ReferringSegmentationPipeline`.
        colours: one per result.
        scale: canvas pixels per pixel of the results' boxes, across and down.
        tags: whether each box gets a tag with number, expression and score.
    """
    line = max(2, round(max(canvas.size) / 320))
    canvas = paint_masks(canvas, [result["mask"] for result in results], colours, line)
    draw = ImageDraw.Draw(canvas)
    found = [(index, result) for index, result in enumerate(results) if result["box"] and not result["no_target"]]
    boxes = {index: _scaled_box(result["box"], scale, canvas.size) for index, result in found}
    for index, box in boxes.items():
        draw.rectangle([box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1], outline=(0, 0, 0), width=line + 2)
        draw.rectangle(box, outline=colours[index], width=line)
    taken: list[tuple[int, int, int, int]] = []
    for index, result in found if tags else ():
        text = f"{index + 1} {shorten_text(result['label'], MAX_TAG_CHARACTERS)} {result['score']:.2f}"
        _draw_tag(draw, text, boxes[index], colours[index], canvas.size, taken)
    return canvas


def _scaled_box(box: dict[str, int], scale: tuple[float, float], size: tuple[int, int]) -> list[float]:
    """The box in canvas pixels, at least one pixel wide and high and inside the canvas."""
    x_min, y_min = min(box["xmin"] * scale[0], size[0] - 2), min(box["ymin"] * scale[1], size[1] - 2)
    x_min, y_min = max(x_min, 0), max(y_min, 0)
    x_max = max(min(box["xmax"] * scale[0], size[0] - 1), x_min)
    y_max = max(min(box["ymax"] * scale[1], size[1] - 1), y_min)
    return [x_min, y_min, x_max, y_max]


def _draw_tag(draw, text: str, box: list[float], colour: Colour, size: tuple[int, int], taken: list) -> None:
    """Draws a tag above the box, else in it, else further down, clear of those before it; none where is no room."""
    font = font_for(size)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = int(right - min(left, 0)) + 9, int(bottom - min(top, 0)) + 6
    if width > size[0] or height > size[1]:
        return
    x = max(int(min(max(box[0], 0), size[0] - width - 1)), 0)
    for y in map(int, (box[1] - height - 1, box[1] + 1, *range(0, size[1] - height, height + 1))):
        corners = (x, y, x + width, y + height)
        if 0 <= y <= size[1] - height and not any(_overlap(corners, other) for other in taken):
            taken.append(corners)
            draw.rectangle(corners, fill=colour, outline=(255, 255, 255))
            draw.text((x + 4, y + 2), text, font=font, fill=text_colour(colour))
            return


def _overlap(a, b) -> bool:
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]
