# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What the readers of raw benchmarks hand on: references with everything as it was annotated, nothing drawn yet."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class PreparationError(ValueError):
    """A benchmark cannot be prepared; the message says in one sentence why and what to do."""


class BadRecord(Exception):
    """
    A record of an annotation file that cannot be used.

    Args:
        reason: One sentence.
        origin: Name of the annotation file.
        index: Place of the record in it, from 0.
        split: Where the record belongs.
    """

    def __init__(self, reason: str, origin: str = "", index: int = -1, split: str = "unknown"):
        super().__init__(reason)
        self.reason, self.origin, self.index, self.split = reason, origin, index, split

    def __reduce__(self):
        return BadRecord, (self.reason, self.origin, self.index, self.split)

    def __str__(self) -> str:
        return f"record {self.index} of {self.origin}: {self.reason}"


@dataclass(slots=True)
class RawObject:
    """
    One object that is meant.

    Args:
        ann_id: Its id in the annotation.
        segmentation: Polygons (list of flat lists), run lengths (a dict, or a list of dicts to unite), or None.
        mask_file: An array file or a lossless picture in place of `segmentation`.
        box_xyxy: Left, top, right, bottom in pixels, or None.
        is_crowd: Whether it is a region of many objects rather than one.
    """

    ann_id: str
    segmentation: Any = None
    mask_file: str | None = None
    box_xyxy: tuple[float, float, float, float] | None = None
    is_crowd: bool = False


@dataclass(slots=True)
class RawReference:
    """
    One reference.

    Args:
        index: Place of the record in its annotation file, from 0.
        origin: Name of the annotation file.
        pictures: Paths, relative to the folder of images, at one of which the picture is; the most likely first.
        size_hw: Size of the picture as the annotation says, where it does.
        picture_bytes: The picture's file, where the annotation holds it.
        upright: Whether masks are drawn on the picture as viewers show it, turned by its EXIF orientation, rather than
            on its stored pixels; where the sizes tell, they decide.
        boxes_only: Whether objects have boxes alone, for box training.
        empty_is_no_target: Whether masks without a pixel say that nothing is meant.

    The other fields are those of the prepared benchmark; see `refer_data.FEATURES`.
    """

    index: int
    origin: str
    split: str
    ref_id: str
    image_id: str
    pictures: tuple[str, ...]
    expressions: list[str]
    objects: list[RawObject]
    source: str
    category: str = ""
    size_hw: tuple[int, int] | None = None
    picture_bytes: bytes | None = None
    upright: bool = False
    boxes_only: bool = False
    empty_is_no_target: bool = False
    licence: str = "unknown"


@dataclass
class RawBenchmark:
    """
    A benchmark as it lies on disk.

    Args:
        name: Benchmark and annotation version, such as "refcoco_unc"; the key of the published counts.
        references: Its references, and in place of those that cannot be used, why.
        files: The annotation files.
        total: How many references will come, where that is known.
        notes: What the reader leaves out on purpose, counted while the references are read.
        large_pictures: Whether references hold their pictures.
    """

    name: str
    references: Iterable[RawReference | BadRecord]
    files: list[Path]
    total: int | None = None
    notes: Counter = field(default_factory=Counter)
    large_pictures: bool = False


def read_each(
    records: Iterable[Any], make: Callable[[int, Any], RawReference | None], origin: str
) -> Iterator[RawReference | BadRecord]:
    """
    Makes a reference of every record; one that cannot be used is handed on as a `BadRecord` with its index.

    Args:
        records: What the annotation file holds.
        make: Gets the index and the record; None stands for one that was not asked for.
        origin: Name of the annotation file.
    """
    for index, record in enumerate(records):
        try:
            reference = make(index, record)
        except BadRecord as bad:
            split = record.get("split", "unknown") if isinstance(record, dict) else "unknown"
            bad.origin, bad.index = origin, index
            bad.split = bad.split if bad.split != "unknown" else str(split)
            yield bad
            continue
        if reference is not None:
            yield reference


def take(record: Any, name: str, kind: type | tuple[type, ...], described: str) -> Any:
    """Returns a field of a record; raises `BadRecord` where it is missing or of another kind."""
    if not isinstance(record, dict):
        raise BadRecord(f"expected an object with fields, got {_shortened(record)}")
    if name not in record:
        raise BadRecord(f"the field {name!r} is missing; there are {', '.join(map(str, record)) or 'none'}")
    value = record[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BadRecord(f"the field {name!r} must be {described}, got {_shortened(value)}")
    return value


def as_list(value: Any) -> list[Any]:
    """A list as it is, anything else as the only element of one."""
    return value if isinstance(value, list) else [value]


def identifier(value: Any) -> str:
    """An id as text; ids are whole numbers or text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise BadRecord(f"an id must be a whole number or text, got {_shortened(value)}")
    return str(value)


def box_from_xywh(box: Any) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a box given as left, top, width, height."""
    left, top, width, height = _four_numbers(box, "x, y, width, height")
    return box_from_xyxy([left, top, left + width, top + height], given=box)


def box_from_xyxy(box: Any, given: Any = None) -> tuple[float, float, float, float]:
    """The box, checked; raises `BadRecord` for one that is inside out."""
    left, top, right, bottom = _four_numbers(box, "left, top, right, bottom")
    if right < left or bottom < top:
        raise BadRecord(f"a box must not be inside out, got {_shortened(given if given is not None else box)}")
    return left, top, right, bottom


def _four_numbers(box: Any, described: str) -> list[float]:
    numbers = list(box) if isinstance(box, list | tuple) else []
    if len(numbers) != 4 or not all(isinstance(value, int | float) and abs(value) < 1e6 for value in numbers):
        raise BadRecord(f"a box must be four numbers, {described}, got {_shortened(box)}")
    return [float(value) for value in numbers]


def sentences_of(values: Any) -> list[str]:
    """Text from a list of sentences, each text or a dict with it under `sent`, `raw` or `caption`."""
    if not isinstance(values, list) or not values:
        raise BadRecord(f"expected at least one sentence, got {_shortened(values)}")
    sentences = []
    for value in values:
        if isinstance(value, dict):
            value = next((value[name] for name in ("sent", "raw", "caption") if name in value), value)
        if not isinstance(value, str):
            raise BadRecord(f"a sentence must be text, got {_shortened(value)}")
        sentences.append(value)
    return sentences


def _shortened(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
