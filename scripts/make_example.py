# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Makes the example image of the README and of `make demo`: a photograph with objects pasted on it.

    python scripts/make_example.py

The same bytes come out every time. The photograph is public domain, the objects are glyphs of the Noto colour emoji
font; see training/scenes/assets/LICENSES.md.
"""

import argparse
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402
from PIL import Image, ImageFilter, ImageOps  # noqa: E402

from ssp_sam.training.scenes.backgrounds import PHOTOGRAPH_FOLDER  # noqa: E402
from ssp_sam.training.scenes.objects import draw_object  # noqa: E402

SIZE_WH = (512, 384)
PHOTOGRAPH, DARK, LIGHT = "grass", (16, 44, 14), (186, 214, 120)  # a grey image, and what makes it green
# noun, colour, longer side and centre in pixels, seed of the variant
OBJECTS = (
    ("car", "red", 150, (96, 300), 0),
    ("car", "blue", 150, (408, 306), 1),
    ("dog", None, 136, (252, 296), 6),
    ("apple", "red", 88, (78, 96), 3),
    ("apple", "red", 88, (208, 72), 4),
    ("balloon", "yellow", 120, (420, 92), 5),
)


def make_example() -> tuple[Image.Image, list[np.ndarray]]:
    """Returns the image, RGB, and the mask of each of `OBJECTS`, (height, width) bool."""
    with Image.open(PHOTOGRAPH_FOLDER / f"{PHOTOGRAPH}.jpg") as file:
        photograph = ImageOps.colorize(file.convert("L"), DARK, LIGHT)
    scale = max(SIZE_WH[0] / photograph.width, SIZE_WH[1] / photograph.height)
    crop_w, crop_h = SIZE_WH[0] / scale, SIZE_WH[1] / scale
    left, top = (photograph.width - crop_w) / 2, (photograph.height - crop_h) / 2
    image = photograph.resize(SIZE_WH, Image.Resampling.BICUBIC, box=(left, top, left + crop_w, top + crop_h))

    masks = []
    for noun, colour, size_px, (x, y), seed in OBJECTS:
        sprite = Image.fromarray(draw_object(noun, colour, size_px, np.random.default_rng(seed)))
        corner = (x - sprite.width // 2, y - sprite.height // 2)
        shadow = Image.new("L", SIZE_WH)
        shadow.paste(sprite.getchannel("A").point(lambda alpha: alpha // 3), (corner[0] + 5, corner[1] + 6))
        image.paste((0, 0, 0), mask=shadow.filter(ImageFilter.GaussianBlur(5)))
        image.paste(sprite.convert("RGB"), corner, mask=sprite.getchannel("A"))
        mask = Image.new("L", SIZE_WH)
        mask.paste(sprite.getchannel("A"), corner)
        masks.append(np.asarray(mask) > 127)
    return image, masks


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="examples/scene.png", help="image to write")
    output = Path(parser.parse_args().output)
    output.parent.mkdir(parents=True, exist_ok=True)
    make_example()[0].save(output, optimize=True)
    print(f"wrote {output}")


if __name__ == "__main__":
    main()
