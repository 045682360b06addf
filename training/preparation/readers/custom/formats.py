# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The formats of custom datasets: finds which one a folder has by what lies in it, and opens it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ....data.prepared import REPORT_NAME
from ..hub import HUB_ID, fetch_files
from ..images import ImageFolder, files_below
from ..records import BadRecord, PreparationError, RawBenchmark, RawReference
from . import coco, cvat, index_masks, labelme, metadata, yolo
from .annotated import Distinct, Source, references_of


class Format(NamedTuple):
    """A format of custom datasets."""

    title: str  # its name for people
    has: str  # what a folder of it has
    find: Callable[[Sequence[Path]], list[Path]]  # returns its annotation files among files
    read: Callable[[Source], Iterator[Any]]  # yields what they say


FORMATS = {
    "metadata": Format("a list of references", "metadata.jsonl", metadata.find_lines, metadata.read_lines),
    "coco": Format("COCO", "a .json of images and annotations", coco.find_files, coco.read),
    "labelme": Format("labelme", "a .json of shapes per image", labelme.find_files, labelme.read),
    "yolo": Format("YOLO", "labels in .txt and names of classes", yolo.find_files, yolo.read),
    "cvat": Format("CVAT for images", "an .xml of <annotations>", cvat.find_files, cvat.read),
    "masks": Format(
        "index masks",
        "SegmentationClass or masks, and labelmap.txt or classes.txt",
        index_masks.find_files,
        index_masks.read,
    ),
    "table": Format("a table", "parquet files", metadata.find_tables, metadata.read_tables),
}
_BY_ENDING = {".jsonl": "metadata", ".json": "coco", ".gz": "coco", ".xml": "cvat"}
_HANDING_ON_REFERENCES = ("metadata", "table")


def find_format(path: Path, wanted: str | None = None) -> tuple[str, list[Path]]:
    """
    Returns the name of a dataset's format and its annotation files, for a folder or the one annotation file; the format
    that is wanted, where the user names it.

    Raises:
        PreparationError: There is no annotation file, or files of two formats; or all is prepared already.
    """
    files = [path] if path.is_file() else sorted(map(Path, files_below(str(path))))
    prepared = {file.parent for file in files if file.name == REPORT_NAME and (file.parent / "data").is_dir()}
    if path in prepared:
        raise PreparationError(f"{str(path)!r} is a prepared dataset already; for training, give it as --dataset")
    files = [file for file in files if prepared.isdisjoint(file.parents)]
    names = FORMATS if wanted is None else [wanted]
    found = {name: own for name in names if (own := FORMATS[name].find(files))}
    if not found and path.is_file() and (ending := _BY_ENDING.get(path.suffix.lower())) in names:
        found = {str(ending): files}  # what is wrong with it is said when it is read
    if not found:
        expected = ", or ".join(f"{FORMATS[name].has} ({name})" for name in names)
        raise PreparationError(f"there are no annotations in {str(path)!r}: expected {expected}")
    if len(found) > 1:
        listed = " and ".join(
            f"{FORMATS[name].title} ({own[0].relative_to(path)}, {len(own)} files)" for name, own in found.items()
        )
        raise PreparationError(
            f"{str(path)!r} has annotations in several formats: {listed}; say which are meant",
            hint=f"--format {' or --format '.join(found)} says it",
        )
    return next(iter(found.items()))


def open_custom(
    annotations: str,
    images: str | None = None,
    masks: str | None = None,
    splits: Sequence[str] | None = None,
    *,
    format: str | None = None,
    made_expressions: bool = True,
    columns: dict[str, str] | None = None,
) -> RawBenchmark:
    """
    Opens a custom dataset in any format, by its folder, its one annotation file, or for a table its id on the Hub.

    Args:
        images, masks: Folders of images and mask files; that of the annotations when not given.
        format: One of `FORMATS`; found by what lies in the folder when not given.
        made_expressions: Whether sentences are made of classes where there are none.
        columns: Names of a table's columns by those of `metadata.NAMED_BY_COLUMNS`.

    Raises:
        PreparationError: There is no such dataset, or it cannot be read.
    """
    unknown = [name for name in columns or () if name not in metadata.NAMED_BY_COLUMNS]
    if unknown:
        raise PreparationError(f"columns are those of {', '.join(metadata.NAMED_BY_COLUMNS)}, got {unknown[0]!r}")
    path = Path(annotations)
    if not path.exists() and HUB_ID.fullmatch(annotations) and (format == "table" or columns):
        path = fetch_files(annotations, ["*.parquet", "README.md"])
    if not path.exists():
        raise PreparationError(f"there is no file or folder of annotations {annotations!r}")
    name, files = find_format(path, "table" if columns and format is None else format)
    root = path if path.is_dir() else path.parent
    source = Source(root, files, ImageFolder(images or root), ImageFolder(masks or root, "mask"), columns or {})
    items = FORMATS[name].read(source)
    if name not in _HANDING_ON_REFERENCES:
        items = references_of(source, items, made_expressions)
    distinct = Distinct(source.notes)

    def references() -> Iterator[RawReference | BadRecord]:
        for item in items:
            if splits is None or item.split in splits or (isinstance(item, BadRecord) and item.split == "unknown"):
                yield from distinct.once(item)

    return RawBenchmark(
        name="own",
        references=references(),
        files=files,
        notes=source.notes,
        holds_images=name == "table",
        format=f"{FORMATS[name].title}, by {source.name_of(files[0])}"
        + (f" and {len(files) - 1} more" * (len(files) > 1)),
    )
