# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Image files as people and programs write them, whole, damaged and malicious, by name."""

import functools
import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, PngImagePlugin

from tests.helpers.models import make_image

RESULT, SENTENCE = "result", "sentence"


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png_of(width: int, height: int, pixels: bytes = b"", colour: int = 2, bits: int = 8) -> bytes:
    """A PNG whose header says these sizes, whatever its pixels are."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def _turned(orientation: int) -> dict[str, Any]:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {"exif": exif}


def _frames(kind: str, **options: Any) -> bytes:
    return encoded(make_image(), kind, save_all=True, append_images=[make_image(seed=1), make_image(seed=2)], **options)


def _cut(kind: str, fraction: float, **options: Any) -> bytes:
    content = encoded(make_image(120, 90), kind, **options)
    return content[: int(len(content) * fraction)]


@functools.cache
def whole_files() -> dict[str, bytes]:
    """Files that are images of 40 x 30 pixels, or of 30 x 40 where they are turned."""
    image = make_image()
    grey, deep = image.convert("L"), Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    transparent = image.copy()
    transparent.putalpha(grey)
    files = {
        "PNG": encoded(image),
        "PNG with transparency": encoded(transparent),
        "PNG of grey and transparency": encoded(transparent.convert("LA")),
        "PNG of 16 bits": encoded(deep),
        "PNG of 1 bit": encoded(image.convert("1")),
        "PNG of a palette": encoded(image.quantize(17)),
        "PNG of a palette with a transparent colour": encoded(image.quantize(17), transparency=3),
        "PNG, interlaced twice by its frames": _frames("PNG"),
        "PNG with bytes after its end": encoded(image) + b"something else" * 100,
        "PNG with damaged EXIF": encoded(image, exif=b"Exif\0\0II*\0\xff\xff\xff\xff"),
        "PNG with a damaged colour profile": encoded(image, icc_profile=b"no profile"),
        "PNG turned by EXIF": encoded(image, **_turned(6)),
        "JPEG": encoded(image, "JPEG"),
        "JPEG of grey": encoded(grey, "JPEG"),
        "JPEG in CMYK": encoded(image.convert("CMYK"), "JPEG"),
        "JPEG, progressive": encoded(image, "JPEG", progressive=True),
        "JPEG turned by EXIF": encoded(image, "JPEG", **_turned(8)),
        "JPEG with EXIF orientation 9": encoded(image, "JPEG", **_turned(9)),
        "JPEG with zeros after its end": encoded(image, "JPEG") + bytes(1000),
        "MPO of a camera": _frames("MPO"),
        "WebP": encoded(image, "WEBP"),
        "WebP without loss": encoded(transparent, "WEBP", lossless=True),
        "WebP, animated": _frames("WEBP"),
        "GIF": encoded(image, "GIF"),
        "GIF, animated": _frames("GIF"),
        "GIF with a transparent colour": encoded(image.quantize(17), "GIF", transparency=3),
        "BMP": encoded(image, "BMP"),
        "BMP of a palette": encoded(image.quantize(17), "BMP"),
        "DIB": encoded(image, "DIB"),
        "TIFF": encoded(image, "TIFF"),
        "TIFF of several pages": _frames("TIFF"),
        "TIFF of 16 bits": encoded(deep, "TIFF"),
        "TIFF of floats": encoded(Image.fromarray(np.asarray(grey, np.float32) / 255), "TIFF"),
        "TIFF of 32 bits": encoded(Image.fromarray(np.asarray(deep, np.int32)), "TIFF"),
        "TIFF in CMYK": encoded(image.convert("CMYK"), "TIFF"),
        "TIFF in YCbCr": encoded(image.convert("YCbCr"), "TIFF"),
        "TIFF in Lab": encoded(image.convert("RGB").convert("LAB"), "TIFF"),
        "TIFF with transparency": encoded(transparent, "TIFF"),
        "PGM": encoded(grey, "PPM"),
        "PPM": encoded(image, "PPM"),
        "PBM": encoded(image.convert("1"), "PPM"),
    }
    for compression in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits"):
        files[f"TIFF by {compression.removeprefix('tiff_')}"] = encoded(image, "TIFF", compression=compression)
    if "AVIF" in Image.SAVE:
        files["AVIF"] = encoded(image, "AVIF")
    return files


@functools.cache
def damaged_files() -> dict[str, bytes]:
    """Files that are no images, or of which a part is missing or wrong."""
    image, png = make_image(), encoded(make_image())
    noise = np.random.default_rng(0).bytes(3000)
    files = {
        "an empty file": b"",
        "one byte": b"\x89",
        "noise": noise,
        "text": b"This is no image.\n" * 10,
        "a web page": b"<!DOCTYPE html><html><body>Sign in</body></html>",
        "JSON": b'{"image": "none"}',
        "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="40" height="30"><rect width="40" height="30"/></svg>',
        "PDF": encoded(image, "PDF"),
        "EPS": encoded(image, "EPS"),
        "ICO": encoded(image, "ICO"),
        "JPEG 2000": encoded(image, "JPEG2000") if "JPEG2000" in Image.SAVE else b"",
        "TGA": encoded(image, "TGA"),
        "PCX": encoded(image, "PCX"),
        "a ZIP archive": b"PK\x03\x04" + noise,
        "an array of numpy": _npy(np.asarray(image)),
        "a pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00}\x94.",
        "a program": b"\x7fELF" + noise,
        "the signature of PNG alone": png[:8],
        "PNG without pixels": png_of(40, 30),
        "PNG of width 0": png_of(0, 30),
        "PNG of 2 billion pixels a side": png_of(2**31 - 1, 2**31 - 1),
        "PNG that says 100,000 x 100,000": png_of(100_000, 100_000),
        "PNG that says 20,000 x 20,000": png_of(20_000, 20_000),
        "PNG with an unknown colour type": png_of(40, 30, colour=5),
        "GIF that says 65,535 x 65,535": b"GIF89a" + struct.pack("<HH", 65535, 65535) + encoded(image, "GIF")[10:],
        "JPEG that says 65,500 x 65,500": _jpeg_of(65500, 65500),
        "BMP with a negative width": _with_int(encoded(image, "BMP"), 18, -40),
        "BMP that says 60,000 x 60,000": _with_int(_with_int(encoded(image, "BMP"), 18, 60000), 22, 60000),
        "TIFF that says 60,000 x 60,000": _tiff_of(60000, 60000),
        "PPM that says 60,000 x 60,000": b"P6 60000 60000 255\n" + noise,
    }
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"):
        if kind in Image.SAVE:
            for fraction in (0.1, 0.5, 0.7, 0.9):
                files[f"{kind} cut at {fraction:.0%}"] = _cut(kind, fraction)
    files["animated GIF cut at 50%"] = _frames("GIF")[: len(_frames("GIF")) // 6]
    files["TIFF by lzw cut at 70%"] = _cut("TIFF", 0.7, compression="tiff_lzw")
    files["progressive JPEG cut at 60%"] = _cut("JPEG", 0.6, progressive=True)
    return files


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _with_int(content: bytes, index: int, value: int) -> bytes:
    return content[:index] + struct.pack("<i", value) + content[index + 4 :]


def _jpeg_of(width: int, height: int) -> bytes:
    content = encoded(make_image(), "JPEG")
    start = content.index(b"\xff\xc0") + 5
    return content[:start] + struct.pack(">HH", height, width) + content[start + 4 :]


def _tiff_of(width: int, height: int) -> bytes:
    content = encoded(make_image(), "TIFF")
    for tag, value in ((256, width), (257, height)):
        entry = content.index(struct.pack("<HHI", tag, 4, 1)) if struct.pack("<HHI", tag, 4, 1) in content else -1
        entry = content.index(struct.pack("<HHI", tag, 3, 1)) if entry < 0 else entry
        content = content[: entry + 2] + struct.pack("<HII", 4, 1, value) + content[entry + 12 :]
    return content


@functools.cache
def bomb_of_text() -> bytes:
    """A PNG with 8 MB of text in 8 kB."""
    notes = PngImagePlugin.PngInfo()
    notes.add_text("comment", "x" * 8_000_000, zip=True)
    return encoded(make_image(), pnginfo=notes)
