# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Odd images at every door: read as what they show, or refused in one sentence."""

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.doors import Doors
from tests.helpers.models import make_image, make_pipeline
from tests.helpers.odd_images import RESULT, SENTENCE, bomb_of_text, damaged_files, encoded, whole_files
from tests.helpers.robustness import attempt

DOORS = ("processor", "pipeline", "handler", "demo", "ONNX script", "ssp-sam segment", "ssp-sam explain")
OF_PATHS = ("demo", "ONNX script", "ssp-sam segment", "ssp-sam explain")


@pytest.fixture(scope="module")
def doors(tiny_checkpoint) -> Doors:
    return Doors(make_pipeline(), tiny_checkpoint)


@pytest.fixture(autouse=True)
def away(tmp_path, monkeypatch):
    """Commands write beside them; Ghostscript, which Pillow starts for PostScript, is never asked for."""
    monkeypatch.chdir(tmp_path)
    started = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: started.append("Ghostscript"))
    yield
    assert not started


def asker(doors: Doors, door: str):
    """The door as a function of the image alone."""
    names = {"ONNX script": "onnx", "ssp-sam segment": "segment", "ssp-sam explain": "explain_command"}
    ask = getattr(doors, names.get(door, door))
    return lambda image: ask(image, "the red car")


@pytest.mark.parametrize("door", DOORS)
def test_robust_files(rows, doors, door, tmp_path):
    ask = asker(doors, door)
    files = [(name, content, RESULT) for name, content in whole_files().items()]
    files += [(name, content, SENTENCE) for name, content in damaged_files().items()]
    files += [("PNG with 8 MB of text in 8 kB", bomb_of_text(), SENTENCE)]
    if door == "ssp-sam explain":  # which reads them as the other command does, and draws more
        files = files[::6]
    for number, (name, content, expected) in enumerate(files):
        path = tmp_path / f"{number}.img"
        path.write_bytes(content)
        image = base64.b64encode(content).decode() if door == "handler" else str(path)
        rows.add(door, f"image: {name}", attempt(lambda image=image: ask(image)), expected)


def odd_paths(folder: Path) -> dict[str, tuple[str, str]]:
    """Paths by what is there, and what must come of them."""
    image = encoded(make_image())
    names = {
        "spaces and umlauts": "ein Bild äöü ß.png",
        "no ending": "image",
        "a quote": 'it\'s "it".png',
        "a dash": "-x.png",
    }
    found = {}
    for name, file in names.items():
        (folder / file).write_bytes(image)
        found[f"a file name with {name}"] = (str(folder / file), RESULT)
    (folder / "link.png").symlink_to(folder / "image")
    (folder / "circle.png").symlink_to(folder / "circle.png")
    (folder / "dangling.png").symlink_to(folder / "gone.png")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    found["a link"] = (str(folder / "link.png"), RESULT)
    refused = {
        "a missing file": str(folder / "gone.png"),
        "a link to itself": str(folder / "circle.png"),
        "a link to nothing": str(folder / "dangling.png"),
        "a folder without images": str(folder / "folder.png"),
        "a named pipe": str(folder / "pipe.png"),
        "/dev/zero": "/dev/zero",
        "/dev/null": "/dev/null",
        "an empty name": "",
        "a name of 5,000 characters": str(folder / ("x" * 5000 + ".png")),
        "a name of 3 million characters": "y" * 3_000_000,
        "a NUL in a name": "a\0b.png",
        "half a character in a name": "\ud800.png",
        "a file address": f"file://{folder}/image",
        "an FTP address": "ftp://images.example/a.png",
        "an address of this machine": "http://127.0.0.1/a.png",
        "an address of this machine as a number": "http://2130706433/a.png",
        "an address of this machine in IPv6": "http://[::1]/a.png",
        "an address of a cloud's metadata": "http://169.254.169.254/latest/meta-data",
        "another port": "http://127.0.0.1:22/",
        "an address without host": "http:///a.png",
        "an address with half a bracket": "http://[",
        "an address with a NUL": "http://images\0.example/a.png",
        "an address with a user name": "http://me:secret@127.0.0.1/a.png",
        "an address with a port of letters": "http://127.0.0.1:port/",
        "a data URL without content": "data:image/png;base64,",
        "a data URL that is not base64": "data:image/svg+xml,<svg/>",
        "a data URL of text": "data:text/plain;base64,SGVsbG8=",
        "base64 of no image": base64.b64encode(bytes(100)).decode(),
        "a sentence": "the red car on the left of the large tree",
    }
    return found | {name: (path, SENTENCE) for name, path in refused.items()}


@pytest.mark.parametrize("door", DOORS)
def test_robust_paths(rows, doors, door, tmp_path):
    ask = asker(doors, door)
    for name, (path, expected) in odd_paths(tmp_path).items():
        expected = SENTENCE if door == "handler" else expected  # which opens no file
        rows.add(door, f"path: {name}", attempt(lambda path=path: ask(path)), expected)


class Stream:
    """An open file that fails or never ends."""

    def __init__(self, content):
        self.content = content

    def read(self, size: int = -1):
        if isinstance(self.content, Exception):
            raise self.content
        return self.content


def closed() -> Image.Image:
    image = Image.open(io.BytesIO(encoded(make_image())))
    image.close()
    return image


def odd_objects() -> dict[str, tuple[object, str]]:
    """Python objects, and what must come of them."""
    pixels, transparent = np.asarray(make_image()), make_image().convert("RGBA")
    taken = {
        "an array": pixels,
        "an array, channels first": pixels.transpose(2, 0, 1),
        "an array of grey": pixels[..., 0],
        "an array of bool": pixels[..., 0] > 100,
        "an array of 16 bits": pixels.astype(np.uint16) * 257,
        "an array of int64": pixels.astype(np.int64),
        "an array of float16 in 0..1": (pixels / 255).astype(np.float16),
        "an array of float64 in 0..255": pixels.astype(np.float64),
        "an array with holes between rows": pixels[::2, ::2],
        "an array upside down": pixels[::-1],
        "an array that cannot be written": np.frombuffer(pixels.tobytes(), np.uint8).reshape(pixels.shape),
        "an array of one pixel": pixels[:1, :1],
        "a tensor": torch.tensor(pixels),
        "a tensor in bfloat16": torch.tensor(pixels).to(torch.bfloat16) / 255,
        "a tensor with gradients": (torch.tensor(pixels) / 255).requires_grad_(),
        "a batch of one": pixels[None],
        "bytes": encoded(make_image()),
        "a bytearray": bytearray(encoded(make_image())),
        "an undecoded image of a dataset": {"bytes": encoded(make_image()), "path": "x.png"},
        **{f"an image of mode {mode}": make_image().convert(mode) for mode in ("1", "L", "P", "CMYK", "YCbCr", "HSV")},
        **{f"an image of mode {mode}": transparent.convert(mode) for mode in ("LA", "RGBA", "RGBa", "PA")},
        "an image of mode I;16": Image.fromarray(pixels[..., 0].astype(np.uint16) * 257),
        "an image of mode F in 0..1": Image.fromarray(pixels[..., 0].astype(np.float32) / 255),
        "an image of 1 x 1": make_image().resize((1, 1)),
        "an image of 3000 x 1": make_image().resize((3000, 1)),
        "an image of 1 x 3000": make_image().resize((1, 3000)),
    }
    refused = {
        "None": None,
        "a number": 7,
        "NaN": float("nan"),
        "an empty dict": {},
        "a dict without image": {"url": "x"},
        "a dict of nothing": {"bytes": None, "path": None},
        "a dict of text": {"bytes": "text", "path": None},
        "a set": {1, 2},
        "an object": object(),
        "a class": Image.Image,
        "an array of NaN": np.full((30, 40, 3), np.nan),
        "an array of infinity": np.full((30, 40, 3), np.inf),
        "an array of negative numbers": np.full((30, 40), -3),
        "an array after normalisation": np.full((30, 40, 3), -1.7),
        "an array of numbers above 65,535": np.full((30, 40), 70_000),
        "an array of numbers near 2**63": np.full((30, 40), 2**63 - 1),
        "an array of numbers above 2**63": np.full((30, 40), 2**64 - 1, np.uint64),
        "an array of floats near 1e38": np.full((30, 40), 1e38, np.float32),
        "an array of text": np.full((30, 40), "red"),
        "an array of objects": np.full((30, 40), None),
        "an array of Python integers too large": np.full((30, 40), 10**400, object),
        "an array of complex numbers": np.full((30, 40), 1j),
        "an array of times": np.full((30, 40), "2026-01-01", "datetime64[D]"),
        "an array with named fields": np.zeros((30, 40), [("r", "u1"), ("g", "u1")]),
        "an array of 2 channels": pixels[..., :2],
        "an array of 5 channels": np.zeros((30, 40, 5), np.uint8),
        "an array without dimensions": np.array(7),
        "an array of one dimension": np.zeros(40),
        "an array of five dimensions": np.zeros((1, 1, 30, 40, 3)),
        "an array of no rows": pixels[:0],
        "an array of 10 billion pixels that lie in one": np.broadcast_to(np.uint8(0), (100_000, 100_000)),
        "a tensor without values": torch.zeros(3, 30, 40, device="meta"),
        "a sparse tensor": torch.zeros(30, 40).to_sparse(),
        "a quantised tensor": torch.quantize_per_tensor(torch.zeros(30, 40), 0.1, 0, torch.quint8),
        "a complex tensor": torch.zeros(30, 40, dtype=torch.complex64),
        "a tensor of 10 billion pixels that lie in one": torch.zeros(1, 1).expand(100_000, 100_000),
        "an image without pixels": Image.new("RGB", (0, 5)),
        "an image that was closed": closed(),
        "an image of mode F with NaN": Image.fromarray(np.full((30, 40), np.nan, np.float32)),
        "an image opened from EPS": Image.open(io.BytesIO(encoded(make_image(), "EPS"))),
        "an open file that fails": Stream(OSError("the disk is gone\nfor good")),
        "an open file of text": Stream("text"),
        "an open file of nothing": Stream(b""),
        "an open file that gives None": Stream(None),
        "no bytes": b"",
    }
    return {name: (value, RESULT) for name, value in taken.items()} | {
        name: (value, SENTENCE) for name, value in refused.items()
    }


@pytest.mark.parametrize("door", ["processor", "pipeline", "explain"])
def test_robust_objects(rows, doors, door):
    ask = asker(doors, door)
    objects = odd_objects()
    if door == "explain":  # of one image, and each drawn
        objects.pop("a batch of one")
    for name, (value, expected) in list(objects.items())[:: 3 if door == "explain" else 1]:
        rows.add(door, f"object: {name}", attempt(lambda value=value: ask(value)), expected)
