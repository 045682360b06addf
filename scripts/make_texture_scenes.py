# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Draws pictures of striped, dotted and checked shapes on ruled paper, with masks and sentences, as data of one's own.

    python scripts/make_texture_scenes.py outputs/textures --pictures 300

The embedded checkpoint has never seen a texture: its scenes have plain shapes, and its words no word for one.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 176, 128
SHAPES = ("circle", "square", "triangle", "diamond")
TEXTURES = ("striped", "dotted", "checked")
SUPERSAMPLING = 4


def shape_mask(shape: str, centre: tuple[float, float], radius: float, angle: float) -> np.ndarray:
    """Returns the pixels (HEIGHT, WIDTH) bool of a shape that lies within a radius of its centre."""
    canvas = Image.new("L", (WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    x, y, r = (value * SUPERSAMPLING for value in (*centre, radius))
    if shape == "circle":
        draw.ellipse([x - r, y - r, x + r, y + r], fill=255)
    else:
        corners = 3 if shape == "triangle" else 4
        start = {"square": math.pi / 4, "triangle": -math.pi / 2, "diamond": -math.pi / 2}[shape] + angle
        turns = [start + 2 * math.pi * corner / corners for corner in range(corners)]
        narrow = 0.62 if shape == "diamond" else 1.0
        draw.polygon([(x + r * narrow * math.cos(turn), y + r * math.sin(turn)) for turn in turns], fill=255)
    return np.asarray(canvas.resize((WIDTH, HEIGHT), Image.Resampling.BOX)) > 127


def texture_mask(texture: str, rng: np.random.Generator) -> np.ndarray:
    """Returns where a texture is dark, (HEIGHT, WIDTH) bool."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] + rng.uniform(0, 8)
    period = rng.uniform(6, 9)
    if texture == "striped":
        turn = rng.uniform(0, math.pi)
        return (x * math.cos(turn) + y * math.sin(turn)) % period < period / 2
    if texture == "checked":
        return (x // (period / 1.6) + y // (period / 1.6)) % 2 < 1
    return (x % period - period / 2) ** 2 + (y % period - period / 2) ** 2 < (period / 3.2) ** 2


def draw_picture(rng: np.random.Generator) -> tuple[np.ndarray, list[tuple[str, str, float, np.ndarray]]]:
    """
    Draws one picture.

    Returns:
        Pixels (HEIGHT, WIDTH, 3) uint8, and per shape its texture, name, horizontal place and mask.
    """
    pixels = np.full((HEIGHT, WIDTH, 3), rng.uniform(225, 250, 3), dtype=np.float32)
    pixels[:: int(rng.integers(9, 14))] -= 22  # ruled paper
    pixels += rng.normal(0, 3, pixels.shape)
    objects, taken = [], np.zeros((HEIGHT, WIDTH), dtype=bool)
    kinds = [(texture, shape) for texture in TEXTURES for shape in SHAPES]
    wanted = rng.permutation(len(kinds))[: int(rng.integers(2, 5))]
    for number in wanted:
        texture, shape = kinds[number]
        for _ in range(50):
            radius = rng.uniform(17, 30)
            centre = (rng.uniform(radius, WIDTH - radius), rng.uniform(radius, HEIGHT - radius))
            mask = shape_mask(shape, centre, radius, rng.uniform(-0.15, 0.15))
            if not (mask & taken).any():
                break
        else:
            continue
        taken |= mask
        dark, light = rng.uniform(20, 120, 3), rng.uniform(190, 255, 3)
        pixels[mask] = np.where(texture_mask(texture, rng)[mask, None], dark, light)
        objects.append((texture, shape, centre[0], mask))
    return pixels.clip(0, 255).astype(np.uint8), objects


def sentences(objects: list, rng: np.random.Generator) -> list[tuple[str, np.ndarray | None]]:
    """Returns expressions with what each means: every shape by its texture, one by its place, and one absent kind."""
    found: list[tuple[str, np.ndarray | None]] = [
        (f"the {texture} {shape}", mask) for texture, shape, _, mask in objects
    ]
    places = sorted(objects, key=lambda item: item[2])
    if len(places) > 1 and places[1][2] - places[0][2] > 15:
        found.append(("the leftmost shape", places[0][3]))
    absent = [(t, s) for t in TEXTURES for s in SHAPES if (t, s) not in {item[:2] for item in objects}]
    if rng.random() < 0.5:
        texture, shape = absent[int(rng.integers(len(absent)))]
        found.append((f"the {texture} {shape}", None))
    return found


def write_pictures(folder: Path, count: int, seed: int) -> int:
    """Writes pictures, masks and `metadata.jsonl`; returns the number of expressions."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        pixels, objects = draw_picture(rng)
        Image.fromarray(pixels).save(folder / "images" / f"{number:05d}.png")
        for place, (expression, mask) in enumerate(sentences(objects, rng)):
            name = None if mask is None else f"masks/{number:05d}_{place}.png"
            if name is not None:
                Image.fromarray(mask.astype(np.uint8) * 255).save(folder / name)
            lines.append({"image": f"images/{number:05d}.png", "mask": name, "expression": expression})
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / "metadata.jsonl").write_text(text, encoding="utf-8")
    return len(lines)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder to make")
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other pictures")
    options = parser.parse_args(argv)
    if options.pictures < 1:
        print(f"make_texture_scenes: --pictures must be at least 1, got {options.pictures}", file=sys.stderr)
        return 2
    if options.output.exists():
        print(f"make_texture_scenes: {options.output} exists already; choose another folder", file=sys.stderr)
        return 2
    count = write_pictures(options.output, options.pictures, options.seed)
    print(f"{options.output}: {options.pictures} pictures, {count} expressions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
