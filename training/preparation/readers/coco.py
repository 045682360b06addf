# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The objects that references point to: annotation files in the style of COCO."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .json_files import stream_items
from .records import (
    BadRecord,
    PreparationError,
    RawObject,
    box_from_xywh,
    identifier,
    shortened,
    shown,
    size_of,
    take,
)

MEMBERS = ("images", "annotations", "categories", "licenses")
Keep = Callable[[str, dict], bool]
Entry = tuple[int, dict]  # a record and its index in its member


@dataclass
class CocoInstances:
    """
    Images, annotations and categories of one file, by their ids as text.

    An id may stand several times, as in files that were put behind each other. What is meant is then found by the
    image, where that tells; otherwise using it is an error that names both records.
    """

    origin: str  # name of the file
    images: dict[str, list[Entry]] = field(default_factory=dict)
    annotations: dict[str, list[Entry]] = field(default_factory=dict)
    categories: dict[str, set[str]] = field(default_factory=dict)
    # Names that stand for several categories together, as one of Roboflow's does
    parents: set[str] = field(default_factory=set)
    licences: dict[str, str] = field(default_factory=dict)
    references: list[Any] | None = None  # the file's own list of references, None where it has none
    bad: list[BadRecord] = field(default_factory=list)  # records that cannot be used at all
    notes: Counter = field(default_factory=Counter)  # what was put right, counted
    _of_images: dict[str, list[Entry]] = field(default_factory=dict, repr=False)

    def image(self, image_id: Any) -> dict:
        """Returns an image's record; raises `BadRecord` where there is none, or more than one."""
        return self._only(self._known(self.images, image_id, "image"), "image", image_id)

    def object(self, ann_id: Any, image_id: Any) -> RawObject:
        """Returns an annotated object of an image; raises `BadRecord` where there is none, or more than one."""
        image_id, known = identifier(image_id), self._known(self.annotations, ann_id, "annotation")
        of_image = [entry for entry in known if identifier(entry[1].get("image_id", image_id)) == image_id]
        if not of_image:
            other = shown(known[0][1]["image_id"])
            raise BadRecord(f"annotation {shown(ann_id)} belongs to image {other}, the reference to {shown(image_id)}")
        return self.object_of(self._only(of_image, "annotation", ann_id), ann_id)

    def object_of(self, annotation: dict, ann_id: Any) -> RawObject:
        """Returns the object of an annotation; raises `BadRecord` where it has neither a segmentation nor a box."""
        box, segmentation = annotation.get("bbox"), annotation.get("segmentation") or None
        if segmentation is None and box is None:
            raise BadRecord(f"annotation {shown(ann_id)} has neither a segmentation nor a box")
        return RawObject(
            ann_id=identifier(ann_id),
            segmentation=segmentation,
            box_xyxy=box_from_xywh(box) if box is not None else None,
            is_crowd=bool(annotation.get("iscrowd", 0)),
        )

    def objects_of(self, image_id: Any) -> list[RawObject]:
        """Returns all annotated objects of an image."""
        if not self._of_images:
            for index, record in self.entries():
                self._of_images.setdefault(identifier(record.get("image_id")), []).append((index, record))
        return [self.object_of(record, record.get("id", index)) for index, record in self._of_images.get(image_id, [])]

    def entries(self) -> list[Entry]:
        """Returns all annotations in the order of the file."""
        return sorted((entry for known in self.annotations.values() for entry in known), key=lambda entry: entry[0])

    def size_hw(self, image_id: Any) -> tuple[int, int] | None:
        """Returns height and width of an image as the file says, where it does."""
        return size_of(self.image(image_id))

    def category_names(self, category_ids: Collection[Any]) -> str:
        """Returns the names of categories, each once, joined by ", "; those of an id with two names are left out."""
        names: dict[str, None] = {}
        for category_id in category_ids:
            known = self.categories.get(identifier(category_id), set()) if category_id is not None else set()
            self.notes["categories_of_an_unclear_id"] += len(known) > 1
            names.update(dict.fromkeys(known if len(known) == 1 else ()))
        return ", ".join(names)

    def categories_of(self, ann_ids: Collection[Any], image_id: Any) -> str:
        """Returns the names of the categories of an image's objects."""
        records = [
            record
            for ann_id in ann_ids
            for _, record in self._known(self.annotations, ann_id, "annotation")
            if identifier(record.get("image_id", image_id)) == identifier(image_id)
        ]
        return self.category_names([record.get("category_id") for record in records])

    def licence(self, image_id: Any, of_annotations: str) -> str:
        """Returns the licences of an image and of the annotations as far as they are known."""
        number = self.image(image_id).get("license")
        of_image = self.licences.get(identifier(number), "unknown") if number not in (None, "") else "unknown"
        if of_image == of_annotations == "unknown":
            return "unknown"
        return f"image: {of_image}; annotations: {of_annotations}"

    def _known(self, records: dict[str, list[Entry]], number: Any, kind: str) -> list[Entry]:
        known = records.get(identifier(number))
        if not known:
            raise BadRecord(f"{self.origin} has no {kind} {shown(number)}")
        return known

    def _only(self, entries: list[Entry], kind: str, number: Any) -> dict:
        if len(entries) > 1:
            (first, a), (second, b) = entries[:2]
            differing = next(name for name in [*a, *b] if a.get(name) != b.get(name))
            raise BadRecord(
                f"the id {shown(number)} stands {len(entries)} times in {kind}s of {self.origin}: in record {first} "
                f"with {differing!r} {shortened(a.get(differing))}, in {second} with {shortened(b.get(differing))}; "
                f"give each {kind} an id of its own"
            )
        return entries[0][1]

    def add(self, kind: str, index: int, record: Any, keep: Keep | None):
        """
        Adds a record, or counts one that is there word for word; raises `BadRecord` for an id that cannot be used.
        """
        if not isinstance(record, dict):
            raise BadRecord(f"expected an object with fields, got {shortened(record)}")
        if record.get("id") is not None:
            number = identifier(record["id"], "the field 'id'")
        elif kind == "annotations" and keep is None:
            number = f"#{index}"  # nothing but the record itself can mean it
        else:
            raise BadRecord(f"it has no id; there are {', '.join(map(str, record)) or 'no fields'}")
        if kind == "categories":
            name = take({"name": "", **record}, "name", (str, int), "text")
            self.categories.setdefault(number, set()).add(str(name))
            self.parents |= {str(record.get("supercategory"))} - {str(record.get("name"))}
        elif kind == "licenses":
            self.licences[number] = str(record.get("name") or record.get("url") or "unknown")
        elif kind == "images" or keep is None or keep(number, record):
            known = (self.images if kind == "images" else self.annotations).setdefault(number, [])
            if any(record == other for _, other in known):
                self.notes[f"{kind}_listed_twice"] += 1
            else:
                known.append((index, record))


def read_instances(path: Path, keep: Keep | None = None) -> CocoInstances:
    """
    Reads a file in the style of COCO; of its annotations only those that are needed are kept, which `keep` says by
    their ids, as text, and records.

    Raises:
        PreparationError: The file is damaged or no such file.
    """
    instances = CocoInstances(origin=path.name)
    counts: Counter = Counter()
    for key, record in stream_items(path, _by_id):
        index = counts[key]
        counts[key] += 1
        if key == "references":
            instances.references = instances.references or []
            instances.references.append(record)
        elif key in MEMBERS:
            try:
                instances.add(str(key), index, record, keep)
            except BadRecord as bad:
                if key != "annotations" or keep is None:
                    instances.bad.append(BadRecord(bad.reason, f"{path.name}, {key!r}", index))
    for kind in ("images", "annotations"):
        if not counts[kind]:
            raise PreparationError(f"{str(path)!r} is no annotation file in the style of COCO: it has no {kind!r}")
    return instances


def _by_id(key: str, value: Any) -> Iterator[Any]:
    """The records of a member that is an object of records, or of names, by their ids."""
    if key not in MEMBERS or not isinstance(value, dict):
        yield value
        return
    for number, record in value.items():
        if isinstance(record, str):
            record = {"name": record}
        yield {"id": number, **record} if isinstance(record, dict) else record
