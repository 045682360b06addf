# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Draws screens of an application with buttons, fields and switches, named by expressions: a small custom dataset.

    python scripts/make_screens.py outputs/screens --images 60

Each name has a look of its own, as in an application; places, sizes, order and theme differ from screen to screen. A
third of the screens is the split "val". What a screen lacks is named by some lines without a mask.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 320, 240
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
HELD_OUT = 3  # every third screen


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


def draw_screen(rng: np.random.Generator) -> tuple[Image.Image, dict[str, Image.Image]]:
    """Returns a screen, and the mask of each control by its name."""
    theme = int(rng.integers(205, 250))
    image = Image.new("RGB", (WIDTH, HEIGHT), (theme, theme, min(255, theme + 6)))
    draw = ImageDraw.Draw(image)
    draw.rectangle([0, 0, WIDTH, 22], fill=tuple(int(value) for value in rng.integers(40, 110, 3)))
    masks, taken = {}, np.zeros((HEIGHT, WIDTH), dtype=bool)
    for name in rng.permutation(list(CONTROLS))[: int(rng.integers(3, 6))]:
        kind, colour = CONTROLS[name]
        width, height = size_of(kind, rng)
        for _ in range(60):
            left, top = int(rng.integers(6, WIDTH - width - 6)), int(rng.integers(30, HEIGHT - height - 6))
            if not taken[top - 6 : top + height + 6, left - 6 : left + width + 6].any():
                break
        else:
            continue
        box = (left, top, left + width, top + height)
        taken[top : top + height, left : left + width] = True
        draw_control(draw, kind, colour, box)
        blank = Image.new("RGB", (WIDTH, HEIGHT))
        draw_control(ImageDraw.Draw(blank), kind, (1, 1, 1), box)
        masks[str(name)] = Image.fromarray((np.asarray(blank).any(axis=2) * 255).astype(np.uint8))
    return image, masks


def write_screens(folder: Path, count: int, seed: int) -> int:
    """Writes screens, masks and `metadata.jsonl`; returns the number of expressions."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        image, masks = draw_screen(rng)
        image.save(folder / "images" / f"{number:03d}.png")
        line = {"image": f"images/{number:03d}.png", "split": "val" if number % HELD_OUT == 2 else "train"}
        for index, (name, mask) in enumerate(masks.items()):
            path = f"masks/{number:03d}_{index}.png"
            mask.save(folder / path)
            lines.append({**line, "mask": path, "expression": name})
        absent = sorted(set(CONTROLS) - set(masks))
        lines.append({**line, "mask": None, "expression": absent[int(rng.integers(len(absent)))]})
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (folder / "metadata.jsonl").write_text(text, encoding="utf-8")
    return len(lines)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder to make")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="other seeds give other screens")
    options = parser.parse_args(argv)
    if options.images < HELD_OUT:
        print(f"make_screens: --images must be at least {HELD_OUT}, got {options.images}", file=sys.stderr)
        return 2
    if options.output.exists():
        print(f"make_screens: {options.output} exists already; choose another folder", file=sys.stderr)
        return 2
    count = write_screens(options.output, options.images, options.seed)
    print(f"{options.output}: {options.images} images, {count} expressions")
    return 0


if __name__ == "__main__":
    sys.exit(main())
