# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
A picture of an evaluation: its best, median and worst cases.

Each is shown twice: as it is, and in grey with right, wrong and missed pixels in three colours.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

RIGHT, WRONG, MISSED = (30, 190, 90), (235, 60, 60), (60, 120, 255)
BACKGROUND, TEXT, MUTED = (24, 24, 27), (244, 244, 245), (168, 168, 176)
TINT = 0.7
PICTURE_WIDTH, PICTURE_HEIGHT, GAP = 210, 190, 14
TILE_WIDTH = 2 * PICTURE_WIDTH + 4
FONT_SIZE, LINE_HEIGHT, CAPTION_LINES = 15, 20, 3


class Case(NamedTuple):
    """
    One expression to be shown.

    Args:
        picture: RGB.
        expression: The words.
        predicted: (height, width) bool at the picture's size.
        true: The same; empty where nothing is meant.
        note: Figures below the words, such as "IoU 0.91, score 0.88".
    """

    picture: Image.Image
    expression: str
    predicted: np.ndarray
    true: np.ndarray
    note: str


def choose_cases(
    cases: tuple[Sequence[int], Sequence[int], Sequence[float]], per_row: int
) -> dict[str, list[tuple[int, int]]]:
    """
    Picks cases by their IoU; the choice does not depend on their order.

    Args:
        cases: `EvaluationTally.cases`: picture, place in it, and IoU, or -1 - IoU where nothing is meant.
        per_row: Cases of each kind.

    Returns:
        Picture and place by row: "best", "median" and "worst" of the expressions with a target; of those without one
        first some that were answered wrongly, then some answered rightly. A row shows a picture once; empty rows are
        left out.
    """
    ranked = sorted(zip(cases[2], cases[0], cases[1]))
    targeted = [row for row in ranked if row[0] >= 0]
    others = [row for row in ranked if row[0] < 0]
    middle = sorted(range(len(targeted)), key=lambda place: abs(place - (len(targeted) - 1) / 2))
    best = sorted(targeted, key=lambda row: (-row[0], row[1:]))
    wrong = [row for row in others if row[0] > -1.5]
    right = [row for row in others if row[0] < -1.5]
    half = max(per_row - len(right), (per_row + 1) // 2)
    rows = {
        "best": _distinct(best, per_row),
        "median": _distinct([targeted[place] for place in middle], per_row),
        "worst": _distinct(targeted, per_row),
        "nothing is meant": (_distinct(wrong, half) + _distinct(right, per_row))[:per_row],
    }
    return {name: places for name, places in rows.items() if places}


def _distinct(rows: Iterable[tuple[float, int, int]], count: int) -> list[tuple[int, int]]:
    """The first rows of different pictures."""
    chosen: dict[int, int] = {}
    for _, image, place in rows:
        if len(chosen) == count:
            break
        chosen.setdefault(image, place)
    return list(chosen.items())


def draw_contact_sheet(rows: dict[str, list[Case]], title: str) -> Image.Image:
    """
    Draws cases in a grid, one row for each name.

    Args:
        rows: Cases by the name of their row.
        title: Line above them.

    Returns:
        An RGB picture.

    Raises:
        ValueError: There are no cases, or a mask has another size than its picture.
    """
    columns = max((len(cases) for cases in rows.values()), default=0)
    if not columns:
        raise ValueError("expected at least one case to draw, got none")
    font = ImageFont.load_default(size=float(FONT_SIZE))
    row_height = LINE_HEIGHT + PICTURE_HEIGHT + CAPTION_LINES * LINE_HEIGHT + GAP
    top = 2 * LINE_HEIGHT + GAP
    # The title and the legend need some room even where there is a single case.
    width = GAP + max(columns, 2) * (TILE_WIDTH + GAP)
    sheet = Image.new("RGB", (width, top + len(rows) * row_height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP, GAP // 2), _lines(draw, title, font, width - 2 * GAP, 1)[0], font=font, fill=TEXT)
    _draw_legend(draw, (GAP, GAP // 2 + LINE_HEIGHT), font)
    for number, (name, cases) in enumerate(rows.items()):
        y = top + number * row_height
        draw.text((GAP, y), name, font=font, fill=MUTED)
        for column, case in enumerate(cases):
            _draw_case(sheet, draw, case, (GAP + column * (TILE_WIDTH + GAP), y + LINE_HEIGHT), font)
    return sheet


def paint_case(picture: Image.Image, predicted: np.ndarray, true: np.ndarray) -> Image.Image:
    """
    Returns a picture in grey, tinted where prediction and truth agree that something is meant and where one of them
    stands alone.

    Raises:
        ValueError: A mask has another size than the picture.
    """
    size_hw = (picture.height, picture.width)
    if predicted.shape != size_hw or true.shape != size_hw:
        raise ValueError(f"expected masks of the picture's size {size_hw}, got {predicted.shape} and {true.shape}")
    pixels = np.asarray(picture.convert("L").convert("RGB"), dtype=np.float32).copy()
    for region, colour in ((predicted & true, RIGHT), (predicted & ~true, WRONG), (~predicted & true, MISSED)):
        pixels[region] = (1 - TINT) * pixels[region] + TINT * np.array(colour, np.float32)
    return Image.fromarray(pixels.round().astype(np.uint8))


def _draw_case(sheet: Image.Image, draw: ImageDraw.ImageDraw, case: Case, corner: tuple[int, int], font):
    scale = min(PICTURE_WIDTH / case.picture.width, PICTURE_HEIGHT / case.picture.height)
    size = (max(1, round(case.picture.width * scale)), max(1, round(case.picture.height * scale)))
    pictures = (case.picture.convert("RGB"), paint_case(case.picture, case.predicted, case.true))
    for number, picture in enumerate(pictures):
        x = corner[0] + number * (size[0] + 4)
        sheet.paste(picture.resize(size, Image.Resampling.LANCZOS), (x, corner[1]))
    y = corner[1] + PICTURE_HEIGHT + 2
    for text in _lines(draw, case.expression, font, TILE_WIDTH, CAPTION_LINES - 1):
        draw.text((corner[0], y), text, font=font, fill=TEXT)
        y += LINE_HEIGHT
    draw.text((corner[0], y), case.note, font=font, fill=MUTED)


def _draw_legend(draw: ImageDraw.ImageDraw, corner: tuple[int, int], font):
    x, y = corner
    for colour, name in ((RIGHT, "right"), (WRONG, "wrong"), (MISSED, "missed")):
        draw.rectangle([x, y + 3, x + 12, y + 15], fill=colour)
        draw.text((x + 18, y), name, font=font, fill=MUTED)
        x += 18 + int(draw.textlength(name, font=font)) + 20


def _lines(draw: ImageDraw.ImageDraw, text: str, font, room: int, limit: int) -> list[str]:
    """Breaks a text between words into at most `limit` lines of `room` pixels; what does not fit ends in "…"."""
    lines = [""]
    for word in text.split():
        candidate = f"{lines[-1]} {word}".strip()
        if not lines[-1] or draw.textlength(candidate, font=font) <= room:
            lines[-1] = candidate
        else:
            lines.append(word)
    if len(lines) > limit:
        lines = [*lines[: limit - 1], " ".join(lines[limit - 1 :])]
    return [_shortened(draw, line, font, room) for line in lines]


def _shortened(draw: ImageDraw.ImageDraw, line: str, font, room: int) -> str:
    if draw.textlength(line, font=font) <= room:
        return line
    while line and draw.textlength(line + "…", font=font) > room:
        line = line[:-1]
    return line.rstrip() + "…"


__all__ = ["Case", "choose_cases", "draw_contact_sheet", "paint_case"]
