# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads custom datasets of labelme: one JSON file per image, with polygons, rectangles, circles and masks.

Shapes of one label and one `group_id` are one object. `description` is a sentence, what is ticked in `flags` an
attribute.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..json_files import beginning_of, load_json
from ..mask_files import read_mask_file
from ..records import BadRecord, RawObject, read_each, shortened, size_of, take
from .annotated import AnnotatedImage, AnnotatedObject, Source, words_of_attributes
from .shapes import ellipse, numbers, placed, rectangle

_MEMBERS = re.compile(r'"shapes"\s*:\s*\[|"imagePath"\s*:')
_NO_OBJECTS = ("__ignore__", "_background_")
_WITHOUT_AREA = ("line", "linestrip", "point", "points")


def find_files(files: Sequence[Path]) -> list[Path]:
    """Returns the files of labelme among files."""
    return [path for path in files if path.suffix.lower() == ".json" and _MEMBERS.search(beginning_of(path))]


def read(source: Source) -> Iterator[AnnotatedImage | BadRecord]:
    """Reads the files."""
    for path in source.files:
        yield from read_each([(0, path)], partial(_image, source=source), source.name_of(path))


def _image(_: int, path: Path, source: Source) -> AnnotatedImage:
    content, origin = load_json(path), f"{source.name_of(path)}, 'shapes'"
    name = take(content, "imagePath", str, "a file name")
    size_hw = size_of({"height": content.get("imageHeight"), "width": content.get("imageWidth")})
    grouped: dict[Any, list[tuple[int, dict]]] = {}
    for index, shape in enumerate(take(content, "shapes", list, "a list of shapes")):
        fields = shape if isinstance(shape, dict) else {}
        if str(fields.get("shape_type")) in _WITHOUT_AREA:
            source.notes["shapes_without_area"] += 1
            continue
        label, group = str(fields.get("label")), fields.get("group_id")
        if label not in _NO_OBJECTS:
            grouped.setdefault((label, str(group)) if group is not None else index, []).append((index, shape))
    entries = [(parts[0][0], parts) for parts in grouped.values()]
    annotated = list(read_each(entries, lambda index, parts: _object(index, parts, size_hw, source), origin))
    folders = (source.folder_of(path),)
    return AnnotatedImage(origin, name, annotated, 0, source.split_of(path), folders, size_hw, upright=True)


def _object(index: int, parts: list[tuple[int, dict]], size_hw: Any, source: Source) -> AnnotatedObject:
    shapes = [shape for _, shape in parts]
    label = take(shapes[0], "label", str, "the name of a class")
    source.classes[label] = None
    flags = shapes[0].get("flags")
    segmentations = [_segmentation(shape, size_hw) for shape in shapes]
    if len({type(part) for part in segmentations}) > 1:
        raise BadRecord(f"the field 'group_id' {shapes[0]['group_id']!r} joins a mask with other shapes")
    description = shapes[0].get("description")
    return AnnotatedObject(
        index=index,
        targets=[RawObject(str(index), segmentation=segmentations)],
        category=label,
        attributes=words_of_attributes(flags if isinstance(flags, dict) else {}),
        expressions=[description] if isinstance(description, str) and description.strip() else [],
    )


def _segmentation(shape: dict, size_hw: tuple[int, int] | None) -> Any:
    """A flat polygon, or run lengths."""
    kind, given = shape.get("shape_type") or "polygon", take(shape, "points", list, "a list of points")
    if not all(isinstance(point, list) and len(point) == 2 for point in given):
        raise BadRecord(f"the field 'points' must hold points of x and y, got {shortened(given)}")
    points = numbers([number for point in given for number in point], "points")
    least = {"polygon": 3, "rotation": 3, "rectangle": 2, "circle": 2, "mask": 2}
    if not isinstance(kind, str) or kind not in least:
        known = ", ".join([*least, *_WITHOUT_AREA])
        raise BadRecord(f"the field 'shape_type' must be one of {known}, got {shortened(kind)}")
    if len(points) < 2 * least[kind]:
        raise BadRecord(f"the field 'points' of a {kind} needs {least[kind]} points, got {shortened(given)}")
    if kind == "rectangle":
        return rectangle(points)
    if kind == "circle":
        radius = float(np.hypot(points[2] - points[0], points[3] - points[1]))
        return ellipse(points[0], points[1], radius, radius)
    if kind == "mask":
        if size_hw is None:
            raise BadRecord("a shape of the type 'mask' needs the fields 'imageHeight' and 'imageWidth'")
        mask = read_mask_file(_decoded(shape.get("mask"), "mask"), any_value=True)
        return placed(mask, int(points[0]), int(points[1]), size_hw)
    return points


def _decoded(text: Any, name: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, TypeError, ValueError) as error:
        raise BadRecord(f"the field {name!r} must be a file in base64, got {shortened(text)}") from error
