# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Collections of small images in every form that an annotation reads, with images among them that cannot be used."""

import io
import tarfile
from pathlib import Path

from PIL import Image
from pyarrow import Table, parquet

from tests.helpers.models import make_image

EXPRESSIONS = ["a dog", "the red car"]


def image_bytes(seed: int, width: int = 24, height: int = 18) -> bytes:
    """A PNG of its own for every seed."""
    stream = io.BytesIO()
    make_image(width + seed % 5, height, seed=seed).save(stream, "PNG")
    return stream.getvalue()


def damaged() -> dict[str, bytes]:
    """What no image can be read from, by a name that says why."""
    huge = io.BytesIO()
    Image.new("1", (9000, 9000)).save(huge, "PNG")
    return {
        "cut_off.png": image_bytes(0, 300, 300)[:2000],
        "empty.png": b"",
        "huge.png": huge.getvalue(),
        "text.png": b"this is no image",
    }


def image_folder(folder: Path, number: int, with_damaged: bool = False) -> Path:
    """A folder of images, some of them in a folder of it."""
    for seed in range(number):
        path = folder / ("more" if seed % 3 == 2 else "") / f"{seed:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image_bytes(seed))
    for name, content in damaged().items() if with_damaged else ():
        (folder / name).write_bytes(content)
    return folder


def tars(folder: Path, shards: int, number: int) -> Path:
    """Webdataset's tars, each with `number` images and a text beside each."""
    folder.mkdir(parents=True)
    for shard in range(shards):
        with tarfile.open(folder / f"{shard:03d}.tar", "w") as tar:
            for index in range(number):
                texts = {"txt": EXPRESSIONS[index % 2].encode()}
                for ending, content in {"png": image_bytes(shard * number + index), **texts}.items():
                    member = tarfile.TarInfo(f"{index:04d}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return folder


def parquet_files(folder: Path, shards: int, number: int) -> Path:
    """Parquet as the Hub has it: images in the rows, and a column of captions."""
    folder.mkdir(parents=True)
    for shard in range(shards):
        rows = [
            {"photo": {"bytes": image_bytes(shard * number + index), "path": None}, "captions": EXPRESSIONS}
            for index in range(number)
        ]
        parquet.write_table(Table.from_pylist(rows), folder / f"part-{shard}.parquet")
    return folder
