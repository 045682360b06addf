# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What the readers of raw benchmarks hand on: references with everything as it was annotated, nothing drawn yet."""

import reprlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The benchmarks in refer's format, and who divided each into splits.
SPLIT_BY = {
    "refcoco": ("unc", "google"),
    "refcoco+": ("unc",),
    "refcocog": ("umd", "google"),
    "refclef": ("berkeley", "unc"),
    "grefcoco": ("unc",),
}


class PreparationError(ValueError):
    """
    A benchmark cannot be prepared.

    Args:
        message: One sentence that says why, and what to do to the files.
        hint: Which option of `ssp-sam prepare` helps, for callers that have these options.
    """

    def __init__(self, message: str, hint: str = ""):
        super().__init__(message)
        self.hint = hint

    def __reduce__(self):
        return PreparationError, (str(self), self.hint)


class BadRecord(Exception):
    """
    A record of an annotation file that cannot be used.

    Args:
        reason: One sentence.
        origin: Name of the annotation file.
        index: Index of the record in it, from 0.
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
    """One object that is meant."""

    ann_id: str  # its id in the annotation
    # Polygons (list of flat lists), run lengths (a dict, or a list of dicts to unite), or None
    segmentation: Any = None
    mask_file: str | None = None  # an array file or a lossless image in place of `segmentation`
    # Which values of the mask file are inside; where None, all but 0, if they are of one object
    mask_values: tuple[int, ...] | None = None
    any_value: bool = False  # whether all values but 0 are inside however many there are, as where parts were added up
    box_xyxy: tuple[float, float, float, float] | None = None  # left, top, right, bottom in pixels, or None
    is_crowd: bool = False  # whether it is a region of many objects rather than one


@dataclass(slots=True)
class RawReference:
    """
    One reference.

    Fields without a comment are those of the prepared benchmark; see `data.prepared.FEATURES`.
    """

    index: int  # of the record in its annotation file, from 0
    origin: str  # name of the annotation file
    split: str
    ref_id: str
    image_id: str
    # Paths, relative to the folder of images, at one of which the image is; the most likely first
    images: tuple[str, ...]
    expressions: list[str]
    objects: list[RawObject]
    source: str
    category: str = ""
    size_hw: tuple[int, int] | None = None  # size of the image as the annotation says, where it does
    image_bytes: bytes | None = None  # the image's file, where the annotation holds it
    # Whether masks are drawn on the image as viewers show it, turned by its EXIF orientation, rather than on its stored
    # pixels; where the sizes tell, they decide
    upright: bool = False
    boxes_only: bool = False  # whether objects have boxes alone, for box training
    empty_is_no_target: bool = False  # whether masks without a pixel say that nothing is meant
    licence: str = "unknown"


@dataclass
class RawBenchmark:
    """A benchmark as it lies on disk."""

    name: str  # benchmark and annotation version, such as "refcoco_unc"; the key of the published counts
    references: Iterable[RawReference | BadRecord]  # its references, and in place of those that cannot be used, why
    files: list[Path]  # the annotation files
    total: int | None = None  # how many references will come, where that is known
    # What the reader leaves out or puts right, counted while the references are read
    notes: Counter = field(default_factory=Counter)
    holds_images: bool = False  # whether references hold their images
    format: str = ""  # in which format it was found, and by which files, for people

    def __post_init__(self):
        self.references = self._of_files(self.references)

    def _of_files(self, references: Iterable[RawReference | BadRecord]) -> Iterator[RawReference | BadRecord]:
        """Hands on the references; a fault that is no record's is one of the files."""
        with reading(self.files[0]):
            yield from references


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Makes whatever fails inside a fault of one file: a `PreparationError` that names it."""
    try:
        yield
    except PreparationError:
        raise
    except Exception as error:  # a file may be damaged in more ways than are known
        reason = _described(error)
        if isinstance(error, BadRecord):
            reason = error.reason
        elif isinstance(error, OSError) and error.strerror:
            reason = error.strerror
        elif isinstance(error, AttributeError | LookupError | TypeError):
            reason = "its parts do not fit together"
        raise PreparationError(f"cannot read {str(path)!r} ({reason}); fetch the file again") from error


@contextmanager
def making_record(origin: str, index: int, split: str = "unknown") -> Iterator[None]:
    """Makes whatever fails inside a fault of one record: a `BadRecord` that names its file, index and split."""
    try:
        yield
    except Exception as error:  # a record may be wrong in more ways than are known
        if isinstance(error, BadRecord):
            reason = error.reason
        else:
            reason = str(error) if isinstance(error, PreparationError) else f"it cannot be read ({_described(error)})"
        raise BadRecord(reason, origin, index, split) from error


def read_each(
    records: Iterable[tuple[int, Any]],
    make: Callable[[int, Any], Any],
    origin: str,
    split: str = "unknown",
) -> Iterator[Any]:
    """
    Makes references, or what else `make` returns for an index and a record: one or several, or None where nothing was
    asked for. A record that cannot be used is handed on as a `BadRecord` with its index; `split` is that of records
    that name none.
    """
    for index, record in records:
        named = record.get("split", split) if isinstance(record, dict) else split
        try:
            with making_record(origin, index, named if isinstance(named, str) else split):
                made = make(index, record)
                if isinstance(made, Iterable):
                    yield from made
                elif made is not None:
                    yield made
        except BadRecord as bad:
            yield bad


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"


def take(record: Any, name: str, kind: type | tuple[type, ...], described: str) -> Any:
    """Returns a field of a record; raises `BadRecord` where it is missing or of another kind."""
    if not isinstance(record, dict):
        raise BadRecord(f"expected an object with fields, got {shortened(record)}")
    if name not in record:
        raise BadRecord(f"the field {name!r} is missing; there are {', '.join(map(str, record)) or 'none'}")
    value = record[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise BadRecord(f"the field {name!r} must be {described}, got {shortened(value)}")
    return value


def as_list(value: Any) -> list[Any]:
    """A list as it is, anything else as the only element of one."""
    return value if isinstance(value, list) else [value]


def identifier(value: Any, name: str = "an id") -> str:
    """An id as text, the same for 7, 7.0 and "7"; raises `BadRecord` for what is none."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "" or _is_long(value):
        raise BadRecord(f"{name} must be a whole number or text, got {shortened(value)}")
    return str(value)


def _is_long(value: int | str) -> bool:
    """Whether an id is longer than any that a person or a tool gives."""
    return len(value) > 1000 if isinstance(value, str) else abs(value) >= 10**30


def shown(number: Any) -> str:
    """What a message shows of an id: 7 for 7, 7.0 and "7", text as it is where that can be read."""
    text = number if isinstance(number, str) else shortened(number)
    return text if text.isprintable() and 0 < len(text) <= 80 else shortened(number)


def take_identifier(record: Any, name: str) -> str:
    """Returns the id in a field of a record as text; raises `BadRecord` where it is missing or none."""
    return identifier(take(record, name, object, "a whole number or text"), f"the field {name!r}")


def whole_number(value: Any, name: str) -> int:
    """A whole number, given as 48, 48.0 or "48"; raises `BadRecord` for anything else."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal():
        value = int(value) if len(value) < 20 else value
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadRecord(f"the field {name!r} must be a whole number, got {shortened(value)}")
    return value


def size_of(record: dict) -> tuple[int, int] | None:
    """Height and width that a record gives, where it gives both; raises `BadRecord` for what is no size."""
    if record.get("height") is None or record.get("width") is None:
        return None
    from ....processing.image_files import MAX_PIXELS  # late, since a --help that reads this file needs no numpy

    height, width = whole_number(record["height"], "height"), whole_number(record["width"], "width")
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise BadRecord(f"no image has the height {shortened(height)} and the width {shortened(width)}")
    return height, width


def box_from_xywh(box: Any) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of a box given as left, top, width, height."""
    left, top, width, height = _four_numbers(box, "x, y, width, height")
    return box_from_xyxy([left, top, left + width, top + height], given=box)


def box_from_xyxy(box: Any, given: Any = None) -> tuple[float, float, float, float]:
    """The box, checked; raises `BadRecord` for one that is inside out."""
    left, top, right, bottom = _four_numbers(box, "left, top, right, bottom")
    if right < left or bottom < top:
        raise BadRecord(f"a box must not be inside out, got {shortened(given if given is not None else box)}")
    return left, top, right, bottom


def _four_numbers(box: Any, described: str) -> list[float]:
    numbers = list(box) if isinstance(box, list | tuple) else []
    if len(numbers) != 4 or not all(
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6 for value in numbers
    ):
        raise BadRecord(f"a box must be four numbers, {described}, got {shortened(box)}")
    return [float(value) for value in numbers]


def sentences_of(values: Any) -> list[str]:
    """Text from a list of sentences, each text or a dict with it under `sent`, `raw` or `caption`."""
    if not isinstance(values, list) or not values:
        raise BadRecord(f"expected at least one sentence, got {shortened(values)}")
    sentences = []
    for value in values:
        if isinstance(value, dict):
            value = next((value[name] for name in ("sent", "raw", "caption") if name in value), value)
        if not isinstance(value, str):
            raise BadRecord(f"a sentence must be text, got {shortened(value)}")
        sentences.append(value)
    return sentences


def with_words(sentences: list[str]) -> list[str]:
    """Returns the sentences that are not blank; raises `BadRecord` where all are, or one is no valid text."""
    from ....processing.expressions import check_expression, is_blank

    try:
        said = [check_expression(text, "a sentence") for text in sentences if not is_blank(text)]
    except ValueError as error:
        raise BadRecord(str(error)) from error
    if not said:
        raise BadRecord(f"no sentence has words, got {shortened(sentences)}")
    return said


def shortened(value: Any) -> str:
    """What a message shows of a value, however large or nested it is."""
    try:
        text = _SHORT.repr(value)
    except ValueError:  # a number of more digits than Python writes
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "…"


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 4, 200, 200, 200
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 8
