# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Answers drawn beside the truth during training: green where both agree, red where only the model is, blue missed."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

COLOURS = {"hit": (40, 190, 80), "false": (230, 50, 60), "missed": (40, 110, 240)}
OPACITY = 0.55
LONG_SIDE = 384
CAPTION_HEIGHT = 34


class AnswerPictures:
    """
    Collects the first answers of an evaluation as pictures.

    Args:
        count: How many are wanted.
    """

    def __init__(self, count: int):
        self.count = count
        self.pictures: list[Image.Image] = []

    def __call__(self, batch: dict, row: int, answer: dict):
        """Draws one answer, as `evaluate_references` hands it over, while there is room."""
        if len(self.pictures) < self.count:
            predicted = answer["mask"].cpu().numpy()
            picture, truth = batch["images"][row], batch["true_masks"][row]
            self.pictures.append(draw_answer(picture, predicted, truth, batch["expressions"][row]))


def draw_answer(picture: Image.Image, predicted: np.ndarray, truth: np.ndarray | None, caption: str) -> Image.Image:
    """
    Paints a mask and the true one over their picture, with the expression and their overlap below.

    Args:
        picture: Any mode, (H, W).
        predicted: (H, W) bool.
        truth: (H, W) bool; `None` where nothing is meant.
        caption: What was asked for.
    """
    truth = np.zeros_like(predicted) if truth is None else truth
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32).copy()
    regions = {"hit": predicted & truth, "false": predicted & ~truth, "missed": truth & ~predicted}
    for name, region in regions.items():
        pixels[region] = (1 - OPACITY) * pixels[region] + OPACITY * np.array(COLOURS[name], dtype=np.float32)
    scale = LONG_SIDE / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    painted = Image.fromarray(pixels.round().astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    sheet = Image.new("RGB", (LONG_SIDE, size[1] + CAPTION_HEIGHT), (24, 24, 27))
    sheet.paste(painted, ((LONG_SIDE - size[0]) // 2, 0))
    union = np.count_nonzero(predicted | truth)
    overlap = f"IoU {np.count_nonzero(predicted & truth) / union:.2f}" if union else "rightly nothing"
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=15)
    room = LONG_SIDE - 16 - draw.textlength(f"  {overlap}", font=font)
    while caption and draw.textlength(caption, font=font) > room:
        caption = caption[:-2].rstrip("…") + "…" if len(caption) > 2 else ""
    draw.text((8, size[1] + 8), f"{caption}  {overlap}", fill=(244, 244, 245), font=font)
    return sheet
