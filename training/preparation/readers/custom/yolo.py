# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads custom datasets of YOLO: a text file per image, and the names of its classes in a YAML file or one per line.

A line is a class and a polygon, or a class and the centre, width and height of a box, in fractions of the image.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import yaml

from ..json_files import beginning_of, open_text
from ..records import BadRecord, PreparationError, RawObject, read_each, reading, shortened, whole_number
from .annotated import AnnotatedImage, AnnotatedObject, Source, shown_size
from .shapes import numbers

_LINE = re.compile(r"\s*\d+(\s+-?[\d.]+(e-?\d+)?){4,}\s*?(\n|$)")
NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels")
_LISTS = ("train.txt", "val.txt", "valid.txt", "test.txt")


def find_files(files: Sequence[Path]) -> list[Path]:
    """Returns the label files among files; empty ones, of images without objects, only from folders of labels."""
    texts = [path for path in files if path.suffix == ".txt" and path.name not in (*NAME_FILES, *_LISTS)]
    folders = {path.parent for path in texts if _LINE.match(beginning_of(path, 4096))}
    return [path for path in texts if path.parent in folders and not path.name.lower().startswith("readme")]


def read(source: Source) -> Iterator[AnnotatedImage | BadRecord]:
    """Reads the files; raises `PreparationError` where the names of the classes are missing or have no order."""
    names = _class_names(source.root)
    source.classes.update(dict.fromkeys(names.values()))
    pairs, unpaired = source.images.pair(map(source.name_of, source.files))
    for path in source.files:
        make = partial(_image, path=path, names=names, source=source)
        yield from read_each([(0, pairs[source.name_of(path)])], make, source.name_of(path))
    source.notes["images_without_annotations"] += unpaired


def _class_names(root: Path) -> dict[int, str]:
    described = [path for path in sorted(root.glob("*.y*ml")) if path.suffix in (".yaml", ".yml")]
    for path in described:
        try:
            content = yaml.safe_load(path.read_text("utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise PreparationError(f"{str(path)!r} is no YAML ({' '.join(str(error).split())[:120]})") from error
        if not isinstance(content, dict) or "names" not in content:
            continue
        if "kpt_shape" in content:
            raise PreparationError(f"{str(path)!r} is for poses ('kpt_shape'); expected labels of segmentation")
        names = content["names"]
        named = dict(enumerate(names)) if isinstance(names, list) else names
        if not isinstance(named, dict) or not all(isinstance(name, str | int) for name in named.values()):
            raise PreparationError(f"the field 'names' of {str(path)!r} must list names, got {shortened(names)}")
        with reading(path):
            return {whole_number(number, "names"): str(name) for number, name in named.items()}
    for path in (root / name for name in NAME_FILES):
        if path.is_file():
            with open_text(path) as stream:
                return dict(enumerate(line.strip() for line in stream if line.strip()))
    raise PreparationError(
        f"{str(root)!r} has labels of YOLO and no names of classes: expected a YAML file with 'names', or "
        f"{' or '.join(NAME_FILES)}"
    )


def _image(_: int, found: str | BadRecord, path: Path, names: dict[int, str], source: Source) -> AnnotatedImage:
    if isinstance(found, BadRecord):
        raise found
    origin, size_hw = source.name_of(path), shown_size(source.images.root / found)
    with open_text(path) as stream:
        lines = [(index, line.split()) for index, line in enumerate(stream) if line.strip()]
    annotated = list(read_each(lines, lambda index, words: _object(index, words, names, size_hw), origin))
    return AnnotatedImage(origin, found, annotated, 0, source.split_of(path), size_hw=size_hw, upright=True)


def _object(index: int, words: list[str], names: dict[int, str], size_hw: tuple[int, int]) -> AnnotatedObject:
    number = whole_number(words[0], "class")
    if number not in names:
        raise BadRecord(f"the field 'class' is {number}, but 'names' has only {', '.join(map(str, names))}")
    height, width = size_hw
    given = numbers(words[1:], "coordinates")
    if len(given) < 4 or len(given) % 2:
        raise BadRecord(f"the field 'coordinates' must be a polygon or a box in pairs, got {len(given)} numbers")
    if min(given) < -0.5 or max(given) > 1.5:
        raise BadRecord(f"the field 'coordinates' must hold fractions of the image, got {shortened(' '.join(words))}")
    pixels = [value * (height if position % 2 else width) for position, value in enumerate(given)]
    if len(pixels) == 4:
        x, y, across, down = pixels
        box = (x - across / 2, y - down / 2, x + across / 2, y + down / 2)
        return AnnotatedObject(index, [RawObject(str(index), box_xyxy=box)], names[number])
    return AnnotatedObject(index, [RawObject(str(index), segmentation=[pixels])], names[number])
