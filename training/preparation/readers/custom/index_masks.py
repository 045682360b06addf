# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads custom datasets of index masks: an image per image whose values or colours are classes, and a table of these.

The table is `labelmap.txt` (a name and a colour per line, as CVAT writes it), `_classes.csv` (a value and a name, as
Roboflow does), or one of `TABLES` with a value and a name, or a name alone, per line. Where `SegmentationObject` lies
beside `SegmentationClass`, its values tell objects of one class apart.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from ....data import masks as run_lengths
from ..json_files import open_text
from ..mask_files import COLOUR, read_labels, shown_label
from ..records import BadRecord, PreparationError, RawObject, read_each
from .annotated import AnnotatedImage, AnnotatedObject, Source

TABLES = ("labelmap.txt", "_classes.csv", "class_names.txt", "classes.csv", "classes.txt", "labels.txt")
FOLDERS = ("SegmentationClass", "SegmentationClassPNG", "masks", "mask", "labels")
_BACKGROUND = (
    "background",
    "_background_",
    "__background__",
    "__ignore__",
    "ignore",
    "void",
    "unlabeled",
    "unlabelled",
)
_COLOUR_LINE = re.compile(r"(.+?):(\d+),(\d+),(\d+):.*")
_VALUE_LINE = re.compile(r"(\d+)\s*[:,;\s]\s*(.+)")
_VOID = 255  # of Pascal VOC: the edges between objects


def find_files(files: Sequence[Path]) -> list[Path]:
    """Returns the masks among files, and the tables of classes, without which no file is such a mask."""
    tables = [path for path in files if path.name in TABLES]
    masks = [
        path for path in files if path.suffix.lower() in (".png", ".npy", ".npz", ".tif", ".bmp") and _is_mask(path)
    ]
    return [*tables, *masks] if tables and masks else []


def _is_mask(path: Path) -> bool:
    return path.stem.endswith("_mask") or any(part in FOLDERS for part in path.parts[:-1])


def read(source: Source) -> Iterator[AnnotatedImage | BadRecord]:
    """Reads the masks; raises `PreparationError` where the table does not say which value each class has."""
    tables = [path for path in source.files if path.name in TABLES]
    masks = [path for path in source.files if path.name not in TABLES]
    classes = {path.parent: read_table(path) for path in tables}
    first = next(iter(classes.values()))
    listed = _listed(source)
    names = {source.name_of(path): path for path in masks}
    pairs, unpaired = source.images.pair(
        names, leave_out=set(names) | {name for name in map(_objects_of, names) if name}
    )
    for name, path in names.items():
        known = classes.get(path.parent, first)  # each folder of Roboflow's has its own
        source.classes.update(dict.fromkeys(kind for kind in known.values() if kind))
        split = listed.get(path.stem) or source.split_of(path)
        make = partial(_image, path=path, known=known, split=split, source=source)
        yield from read_each([(0, pairs[name])], make, name)
    source.notes["images_without_annotations"] += unpaired


def read_table(path: Path) -> dict[int, str]:
    """
    Returns the names of classes by their values, "" for what is none; a colour's value is that of `read_labels`. Raises
    `PreparationError` where it does not say which value each class has.
    """
    with open_text(path) as stream:
        lines = [line.strip() for line in stream if line.strip() and not line.startswith("#")]
    coloured, valued = ([pattern.fullmatch(line) for line in lines] for pattern in (_COLOUR_LINE, _VALUE_LINE))
    if lines and all(coloured):
        found = {
            COLOUR + (int(line[2]) << 16) + (int(line[3]) << 8) + int(line[4]): line[1] for line in coloured if line
        }
    elif lines and all(match or index == 0 for index, match in enumerate(valued)) and any(valued):
        found = {int(line[1]): line[2].strip() for line in valued if line}
    elif any(name.lower() in _BACKGROUND for name in lines[:2]):
        ignored = lines[0] == "__ignore__"  # as labelme lists it, before the value 0
        found = dict(enumerate(lines[ignored:]))
    else:
        raise PreparationError(
            f"{str(path)!r} does not say which value each class has: begin its lines with the value, such as '1: cup', "
            f"or with a line 'background' for 0"
        )
    return {value: "" if name.lower() in _BACKGROUND else name for value, name in found.items()}


def _listed(source: Source) -> dict[str, str]:
    """Splits by the stems of images, as Pascal VOC lists them."""
    found = {}
    for path in sorted((source.root / "ImageSets" / "Segmentation").glob("*.txt")):
        split = source.split_of(path)
        with open_text(path) as stream:
            found |= {PurePosixPath(line.strip()).name: split for line in stream if path.stem != "trainval"}
    return found


def _objects_of(name: str) -> str | None:
    """The name of the mask that tells objects apart, if the name is one of classes."""
    return name.replace("SegmentationClass", "SegmentationObject") if "SegmentationClass" in name else None


def _image(
    _: int, found: str | BadRecord, path: Path, known: dict[int, str], split: str, source: Source
) -> AnnotatedImage:
    if isinstance(found, BadRecord):
        raise found
    name = source.name_of(path)
    in_colours = min(known, default=0) >= COLOUR
    labels = read_labels(path, in_colours=in_colours)
    objects = source.root / (_objects_of(name) or name)
    regions = objects == source.root / name or not objects.is_file()
    instances = labels if regions else read_labels(objects, in_colours=in_colours)
    if instances.shape != labels.shape:
        raise BadRecord(f"it has {labels.shape} pixels, {source.name_of(objects)!r} has {instances.shape}")
    unknown = [value for value in np.unique(labels) if value not in known and value not in (0, _VOID, COLOUR)]
    unknown = [value for value in unknown if not (in_colours and value == COLOUR + 0xE0E0C0)]  # VOC's edges in colour
    if unknown:
        raise BadRecord(f"it holds the value {shown_label(unknown[0])}, which the table of classes does not name")
    annotated = []
    for value in np.unique(instances):
        inside = instances == value
        kinds, counts = np.unique(labels[inside], return_counts=True)
        kind = known.get(int(kinds[counts.argmax()]), "")
        if kind and (regions or value not in (0, COLOUR)):
            rle = run_lengths.encode(inside & (labels == kinds[counts.argmax()]))
            target = RawObject(str(int(value)), segmentation=rle, box_xyxy=run_lengths.bounding_box(rle))
            annotated.append(AnnotatedObject(len(annotated), [target], kind))
    return AnnotatedImage(
        name, found, list(annotated), 0, split, size_hw=labels.shape, of_regions=regions, upright=True
    )
