# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Draws a small custom dataset of images, masks and expressions.

    python scripts/make_custom_dataset.py textures outputs/textures --images 300
    python scripts/make_custom_dataset.py screens outputs/screens --images 60

`textures` are striped, dotted and checked shapes on ruled paper: the embedded checkpoint has never seen a texture, and
has no word for one. `screens` are those of an application: buttons, fields and switches, each with a name and a look of
its own, whose order, size and theme differ; a third of them is the split "val".
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

# An expression with the pixels that it means, bool at image size, or None.
Meaning = tuple[str, np.ndarray | None]

# ---- textures -----------------------------------------------------------------------------------------------------

PAPER_WIDTH, PAPER_HEIGHT = 176, 128
SHAPES = ("circle", "square", "triangle", "diamond")
TEXTURES = ("striped", "dotted", "checked")
SUPERSAMPLING = 4


def shape_mask(shape: str, centre: tuple[float, float], radius: float, angle: float) -> np.ndarray:
    """Returns the pixels of a shape that lies within a radius of its centre."""
    canvas = Image.new("L", (PAPER_WIDTH * SUPERSAMPLING, PAPER_HEIGHT * SUPERSAMPLING))
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
    return np.asarray(canvas.resize((PAPER_WIDTH, PAPER_HEIGHT), Image.Resampling.BOX)) > 127


def texture_mask(texture: str, rng: np.random.Generator) -> np.ndarray:
    """Returns where a texture is dark."""
    y, x = np.mgrid[:PAPER_HEIGHT, :PAPER_WIDTH] + rng.uniform(0, 8)
    period = rng.uniform(6, 9)
    if texture == "striped":
        turn = rng.uniform(0, math.pi)
        return (x * math.cos(turn) + y * math.sin(turn)) % period < period / 2
    if texture == "checked":
        return (x // (period / 1.6) + y // (period / 1.6)) % 2 < 1
    return (x % period - period / 2) ** 2 + (y % period - period / 2) ** 2 < (period / 3.2) ** 2


def draw_textures(rng: np.random.Generator) -> tuple[Image.Image, list[Meaning]]:
    """Draws shapes on paper; each is named by its texture, one by its position, and at times one that is absent."""
    pixels = np.full((PAPER_HEIGHT, PAPER_WIDTH, 3), rng.uniform(225, 250, 3), dtype=np.float32)
    pixels[:: int(rng.integers(9, 14))] -= 22  # ruled paper
    pixels += rng.normal(0, 3, pixels.shape)
    kinds = [f"the {texture} {shape}" for texture in TEXTURES for shape in SHAPES]
    drawn: dict[str, tuple[float, np.ndarray]] = {}  # x of the centre, and the pixels
    taken = np.zeros((PAPER_HEIGHT, PAPER_WIDTH), dtype=bool)
    for index in rng.permutation(len(kinds))[: int(rng.integers(2, 5))]:
        _, texture, shape = kinds[index].split()
        for _ in range(50):
            radius = rng.uniform(17, 30)
            centre = (rng.uniform(radius, PAPER_WIDTH - radius), rng.uniform(radius, PAPER_HEIGHT - radius))
            mask = shape_mask(shape, centre, radius, rng.uniform(-0.15, 0.15))
            if not (mask & taken).any():
                break
        else:
            continue
        taken |= mask
        dark, light = rng.uniform(20, 120, 3), rng.uniform(190, 255, 3)
        pixels[mask] = np.where(texture_mask(texture, rng)[mask, None], dark, light)
        drawn[kinds[index]] = centre[0], mask
    meant: list[Meaning] = [(kind, mask) for kind, (_, mask) in drawn.items()]
    leftmost, *others = sorted(drawn.values(), key=lambda item: item[0])
    if others and others[0][0] - leftmost[0] > 15:
        meant.append(("the leftmost shape", leftmost[1]))
    if rng.random() < 0.5:
        absent = [kind for kind in kinds if kind not in drawn]
        meant.append((absent[int(rng.integers(len(absent)))], None))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), meant


# ---- screens ------------------------------------------------------------------------------------------------------

SCREEN_WIDTH, SCREEN_HEIGHT = 320, 240
# Name: kind of control and its colour.
CONTROLS = {
    "the save button": ("button", (46, 125, 50)),
    "the delete button": ("button", (198, 40, 40)),
    "the help button": ("button", (249, 168, 37)),
    "the search field": ("search", (25, 118, 210)),
    "the password field": ("password", (60, 60, 60)),
    "the volume slider": ("slider", (123, 31, 162)),
    "the wifi switch": ("switch", (0, 150, 136)),
    "the profile picture": ("picture", (255, 138, 101)),
}


def draw_control(draw: ImageDraw.ImageDraw, kind: str, colour: tuple, box: tuple[int, int, int, int]):
    """Draws one control into its box."""
    left, top, right, bottom = box
    middle, height = (top + bottom) // 2, bottom - top
    if kind == "button":
        draw.rounded_rectangle(box, radius=height // 4, fill=colour)
        draw.line([left + height // 2, middle, right - height // 2, middle], fill="white", width=3)
    elif kind in ("search", "password"):
        draw.rectangle(box, fill="white", outline=colour, width=3)
        if kind == "search":
            draw.ellipse([left + 8, top + 8, left + height - 12, bottom - 12], outline=colour, width=3)
            draw.line([left + height - 14, bottom - 14, left + height - 7, bottom - 7], fill=colour, width=4)
        else:
            for x in range(left + 12, right - 16, 14):
                draw.ellipse([x, middle - 4, x + 8, middle + 4], fill=colour)
    elif kind == "slider":
        draw.rounded_rectangle([left, middle - 4, right, middle + 4], radius=4, fill=(190, 190, 200))
        knob = left + (right - left) * 2 // 3
        draw.ellipse([knob - height // 2, top, knob + height // 2, bottom], fill=colour)
    elif kind == "switch":
        draw.rounded_rectangle(box, radius=height // 2, fill=colour)
        draw.ellipse([right - height + 4, top + 4, right - 4, bottom - 4], fill="white")
    else:
        draw.ellipse(box, fill=colour)
        draw.ellipse([left + height // 3, top + height // 5, right - height // 3, middle], fill="white")


def size_of(kind: str, rng: np.random.Generator) -> tuple[int, int]:
    """Returns the width and height of a control of a kind."""
    height = int(rng.integers(30, 43))
    if kind == "picture":
        return height + 12, height + 12
    if kind == "switch":
        return int(1.8 * height), height
    return int(rng.integers(90, 150)), height


def draw_screen(rng: np.random.Generator) -> tuple[Image.Image, list[Meaning]]:
    """Draws a screen; each of its controls is named, and one that it lacks."""
    theme = int(rng.integers(205, 250))
    image = Image.new("RGB", (SCREEN_WIDTH, SCREEN_HEIGHT), (theme, theme, min(255, theme + 6)))
    draw = ImageDraw.Draw(image)
    draw.rectangle([0, 0, SCREEN_WIDTH, 22], fill=tuple(int(value) for value in rng.integers(40, 110, 3)))
    meant: list[Meaning] = []
    taken = np.zeros((SCREEN_HEIGHT, SCREEN_WIDTH), dtype=bool)
    for name in map(str, rng.permutation(list(CONTROLS))[: int(rng.integers(3, 6))]):
        kind, colour = CONTROLS[name]
        width, height = size_of(kind, rng)
        for _ in range(60):
            left, top = (
                int(rng.integers(6, SCREEN_WIDTH - width - 6)),
                int(rng.integers(30, SCREEN_HEIGHT - height - 6)),
            )
            if not taken[top - 6 : top + height + 6, left - 6 : left + width + 6].any():
                break
        else:
            continue
        box = (left, top, left + width, top + height)
        taken[top : top + height, left : left + width] = True
        draw_control(draw, kind, colour, box)
        blank = Image.new("RGB", image.size)
        draw_control(ImageDraw.Draw(blank), kind, (1, 1, 1), box)
        meant.append((name, np.asarray(blank).any(axis=2)))
    absent = sorted(set(CONTROLS) - {name for name, _ in meant})
    meant.append((absent[int(rng.integers(len(absent)))], None))
    return image, meant


# ---- files --------------------------------------------------------------------------------------------------------

# How an image of a kind is drawn, and which of them are held out: every so many, none where it is 0.
KINDS: dict[str, tuple[Callable, int]] = {"textures": (draw_textures, 0), "screens": (draw_screen, 3)}


def write_dataset(kind: str, folder: Path, count: int, seed: int = 0) -> int:
    """Writes images, masks and `metadata.jsonl`; returns the number of expressions."""
    draw, held_out = KINDS[kind]
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        image, meant = draw(np.random.default_rng((seed, number)))
        image.save(folder / "images" / f"{number:05d}.png")
        split = {"split": "val" if number % held_out == held_out - 1 else "train"} if held_out else {}
        for index, (expression, mask) in enumerate(meant):
            path = None if mask is None else f"masks/{number:05d}_{index}.png"
            if mask is not None:
                Image.fromarray(mask.astype(np.uint8) * 255).save(folder / str(path))
            line = {"image": f"images/{number:05d}.png", "mask": path, "expression": expression}
            lines.append(line | split)
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / "metadata.jsonl").write_text(text, encoding="utf-8")
    return len(lines)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(KINDS), help="what is drawn")
    parser.add_argument("output", type=Path, help="folder to make")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other images")
    options = parser.parse_args(argv)
    least = max(1, KINDS[options.kind][1])
    if options.images < least:
        print(f"make_custom_dataset: --images must be at least {least}, got {options.images}", file=sys.stderr)
        return 2
    if options.output.exists():
        print(f"make_custom_dataset: {options.output} exists already; choose another folder", file=sys.stderr)
        return 2
    count = write_dataset(options.kind, options.output, options.images, options.seed)
    print(f"{options.output}: {options.images} images, {count} expressions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
