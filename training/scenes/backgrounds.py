# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Backgrounds of generated scenes: flat, gradient, stripes, noise, and crops of photographs."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from PIL import Image, ImageFilter

from .objects import ASSETS

PHOTOGRAPH_FOLDER = ASSETS / "photographs"
TRAIN_PHOTOGRAPHS = (
    "astronaut_portrait", "astronaut_suit", "brick", "camera", "camera_field", "coffee", "coffee_table", "grass",
    "hubble",
)  # fmt: skip
HELD_OUT_PHOTOGRAPHS = ("gravel", "launch_tower", "retina")

_SORTS, _FREQUENCIES = ("flat", "gradient", "stripes", "noise", "photograph"), (0.15, 0.17, 0.06, 0.14, 0.48)


def draw_background(size_hw: tuple[int, int], rng: np.random.Generator, held_out: bool) -> np.ndarray:
    """
    Draws a background of a random sort, (height, width, 3) float32 RGB in [0, 255].

    `held_out` allows photographs that training never shows.
    """
    sort = rng.choice(_SORTS, p=_FREQUENCIES)
    if sort == "flat":
        return np.broadcast_to(_any_colour(rng), (*size_hw, 3)).astype(np.float32)
    if sort == "gradient":
        return _gradient(size_hw, rng)
    if sort == "stripes":
        return _stripes(size_hw, rng)
    if sort == "noise":
        return _noise(size_hw, rng)
    image = _photograph(size_hw, rng, held_out)
    if rng.random() < 0.15:  # two photographs, one fading into the other
        mix = _smooth_field(size_hw, 2, rng)[..., None]
        image = image * mix + _photograph(size_hw, rng, held_out) * (1 - mix)
    return image.clip(0, 255)


def _any_colour(rng: np.random.Generator) -> np.ndarray:
    if rng.random() < 0.3:  # greys, black and white among them
        return np.full(3, rng.uniform(0, 255), np.float32)
    return rng.uniform(0, 255, 3).astype(np.float32)


def _gradient(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    height, width = size_hw
    ys = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    xs = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    if rng.random() < 0.7:
        angle = rng.uniform(0, 2 * math.pi)
        ramp = (xs * math.cos(angle) + ys * math.sin(angle)) / 2.83 + 0.5
    else:
        ramp = np.hypot(xs - rng.uniform(-0.6, 0.6), ys - rng.uniform(-0.6, 0.6)) / 2.2
    ramp = ramp.clip(0, 1)[..., None]
    return _any_colour(rng) * (1 - ramp) + _any_colour(rng) * ramp


def _stripes(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    angle, waves = rng.uniform(0, math.pi), rng.uniform(2, 14)
    ys, xs = np.mgrid[: size_hw[0], : size_hw[1]].astype(np.float32) / max(size_hw)
    wave = np.sin((xs * math.cos(angle) + ys * math.sin(angle)) * np.float32(2 * math.pi * waves))
    mix = (0.5 + wave * np.float32(rng.uniform(0.3, 8))).clip(0, 1)[..., None]
    return _any_colour(rng) * mix + _any_colour(rng) * (1 - mix)


def _smooth_field(size_hw: tuple[int, int], cells: int, rng: np.random.Generator) -> np.ndarray:
    """Returns (height, width) float32 in [0, 1]: random values on a coarse grid, interpolated."""
    grid = Image.fromarray((rng.random((cells + 1, cells + 1)) * 255).astype(np.uint8))
    return np.asarray(grid.resize((size_hw[1], size_hw[0]), Image.Resampling.BICUBIC), np.float32) / 255


def _noise(size_hw: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    shorter = min(size_hw)
    field = np.zeros(size_hw, np.float32)
    for cells in rng.choice([2, 4, 8, 16, 32, 64, shorter - 1], size=2, replace=False):
        field += (_smooth_field(size_hw, int(cells), rng) - 0.5) * np.float32(rng.uniform(0.4, 1.2))
    if rng.random() < 0.5:  # between two colours
        mix = (field + 0.5).clip(0, 1)[..., None]
        return _any_colour(rng) * mix + _any_colour(rng) * (1 - mix)
    image = _any_colour(rng) + field[..., None] * np.float32(rng.uniform(60, 200))
    if rng.random() < 0.5:  # grain, each channel its own
        image = image + rng.standard_normal((*size_hw, 3), np.float32) * np.float32(rng.uniform(5, 45))
    return image.clip(0, 255)


@cache
def _load_photograph(name: str) -> Image.Image:
    with Image.open(PHOTOGRAPH_FOLDER / f"{name}.jpg") as file:
        return file.convert("RGB")


def _photograph(size_hw: tuple[int, int], rng: np.random.Generator, held_out: bool) -> np.ndarray:
    names = HELD_OUT_PHOTOGRAPHS if held_out and rng.random() < 0.5 else TRAIN_PHOTOGRAPHS
    photo = _load_photograph(names[int(rng.integers(len(names)))])

    # 1. A crop of the scene's aspect ratio.
    height, width = size_hw
    fit = min(photo.width / width, photo.height / height)
    scale = fit * rng.uniform(0.35, 1.0)
    crop_width, crop_height = width * scale, height * scale
    left, top = rng.uniform(0, photo.width - crop_width), rng.uniform(0, photo.height - crop_height)
    image = photo.resize(
        (width, height), Image.Resampling.BILINEAR, box=(left, top, left + crop_width, top + crop_height)
    )
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.12:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.BoxBlur(float(rng.uniform(0.5, 0.03 * min(size_hw)))))

    # 2. Its own colours, contrast and brightness.
    rgb = np.asarray(image, np.float32)
    grey = rgb.mean(-1, keepdims=True)
    style = rng.random()
    if style < 0.45:
        rgb = grey + (rgb - grey) * np.float32(rng.uniform(0.5, 1.4))
    elif style < 0.8:  # toned, as through a coloured glass
        tone = rng.uniform(0.45, 1.15, 3).astype(np.float32)
        rgb = (grey + (rgb - grey) * np.float32(rng.uniform(0.0, 1.0))) * tone
    elif style < 0.9:
        rgb = rgb[..., rng.permutation(3)]
    if rng.random() < 0.6:
        rgb = (rgb - 128) * np.float32(rng.uniform(0.5, 1.15)) + np.float32(128 + rng.uniform(-50, 50))
    return rgb.clip(0, 255)
