# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Predictions drawn against the truth: one case, and the sheet of an evaluation's best, median and worst cases.

Each is shown twice: as it is, and in grey with right, wrong and missed pixels in three colours.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from .lettering import font_of
from .painting import (
    COLOURS,
    PANEL_BACKGROUND,
    PANEL_MUTED,
    PANEL_TEXT,
    as_image,
    fit_text,
    scaled_size,
    tint,
    wrap_text,
)

RIGHT, WRONG, MISSED = COLOURS[0], COLOURS[1], COLOURS[3]
OPACITY = 0.7
IMAGE_WIDTH, IMAGE_HEIGHT, GAP = 210, 190, 14
TILE_WIDTH = 2 * IMAGE_WIDTH + 4
FONT, LINE_HEIGHT, EXPRESSION_LINES, NOTE_LINES = font_of(15), 20, 2, 2
TILE_HEIGHT = IMAGE_HEIGHT + 2 + (EXPRESSION_LINES + NOTE_LINES) * LINE_HEIGHT


class Case(NamedTuple):
    """One expression to be shown."""

    image: Image.Image  # RGB
    expression: str  # the words
    predicted: np.ndarray  # (height, width) bool at the image's size
    true: np.ndarray  # the same; empty where nothing is meant
    note: str  # what stands below the words, such as "IoU 0.91, score 0.88, image 7"


def choose_cases(
    cases: tuple[Sequence[int], Sequence[int], Sequence[float]], per_row: int
) -> dict[str, list[tuple[int, int]]]:
    """
    Picks cases by their IoU; the choice does not depend on their order.

    Args:
        cases: `EvaluationAccumulator.cases`: image, index of the expression there, and IoU, or -1 - IoU without target.
        per_row: Cases of each kind.

    Returns:
        Image and index by row: "best", "median" and "worst" of the expressions with a target; of those without one
        first some that were predicted wrongly, then some predicted rightly. A row shows an image once; empty rows are
        left out.
    """
    ranked = sorted(zip(cases[2], cases[0], cases[1]))
    targeted = [row for row in ranked if row[0] >= 0]
    others = [row for row in ranked if row[0] < 0]
    middle = sorted(range(len(targeted)), key=lambda rank: abs(rank - (len(targeted) - 1) / 2))
    best = sorted(targeted, key=lambda row: (-row[0], row[1:]))
    wrong = [row for row in others if row[0] > -1.5]
    right = [row for row in others if row[0] < -1.5]
    half = max(per_row - len(right), (per_row + 1) // 2)
    rows = {
        "best": _distinct(best, per_row),
        "median": _distinct([targeted[rank] for rank in middle], per_row),
        "worst": _distinct(targeted, per_row),
        "nothing is meant": (_distinct(wrong, half) + _distinct(right, per_row))[:per_row],
    }
    return {name: chosen for name, chosen in rows.items() if chosen}


def _distinct(rows: Iterable[tuple[float, int, int]], count: int) -> list[tuple[int, int]]:
    """The first rows of different images."""
    chosen: dict[int, int] = {}
    for _, image, number in rows:
        if len(chosen) == count:
            break
        chosen.setdefault(image, number)
    return list(chosen.items())


def draw_contact_sheet(rows: dict[str, list[Case]], title: str) -> Image.Image:
    """
    Draws cases in a grid under a title, one row for each name; raises `ValueError` for none, and for a mask of another
    size than its image.
    """
    columns = max((len(cases) for cases in rows.values()), default=0)
    if not columns:
        raise ValueError("expected at least one case to draw, got none")
    row_height, top = LINE_HEIGHT + TILE_HEIGHT + GAP, 2 * LINE_HEIGHT + GAP
    # The title and the legend need some room even where there is a single case.
    width = GAP + max(columns, 2) * (TILE_WIDTH + GAP)
    sheet = Image.new("RGB", (width, top + len(rows) * row_height), PANEL_BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    FONT.write(draw, (GAP, GAP // 2), fit_text(title, FONT, width - 2 * GAP), PANEL_TEXT)
    _draw_legend(draw, (GAP, GAP // 2 + LINE_HEIGHT))
    for number, (name, cases) in enumerate(rows.items()):
        y = top + number * row_height
        FONT.write(draw, (GAP, y), name, PANEL_MUTED)
        for column, case in enumerate(cases):
            sheet.paste(draw_case(case), (GAP + column * (TILE_WIDTH + GAP), y + LINE_HEIGHT))
    return sheet


def draw_case(case: Case) -> Image.Image:
    """
    Draws one case: the image, the image with the masks compared, and below them the words and the note; raises
    `ValueError` for a mask of another size than the image.
    """
    tile = Image.new("RGB", (TILE_WIDTH, TILE_HEIGHT), PANEL_BACKGROUND)
    scale = min(IMAGE_WIDTH / case.image.width, IMAGE_HEIGHT / case.image.height)
    size = scaled_size(case.image.size, scale)
    for number, image in enumerate((case.image.convert("RGB"), paint_case(case.image, case.predicted, case.true))):
        tile.paste(image.resize(size, Image.Resampling.LANCZOS), (number * (size[0] + 4), 0))
    draw, y = ImageDraw.Draw(tile), IMAGE_HEIGHT + 2
    for text, limit, colour in (
        (case.expression, EXPRESSION_LINES, PANEL_TEXT),
        (case.note, NOTE_LINES, PANEL_MUTED),
    ):
        for line in wrap_text(text, FONT, TILE_WIDTH, limit):
            FONT.write(draw, (0, y), line, colour)
            y += LINE_HEIGHT
    return tile


def paint_case(image: Image.Image, predicted: np.ndarray, true: np.ndarray) -> Image.Image:
    """
    Returns an image in grey, tinted where prediction and truth agree that something is meant and where one of them
    stands alone; raises `ValueError` for a mask of another size than the image.
    """
    size_hw = (image.height, image.width)
    if predicted.shape != size_hw or true.shape != size_hw:
        raise ValueError(f"expected masks of the image's size {size_hw}, got {predicted.shape} and {true.shape}")
    pixels = np.asarray(image.convert("L").convert("RGB"), dtype=np.float32).copy()
    for region, colour in ((predicted & true, RIGHT), (predicted & ~true, WRONG), (~predicted & true, MISSED)):
        tint(pixels, region, colour, OPACITY)
    return as_image(pixels)


class PredictionDrawings:
    """
    Collects the first predictions of an evaluation during training as drawings.

    Args:
        count: How many are wanted.
    """

    def __init__(self, count: int):
        self.count = count
        self.drawings: list[Image.Image] = []

    def __call__(self, batch: dict[str, Any], row: int, prediction: dict[str, Any]):
        """Draws one prediction, as `evaluate_references` hands it over, while there is room."""
        if len(self.drawings) < self.count:
            predicted, true = prediction["mask"].cpu().numpy(), batch["true_masks"][row]
            true = np.zeros_like(predicted) if true is None else true
            union = np.count_nonzero(predicted | true)
            note = f"IoU {np.count_nonzero(predicted & true) / union:.2f}" if union else "rightly empty"
            case = Case(batch["images"][row], batch["expressions"][row], predicted, true, note)
            self.drawings.append(draw_case(case))


def draw_before_and_after(pairs: Sequence[tuple[Image.Image, Image.Image]]) -> Image.Image:
    """
    Draws pairs of what `draw_case` drew, of one model before its training and after it, a pair in each row; at least
    one.
    """
    top = 2 * LINE_HEIGHT + GAP
    size = (GAP + 2 * (TILE_WIDTH + GAP), top + LINE_HEIGHT + len(pairs) * (TILE_HEIGHT + GAP))
    sheet = Image.new("RGB", size, PANEL_BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _draw_legend(draw, (GAP, GAP // 2))
    for column, name in enumerate(("before", "after")):
        x = GAP + column * (TILE_WIDTH + GAP)
        FONT.write(draw, (x, top), name, PANEL_MUTED)
        for row, pair in enumerate(pairs):
            sheet.paste(pair[column], (x, top + LINE_HEIGHT + row * (TILE_HEIGHT + GAP)))
    return sheet


def _draw_legend(draw: ImageDraw.ImageDraw, corner: tuple[int, int]):
    x, y = corner
    for colour, name in ((RIGHT, "right"), (WRONG, "wrong"), (MISSED, "missed")):
        draw.rectangle([x, y + 3, x + 12, y + 15], fill=colour)
        FONT.write(draw, (x + 18, y), name, PANEL_MUTED)
        x += 18 + int(FONT.getlength(name)) + 20
