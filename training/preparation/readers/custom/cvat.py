# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads custom datasets of CVAT's own XML, "CVAT for images": polygons, masks, ellipses and boxes.

Shapes of one label and one `group_id` are one object, as in CVAT's own exports to other formats. Attributes named like
a field of sentences are sentences, the others words that go before the name.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from ..json_files import beginning_of
from ..records import BadRecord, PreparationError, RawObject, read_each, reading, size_of, take, whole_number
from .annotated import AnnotatedImage, AnnotatedObject, Source, said_in, words_of_attributes
from .shapes import ellipse, numbers, placed

_WITH_AREA = ("polygon", "mask", "ellipse", "box")
_ROOT = re.compile(r"<annotations[\s>]")


def find_files(files: Sequence[Path]) -> list[Path]:
    """Returns CVAT's files among files."""
    return [path for path in files if path.suffix.lower() == ".xml" and _ROOT.search(beginning_of(path, 4096))]


def read(source: Source) -> Iterator[AnnotatedImage | BadRecord]:
    """Reads the files, image by image; raises `PreparationError` for one that is damaged or annotates a video."""
    for path in source.files:
        origin, index = source.name_of(path), 0
        with reading(path):
            for _, element in ElementTree.iterparse(path):
                if element.tag == "track":
                    raise PreparationError(
                        f"{str(path)!r} annotates a video, whose frames have no names; export it as 'CVAT for images'"
                    )
                if element.tag == "label" and element.find("parent") is None and element.findtext("name"):
                    source.classes[str(element.findtext("name"))] = None
                if element.tag == "image":
                    yield from read_each([(index, element)], partial(_image, path=path, source=source), origin)
                    index += 1
                    element.clear()


def _image(index: int, image: ElementTree.Element, path: Path, source: Source) -> AnnotatedImage | None:
    name = _field(image, "name")
    origin = f"{source.name_of(path)}, image {name!r}"
    size_hw = size_of(dict(image.attrib))
    shapes = [(number, shape) for number, shape in enumerate(image) if shape.tag in _WITH_AREA]
    source.notes["shapes_without_area"] += len(image) - len(shapes)
    if not shapes:
        source.notes["images_without_annotations"] += 1
        return None
    grouped: dict[Any, list[tuple[int, ElementTree.Element]]] = {}
    for number, shape in shapes:
        group = shape.get("group_id", "0")
        grouped.setdefault((shape.get("label"), group) if group != "0" else number, []).append((number, shape))
    entries = [(parts[0][0], [shape for _, shape in parts]) for parts in grouped.values()]
    annotated = list(read_each(entries, lambda number, parts: _object(number, parts, size_hw), origin))
    split = source.split_of(f"{image.get('subset', '')}.xml") if image.get("subset") else source.split_of(path)
    return AnnotatedImage(origin, name, annotated, index, split, (source.folder_of(path), "images"), size_hw)


def _object(index: int, parts: list[ElementTree.Element], size_hw: tuple[int, int] | None) -> AnnotatedObject:
    attributes = {item.get("name", ""): item.text or "" for part in parts for item in part.findall("attribute")}
    boxes = [part for part in parts if part.tag == "box"]
    if boxes and len(boxes) < len(parts):
        raise BadRecord(f"the field 'group_id' {parts[0].get('group_id')!r} joins a box with shapes that have a mask")
    if boxes:
        sides = [_numbers(box, "xtl", "ytl", "xbr", "ybr") for box in boxes]
        lowest, highest = np.min(sides, axis=0)[:2], np.max(sides, axis=0)[2:]
        target = RawObject(str(index), box_xyxy=tuple(map(float, (*lowest, *highest))))
    else:
        segmentations = [_segmentation(part, size_hw) for part in parts]
        if len({type(part) for part in segmentations}) > 1:
            raise BadRecord(f"the field 'group_id' {parts[0].get('group_id')!r} joins a mask with polygons")
        target = RawObject(str(index), segmentation=segmentations)
    said = said_in({"attributes": attributes})
    return AnnotatedObject(index, [target], _field(parts[0], "label"), words_of_attributes(attributes), said)


def _segmentation(shape: ElementTree.Element, size_hw: tuple[int, int] | None) -> Any:
    if shape.tag == "ellipse":
        return ellipse(*_numbers(shape, "cx", "cy", "rx", "ry"), float(shape.get("rotation", 0)))
    if shape.tag == "polygon":
        points = numbers(re.split(r"[,;]", _field(shape, "points")), "points")
        if len(points) < 6 or len(points) % 2:
            raise BadRecord(f"the field 'points' of a polygon needs 3 points of x and y, got {len(points)} numbers")
        return points
    left, top, width, height = (whole_number(_field(shape, name), name) for name in ("left", "top", "width", "height"))
    runs = numbers(re.split(r"\s*,\s*", _field(shape, "rle").strip()), "rle")  # row by row, what is outside first
    if sum(runs) != width * height or min(runs) < 0 or any(run % 1 for run in runs):
        raise BadRecord(f"the field 'rle' must fill {height} x {width} pixels, its runs add up to {sum(runs):g}")
    if size_hw is None:
        raise BadRecord("a mask needs the fields 'width' and 'height' of its image")
    if width * height > size_hw[0] * size_hw[1]:
        raise BadRecord(f"its mask of {height} x {width} is larger than the image of {size_hw[0]} x {size_hw[1]}")
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, np.asarray(runs, dtype=np.int64))
    return placed(inside.reshape(height, width), left, top, size_hw)


def _field(element: ElementTree.Element, name: str) -> str:
    return take(element.attrib, name, str, "text")


def _numbers(element: ElementTree.Element, *names: str) -> list[float]:
    return [numbers([_field(element, name)], name)[0] for name in names]
