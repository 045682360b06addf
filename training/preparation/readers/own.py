# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads data of your own: a file in the style of COCO with sentences, or pictures, mask files and a `metadata.jsonl`.

In the style of COCO, sentences stand in each annotation under `expressions` (a list) or `expression`, or in a member
`references` of the file: a list of `image_id`, `ann_ids` (several, or none for a sentence that means nothing there),
`expressions`, and where wanted `ref_id` and `split`.

A line of `metadata.jsonl` names `image`, `mask` (one file, a list of one per object, or null where nothing is meant)
and `expression` or `expressions`, and where wanted `ref_id`, `split`, `category`, `box` (left, top, right, bottom of
all that is meant) and `licence`. An entirely black mask says that nothing is meant, too.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .coco import CocoInstances, read_instances
from .images import PictureFolder, coco_pictures
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
    take,
)

DEFAULT_SPLIT = "train"
METADATA_NAME = "metadata.jsonl"


def read_own_coco(path: Path, splits: Sequence[str] | None = None) -> RawBenchmark:
    """
    Opens a file in the style of COCO.

    Args:
        path: The file, or a folder with just one `.json`.
        splits: The splits wanted, all when not given.

    Raises:
        PreparationError: There is no such file, it is damaged, or has no sentences.
    """
    if path.is_dir():
        files = sorted(path.glob("*.json"))
        if len(files) != 1:
            names = ", ".join(file.name for file in files) or "none"
            raise PreparationError(f"--annotations must name one .json file; in {str(path)!r} there are: {names}")
        path = files[0]
    instances = read_instances(path)
    records = instances.extra.get("references")
    if records is None:
        with_words = [item for item in instances.annotations.values() if "expressions" in item or "expression" in item]
        if not with_words:
            raise PreparationError(
                f"{str(path)!r} has no sentences: give annotations a list 'expressions', "
                f"or the file a list 'references'"
            )
        records = [{**item, "ann_ids": [item["id"]], "ref_id": item["id"]} for item in with_words]

    def make(index: int, record: Any) -> RawReference | None:
        return _coco_reference(index, record, instances, path.name, splits)

    return RawBenchmark(name="own", references=read_each(records, make, path.name), files=[path], total=len(records))


def _coco_reference(
    index: int, record: Any, instances: CocoInstances, origin: str, splits: Sequence[str] | None
) -> RawReference | None:
    image_id = take(record, "image_id", int | str, "an id")
    image = instances.image(image_id)
    split = str(record.get("split") or image.get("split") or DEFAULT_SPLIT)
    if splits is not None and split not in splits:
        return None
    ann_ids = as_list(take(record, "ann_ids", list, "a list of ids"))
    name = take(image, "file_name", str, "a file name")
    return RawReference(
        index=index,
        origin=origin,
        split=split,
        ref_id=identifier(record.get("ref_id", index)),
        image_id=str(image_id),
        pictures=tuple(dict.fromkeys((name, *coco_pictures("", name)))),
        size_hw=instances.size_hw(image_id),
        category=instances.category_names(ann_ids),
        expressions=_expressions(record),
        objects=[instances.object(ann_id, image_id) for ann_id in ann_ids],
        source="own",
        licence=instances.licence(image_id, "unknown"),
    )


def read_own_folder(folder: Path, masks: Path | None = None, splits: Sequence[str] | None = None) -> RawBenchmark:
    """
    Opens a folder with a `metadata.jsonl`.

    Args:
        folder: The folder, or the file itself.
        masks: Folder that masks are named in; that of the metadata when not given.
        splits: The splits wanted, all when not given.

    Raises:
        PreparationError: There is no such file or folder.
    """
    path = folder / METADATA_NAME if folder.is_dir() else folder
    if not path.is_file():
        raise PreparationError(f"there is no {METADATA_NAME} in {str(folder)!r}")
    mask_folder = PictureFolder(masks if masks is not None else path.parent)

    def make(index: int, line: str) -> RawReference | None:
        return _line_reference(index, line, mask_folder, path.name, splits)

    return RawBenchmark(name="own", references=read_each(_lines(path), make, path.name), files=[path])


def _lines(path: Path) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8-sig") as stream:
            yield from (line for line in stream if line.strip())
    except UnicodeDecodeError as error:
        raise PreparationError(f"{str(path)!r} is not in UTF-8: {error.reason} at byte {error.start}") from error


def _line_reference(
    index: int, line: str, masks: PictureFolder, origin: str, splits: Sequence[str] | None
) -> RawReference | None:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise BadRecord(f"the line is no JSON ({error})") from error
    named = "file_name" if isinstance(record, dict) and "image" not in record and "file_name" in record else "image"
    image = take(record, named, str, "a file name")
    split = str(record.get("split") or DEFAULT_SPLIT)
    if splits is not None and split not in splits:
        return None
    if "mask" not in record:
        raise BadRecord("the field 'mask' is missing; null stands for a sentence that means nothing in the picture")
    names = [] if record["mask"] is None else as_list(record["mask"])
    if not all(isinstance(name, str) for name in names):
        raise BadRecord(f"the field 'mask' must be a file name, a list of them or null, got {record['mask']!r}")
    box = record.get("box")
    files = [str(masks.find((name,))) for name in names]
    hull = box_from_xyxy(box) if box is not None else None
    objects = [RawObject(ann_id=name, mask_file=file, box_xyxy=hull) for name, file in zip(names, files)]
    return RawReference(
        index=index,
        origin=origin,
        split=split,
        ref_id=identifier(record.get("ref_id", index)),
        image_id=Path(image).stem,
        pictures=(image, f"images/{image}"),
        category=str(record.get("category") or ""),
        expressions=_expressions(record),
        objects=objects,
        source="own",
        upright=True,
        empty_is_no_target=True,
        licence=str(record.get("licence") or record.get("license") or "unknown"),
    )


def _expressions(record: dict[str, Any]) -> list[str]:
    value = record.get("expressions", record.get("expression"))
    return sentences_of(as_list(value) if value is not None else None)
