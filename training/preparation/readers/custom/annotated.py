# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
What the formats hand on: images with everything that is annotated in them; references are made of them here.

Where a dataset has sentences, each object that has some becomes a reference, and the others are counted. Where it has
classes alone, sentences are made of them.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....data import masks as run_lengths
from ....data.prepared import split_role
from ..images import TURNED_SIDEWAYS, ImageFolder, read_header
from ..records import BadRecord, PreparationError, RawObject, RawReference, as_list, read_each, sentences_of, shortened
from .made_expressions import Thing, make_expressions

DEFAULT_SPLIT = "train"
SENTENCE_FIELDS = ("expressions", "expression", "sentences", "captions", "caption")
_OF_TOOLS = ("occluded", "truncated", "difficult", "keyframe", "outside", "visibility", "id", "track_id")
_SAYS_NOTHING = ("", "false", "no", "none", "unknown", "other", "n/a", "__undefined__")


@dataclass
class AnnotatedObject:
    """One annotated object, or what a sentence of the file means."""

    index: int  # of its record in the annotation file
    targets: list[RawObject]  # what is inside; of several objects, or of none, only where there are sentences
    category: str = ""  # name of its class, "" where it is unknown
    attributes: tuple[str, ...] = ()  # words that go before the name, such as "red"
    expressions: list[Any] = field(default_factory=list)  # what is said of it
    split: str | None = None  # its split, where it is not that of its image
    ref_id: str | None = None  # name of its reference; made from that of its image when not given


@dataclass
class AnnotatedImage:
    """One image with all that is annotated in it."""

    origin: str  # name of the annotation file
    name: str  # the image, as the file names it
    annotated: list[AnnotatedObject | BadRecord]  # its objects, and in place of those that cannot be read, why
    index: int = 0  # of its record in the annotation file
    split: str = DEFAULT_SPLIT  # as the format tells it
    folders: tuple[str, ...] = ()  # folders, relative to that of the images, in which the name is looked for first
    size_hw: tuple[int, int] | None = None  # height and width as annotated, where they are
    # Classes of which there is none in the image for certain; all without an object when not given
    absent: Collection[str] | None = None
    incomplete: Collection[str] = ()  # classes of which not all objects are annotated
    of_regions: bool = False  # whether an object is all that there is of its class, be it one or many
    upright: bool = False  # whether it is annotated as viewers show it, turned by its EXIF orientation
    licence: str = "unknown"  # as far as it is known

    @property
    def objects(self) -> list[AnnotatedObject]:
        return [item for item in self.annotated if isinstance(item, AnnotatedObject)]


@dataclass
class Source:
    """A custom dataset as it lies on disk."""

    root: Path  # folder of the annotations
    files: list[Path]  # its annotation files
    images: ImageFolder  # the folder of its images
    masks: ImageFolder  # the folder of its mask files
    # Names that columns of a table have, by those that are used here
    columns: dict[str, str] = field(default_factory=dict)
    classes: dict[str, None] = field(default_factory=dict)  # names of all classes, in order; readers add them
    notes: Counter = field(default_factory=Counter)  # what is left out or put right, counted

    def name_of(self, path: Path) -> str:
        """Returns a file's path below the folder, as messages name it."""
        return path.relative_to(self.root).as_posix()

    def folder_of(self, path: Path) -> str:
        """Returns the folder of a file, relative to that of the images if it is in there."""
        inside = path.parent.is_relative_to(self.images.root)
        return path.parent.relative_to(self.images.root).as_posix() if inside else "."

    def split_of(self, path: str | Path) -> str:
        """Returns the split that the folders or the name of a file tell, the last that does; otherwise "train"."""
        inside = self.name_of(path) if isinstance(path, Path) else path
        words = re.findall(r"[A-Za-z]+", inside.rpartition(".")[0] or inside)
        return next((word.lower() for word in reversed(words) if split_role(word)), DEFAULT_SPLIT)


def references_of(
    source: Source, items: Iterable[AnnotatedImage | BadRecord], made: bool
) -> Iterator[RawReference | BadRecord]:
    """
    Makes references of the images that a format handed on, with sentences of classes where those are to be made and
    there are no others; records that cannot be used pass as they are.

    Raises:
        PreparationError: It has no sentences, and none are to be made.
    """
    items = list(items)
    objects = [item for image in items if isinstance(image, AnnotatedImage) for item in image.objects]
    said = any(item.expressions for item in objects)
    if objects and not (said or made):
        raise PreparationError(
            f"{str(source.root)!r} has no sentences: give annotations a list 'expressions'",
            hint="without --no-made-expressions they are made of the names of classes",
        )
    boxes_only = all(target.segmentation is None for item in objects for target in item.targets)
    for item in items:
        if isinstance(item, BadRecord):
            yield item
            continue
        yield from (bad for bad in item.annotated if isinstance(bad, BadRecord))
        try:
            name = source.images.find_relative(item.name, item.folders)
            yield from _said(source, item, name) if said else _made(source, item, name, boxes_only)
        except BadRecord as bad:
            origins = item.objects if said else item.objects[:1]
            yield from (BadRecord(bad.reason, item.origin, entry.index, item.split) for entry in origins or [item])


def _said(source: Source, image: AnnotatedImage, name: str) -> Iterator[RawReference | BadRecord]:
    """References of an image whose objects have sentences."""

    def make(index: int, item: AnnotatedObject) -> RawReference | None:
        if not item.expressions:
            source.notes["annotations_without_sentences"] += 1
            return None
        with_boxes = [target.segmentation is None for target in item.targets]
        if any(with_boxes) and not all(with_boxes):
            raise BadRecord("some of its objects have a segmentation and some a box alone")
        source.notes["targets_with_a_box_alone"] += any(with_boxes)
        return _reference(
            image,
            name,
            item.targets,
            index=index,
            split=item.split or image.split,
            ref_id=item.ref_id or f"{name}#{index}",
            category=item.category,
            expressions=sentences_of(item.expressions),
        )

    return read_each([(item.index, item) for item in image.objects], make, image.origin, image.split)


def _made(source: Source, image: AnnotatedImage, name: str, boxes_only: bool) -> Iterator[RawReference]:
    """References of an image whose objects have classes alone; with one that cannot be read, no sentence is certain."""
    objects = image.objects
    if len(objects) < len(image.annotated):
        source.notes["images_left_out_for_one_record"] += 1
        return
    targets = [target for item in objects for target in item.targets]
    for item, target in zip(objects, targets, strict=True):
        if not item.category:
            raise BadRecord(f"annotation {target.ann_id} has neither a sentence nor a class with a name")
    things = [
        Thing(item.category, item.attributes, _hull(target), target.is_crowd) for item, target in zip(objects, targets)
    ]
    present = {item.category for item in objects}
    absent = [kind for kind in (source.classes if image.absent is None else image.absent) if kind not in present]
    # One of them, always the same for an image, so that a file with the lines in another order means the same.
    draws = {kind: hashlib.blake2b(f"{name} {kind}".encode("utf-8", "replace")).digest() for kind in absent}
    size_hw = image.size_hw or shown_size(source.images.root / name)
    for made in make_expressions(
        things, size_hw, min(draws, key=lambda kind: draws[kind], default=""), image.incomplete, image.of_regions
    ):
        meant = [targets[index] for index in made.indices]
        if any(target.segmentation is None for target in meant) and not boxes_only:
            source.notes["made_references_of_a_box_alone_left_out"] += 1
            continue
        source.notes["references_with_made_expressions"] += 1
        yield _reference(
            image,
            name,
            meant,
            index=objects[made.indices[0]].index if made.indices else image.index,
            split=image.split,
            ref_id=f"{name}: {made.expressions[0]}",
            category=made.category,
            expressions=made.expressions,
        )


def _reference(image: AnnotatedImage, name: str, objects: list[RawObject], **said: Any) -> RawReference:
    return RawReference(
        origin=image.origin,
        image_id=name,
        images=(name,),
        size_hw=image.size_hw,
        objects=objects,
        source="own",
        upright=image.upright,
        boxes_only=bool(objects) and all(item.segmentation is None for item in objects),
        licence=image.licence,
        **said,
    )


def shown_size(image: Path) -> tuple[int, int]:
    """Returns height and width of an image as viewers show it; raises `BadRecord` where it cannot be read."""
    height, width, orientation = read_header(image)
    return (width, height) if orientation in TURNED_SIDEWAYS else (height, width)


def _hull(target: RawObject) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of an object."""
    if target.box_xyxy is not None:
        return target.box_xyxy
    parts = as_list(target.segmentation)
    try:
        if all(isinstance(part, dict) for part in parts):
            return run_lengths.bounding_box(run_lengths.union(parts)) or (0.0, 0.0, 0.0, 0.0)
        flat = parts if not isinstance(parts[0], list) else [number for part in parts for number in part]
        return min(flat[::2]), min(flat[1::2]), max(flat[::2]), max(flat[1::2])
    except (TypeError, ValueError) as error:
        raise BadRecord(
            f"annotation {target.ann_id}: its segmentation is no polygon and no run lengths, got {shortened(parts)}"
        ) from error


def said_in(record: dict[str, Any]) -> list[Any]:
    """Returns what stands in the fields for sentences, or there under `attributes`; nothing where there are none."""
    for place in (record, attributes_in(record)):
        found = {name: place[name] for name in SENTENCE_FIELDS if place.get(name) not in (None, "", [])}
        own = [text for name in SENTENCE_FIELDS[:2] for text in as_list(found.get(name, []))]
        if own:
            return [text for index, text in enumerate(own) if text not in own[:index]]
        if len(found) > 1:
            raise BadRecord(f"it has sentences under {' and under '.join(map(repr, found))}; name them 'expressions'")
        if found:
            return as_list(*found.values())
    return []


def attributes_in(record: dict[str, Any]) -> dict[str, Any]:
    """Returns the attributes of a record by their names, which some tools list with a name and a value each."""
    attributes = record.get("attributes")
    if isinstance(attributes, list):
        return {str(item.get("name")): item.get("value") for item in attributes if isinstance(item, dict)}
    return attributes if isinstance(attributes, dict) else {}


def words_of_attributes(attributes: dict[str, Any]) -> tuple[str, ...]:
    """Returns the words that attributes put before a name: "red" for a colour, "open" for what is ticked as open."""
    found: dict[str, None] = {}
    for name, value in attributes.items():
        text = str(value).strip()
        if name.lower() in (*SENTENCE_FIELDS, *_OF_TOOLS) or text.lower() in _SAYS_NOTHING:
            continue
        word = name if text.lower() == "true" else text
        if word[:1].isalpha() and len(word.split()) <= 2:
            found[word] = None
    return tuple(found)


class Distinct:
    """Lets each reference through once, under a name that no other of its split has; counts what it changes."""

    def __init__(self, notes: Counter):
        self.notes = notes
        self._said: set[bytes] = set()
        self._names: set[tuple[str, str]] = set()

    def once(self, item: RawReference | BadRecord) -> Iterator[RawReference | BadRecord]:
        """Yields a reference, renamed where its name is taken; nothing where the same was said before."""
        if isinstance(item, RawReference):
            content = repr((item.split, item.image_id, item.objects, item.expressions))
            said = hashlib.blake2b(content.encode("utf-8", "replace"), digest_size=16).digest()
            if said in self._said:
                self.notes["references_listed_twice"] += 1
                return
            self._said.add(said)
            self.notes["references_renamed"] += (item.split, item.ref_id) in self._names
            while (item.split, item.ref_id) in self._names:
                item.ref_id = f"{item.ref_id}#{item.index}"
            self._names.add((item.split, item.ref_id))
        yield item
