# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""How a generated scene is put together: who is on stage, where there is room, shadows, wear and tear of the image."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from .backgrounds import draw_background
from .objects import (
    COLOURS,
    EMOJI_NOUNS,
    NOVEL_COMBINATIONS,
    SHAPE_NOUNS,
    TINTED_NOUNS,
    UNNAMED,
    colours_of,
    draw_object,
)

_LONG_SIDES_PX = (128, 160, 192, 256, 320)
_ASPECT_RATIOS = (4 / 3, 3 / 4, 3 / 2, 2 / 3, 16 / 10, 10 / 16, 16 / 9, 9 / 16)  # width / height
_SMALL, _LARGE = (0.19, 0.29), (0.36, 0.50)  # longer side of an object as a fraction of the image's shorter side
_MAX_COVERED = 0.08  # fraction of an object that later objects may hide
_MIN_CONTRAST = 42.0  # RGB distance between an object and what is behind it


class Composition(NamedTuple):
    """An image, its instance map (0 background, i + 1 object i) and each object's noun, colour and size word."""

    image: np.ndarray
    instance_map: np.ndarray
    placed: list[tuple[str, str | None, str]]


def draw_size(rng: np.random.Generator) -> tuple[int, int]:
    """Draws a height and a width in pixels."""
    long_side = int(_LONG_SIDES_PX[rng.integers(len(_LONG_SIDES_PX))])
    if rng.random() < 0.5:
        return long_side, long_side
    ratio = _ASPECT_RATIOS[rng.integers(len(_ASPECT_RATIOS))]
    return (round(long_side / ratio), long_side) if ratio > 1 else (long_side, round(long_side * ratio))


def _draw_cast(split: str, rng: np.random.Generator) -> list[tuple[str, str | None]]:
    """Chooses the nouns and colours of a scene: few kinds, so that most have a rival of the same noun or colour."""
    count = int(rng.choice([2, 3, 4, 5, 6], p=[0.12, 0.22, 0.28, 0.22, 0.16]))
    kinds = min(count, int(rng.choice([1, 2, 3, 4], p=[0.15, 0.35, 0.3, 0.2])))
    pools = (EMOJI_NOUNS, TINTED_NOUNS, SHAPE_NOUNS)
    nouns = [str(rng.choice(pools[rng.choice(3, p=[0.48, 0.27, 0.25])])) for _ in range(kinds)]
    palette = list(rng.permutation(COLOURS)[: int(rng.integers(1, 4))])

    def colour_for(noun: str) -> str | None:
        if colours_of(noun) and rng.random() < 0.1:
            return UNNAMED
        fitting = [
            str(colour)
            for colour in (palette if rng.random() < 0.75 else COLOURS)
            if colour in colours_of(noun) and (noun, colour) not in NOVEL_COMBINATIONS
        ] or [colour for colour in colours_of(noun) if (noun, colour) not in NOVEL_COMBINATIONS]
        return fitting[rng.integers(len(fitting))] if colours_of(noun) else None

    cast: list[tuple[str, str | None]] = []
    if split == "novel":
        combinations = sorted(NOVEL_COMBINATIONS)
        cast.append(combinations[rng.integers(len(combinations))])
        nouns[0] = cast[0][0]
    for index in range(len(cast), count):
        noun = nouns[index] if index < kinds else nouns[rng.integers(kinds)]
        cast.append((noun, colour_for(noun)))
    return cast


def compose(size_hw: tuple[int, int], split: str, rng: np.random.Generator) -> Composition | None:
    """
    Places a cast on a background.

    Args:
        size_hw: Height and width in pixels.
        split: `novel` casts at least one held-out combination of noun and colour, all others none; all but `train` also
            use photographs that training never shows.
        rng: Source of every choice.

    Returns:
        The composition, or `None` if fewer than two objects found room.
    """
    height, width = size_hw
    shorter = min(size_hw)
    canvas = np.array(draw_background(size_hw, rng, held_out=split != "train"), np.float32)
    instance_map = np.zeros(size_hw, np.uint8)
    full_areas: list[int] = []
    placed: list[tuple[str, str | None, str]] = []
    shadow = float(rng.uniform(0.2, 0.5)) if rng.random() < 0.25 else 0.0
    touching = rng.random() < 0.35
    room = 0.6 * width * height

    for noun, colour in _draw_cast(split, rng):
        large = rng.random() < 0.5
        low, high = _LARGE if large else _SMALL
        size_px = shorter * rng.uniform(low, high)
        if large and size_px * size_px > 0.6 * room:
            large, size_px = False, shorter * rng.uniform(*_SMALL)
        sprite = draw_object(noun, colour, size_px, rng)
        corner = _find_room(sprite, canvas, instance_map, full_areas, touching, rng)
        if corner is None:
            if split == "novel" and not placed:
                return None
            continue
        room -= 1.3 * size_px * size_px
        if shadow:
            _cast_shadow(canvas, sprite, corner, shadow)
        visible = _paste(canvas, instance_map, sprite, corner, len(placed) + 1)
        full_areas.append(visible)
        placed.append((noun, None if colour == UNNAMED else colour, "large" if large else "small"))
    if len(placed) < 2:
        return None

    return Composition(_degrade(canvas, rng), instance_map, placed)


def _find_room(
    sprite: np.ndarray,
    canvas: np.ndarray,
    instance_map: np.ndarray,
    full_areas: list[int],
    touching: bool,
    rng: np.random.Generator,
) -> tuple[int, int] | None:
    """Returns a top-left corner (row, column) where the sprite hides little and stands out, or None."""
    sprite_height, sprite_width = sprite.shape[:2]
    rows, columns = canvas.shape[0] - sprite_height, canvas.shape[1] - sprite_width
    if rows < 1 or columns < 1:
        return None
    solid = sprite[..., 3] > 127
    mean_colour = sprite[..., :3][solid].mean(0)
    hidden = np.bincount(instance_map.ravel(), minlength=len(full_areas) + 1)
    for _ in range(25):
        row, column = int(rng.integers(rows + 1)), int(rng.integers(columns + 1))
        under = instance_map[row : row + sprite_height, column : column + sprite_width]
        if not touching:
            if under.any():
                continue
        elif under.any():
            covered = np.bincount(under[solid], minlength=len(full_areas) + 1)
            left = hidden[1:] - covered[1:]
            if any(rest < (1 - _MAX_COVERED) * full for rest, full in zip(left, full_areas)):
                continue
        behind = canvas[row : row + sprite_height, column : column + sprite_width][solid]
        if np.linalg.norm(behind.mean(0) - mean_colour) >= _MIN_CONTRAST:
            return row, column
    return None


def _paste(
    canvas: np.ndarray, instance_map: np.ndarray, sprite: np.ndarray, corner: tuple[int, int], label: int
) -> int:
    """Draws a sprite onto the canvas and the map, in place; returns the number of its solid pixels."""
    row, column = corner
    window = np.s_[row : row + sprite.shape[0], column : column + sprite.shape[1]]
    alpha = sprite[..., 3:].astype(np.float32) / 255
    canvas[window] += (sprite[..., :3] - canvas[window]) * alpha
    solid = sprite[..., 3] > 127
    instance_map[window][solid] = label
    return int(solid.sum())


def _cast_shadow(canvas: np.ndarray, sprite: np.ndarray, corner: tuple[int, int], strength: float) -> None:
    """Darkens the canvas, in place, a little below and beside where the sprite will be."""
    height, width = sprite.shape[:2]
    shift = max(1, round(0.06 * max(height, width)))
    blurred = Image.fromarray(np.pad(sprite[..., 3], shift)).filter(ImageFilter.BoxBlur(shift / 2))
    row, column = corner  # the padding moves the shadow up and left by `shift`, the offset twice as far back
    bottom, right = min(canvas.shape[0], row + height + 2 * shift), min(canvas.shape[1], column + width + 2 * shift)
    alpha = np.asarray(blurred, np.float32)[: bottom - row, : right - column, None] / 255
    canvas[row:bottom, column:right] *= 1 - strength * alpha


def _degrade(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the finished image, sometimes dimmed, blurred, grainy or squeezed through JPEG."""
    if rng.random() < 0.15:
        canvas = canvas * np.float32(rng.uniform(0.82, 1.08))
    if rng.random() < 0.12:
        canvas = canvas + rng.standard_normal(canvas.shape, np.float32) * np.float32(rng.uniform(2, 10))
    image = canvas.clip(0, 255).astype(np.uint8)
    if rng.random() < 0.1:
        blurred = Image.fromarray(image).filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 0.9))))
        image = np.asarray(blurred)
    if rng.random() < 0.12:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "JPEG", quality=int(rng.integers(45, 92)))
        image = np.asarray(Image.open(buffer))
    return np.ascontiguousarray(image)
