# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads custom datasets: a file in the style of COCO with sentences, or images, mask files and a `metadata.jsonl`.

In the style of COCO, sentences stand in each annotation under `expressions` or `expression`, otherwise under another
of `SENTENCE_FIELDS`, or there under `attributes`, or in a member `references` of the file: a list of `image_id`,
`ann_ids` (several, or none for a sentence that means nothing there), `expressions`, and where wanted `ref_id` and
`split`.

A line of `metadata.jsonl` names `image`, `mask` (one file, a list of one per object, or null where nothing is meant)
and `expression` or `expressions`, and where wanted `mask_values` (which values of the mask files are meant), `ref_id`,
`split`, `category`, `box` (left, top, right, bottom of all that is meant) and `licence`. An entirely black mask says
that nothing is meant, too.

An image's id is its path below the folder of images, so that no two images share one.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from .coco import CocoInstances, read_instances
from .images import ImageFolder
from .json_files import open_text
from .records import (
    BadRecord,
    PreparationError,
    RawBenchmark,
    RawObject,
    RawReference,
    as_list,
    box_from_xyxy,
    identifier,
    read_each,
    sentences_of,
    shortened,
    take,
    take_identifier,
    whole_number,
)

DEFAULT_SPLIT = "train"
METADATA_NAME = "metadata.jsonl"
SENTENCE_FIELDS = ("expressions", "expression", "sentences", "captions", "caption")


def read_own_coco(path: Path, images: ImageFolder, splits: Sequence[str] | None = None) -> RawBenchmark:
    """
    Opens a file in the style of COCO.

    Args:
        path: The file, or a folder with just one `.json`.
        images: The folder of its images.
        splits: The splits wanted, all when not given.

    Raises:
        PreparationError: There is no such file, it is damaged, or has no sentences.
    """
    if path.is_dir():
        files = sorted(file for pattern in ("*.json", "*.json.gz") for file in path.glob(pattern))
        if len(files) != 1:
            names = ", ".join(file.name for file in files) or "none"
            raise PreparationError(f"expected one .json file in {str(path)!r}, there are: {names}")
        path = files[0]
    instances = read_instances(path)
    notes, distinct = instances.notes, _Distinct(instances.notes)
    in_annotations = sum(_says_something(record) for _, record in instances.entries())
    if instances.references is None and not in_annotations:
        raise PreparationError(
            f"{str(path)!r} has no sentences: give annotations a list 'expressions', or the file a list 'references'"
        )

    def from_reference(index: int, record: Any) -> RawReference | None:
        ann_ids = as_list(take(record, "ann_ids", object, "a list of ids"))
        image_id = take_identifier(record, "image_id")
        objects = [instances.object(ann_id, image_id) for ann_id in ann_ids]
        category = instances.categories_of(ann_ids, image_id)
        origin = f"{path.name}, 'references'"
        return distinct.once(_coco_reference(index, record, objects, category, instances, images, origin, splits))

    def from_annotation(index: int, record: dict) -> RawReference | None:
        if not _says_something(record):
            notes["annotations_without_sentences"] += 1
            return None
        number = record.get("id") if record.get("id") is not None else index
        item, category = instances.object_of(record, number), instances.category_names([record.get("category_id")])
        record = {**record, "ref_id": number}
        origin = f"{path.name}, 'annotations'"
        return distinct.once(_coco_reference(index, record, [item], category, instances, images, origin, splits))

    def references() -> Iterator[RawReference | BadRecord]:
        yield from instances.bad
        if instances.references is None:
            yield from read_each(instances.entries(), from_annotation, f"{path.name}, 'annotations'")
            return
        notes["annotations_with_sentences_beside_references"] += in_annotations
        yield from read_each(enumerate(instances.references), from_reference, f"{path.name}, 'references'")

    total = in_annotations if instances.references is None else len(instances.references)
    return RawBenchmark(name="own", references=references(), files=[path], total=total, notes=notes)


def _coco_reference(
    index: int,
    record: dict,
    objects: list[RawObject],
    category: str,
    instances: CocoInstances,
    images: ImageFolder,
    origin: str,
    splits: Sequence[str] | None,
) -> RawReference | None:
    image_id = take_identifier(record, "image_id")
    image = instances.image(image_id)
    split = str(record.get("split") or image.get("split") or DEFAULT_SPLIT)
    if splits is not None and split not in splits:
        return None
    if image.get("file_name") is None and isinstance(image.get("coco_url"), str):  # all that LVIS names
        name = "/".join(PurePosixPath(urlsplit(image["coco_url"]).path).parts[-2:])
    else:
        name = take(image, "file_name", str, "a file name")
    boxes_only = bool(objects) and all(item.segmentation is None for item in objects)
    if not boxes_only and any(item.segmentation is None for item in objects):
        raise BadRecord("some of its objects have a segmentation and some a box alone")
    instances.notes["targets_with_a_box_alone"] += boxes_only
    found = images.find_relative(name)
    return RawReference(
        index=index,
        origin=origin,
        split=split,
        ref_id=identifier(record.get("ref_id", index)),
        image_id=found,
        images=(found,),
        size_hw=instances.size_hw(image_id),
        category=category,
        expressions=sentences_of(_sentences(record)),
        objects=objects,
        source="own",
        boxes_only=boxes_only,
        licence=instances.licence(image_id, "unknown"),
    )


def read_own_folder(
    folder: Path, images: ImageFolder, masks: Path | None = None, splits: Sequence[str] | None = None
) -> RawBenchmark:
    """
    Opens a folder with a `metadata.jsonl`.

    Args:
        folder: The folder, or the file itself.
        images: The folder of its images.
        masks: Folder that masks are named in; that of the metadata when not given.
        splits: The splits wanted, all when not given.

    Raises:
        PreparationError: There is no such file or folder.
    """
    path = folder / METADATA_NAME if folder.is_dir() else folder
    if not path.is_file():
        raise PreparationError(f"there is no {METADATA_NAME} in {str(folder)!r}")
    mask_folder = ImageFolder(masks if masks is not None else path.parent, "mask")
    distinct = _Distinct(Counter())

    def make(index: int, line: str) -> RawReference | None:
        if not line.strip():
            return None
        return distinct.once(_line_reference(index, line, images, mask_folder, path.name, splits))

    def references() -> Iterator[RawReference | BadRecord]:
        with open_text(path) as stream:
            yield from read_each(enumerate(stream), make, path.name)

    return RawBenchmark(name="own", references=references(), files=[path], notes=distinct.notes)


def _line_reference(
    index: int, line: str, images: ImageFolder, masks: ImageFolder, origin: str, splits: Sequence[str] | None
) -> RawReference | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRecord(f"the line is no JSON ({error})") from error
    named = "file_name" if isinstance(record, dict) and "image" not in record and "file_name" in record else "image"
    name = take(record, named, str, "a file name")
    split = str(record.get("split") or DEFAULT_SPLIT)
    if splits is not None and split not in splits:
        return None
    if "mask" not in record:
        raise BadRecord("the field 'mask' is missing; null stands for a sentence that means nothing in the image")
    names = [] if record["mask"] is None else as_list(record["mask"])
    if not all(isinstance(name, str) for name in names):
        raise BadRecord(
            f"the field 'mask' must be a file name, a list of them or null, got {shortened(record['mask'])}"
        )
    hull = box_from_xyxy(record["box"]) if record.get("box") is not None else None
    if not names and hull is not None:
        raise BadRecord(f"it has the box {shortened(record['box'])}, but no mask")
    values = record.get("mask_values")
    values = None if values is None else tuple(whole_number(value, "mask_values") for value in as_list(values))
    found = images.find_relative(name)
    return RawReference(
        index=index,
        origin=origin,
        split=split,
        ref_id=identifier(record.get("ref_id", index)),
        image_id=found,
        images=(found,),
        category=str(record.get("category") or ""),
        expressions=sentences_of(_sentences(record)),
        objects=[
            RawObject(name, mask_file=str(masks.find((name, f"masks/{name}"))), mask_values=values, box_xyxy=hull)
            for name in names
        ],
        source="own",
        upright=True,
        empty_is_no_target=True,
        licence=str(record.get("licence") or record.get("license") or "unknown"),
    )


def _sentences(record: dict[str, Any]) -> list[Any]:
    """What stands in the fields for sentences; nothing where there are none."""
    attributes = record.get("attributes")
    if isinstance(attributes, list):  # each with a name and a value
        attributes = {item.get("name"): item.get("value") for item in attributes if isinstance(item, dict)}
    for place in (record, attributes if isinstance(attributes, dict) else {}):
        found = {name: place[name] for name in SENTENCE_FIELDS if place.get(name) not in (None, "", [])}
        own = [text for name in SENTENCE_FIELDS[:2] for text in as_list(found.get(name, []))]
        if own:
            return [text for index, text in enumerate(own) if text not in own[:index]]
        if len(found) > 1:
            raise BadRecord(f"it has sentences under {' and under '.join(map(repr, found))}; name them 'expressions'")
        if found:
            return as_list(*found.values())
    return []


def _says_something(record: dict[str, Any]) -> bool:
    try:
        return bool(_sentences(record))
    except BadRecord:  # it is named when it is read
        return True


class _Distinct:
    """Lets each reference through once, under a name that no other of its split has; counts what it changes."""

    def __init__(self, notes: Counter):
        self.notes = notes
        self._said: set[bytes] = set()
        self._names: set[tuple[str, str]] = set()

    def once(self, reference: RawReference | None) -> RawReference | None:
        """Returns the reference, renamed where its name is taken; None where the same was said before."""
        if reference is None:
            return None
        content = repr((reference.split, reference.image_id, reference.objects, reference.expressions))
        said = hashlib.blake2b(content.encode("utf-8", "replace"), digest_size=16).digest()
        if said in self._said:
            self.notes["references_listed_twice"] += 1
            return None
        self._said.add(said)
        self.notes["references_renamed"] += (reference.split, reference.ref_id) in self._names
        while (reference.split, reference.ref_id) in self._names:
            reference.ref_id = f"{reference.ref_id}#{reference.index}"
        self._names.add((reference.split, reference.ref_id))
        return reference
