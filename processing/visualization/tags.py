# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Small signs on an image that say which region is which, clear of each other."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .lettering import Lettering
from .painting import Colour, fit_text, text_colour, touch

Box = tuple[int, int, int, int]  # left, top, right, bottom
LARGE = 8.0  # a region whose box is so many times as large as its tag has the tag inside
MAX_EMS = 20  # of a tag's width, in heights of its letters


def draw_tags(
    canvas: Image.Image,
    texts: Sequence[str],
    notes: Sequence[str],
    masks: Sequence[Image.Image],
    boxes: Sequence[Box],
    colours: Sequence[Colour],
    letters: Lettering,
    *,
    inside: bool,
) -> list[bool]:
    """
    Draws one tag for each region, none over another; returns whether there was room for each.

    Args:
        texts: What the tags say, cut off where it is long.
        notes: What they say after that, such as scores.
        masks: "L" images of any size, stretched over the canvas.
        boxes: Of the masks, in pixels of the canvas.
        inside: Whether tags of large regions lie in their middle; they are then short.
    """
    draw, taken, shown = ImageDraw.Draw(canvas), [], []
    pad = max(3, round(letters.size / 4))
    for text, note, mask, box, colour in zip(texts, notes, masks, boxes, colours):
        room = min(MAX_EMS * letters.size, canvas.width - 2 * pad) - letters.getlength(note)
        text = fit_text(text, letters, room) + note
        height = letters.ascent + letters.descent + 2
        size = max(round(letters.getlength(text)) + 2 * pad, height), height
        large = (box[2] - box[0]) * (box[3] - box[1]) >= LARGE * size[0] * size[1]
        spots = _around(box, size) if not (inside and large) else _in_the_middle(mask, canvas.size, size)
        corners = _first_free(spots, size, canvas.size, taken) or _first_free(
            _farther_away(box, size, canvas.size), size, canvas.size, taken
        )
        shown.append(corners is not None)
        if corners is None:
            continue
        taken.append(corners)
        if not touch(corners, tuple(value + sign * height for value, sign in zip(box, (-1, -1, 1, 1)))):
            middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
            start = (min(max(middle[0], corners[0]), corners[2]), min(max(middle[1], corners[1]), corners[3]))
            draw.line((*start, *middle), fill=colour, width=max(1, pad // 3))
        draw.rounded_rectangle(corners, radius=pad, fill=colour, outline=(255, 255, 255), width=max(1, pad // 4))
        centre = ((corners[0] + corners[2]) / 2, (corners[1] + corners[3]) / 2)
        letters.write(draw, centre, text, text_colour(colour), anchor="mm")
    return shown


def _first_free(
    spots: Iterable[tuple[int, int]], size: tuple[int, int], canvas: tuple[int, int], taken: Sequence[Box]
) -> Box | None:
    """The first of some left upper corners at which a tag lies in the canvas and on no other tag."""
    for x, y in spots:
        x = min(max(x, 0), canvas[0] - 1 - size[0])
        corners = (x, y, x + size[0], y + size[1])
        if x >= 0 and 0 <= y < canvas[1] - size[1] and not any(touch(corners, other) for other in taken):
            return corners
    return None


def _around(box: Box, size: tuple[int, int]) -> list[tuple[int, int]]:
    """Above a box, below it, and in its corners."""
    left, right = box[0], box[2] - size[0]
    rows = (box[1] - size[1] - 2, box[3] + 2, box[1] + 2, box[3] - size[1] - 2)
    return [(x, y) for y in rows for x in (left, right)]


def _in_the_middle(mask: Image.Image, canvas: tuple[int, int], size: tuple[int, int]) -> list[tuple[int, int]]:
    """Where a region is widest, and beside that."""
    small = np.asarray(mask.resize((64, 64), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(8)))
    widest = np.argwhere(small == small.max())
    row, column = widest[np.abs(widest - widest.mean(0)).sum(1).argmin()] + 0.5
    x, y = column / 64 * canvas[0] - size[0] / 2, row / 64 * canvas[1] - size[1] / 2
    steps = [(0, 0), *((dx, dy) for reach in (1, 2) for dx in (-reach, 0, reach) for dy in (-reach, 0, reach))]
    return [(round(x + dx * (size[0] + 2)), round(y + dy * (size[1] + 2))) for dx, dy in steps]


def _farther_away(box: Box, size: tuple[int, int], canvas: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """All over the canvas in rows and columns, those near the box first."""
    rows = range(1, canvas[1] - size[1], size[1] + 2)
    columns = range(box[0] % (size[0] + 2), canvas[0], size[0] + 2) if size[0] * 4 < canvas[0] else (box[0],)
    spots = [(x, y) for y in rows for x in columns]
    yield from sorted(spots, key=lambda spot: abs(spot[1] - box[1]) + abs(spot[0] - box[0]))
