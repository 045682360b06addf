# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Finds the images of a benchmark in a folder, however an annotation file spells their paths."""

import hashlib
import os
import posixpath
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from ....processing.image_files import exif_orientation, load, open_file
from ....processing.image_inputs import open_image
from .records import BadRecord, PreparationError, shortened

TURNED_SIDEWAYS = (5, 6, 7, 8)
_UPLOAD_PREFIX = re.compile(r"[0-9a-f]{8}-(?=.)")  # what Label Studio puts before the names of uploaded files
_IMAGE_ENDINGS = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".heic")
# Folders in whose place a label file has another.
_ROLES = ("images", "labels", "masks", "mask", "JPEGImages", "SegmentationClass", "SegmentationClassPNG", "Annotations")
_DRIVE = re.compile(r"[A-Za-z]:(?=[\\/])")


def coco_paths(image_id: str, file_name: Any = None) -> tuple[str, ...]:
    """Where an image of COCO may lie: by the names of 2014, then by those of 2017."""
    names = [file_name] if isinstance(file_name, str) and file_name else []
    folders = ["", "train2014/", "images/train2014/", "coco/train2014/", "images/"]
    years: tuple[str, ...] = ()
    if image_id.isascii() and image_id.isdecimal():
        number = f"{int(image_id):012d}.jpg"
        names.append(f"COCO_train2014_{number}")
        years = tuple(f"{folder}{number}" for folder in ("", "train2017/", "val2017/", "images/train2017/"))
    elif not names:
        names.append(f"{image_id}.jpg")
    return tuple(dict.fromkeys(folder + name for name in names for folder in folders)) + years


def saiapr_paths(image_id: str, file_name: Any = None) -> tuple[str, ...]:
    """Where an image of SAIAPR TC-12, the images of ReferIt, may lie."""
    paths = []
    if isinstance(file_name, str) and file_name:
        paths = [file_name, f"saiapr_tc-12/{file_name}", f"images/saiapr_tc-12/{file_name}"]
    if image_id.isascii() and image_id.isdecimal():
        path = f"{int(image_id) // 1000:02d}/images/{image_id}.jpg"
        paths += [path, f"saiapr_tc-12/{path}", f"images/{image_id}.jpg"]
    return (*paths, f"{image_id}.jpg")


def visual_genome_paths(image_id: str) -> tuple[str, ...]:
    """Where an image of Visual Genome may lie."""
    folders = ("VG_100K/", "VG_100K_2/", "", "images/", "images/VG_100K/", "images/VG_100K_2/", "vg/VG_100K/")
    return tuple(f"{folder}{image_id}.jpg" for folder in folders)


class ImageFolder:
    """
    A folder of images or masks. Nothing outside it is ever opened, whatever an annotation names.

    Args:
        root: The folder. What its user has linked into it belongs to it.
        what: What a message calls a file of it.

    Raises:
        PreparationError: There is no such folder.
    """

    def __init__(self, root: str | Path, what: str = "image"):
        self.root, self.what = Path(root), what
        if not self.root.is_dir():
            raise PreparationError(f"there is no folder of {what}s {str(root)!r}")
        self._by_name: dict[str, list[str]] | None = None
        self._named_by: dict[str, tuple[str, str]] = {}

    def find(self, paths: Sequence[str]) -> Path:
        """
        Returns the first file that lies at one of the paths, relative to the folder; failing that, the only file in it
        whose own path ends in one of them, or is the end of one of them.

        Paths may be written with backslashes, as absolute ones, as in an address, in the other form of Unicode, or in
        another case. The longest common end decides, so that `cam1/0001.png` is never taken for `cam2/0001.png`.

        Raises:
            BadRecord: There is no such file, or more than one.
        """
        for path in paths:
            if _is_plain(path) and os.path.isfile(self.root / path):
                return self.root / path
        for path in paths:
            for spelling in self._spellings(path):
                found = self._ending_in(spelling, path)
                if found is not None:
                    return self.root / found
        named = f"the {self.what} {shortened(paths[0])} is not in {str(self.root)!r}"
        alike = self._index().get(_key(paths[0].replace("\\", "/").rsplit("/", 1)[-1]), [])
        raise BadRecord(f"{named}, where that name has only {_listed(alike)}" if alike else named)

    def find_relative(self, path: str, folders: Sequence[str] = ()) -> str:
        """
        Returns the path below the folder of the one file that a custom dataset means, which is the image's id there.

        Args:
            path: As the dataset spells it.
            folders: Folders in which it is looked for first, such as that of the annotation file.

        Raises:
            BadRecord: As `find`, or two different paths of the annotations lead to one file.
        """
        plain = path.replace("\\", "/")
        beside = [
            posixpath.normpath(posixpath.join(folder, below, plain)) for folder in folders for below in ("", "images")
        ]
        located = self.find((*beside, path, f"{self.what}s/{path}"))
        found = os.path.normpath(located.relative_to(self.root)).replace(os.sep, "/")
        if folders and folders[0] != ".":
            path = posixpath.normpath(posixpath.join(folders[0], plain))
        # Folders that had to be dropped to find the file may have told one image from another.
        dropped, key = path, _key(found)
        for spelling in map(_key, self._spellings(path)):
            if key.endswith(spelling) or spelling.endswith(key):
                dropped = spelling.removesuffix(key) if spelling.endswith(key) else ""
                break
        first, first_dropped = self._named_by.setdefault(found, (path, dropped))
        if dropped != first_dropped:
            raise BadRecord(
                f"{first!r} and {path!r} are both found as {found!r} in {str(self.root)!r}: which of them is it? "
                f"Lay the folders out as the annotations name them"
            )
        return found

    def pair(self, names: Iterable[str], leave_out: Collection[str] = ()) -> tuple[dict[str, str | BadRecord], int]:
        """
        Returns the image that each label file or mask belongs to, or why there is none, and the number of images that
        belong to none. It has the same name but for the ending, in the same folder or in one that differs by what is
        usual, such as `images` and `labels`; paths that are no images can be left out.
        """
        images: dict[str, list[tuple[str, list[str]]]] = {}
        for path in (path for paths in self._index().values() for path in paths):
            stem, ending = posixpath.splitext(path)
            if ending.lower() in _IMAGE_ENDINGS and path not in leave_out:
                images.setdefault(_key(posixpath.basename(stem)), []).append((path, _telling_folders(path)))
        taken: dict[str, str] = {}
        pairs: dict[str, str | BadRecord] = {}
        for name in names:
            stem, folders = posixpath.splitext(posixpath.basename(name))[0], _telling_folders(name)
            alike = images.get(_key(stem)) or images.get(_key(stem.removesuffix("_mask")), [])
            fitting = [path for path, of in alike if of == folders] or [
                path for path, of in alike if not of or not folders or of[-len(folders) :] == folders[-len(of) :]
            ]
            if len(fitting) == 1 and taken.setdefault(fitting[0], name) == name:
                pairs[name] = fitting[0]
            elif len(fitting) == 1:
                pairs[name] = BadRecord(
                    f"{taken[fitting[0]]!r} and {name!r} both belong to {fitting[0]!r}: which does?"
                )
            elif fitting:
                pairs[name] = BadRecord(f"several images could belong to {name!r}: {_listed(fitting)}")
            else:
                only = f", only {_listed([path for path, _ in alike])}" if alike else ""
                pairs[name] = BadRecord(f"there is no image of the name {stem!r} in {str(self.root)!r}{only}")
        return pairs, sum(map(len, images.values())) - len(taken)

    def _ending_in(self, spelling: str, given: str) -> str | None:
        """The path below the folder of the one file that ends in a path, or in which the path ends."""
        wanted = _key(spelling).split("/")
        longest, best = 0, []
        for path in self._index().get(wanted[-1], []):
            parts = _key(path).split("/")
            length = min(len(parts), len(wanted))
            if parts[-length:] == wanted[-length:] and length >= longest:
                best = [*(best if length == longest else ()), path]
                longest = length
        best = [path for path in best if path.endswith(spelling)] or best if len(best) > 1 else best
        if len(best) > 1:
            raise BadRecord(f"several {self.what}s could be {shortened(given)}: {_listed(best)}")
        return best[0] if best else None

    def _spellings(self, path: str) -> list[str]:
        """What a path may mean, relative and with slashes: as it is, then as exporters write it."""
        path = path.replace("\0", "")
        if "://" in path:
            path = urlsplit(path).path
        plain = (
            _DRIVE.sub("", path).replace("\\", "/").removeprefix(os.path.abspath(self.root).replace(os.sep, "/") + "/")
        )
        asked = parse_qs(urlsplit(plain).query).get("d", [""])[0] if "?d=" in plain else ""
        seen: dict[str, None] = {}
        for form in (plain, unquote(plain), asked):
            parts = [part for part in posixpath.normpath(form).split("/") if part not in ("", ".", "..")]
            if parts:
                seen["/".join(parts)] = None
                seen["/".join([*parts[:-1], _UPLOAD_PREFIX.sub("", parts[-1], count=1)])] = None
        return list(seen)

    def _index(self) -> dict[str, list[str]]:
        """Paths of all files below the folder by their names, hidden ones left out."""
        if self._by_name is None:
            self._by_name = {}
            for path in sorted(files_below(str(self.root))):
                relative = os.path.relpath(path, self.root).replace(os.sep, "/")
                self._by_name.setdefault(_key(relative.rsplit("/", 1)[-1]), []).append(relative)
        return self._by_name


def files_below(root: str) -> Iterator[str]:
    """All files that are not hidden; links are followed, each folder is entered once."""
    entered = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        entered.add(os.path.realpath(folder))
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(os.path.join(folder, name)) not in entered
        )
        yield from (os.path.join(folder, name) for name in names if not name.startswith("."))


def _is_plain(path: str) -> bool:
    """Whether a path stays below the folder that it is relative to."""
    parts = path.replace("\\", "/").split("/")
    return bool(path) and "\0" not in path and ".." not in parts and not path.startswith("/") and not _DRIVE.match(path)


def _key(path: str) -> str:
    """A path in which forms of Unicode and cases make no difference."""
    return unicodedata.normalize("NFC", path).casefold()


def _telling_folders(path: str) -> list[str]:
    """The folders of a path but for those in whose place another stands for labels."""
    return [_key(part) for part in path.split("/")[:-1] if part not in _ROLES]


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(map(repr, paths[:3])) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def read_header(image: Path | bytes) -> tuple[int, int, int]:
    """
    Returns height and width of the stored pixels and the EXIF orientation, 1 where there is none; raises `BadRecord`.
    """
    try:
        with open_image(image) as opened:
            return opened.height, opened.width, exif_orientation(opened)
    except ValueError as error:
        raise BadRecord(str(error)) from error


class ImageContent(NamedTuple):
    """What decoding an image tells."""

    digest: str  # 16 hexadecimal digits of the file's bytes; the same for copies of one file
    is_dark: bool  # whether no pixel is brighter than an eighth, as where 12 bits were stored as 16


def check_content(image: Path | bytes) -> ImageContent:
    """Decodes an image as a whole; raises `BadRecord` for one that is damaged or cut off."""
    name = "the stored image" if isinstance(image, bytes) else repr(str(image))
    try:
        data = image if isinstance(image, bytes) else image.read_bytes()
        decoded = load(open_file(data, None if isinstance(image, bytes) else name), name)
        brightest = decoded.convert("L").getextrema()[1] if decoded.mode in ("L", "RGB", "RGBA", "P", "CMYK") else 255
    except (ValueError, OSError) as error:
        raise BadRecord(str(error)) from error
    return ImageContent(hashlib.blake2b(data, digest_size=8).hexdigest(), brightest < 32)


def without_orientation(data: bytes) -> bytes:
    """
    Returns the file of a JPEG image without its EXIF part, so that its pixels are shown as they are stored; raises
    `BadRecord` for another format.
    """
    if data[:2] != b"\xff\xd8":
        raise BadRecord("the image is turned by its EXIF orientation, but its masks are not; store it upright")
    kept, position = [data[:2]], 2
    while position + 4 <= len(data) and data[position] == 0xFF and data[position + 1] not in (0xDA, 0xD9):
        length = 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if not (data[position + 1] == 0xE1 and data[position + 4 : position + 8] == b"Exif"):
            kept.append(data[position : position + length])
        position += length
    return b"".join([*kept, data[position:]])


def image_number(name: str) -> str:
    """The id of an image from its file name: the number at its end without leading zeros, otherwise the stem."""
    stem = PurePosixPath(name.replace("\\", "/")).stem
    number = re.search(r"(?:^|_)(\d+)$", stem, re.A)
    return str(int(number[1])) if number else stem


def collection_of(source: str) -> str:
    """Returns the collection that the images of a source are from: coco, vg, saiapr, flickr, or the source itself."""
    name = source.lower().removeprefix("original_").rsplit("/", 1)[-1]
    if name.startswith(("refcoco", "grefcoco", "coco")):
        return "coco"
    if name.startswith(("refclef", "referit")):
        return "saiapr"
    if name.startswith(("phrase", "vg")):
        return "vg"
    return "flickr" if name.startswith("flickr") else source


def shared_image_name(source: str, image_id: str, visual_genome_to_coco: dict[str, str]) -> str:
    """
    Returns a name that an image has in every benchmark, by its `source` and `image_id` in a prepared one; images of
    Visual Genome that are COCO's, too, are called as COCO calls them.
    """
    collection, image_id = collection_of(source), image_id.removeprefix(f"{source}/")
    if collection == "vg" and image_id in visual_genome_to_coco:
        return f"coco:{visual_genome_to_coco[image_id]}"
    return f"{collection}:{image_id}"
