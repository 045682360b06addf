# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads custom datasets in the style of COCO, as Roboflow, CVAT, Label Studio and scripts write them.

Sentences stand in each annotation under `expressions` or `expression`, otherwise under another of `SENTENCE_FIELDS`, or
there under `attributes`, or in a member `references` of the file: a list of `image_id`, `ann_ids` (several, or none for
a sentence that means nothing there), `expressions`, and where wanted `ref_id` and `split`. Without any, the names of
the categories remain.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from ..coco import CocoInstances, Entry, read_instances
from ..json_files import beginning_of
from ..records import (
    BadRecord,
    PreparationError,
    as_list,
    identifier,
    read_each,
    sentences_of,
    take,
    take_identifier,
)
from .annotated import AnnotatedImage, AnnotatedObject, Source, attributes_in, said_in, words_of_attributes

_MEMBERS = re.compile(r'"(images|annotations)"\s*:\s*[\[{]')
_OTHER_TASKS = re.compile(r"(captions|person_keypoints|panoptic|stuff|image_info)_.*")


def find_files(files: Sequence[Path]) -> list[Path]:
    """Returns the files in the style of COCO among files; those of COCO's other tasks only where there is no other."""
    named = [path for path in files if path.name.lower().endswith((".json", ".json.gz"))]
    found = [path for path in named if _MEMBERS.search(beginning_of(path))]
    return [path for path in found if not _OTHER_TASKS.fullmatch(path.name)] or found


def read(source: Source) -> Iterator[AnnotatedImage | BadRecord]:
    """
    Reads the files; raises `PreparationError` for a damaged one, and where it is unclear which of two is of a split.
    """
    files: dict[str, Path] = {}
    for path in source.files:
        split = source.split_of(path)
        if split in files:
            raise PreparationError(
                f"{str(files[split])!r} and {str(path)!r} could both be the annotations of the split {split!r}; name "
                f"the one that is meant, or tell splits by folders or names with train, val, test in them"
            )
        files[split] = path
    for split, path in files.items():
        instances = read_instances(path)
        source.notes.update(instances.notes)
        instances.origin, instances.notes = source.name_of(path), source.notes
        for names in instances.categories.values():
            source.classes.update(dict.fromkeys(names - instances.parents if len(names) == 1 else ()))
        yield from instances.bad
        folders, records = (source.folder_of(path), split), instances.entries()
        if instances.references is not None:
            said = [record for _, record in records if _says_something(record)]
            source.notes["annotations_with_sentences_beside_references"] += len(said)
            records = list(enumerate(instances.references))
        yield from _images(instances, records, folders, split, source)


def _images(
    instances: CocoInstances, records: list[Entry], folders: tuple[str, ...], split: str, source: Source
) -> Iterator[AnnotatedImage | BadRecord]:
    """The images that annotations, or references, belong to."""
    listed = instances.references is not None
    origin = f"{instances.origin}, {'references' if listed else 'annotations'!r}"
    make_object = partial(_reference if listed else _object, instances=instances)
    by_image: dict[str, list[Entry]] = {}

    def image_of(index: int, record: dict) -> None:
        by_image.setdefault(take_identifier(record, "image_id"), []).append((index, record))

    def make(index: int, entries: list[Entry]) -> AnnotatedImage:
        image_id = identifier(entries[0][1]["image_id"])
        image = instances.image(image_id)
        return AnnotatedImage(
            origin=origin,
            name=_file_name(image),
            annotated=list(read_each(entries, make_object, origin)),
            index=index,
            split=str(image.get("split") or split),
            folders=folders,
            size_hw=instances.size_hw(image_id),
            absent=_names(instances, image.get("neg_category_ids")),
            incomplete=_names(instances, image.get("not_exhaustive_category_ids")) or (),
            licence=instances.licence(image_id, "unknown"),
        )

    yield from read_each(records, image_of, origin)
    for entries in by_image.values():
        for item in read_each([(entries[0][0], entries)], make, origin):
            # What is wrong with an image is wrong with each of its annotations.
            alike = isinstance(item, BadRecord)
            yield from (BadRecord(item.reason, origin, index) for index, _ in entries) if alike else [item]
    if not listed:
        source.notes["images_without_annotations"] += len(instances.images.keys() - by_image.keys())


def _names(instances: CocoInstances, numbers: Any) -> list[str] | None:
    """Names of categories, as LVIS lists those that an image lacks; None where it lists none."""
    return None if numbers is None else [instances.category_names([number]) for number in as_list(numbers)]


def _object(index: int, record: dict, instances: CocoInstances) -> AnnotatedObject:
    number = record.get("id") if record.get("id") is not None else index
    return AnnotatedObject(
        index=index,
        targets=[instances.object_of(record, number)],
        category=instances.category_names([record.get("category_id")]),
        attributes=words_of_attributes(attributes_in(record)),
        expressions=said_in(record),
        split=str(record["split"]) if record.get("split") else None,
        ref_id=identifier(number),
    )


def _reference(index: int, record: Any, instances: CocoInstances) -> AnnotatedObject:
    """What a reference of the file's own list means."""
    ann_ids = as_list(take(record, "ann_ids", object, "a list of ids"))
    return AnnotatedObject(
        index=index,
        targets=[instances.object(ann_id, record["image_id"]) for ann_id in ann_ids],
        category=instances.categories_of(ann_ids, record["image_id"]),
        expressions=sentences_of(said_in(record)),
        split=str(record["split"]) if record.get("split") else None,
        ref_id=identifier(record.get("ref_id", index)),
    )


def _file_name(image: dict) -> str:
    if image.get("file_name") is None and isinstance(image.get("coco_url"), str):  # all that LVIS names
        return "/".join(PurePosixPath(urlsplit(image["coco_url"]).path).parts[-2:])
    return take(image, "file_name", str, "a file name")


def _says_something(record: dict[str, Any]) -> bool:
    try:
        return bool(said_in(record))
    except BadRecord:  # it is named when it is read
        return True
