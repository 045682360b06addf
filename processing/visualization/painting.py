# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What every drawing is made of: colours, wrapped text, tinted masks and their outlines."""

import bisect
import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageStat

from .lettering import Lettering, font_of

Colour = tuple[int, int, int]

# Each differs from each other one for readers with any kind of colour vision, and stands out on a white ground.
COLOURS: tuple[Colour, ...] = (
    (34, 85, 204),
    (238, 119, 0),
    (119, 51, 102),
    (0, 221, 170),
    (153, 0, 0),
    (204, 102, 170),
    (51, 153, 85),
    (221, 170, 255),
    (119, 0, 255),
    (170, 204, 102),
)
PANEL_BACKGROUND, PANEL_TEXT, PANEL_MUTED = (255, 255, 255), (24, 24, 27), (98, 98, 108)
FILL_OPACITY = 0.42
MAX_LINES = 24  # of one wrapped text
CLEAR_DISTANCE = 140.0  # between a colour and what it is drawn on, in RGB


# ---- sizes and text -------------------------------------------------------------------------------------------------


def scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Returns width and height times `scale`, at least one pixel each."""
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def joined(parts: Sequence[Image.Image], *, down: bool = False, gap: int = 0, least_width: int = 0) -> Image.Image:
    """Returns drawings beside each other, or below each other in the middle, on a ground of at least that width."""
    across, along = [part.width for part in parts], [part.height for part in parts]
    between = gap * (len(parts) - 1)
    size = (max(across), sum(along) + between) if down else (sum(across) + between, max(along))
    whole = Image.new(parts[0].mode, (max(size[0], least_width), size[1]), PANEL_BACKGROUND)
    x = y = 0
    for part in parts:
        whole.paste(part, ((whole.width - part.width) // 2, y) if down else (x, 0))
        x, y = x + part.width + gap, y + part.height + gap
    return whole


def font_for(image_size: tuple[int, int]) -> Lettering:
    """Returns the letters that suit an image of this width and height."""
    return font_of(max(13, round(math.sqrt(image_size[0] * image_size[1]) / 36)))


def line_for(image_size: tuple[int, int]) -> int:
    """Returns the width of lines, in pixels, that suits an image of this width and height."""
    return max(2, round(math.sqrt(image_size[0] * image_size[1]) / 300))


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
    return (0, 0, 0) if luma > 140 else (255, 255, 255)


def _fits(text: str, font, room: float) -> bool:
    # Letters of less than a pixel could not be read, so no line has more letters than pixels; this bounds the work.
    return len(text) <= max(1, room) and font.getlength(text) <= room


def _fitting_characters(text: str, font, room: float) -> int:
    """The number of characters at the start of a text that have room beside each other."""
    counts = range(1, min(len(text), max(1, int(room))) + 1)
    return bisect.bisect_right(counts, room, key=lambda count: font.getlength(text[:count]))


# ---- colours and masks ----------------------------------------------------------------------------------------------


def choose_colours(image: Image.Image, masks: Sequence[Image.Image]) -> list[Colour]:
    """
    Gives each mask a colour of its own that stands out from what it covers and from what is around it.

    That is the first unused one of `COLOURS` that is far enough from the mean colours of the region and of the rest of
    its bounding box, or else the farthest; once all are used, they are used again, but not for neighbours.

    Args:
        image: what the masks lie on.
        masks: "L" images of its size, above 127 inside.
    """
    image = image.convert("RGB")
    boxes = [mask.getbbox() or (0, 0, *image.size) for mask in masks]
    chosen: list[Colour] = []
    for mask, box in zip(masks, boxes):
        window, inside = image.crop(box), mask.crop(box).point(lambda value: 255 * (value > 127))
        regions = [region for region in (inside, ImageChops.invert(inside)) if region.getbbox()]
        grounds = [ImageStat.Stat(window, region).mean for region in regions]
        used = set(chosen[len(chosen) - len(chosen) % len(COLOURS) :])
        nearby = {colour for colour, other in zip(chosen, boxes) if touch(box, other)}
        free = [colour for colour in COLOURS if colour not in used]
        free = [colour for colour in free if colour not in nearby] or free
        distances = [min(math.dist(colour, ground) for ground in grounds) for colour in free]
        clear = [colour for colour, distance in zip(free, distances) if distance >= CLEAR_DISTANCE]
        chosen.append(clear[0] if clear else free[int(np.argmax(distances))])
    return chosen


def touch(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two boxes (left, top, right, bottom) share a point."""
    return a[0] <= b[2] and b[0] <= a[2] and a[1] <= b[3] and b[1] <= a[3]


def tint(pixels: np.ndarray, region: np.ndarray, colour: Colour, opacity: float = FILL_OPACITY) -> None:
    """Tints a region, (height, width) bool, of pixels, (height, width, 3) float32 in 0..255, where they lie."""
    pixels[region] = (1 - opacity) * pixels[region] + opacity * np.array(colour, np.float32)


def as_image(pixels: np.ndarray) -> Image.Image:
    """Returns (height, width, 3) float32 pixels in 0..255 as an RGB image."""
    return Image.fromarray(pixels.round().astype(np.uint8))


def paint_masks(
    canvas: Image.Image,
    masks: Sequence[Image.Image],
    colours: Sequence[Colour],
    line: int,
    *,
    halo: bool = True,
    opacity: float = FILL_OPACITY,
) -> Image.Image:
    """
    Tints each region and draws its contour, smooth and with a halo in white so that it shows on any ground.

    The largest comes first, so that smaller ones inside it keep their colours.

    Args:
        masks: "L" images of any size, above 127 inside, which are stretched over the canvas, RGB.
        line: Width of the contour in pixels, 0 for none.
    """
    canvas = canvas.copy()
    regions = [
        (*region, colour)
        for mask, colour in zip(masks, colours)
        if (region := soft_region(mask, canvas.size, margin=3 * line + 2)) is not None
    ]
    regions.sort(key=lambda region: -sum(region[1].histogram()[128:]))
    for corner, soft, colour in regions:
        canvas.paste(colour, corner, soft.point(lambda value: value * opacity))
    for corner, soft, colour in regions if line else ():
        depth = soft.filter(ImageFilter.GaussianBlur(line / 2))
        if halo:
            around = ImageChops.multiply(
                ImageChops.invert(soft), depth.point(_edge(line / 2, lambda distance: 0.75 * line + distance))
            )
            canvas.paste((255, 255, 255), corner, around)
        band = depth.point(_edge(line / 2, lambda distance: line - distance))
        canvas.paste(colour, corner, ImageChops.multiply(soft, band))
    return canvas


def soft_region(
    mask: Image.Image, size: tuple[int, int], margin: int = 0
) -> tuple[tuple[int, int], Image.Image] | None:
    """
    Returns the part of a mask where something is inside, stretched to a size and with smooth edges; None for nothing.

    Args:
        mask: "L", above 127 inside.
        size: Width and height that the whole mask is stretched to.
        margin: Pixels around what is inside.

    Returns:
        Its left upper corner, and the part as an "L" image.
    """
    box = mask.getbbox()
    if box is None:
        return None
    across, down = size[0] / mask.width, size[1] / mask.height
    left, top = max(0, math.floor(box[0] * across) - margin), max(0, math.floor(box[1] * down) - margin)
    right, bottom = min(size[0], math.ceil(box[2] * across) + margin), min(size[1], math.ceil(box[3] * down) + margin)
    source = (left / across, top / down, min(right / across, mask.width), min(bottom / down, mask.height))
    part = mask.resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=source)
    scale = max(1.0, across, down)  # steps of a mask that is drawn larger are rounded as well
    blurred = part.filter(ImageFilter.GaussianBlur(0.4 + 0.5 * scale))
    return (left, top), blurred.point(_edge(0.65 * scale, lambda distance: distance))


def _edge(blur: float, width: Callable[[float], float]) -> list[int]:
    """
    A table from a mask, blurred by so many pixels, to the opacity of what lies at a distance from its edge; `width`
    says of a distance, inside positive, how far a pixel there is inside what is drawn.
    """
    normal = NormalDist(0, blur)
    distances = [-math.inf, *(normal.inv_cdf(value / 255) for value in range(1, 255)), math.inf]
    return [round(255 * min(max(width(distance) + 0.5, 0.0), 1.0)) for distance in distances]
