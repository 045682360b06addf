# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Every kind of image that can be handed in becomes the same upright RGB image, or one sentence."""

import base64
import http.server
import io
import os
import struct
import threading

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, ImageOps, features

from ssp_sam.processing.image_addresses import ALLOW_PRIVATE
from ssp_sam.processing.image_files import SUFFIXES
from ssp_sam.processing.image_inputs import list_images, open_image, read_rgb


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pixels(image) -> np.ndarray:
    return np.asarray(read_rgb(image)[0])


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


# ---- Sources -------------------------------------------------------------------------------------------------------


@pytest.fixture
def server():
    """A server of files by path; yields (address, files)."""
    files: dict[str, bytes] = {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(files[self.path])

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}", files
    running.shutdown()
    running.server_close()


@pytest.mark.parametrize("kind", ["photo", "transparent", "deep", "turned", "palette"])
def test_every_source_of_a_file_gives_the_same_pixels(tmp_path, server, kind, monkeypatch):
    monkeypatch.setenv(ALLOW_PRIVATE, "1")
    address, files = server
    image, options = Image.fromarray(noise(20, 30)), {}
    if kind == "transparent":
        image.putalpha(Image.fromarray(noise(20, 30)[..., 0]))
    elif kind == "deep":
        image = Image.fromarray(noise(20, 30)[..., 0].astype(np.uint16) * 257)
    elif kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        options = {"exif": exif}
    elif kind == "palette":
        image = image.quantize(17)
        options = {"transparency": 3}
    content = encoded(image, **options)
    path = tmp_path / "image.jpg"  # its ending says nothing
    path.write_bytes(content)
    files["/image"] = content
    expected = pixels(path)
    assert expected.shape == ((30, 20, 3) if kind == "turned" else (20, 30, 3)) and expected.std() > 10
    text = base64.b64encode(content).decode()
    sources = {
        "text of a path": str(path),
        "bytes": content,
        "view of bytes": memoryview(content),
        "stream": io.BytesIO(content),
        "open file": open(path, "rb"),  # noqa: SIM115
        "of a dataset, stored": {"bytes": content, "path": "image.png"},
        "of a dataset, named": {"bytes": None, "path": str(path)},
        "opened by Pillow": Image.open(path),
        "data URL": f"data:image/png;base64,{text}",
        "base64": text,
        "address": f"{address}/image",
    }
    for name, source in sources.items():
        assert np.array_equal(pixels(source), expected), name


def test_a_folder_gives_every_image_by_its_content_and_leaves_hidden_files_out(tmp_path):
    image = Image.fromarray(noise(8, 8))
    names = ["a.PNG", "b.jfif", "c.avif", "d", "e.weird", "f.Tiff"]
    third = "AVIF" if features.check("avif") else "BMP"  # Pillow has it since 11.3
    for name, kind in zip(names, ["PNG", "JPEG", third, "PNG", "WEBP", "TIFF"]):
        (tmp_path / name).write_bytes(encoded(image, kind))
    for name in ("._a.PNG", ".hidden.png", "notes.txt", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"something else")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "broken.png").touch()  # reading it says what is wrong
    assert [path.name for path in list_images(tmp_path)] == sorted([*names, "broken.png"])
    assert all(suffix == suffix.lower() for suffix in SUFFIXES)


def test_heic_of_telephones_is_read_with_its_extra():
    heif = pytest.importorskip("pillow_heif", reason="HEIC needs the extra [heic]")
    image = Image.fromarray(np.full((32, 48, 3), 200, dtype=np.uint8))
    buffer = io.BytesIO()
    heif.from_pillow(image).save(buffer)
    assert pixels(buffer.getvalue()).shape == (32, 48, 3)


# ---- Modes ---------------------------------------------------------------------------------------------------------


def test_grayscale_repeats_its_channel():
    gray = noise(4, 5)[..., 0]
    expected = np.repeat(gray[..., None], 3, axis=2)
    for image in (Image.fromarray(gray), gray, gray[..., None], torch.from_numpy(gray)[None]):
        assert np.array_equal(pixels(image), expected)


def test_a_palette_shows_its_colours():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    assert pixels(image).tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_a_transparent_palette_entry_is_white():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    image.info["transparency"] = 0
    assert pixels(image).tolist() == [[[255, 255, 255], [0, 0, 255]]]


@pytest.mark.parametrize(("mode", "value"), [("RGBA", (0, 0, 0, 0)), ("LA", (0, 0))])
def test_transparency_is_laid_on_white(mode, value):
    assert pixels(Image.new(mode, (1, 1), value)).tolist() == [[[255, 255, 255]]]


def test_half_transparency_is_mixed_with_white_in_arrays_too():
    array = np.array([[[100, 0, 0, 128]]], dtype=np.uint8)
    expected = [[[177, 127, 127]]]
    assert pixels(array).tolist() == expected
    assert pixels(Image.fromarray(array)).tolist() == expected


def test_cmyk_becomes_rgb():
    assert pixels(Image.new("CMYK", (1, 1), (0, 255, 255, 0))).tolist() == [[[255, 0, 0]]]


def test_bilevel_images_are_black_and_white():
    assert pixels(Image.new("1", (1, 1), 1)).tolist() == [[[255] * 3]]
    assert pixels(np.array([[True, False]])).tolist() == [[[255] * 3, [0] * 3]]


def test_sixteen_bits_are_scaled_and_not_clipped():
    array = np.array([[0, 257 * 100, 65535]], dtype=np.uint16)
    for image in (array, Image.fromarray(array), array.astype(np.int32)):
        assert pixels(image)[0, :, 0].tolist() == [0, 100, 255]


def test_a_sixteen_bit_png_file_is_scaled(tmp_path):
    Image.fromarray(np.array([[0, 257 * 100, 65535]], dtype=np.uint16)).save(tmp_path / "deep.png")
    assert pixels(tmp_path / "deep.png")[0, :, 0].tolist() == [0, 100, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise(20, 30)).save(tmp_path / "turned.png", exif=exif)
    upright, _ = read_rgb(tmp_path / "turned.png")
    assert upright.size == ((20, 30) if orientation > 4 else (30, 20))
    assert np.array_equal(upright, ImageOps.exif_transpose(Image.open(tmp_path / "turned.png")))
    assert np.array_equal(read_rgb(upright)[0], upright)


def test_damaged_exif_does_not_make_a_whole_image_unreadable(tmp_path):
    Image.fromarray(noise(20, 30)).save(tmp_path / "photo.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert np.array_equal(pixels(tmp_path / "photo.png"), noise(20, 30))


def test_float_images_in_0_to_255_equal_integers():
    assert np.array_equal(pixels(noise(5, 6).astype(np.float32)), noise(5, 6))


def test_a_row_of_pixels_is_read_channels_last_in_arrays_and_first_in_tensors():
    assert pixels(np.zeros((1, 4000, 3), dtype=np.uint8)).shape == (1, 4000, 3)
    assert pixels(torch.zeros(3, 4000, 1)).shape == (4000, 1, 3)
    assert pixels(torch.zeros(3, 1, 4000)).shape == (1, 4000, 3)


def test_base64_text_is_read():
    buffer = io.BytesIO()
    Image.fromarray(noise(4, 4)).save(buffer, "png")
    text = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    assert np.array_equal(pixels(text), noise(4, 4))


@pytest.mark.parametrize(
    ("bits", "dtype"), [(8, np.uint16), (10, np.uint16), (12, np.uint16), (12, np.int32), (14, np.uint16)]
)
def test_fewer_bits_than_the_type_holds_are_scaled_by_their_own_range(tmp_path, bits, dtype):
    brightest = 2**bits - 1
    array = np.array([[0, brightest // 2, brightest]], dtype=dtype)
    assert pixels(array)[0, :, 0].tolist() == [0, 127, 255]
    Image.fromarray(array.astype(np.uint16)).save(tmp_path / "deep.tif")
    assert pixels(tmp_path / "deep.tif")[0, :, 0].tolist() == [0, 127, 255]


# ---- Bad images ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.full((4, 5, 3), np.nan), r"expected finite pixels, got an image of shape \(4, 5, 3\) with NaN"),
        (np.full((4, 5), np.inf), "expected finite pixels"),
        (np.full((4, 5), -2.5), r"in 0..1 or 0..255, got values from -2.5 to -2.5"),
        (np.full((4, 5), 300.0), "got values from 300 to 300"),
        (np.full((4, 5), 70000), r"in 0..255 or 0..65535, got values from 70000 to 70000"),
        (np.zeros((6, 5, 7)), r"expected 1, 3 or 4 channels as first or last axis, got an image of shape \(6, 5, 7\)"),
        (np.zeros((0, 5, 3)), r"expected an image of shape .*, got \(0, 5, 3\)"),
        (np.zeros(5), r"expected an image of shape .*, got \(5,\)"),
        (np.array([["a"]]), "expected bool, integer or float pixels, got dtype <U1"),
        (7, "expected an image as PIL image, array, tensor, path, URL, bytes of a file, .*, got int: 7"),
        (None, "expected an image as .*, got NoneType: None"),
        ({"path": None, "bytes": None}, "expected an image as .*, got NoneType: None"),
        ({"url": "x"}, "expected an image as .*, got dict"),
        (b"", "could not read an image from 0 bytes"),
        (b"no image", "could not read an image from 8 bytes"),
        (io.StringIO("text"), "opened in binary mode"),
        (os.curdir, "expected an image file, but '.' is a folder"),
        ("a\0b.jpg", "no image file at"),
        ("x" * 5000 + ".jpg", "no image file at 'xxx"),
        ("\ud800.png", r"no image file at '.ud800.png'"),
        (
            "http://127.0.0.1/cat.png",
            r"could not load an image from .* in a private or special network.*check the URL",
        ),
        ("http://[/cat.png", "could not load an image from .*check the URL"),
        ("nowhere.jpg", "no image file at 'nowhere.jpg'; give the path of an existing image"),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(image, message):
    with pytest.raises(ValueError, match=message):
        read_rgb(image)


def test_a_file_that_is_no_image_is_refused_with_its_path(tmp_path):
    (tmp_path / "notes.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"could not read an image from '.*notes\.jpg'.*give an image such as PNG"):
        read_rgb(tmp_path / "notes.jpg")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_file_is_refused_with_its_path(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(noise(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    for image in (path, Image.open(path)):
        with pytest.raises(ValueError, match=rf"could not decode '.*cut\.{suffix}'.*damaged or cut off: replace it"):
            read_rgb(image)


@pytest.mark.parametrize(
    "error", [NotImplementedError, SyntaxError, struct.error, KeyError, MemoryError, RecursionError]
)
def test_whatever_pillow_raises_is_one_sentence_with_the_path(tmp_path, monkeypatch, error):
    def fail(self):
        raise error("of a decoder\nin two lines")

    (tmp_path / "image.png").write_bytes(encoded(Image.fromarray(noise(8, 8))))
    with monkeypatch.context() as patch:
        patch.setattr(ImageFile.ImageFile, "load", fail)
        patch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
        with pytest.raises(ValueError, match=r"could not decode '.*image\.png' \(.*of a decoder.*in two lines"):
            read_rgb(tmp_path / "image.png")
    with monkeypatch.context() as patch:
        patch.setattr("PIL.PngImagePlugin.PngImageFile._open", fail)
        with pytest.raises(ValueError, match=r"could not read an image from '.*image\.png'"):
            read_rgb(tmp_path / "image.png")


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    (tmp_path / "huge.png").write_bytes(encoded(Image.new("1", (400, 400))))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(ValueError, match=r"the image in '.*huge\.png' has more than 179 megapixels; shrink it"):
        open_image(tmp_path / "huge.png")


def test_formats_that_start_programs_are_not_opened(tmp_path):
    content = encoded(Image.fromarray(noise(8, 8)), "EPS")
    with pytest.raises(ValueError, match="could not read an image from"):
        read_rgb(content)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes by name on this system")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ValueError, match="is no regular file"):
        read_rgb(tmp_path / "pipe.png")
