# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Letters of any script: by the font of the package, and by those of the system where it lacks a character.

The package's font has Latin, Greek, Cyrillic, Arabic, Hebrew, Armenian, Georgian and many signs. Letters that join each
other, and lines from right to left, are shaped where Pillow has raqm, as its wheels do.
"""

import functools
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

FONT_FILE = Path(__file__).resolve().with_name("assets") / "DejaVuSans.ttf"
SUFFIXES = (".ttf", ".otf", ".ttc")
BITMAP_SIZE = 109  # the one size of Noto's font of coloured emoji
PROBE_SIZE = 20
NO_CHARACTER = "\U0010ffff"  # which no font has
# What a font's name says of how well it stands beside the package's.
PREFERRED, AVOIDED = ("sans", "regular", "noto", "cjk"), ("serif", "mono", "bold", "italic", "light", "thin", "black")


class Lettering:
    """The letters of all drawings at one size, in pixels."""

    def __init__(self, size: float):
        self.size = float(size)
        self.ascent, self.descent = _load(str(FONT_FILE), self.size).getmetrics()

    def getlength(self, text: str) -> float:
        """Returns the width of a line in pixels."""
        return sum(self._length(path, part) for path, part in _runs(text))

    def write(
        self, draw: ImageDraw.ImageDraw, xy: tuple[float, float], text: str, fill: Any, anchor: str = "la"
    ) -> None:
        """
        Writes a line.

        Args:
            draw: Of an RGB or RGBA image.
            xy: Where the anchor lies.
            text: Without line breaks.
            fill: Colour of the letters; emoji keep their own where the system's font has them in colours.
            anchor: Pillow's: "l", "m" or "r" across, then "a" for the top of the line or "m" for its middle.
        """
        x, y = xy
        x -= {"l": 0.0, "m": 0.5, "r": 1.0}[anchor[0]] * self.getlength(text) if anchor[0] != "l" else 0.0
        y += self.ascent if anchor[1] == "a" else (self.ascent - self.descent) / 2
        for path, part in _runs(text):
            if _is_bitmap(path):
                tile = _bitmap(path, part, self.size)
                draw._image.paste(tile, (round(x), round(y - self.ascent)), tile)
            else:
                draw.text((x, y), part, font=_load(path, self.size), fill=fill, anchor="ls")
            x += self._length(path, part)

    def _length(self, path: str, part: str) -> float:
        if _is_bitmap(path):
            return _load(path, BITMAP_SIZE).getlength(part) * self.size / BITMAP_SIZE
        return _load(path, self.size).getlength(part)


@functools.cache
def font_of(size: float) -> Lettering:
    """Returns the letters of all drawings at a size in pixels."""
    return Lettering(size)


def _runs(text: str) -> list[tuple[str, str]]:
    """A text in parts that one font has, each with the font's file."""
    runs: list[tuple[str, str]] = []
    for character in text:
        joins = unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf", "Sk")
        follows = runs and (joins or character.isspace() and not _is_bitmap(runs[-1][0]))
        path = runs[-1][0] if follows else _font_with(character)
        if runs and runs[-1][0] == path:
            runs[-1] = (path, runs[-1][1] + character)
        else:
            runs.append((path, character))
    return runs


@functools.cache
def _font_with(character: str) -> str:
    """The file of the first font that has a character, or of the package's where none has."""
    if character.isascii() or character.isspace():
        return str(FONT_FILE)
    return next((path for path in (str(FONT_FILE), *_system_fonts()) if _has(path, character)), str(FONT_FILE))


@functools.cache
def _system_fonts() -> tuple[str, ...]:
    """The files of the system's fonts, those first that look most like the package's."""
    files = {str(path) for folder in _folders() for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES}

    def rank(path: str):
        name = Path(path).stem.lower()
        return sum(word in name for word in AVOIDED) - sum(word in name for word in PREFERRED), name, path

    return tuple(sorted(files, key=rank))


def _folders() -> list[Path]:
    """Where systems keep their fonts."""
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        return [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts"]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    return [*(Path(folder) / "fonts" for folder in shared.split(":") if folder), home / ".local/share/fonts"]


def _has(path: str, character: str) -> bool:
    """Whether a font draws a character, and not the box that it draws for those it lacks."""
    try:
        if _is_bitmap(path):
            drawn, absent = (_bitmap(path, text, PROBE_SIZE).tobytes() for text in (character, NO_CHARACTER))
        else:
            drawn, absent = (bytes(_load(path, PROBE_SIZE).getmask(text)) for text in (character, NO_CHARACTER))
    except (OSError, ValueError):  # a file that is no font, or of a kind that FreeType does not read
        return False
    return drawn != absent and any(drawn)


@functools.cache
def _is_bitmap(path: str) -> bool:
    """Whether a font has letters of one size alone."""
    try:
        _load(path, PROBE_SIZE)
    except OSError:
        return True
    return False


@functools.lru_cache(maxsize=256)
def _load(path: str, size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@functools.lru_cache(maxsize=256)
def _bitmap(path: str, text: str, size: float) -> Image.Image:
    """A line in the colours of its font, RGBA, at any size."""
    font = _load(path, BITMAP_SIZE)
    tile = Image.new("RGBA", (max(1, round(font.getlength(text))), round(1.25 * BITMAP_SIZE)))
    ImageDraw.Draw(tile).text((0, 0), text, font=font, embedded_color=True)
    scale = size / BITMAP_SIZE
    return tile.resize((max(1, round(tile.width * scale)), max(1, round(tile.height * scale))), Image.Resampling.BOX)
