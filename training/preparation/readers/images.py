# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Finds the pictures of a benchmark in a folder, and says how large they are without decoding them."""

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from PIL import Image, UnidentifiedImageError

from .records import BadRecord, PreparationError

ORIENTATION_TAG = 0x0112  # of EXIF
TURNED_SIDEWAYS = (5, 6, 7, 8)


def coco_pictures(image_id: str, file_name: str | None = None) -> tuple[str, ...]:
    """Where a picture of COCO may lie: by the names of 2014, then by those of 2017."""
    names = [file_name] if file_name else []
    folders = ["", "train2014/", "images/train2014/", "coco/train2014/", "images/"]
    if image_id.isdigit():
        number = f"{int(image_id):012d}.jpg"
        names.append(f"COCO_train2014_{number}")
        years = tuple(f"{folder}{number}" for folder in ("", "train2017/", "val2017/", "images/train2017/"))
    else:
        years = ()
    return tuple(dict.fromkeys(folder + name for name in names for folder in folders)) + years


def saiapr_pictures(image_id: str, file_name: str | None = None) -> tuple[str, ...]:
    """Where a picture of SAIAPR TC-12, the pictures of ReferIt, may lie."""
    places = []
    if file_name:
        places = [file_name, f"saiapr_tc-12/{file_name}", f"images/saiapr_tc-12/{file_name}"]
    if image_id.isdigit():
        folder = f"{int(image_id) // 1000:02d}/images/{image_id}.jpg"
        places += [folder, f"saiapr_tc-12/{folder}", f"images/{image_id}.jpg"]
    return (*places, f"{image_id}.jpg")


def visual_genome_pictures(image_id: str) -> tuple[str, ...]:
    """Where a picture of Visual Genome may lie."""
    folders = ("VG_100K/", "VG_100K_2/", "", "images/", "images/VG_100K/", "images/VG_100K_2/", "vg/VG_100K/")
    return tuple(f"{folder}{image_id}.jpg" for folder in folders)


class PictureFolder:
    """
    A folder of pictures.

    Args:
        root: The folder. What its user has linked into it belongs to it; what an annotation names may not lie outside.

    Raises:
        PreparationError: There is no such folder.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        if not self.root.is_dir():
            raise PreparationError(f"there is no folder of images {str(root)!r}")
        self._by_name: dict[str, list[str]] | None = None

    def find(self, places: Sequence[str]) -> Path:
        """
        Returns the first of the places, relative to the folder, where there is a file; failing that, the only file
        anywhere in the folder that is named like the first of them.

        Raises:
            BadRecord: A place leads out of the folder, or there is no such picture, or several of that name.
        """
        for place in places:
            self._check(place)
        for place in places:
            path = self.root / place
            if path.is_file():
                return path
        if self._by_name is None:
            self._by_name = {}
            for folder, _, names in os.walk(self.root, followlinks=True):
                for name in names:
                    self._by_name.setdefault(name, []).append(os.path.join(folder, name))
        name = PurePosixPath(places[0]).name
        found = self._by_name.get(name, [])
        if len(found) > 1:
            raise BadRecord(f"several pictures are named {name!r}, such as {found[0]!r} and {found[1]!r}")
        if not found:
            raise BadRecord(f"the picture {name!r} is not in {str(self.root)!r}")
        return Path(found[0])

    def _check(self, place: str):
        pure, windows = PurePosixPath(place), PureWindowsPath(place)
        outside = pure.is_absolute() or windows.drive or windows.root or ".." in pure.parts or ".." in windows.parts
        if outside or "\0" in place or not place:
            raise BadRecord(f"the path {place!r} leads out of the folder of images")


def read_header(picture: Path | bytes) -> tuple[int, int, int]:
    """
    Returns height and width of the stored pixels and the EXIF orientation, 1 where there is none.

    Raises:
        BadRecord: The file is no picture.
    """
    try:
        with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as image:
            orientation = image.getexif().get(ORIENTATION_TAG, 1)
            return image.height, image.width, orientation if orientation in range(1, 9) else 1
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        name = "the stored picture" if isinstance(picture, bytes) else repr(str(picture))
        raise BadRecord(f"{name} cannot be read as a picture ({str(error).splitlines()[0]})") from error


def without_orientation(data: bytes) -> bytes:
    """
    Returns the file of a JPEG picture without its EXIF part, so that its pixels are shown as they are stored.

    Raises:
        BadRecord: It is no JPEG picture.
    """
    if data[:2] != b"\xff\xd8":
        raise BadRecord("the picture is turned by its EXIF orientation, but its masks are not; store it upright")
    kept, place = [data[:2]], 2
    while place + 4 <= len(data) and data[place] == 0xFF and data[place + 1] not in (0xDA, 0xD9):
        length = 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        if not (data[place + 1] == 0xE1 and data[place + 4 : place + 8] == b"Exif"):
            kept.append(data[place : place + length])
        place += length
    return b"".join([*kept, data[place:]])


def image_number(name: str) -> str:
    """The id of a picture from its file name: the number at its end without leading zeros, otherwise the stem."""
    stem = PurePosixPath(name.replace("\\", "/")).stem
    number = re.search(r"(?:^|_)(\d+)$", stem)
    return str(int(number[1])) if number else stem


def collection_of(source: str) -> str:
    """Returns the collection that the pictures of a source are from: coco, vg, saiapr, flickr, or the source itself."""
    name = source.lower().removeprefix("original_").rsplit("/", 1)[-1]
    if name.startswith(("refcoco", "grefcoco", "coco")):
        return "coco"
    if name.startswith(("refclef", "referit")):
        return "saiapr"
    if name.startswith(("phrase", "vg")):
        return "vg"
    return "flickr" if name.startswith("flickr") else source


def picture_key(source: str, image_id: str, visual_genome_to_coco: dict[str, str]) -> str:
    """
    Returns a name that a picture has in every benchmark.

    Args:
        source: `source` of a prepared benchmark.
        image_id: `image_id` of the same.
        visual_genome_to_coco: COCO's id of the pictures of Visual Genome that are COCO's, too.
    """
    collection = collection_of(source)
    if collection == "vg" and image_id in visual_genome_to_coco:
        return f"coco:{visual_genome_to_coco[image_id]}"
    return f"{collection}:{image_id}"
