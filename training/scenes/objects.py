# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The things a generated scene is made of: nouns, colours, emoji sprites, drawn shapes.

Emoji come from a small atlas (`assets/sprites.png`), made once from the Noto colour emoji font by
`scripts/build_sprite_atlas.py`. Nothing here needs the font.
"""

from __future__ import annotations

import colorsys
import math
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

ASSETS = Path(__file__).resolve().parent / "assets"
ATLAS_PATH = ASSETS / "sprites.png"
TILE_PX = 112
ATLAS_COLUMNS = 8

EMOJI_NOUNS = (
    "dog", "cat", "rabbit", "panda", "lion", "pig", "frog", "monkey", "elephant", "penguin", "owl", "turtle",
    "octopus", "bee", "banana", "pizza", "donut", "carrot", "strawberry", "watermelon", "rocket", "tree", "clock",
    "robot",
)  # fmt: skip
TINTED_NOUNS = ("car", "apple", "balloon", "book", "shirt", "heart", "fish", "butterfly")
SHAPE_NOUNS = ("circle", "square", "triangle", "star", "hexagon", "diamond", "ring", "cross")
NOUNS: tuple[str, ...] = EMOJI_NOUNS + TINTED_NOUNS + SHAPE_NOUNS

TINT_COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "pink")
COLOURS: tuple[str, ...] = TINT_COLOURS + ("white", "black")
# A shade that no expression names, so that a noun is more than the colours it is trained in.
UNNAMED = "unnamed"

# Noun-colour pairs that only the `novel` split shows or mentions.
NOVEL_COMBINATIONS: frozenset[tuple[str, str]] = frozenset(
    {
        ("fish", "purple"), ("heart", "green"), ("car", "pink"), ("apple", "blue"), ("balloon", "orange"),
        ("book", "yellow"), ("shirt", "red"), ("butterfly", "green"), ("star", "blue"), ("triangle", "purple"),
        ("circle", "orange"), ("ring", "white"),
    }
)  # fmt: skip


class Sprite(NamedTuple):
    """One emoji glyph of the atlas: its noun, code point, weight among the noun's glyphs, and its own plain colour."""

    noun: str
    codepoint: int
    weight: float = 1.0
    own_colour: str | None = None


SPRITES: tuple[Sprite, ...] = (
    Sprite("dog", 0x1F436, 4), Sprite("dog", 0x1F415, 4), Sprite("dog", 0x1F429), Sprite("dog", 0x1F9AE),
    Sprite("cat", 0x1F431, 2), Sprite("cat", 0x1F408, 2), Sprite("cat", 0x1F63A, 0.5),
    Sprite("rabbit", 0x1F430), Sprite("rabbit", 0x1F407), Sprite("panda", 0x1F43C), Sprite("lion", 0x1F981),
    Sprite("pig", 0x1F437), Sprite("pig", 0x1F416), Sprite("frog", 0x1F438), Sprite("monkey", 0x1F435),
    Sprite("monkey", 0x1F412), Sprite("elephant", 0x1F418), Sprite("penguin", 0x1F427), Sprite("owl", 0x1F989),
    Sprite("turtle", 0x1F422), Sprite("octopus", 0x1F419), Sprite("bee", 0x1F41D), Sprite("banana", 0x1F34C),
    Sprite("pizza", 0x1F355), Sprite("donut", 0x1F369), Sprite("carrot", 0x1F955), Sprite("strawberry", 0x1F353),
    Sprite("watermelon", 0x1F349), Sprite("rocket", 0x1F680), Sprite("tree", 0x1F333, 2), Sprite("tree", 0x1F332, 2),
    Sprite("tree", 0x1F334), Sprite("tree", 0x1F384, 0.5), Sprite("clock", 0x1F550), Sprite("clock", 0x1F552, 0.5),
    Sprite("clock", 0x1F559, 0.5), Sprite("clock", 0x23F0, 2), Sprite("clock", 0x1F570), Sprite("robot", 0x1F916),
    Sprite("car", 0x1F697, 2, "red"), Sprite("car", 0x1F699, 2, "blue"), Sprite("car", 0x1F698, 1, "red"),
    Sprite("apple", 0x1F34E, 1, "red"), Sprite("apple", 0x1F34F, 1, "green"), Sprite("balloon", 0x1F388, 1, "red"),
    Sprite("book", 0x1F4D5, 2, "red"), Sprite("book", 0x1F4D8, 1, "blue"), Sprite("book", 0x1F4D7, 0.5, "green"),
    Sprite("book", 0x1F4D9, 0.5, "orange"), Sprite("book", 0x1F4D6, 1), Sprite("shirt", 0x1F455, 2),
    Sprite("shirt", 0x1F45A), Sprite("shirt", 0x1F454, 0.4),
    Sprite("heart", 0x2764, 2, "red"), Sprite("heart", 0x2665, 1, "red"),
    Sprite("fish", 0x1F41F, 2, "blue"), Sprite("fish", 0x1F420, 2, "yellow"), Sprite("fish", 0x1F421, 0.5),
    Sprite("butterfly", 0x1F98B, 1, "orange"),
)  # fmt: skip

# Hue in degrees, saturation and value in [0, 1]: the range each colour word may take.
_COLOUR_RANGES = {
    "red": ((-10, 6), (0.80, 1.0), (0.70, 1.0)),
    "orange": ((20, 39), (0.80, 1.0), (0.90, 1.0)),
    "yellow": ((49, 61), (0.75, 1.0), (0.90, 1.0)),
    "green": ((92, 150), (0.55, 1.0), (0.40, 1.0)),
    "blue": ((203, 243), (0.62, 1.0), (0.50, 1.0)),
    "purple": ((266, 300), (0.55, 1.0), (0.45, 0.78)),
    "pink": ((320, 352), (0.23, 0.60), (0.94, 1.0)),
    "white": ((0, 360), (0.0, 0.04), (0.93, 1.0)),
    "black": ((0, 360), (0.0, 0.3), (0.0, 0.14)),
}
_UNNAMED_RANGES = {
    "grey": ((0, 360), (0.0, 0.05), (0.38, 0.65)),
    "brown": ((17, 30), (0.5, 0.8), (0.3, 0.48)),
    "beige": ((30, 45), (0.2, 0.4), (0.7, 0.85)),
    "olive": ((55, 65), (0.6, 0.9), (0.35, 0.5)),
}


def colours_of(noun: str) -> tuple[str, ...]:
    """Returns the colour words a noun can carry; none for emoji shown in their natural colours."""
    if noun in TINTED_NOUNS:
        return TINT_COLOURS
    return COLOURS if noun in SHAPE_NOUNS else ()


def draw_object(noun: str, colour: str | None, size_px: float, rng: np.random.Generator) -> np.ndarray:
    """
    Draws one object in a random variant, slightly rotated, perhaps mirrored, at times a little narrower.

    Args:
        noun: A member of `NOUNS`.
        colour: A member of `colours_of(noun)`, `UNNAMED`, or `None` for emoji in their natural colours.
        size_px: Longer side of the drawn object, in pixels, up to rounding.
        rng: Source of the variant, shade, angle and mirroring.

    Returns:
        (height, width, 4) uint8 RGBA, cropped to its visible pixels.
    """
    angle = float(rng.normal(0, 7)) if rng.random() < 0.7 else 0.0
    angle = max(-15.0, min(15.0, angle))
    draw = _draw_shape if noun in SHAPE_NOUNS else _draw_sprite
    pixels = _crop_visible(draw(noun, colour, size_px, angle, rng))
    if noun in SHAPE_NOUNS or rng.random() < 0.7:  # a wide square would be a rectangle
        return pixels
    shape = [pixels.shape[1], pixels.shape[0]]
    shorter = int(shape[1] < shape[0])  # the longer side says whether an object is large
    shape[shorter] = max(4, round(shape[shorter] * rng.uniform(0.84, 1.0)))
    return np.asarray(Image.fromarray(pixels).resize(shape, Image.Resampling.BILINEAR))


def sample_colour(colour: str, rng: np.random.Generator) -> np.ndarray:
    """Draws one shade of a colour word or of `UNNAMED`, (3,) float32 RGB in [0, 255]."""
    ranges = _COLOUR_RANGES.get(colour) or _UNNAMED_RANGES[str(rng.choice(list(_UNNAMED_RANGES)))]
    hue, saturation, value = (rng.uniform(low, high) for low, high in ranges)
    return np.array(colorsys.hsv_to_rgb(hue / 360 % 1, saturation, value), np.float32) * 255


# --- emoji ------------------------------------------------------------------------------------------------------------


@cache
def _tiles() -> dict[Sprite, Image.Image]:
    atlas = Image.open(ATLAS_PATH).convert("RGBA")
    tiles = {}
    for index, sprite in enumerate(SPRITES):
        left, top = index % ATLAS_COLUMNS * TILE_PX, index // ATLAS_COLUMNS * TILE_PX
        tile = atlas.crop((left, top, left + TILE_PX, top + TILE_PX))
        tiles[sprite] = tile.crop(tile.getchannel("A").getbbox())
    return tiles


@cache
def _variants(noun: str) -> tuple[tuple[Sprite, ...], np.ndarray]:
    sprites = tuple(sprite for sprite in SPRITES if sprite.noun == noun)
    return sprites, np.cumsum([sprite.weight for sprite in sprites])


def _draw_sprite(noun: str, colour: str | None, size_px: float, angle: float, rng: np.random.Generator) -> np.ndarray:
    sprites, cumulative = _variants(noun)
    sprite = sprites[int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))]
    plain = [s for s in sprites if colour is not None and s.own_colour == colour]
    untinted = bool(plain) and rng.random() < 0.45
    if untinted:
        sprite = plain[int(rng.integers(len(plain)))]

    tile = _tiles()[sprite]
    turn = math.radians(abs(angle))
    scale = size_px / max(tile.size) / (math.cos(turn) + 0.6 * math.sin(turn))
    image = tile.resize((max(4, round(tile.width * scale)), max(4, round(tile.height * scale))), Image.Resampling.BOX
                        if scale < 0.5 else Image.Resampling.BICUBIC)  # fmt: skip
    if rng.random() < 0.4:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if angle:
        image = image.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    pixels = np.asarray(image)
    rgb = pixels[..., :3].astype(np.float32)
    if colour is not None and not untinted:
        rgb = _tint(rgb, pixels[..., 3], sample_colour(colour, rng), rng)
    if rng.random() < 0.3:
        rgb = rgb * np.float32(rng.uniform(0.88, 1.08))
    return np.dstack([rgb.clip(0, 255).astype(np.uint8), pixels[..., 3]])


def _tint(rgb: np.ndarray, alpha: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """
    Recolours a sprite in one of three ways, all of which keep its shading.

    Args:
        rgb: (height, width, 3) float32 in [0, 255].
        alpha: (height, width) uint8; the shading is measured against the brightness of the visible part.
        target: (3,) float32 in [0, 255].
        rng: Source of the way and its strength.

    Returns:
        (height, width, 3) float32, to be clipped.
    """
    luminance = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    visible = luminance[alpha > 127]
    body = max(float(np.percentile(visible, 60)) if visible.size else 128.0, 40.0)
    shade = luminance / body  # 1 where the sprite has the brightness of its body
    method = rng.random()
    if method < 0.45:  # luminance times colour, highlights go towards white
        strength = rng.uniform(0.8, 1.0)
        shade = np.minimum(shade, 1.5)[..., None]
        tinted = target * np.minimum(shade, 1) + (255 - target) * np.maximum(shade - 1, 0) * rng.uniform(0.2, 0.8)
        return tinted * strength + target * (1 - strength)
    if method < 0.75:  # hue and saturation replaced, greys (windows, wheels, pages) partly kept
        spread = rgb.max(-1) - rgb.min(-1)
        coloured = np.clip(spread / 60, rng.uniform(0.0, 0.6), 1)[..., None]
        tinted = target * np.clip(shade, 0.25, 1.25)[..., None]
        grey = luminance[..., None]
        if float(np.mean(coloured[alpha > 127] > 0.8)) < 0.6:  # a pale sprite has no colour of its own to replace
            coloured = np.maximum(coloured, 0.85)
        return tinted * coloured + grey * (1 - coloured)
    strength = rng.uniform(0.6, 1.0)  # a wash of colour over the grey image
    return target * strength + luminance[..., None] * (1 - strength) * min(1.4, 150 / body)


# --- shapes -----------------------------------------------------------------------------------------------------------


def _polygon(angles_deg: np.ndarray, radii: np.ndarray | float = 1.0) -> np.ndarray:
    angles = np.radians(angles_deg)
    return np.stack([np.cos(angles), -np.sin(angles)], -1) * np.reshape(radii, (-1, 1))


def _shape_outline(noun: str, rng: np.random.Generator) -> np.ndarray:
    """Returns the (points, 2) outline of a shape, y pointing down, of any scale, centred near the origin."""
    if noun in ("circle", "ring"):
        return _polygon(np.arange(64) * 360 / 64)
    if noun == "square":
        return _polygon(np.array([45, 135, 225, 315]))
    if noun == "triangle":
        return _polygon(np.array([90, 210, 330])) * np.array([rng.uniform(0.9, 1.1), 1.0])
    if noun == "star":
        return _polygon(90 + np.arange(10) * 36, np.tile([1.0, rng.uniform(0.38, 0.52)], 5))
    if noun == "hexagon":
        return _polygon(np.arange(6) * 60 + (30 if rng.random() < 0.5 else 0))
    if noun == "diamond":
        return _polygon(np.arange(4) * 90) * np.array([rng.uniform(0.6, 1.0), 1.0])
    arm = rng.uniform(0.22, 0.38)
    quarter = np.array([[arm, -1.0], [arm, -arm], [1.0, -arm]])
    turns = [np.array([[0.0, 1.0], [-1.0, 0.0]])] * 4  # a quarter turn at a time
    points, current = [], quarter
    for turn in turns:
        points.append(current)
        current = current @ turn
    cross = np.concatenate(points)
    half = math.sqrt(0.5)
    return cross @ np.array([[half, -half], [half, half]]) if rng.random() < 0.25 else cross


def _draw_shape(noun: str, colour: str | None, size_px: float, angle: float, rng: np.random.Generator) -> np.ndarray:
    factor = 4 if size_px < 100 else 2  # draw larger, then average, for smooth edges
    turn = math.radians(angle)
    outline = _shape_outline(noun, rng) @ np.array(
        [[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]]
    )
    low, high = outline.min(0), outline.max(0)
    scale = size_px * factor / float((high - low).max())
    width, height = (math.ceil(extent * scale / factor) + 2 for extent in high - low)
    centre = np.array([width, height]) * factor / 2
    middle = (low + high) / 2

    def filled(shrink: float, hole: float = 0.0) -> np.ndarray:
        canvas = Image.new("L", (width * factor, height * factor), 0)
        pen = ImageDraw.Draw(canvas)
        pen.polygon([tuple(p) for p in (outline - middle) * scale * shrink + centre], fill=255)
        if hole:
            pen.polygon([tuple(p) for p in (outline - middle) * scale * hole + centre], fill=0)
        return np.asarray(canvas.reduce(factor), np.float32) / 255

    alpha = filled(1.0, hole=rng.uniform(0.48, 0.7) if noun == "ring" else 0.0)
    fill = sample_colour(colour or "red", rng)
    rgb = np.broadcast_to(fill, (height, width, 3)).astype(np.float32)
    style = rng.random()
    if style < 0.25:  # shaded along a direction
        direction = rng.uniform(0, 2 * math.pi)
        ys, xs = np.mgrid[0:height, 0:width].astype(np.float32)
        ramp = (xs / width - 0.5) * math.cos(direction) + (ys / height - 0.5) * math.sin(direction)
        rgb = rgb * (1 + rng.uniform(0.1, 0.4) * ramp[..., None])
    elif style < 0.5 and noun != "ring":  # a darker rim
        rim = fill * 0.55 if colour != "black" else fill + 45
        inside = filled(rng.uniform(0.8, 0.9))[..., None]
        rgb = rgb * inside + rim * (1 - inside)
    return np.dstack([rgb.clip(0, 255).astype(np.uint8), (alpha * 255).astype(np.uint8)])


def _crop_visible(rgba: np.ndarray) -> np.ndarray:
    visible = rgba[..., 3] > 16
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    return rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
