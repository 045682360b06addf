# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Rebuilds the files of `training/scenes/assets` that generated scenes are drawn from.

The sprite atlas needs the Noto colour emoji font (Debian package `fonts-noto-color-emoji`); the photograph crops need
scikit-image, whose bundled images they are cut from. Generating scenes needs neither.
"""

import argparse
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

sys.path[0] = str(Path(__file__).resolve().parents[1])

from ssp_sam.training.scenes.objects import ASSETS, ATLAS_COLUMNS, ATLAS_PATH, SPRITES, TILE_PX  # noqa: E402

FONT_PATH = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
FONT_PX = 109  # the only bitmap size the font has

# name: (source file of scikit-image, crop box in source pixels, longer side of the result in pixels)
PHOTOGRAPHS = {
    "astronaut_portrait": ("astronaut.png", (60, 0, 370, 300), 320),
    "astronaut_suit": ("astronaut.png", (0, 180, 360, 512), 320),
    "brick": ("brick.png", (0, 0, 400, 400), 288),
    "camera": ("camera.png", (0, 0, 512, 512), 320),
    "camera_field": ("camera.png", (290, 180, 512, 420), 256),
    "coffee": ("coffee.png", (0, 0, 600, 400), 384),
    "coffee_table": ("coffee.png", (0, 0, 330, 400), 320),
    "grass": ("grass.png", (0, 0, 400, 400), 288),
    "hubble": ("hubble_deep_field.jpg", (100, 100, 700, 600), 320),
    "gravel": ("gravel.png", (0, 0, 400, 400), 288),
    "launch_tower": ("rocket.jpg", (0, 0, 270, 427), 320),
    "retina": ("retina.jpg", (250, 250, 1150, 1150), 320),
}


def build_atlas(font_path: Path) -> Image.Image:
    """Draws every sprite's glyph, cropped and scaled to its tile; RGBA, `ATLAS_COLUMNS` tiles of `TILE_PX` in a row."""
    font = ImageFont.truetype(str(font_path), FONT_PX)
    rows = -(-len(SPRITES) // ATLAS_COLUMNS)
    atlas = Image.new("RGBA", (ATLAS_COLUMNS * TILE_PX, rows * TILE_PX))
    for index, sprite in enumerate(SPRITES):
        glyph = Image.new("RGBA", (160, 160))
        ImageDraw.Draw(glyph).text((8, 8), chr(sprite.codepoint), font=font, embedded_color=True)
        box = glyph.getchannel("A").getbbox()
        if box is None:
            raise ValueError(f"the font {font_path} has no glyph for {sprite.noun} (U+{sprite.codepoint:X})")
        glyph = glyph.crop(box)
        scale = (TILE_PX - 4) / max(glyph.size)
        glyph = glyph.resize((round(glyph.width * scale), round(glyph.height * scale)), Image.Resampling.LANCZOS)
        left = index % ATLAS_COLUMNS * TILE_PX + (TILE_PX - glyph.width) // 2
        top = index // ATLAS_COLUMNS * TILE_PX + (TILE_PX - glyph.height) // 2
        atlas.paste(glyph, (left, top))
    return atlas


def build_photographs(folder: Path) -> None:
    """Cuts the background photographs out of the images that scikit-image bundles, into JPEG files of a folder."""
    import skimage

    source = Path(skimage.__file__).parent / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for name, (file_name, box, longer_px) in PHOTOGRAPHS.items():
        photo = Image.open(source / file_name).convert("RGB").crop(box)
        photo.thumbnail((longer_px, longer_px), Image.Resampling.LANCZOS)
        photo.save(folder / f"{name}.jpg", quality=80, optimize=True)


def main() -> None:
    """Parses the command line and writes the files asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--font", type=Path, default=FONT_PATH, help="Noto colour emoji font file")
    parser.add_argument("--photographs", action="store_true", help="also cut the background photographs again")
    arguments = parser.parse_args()
    build_atlas(arguments.font).save(ATLAS_PATH, optimize=True)
    if arguments.photographs:
        build_photographs(ASSETS / "photographs")


if __name__ == "__main__":
    main()
