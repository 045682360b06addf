# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads RefCOCO, RefCOCO+, RefCOCOg, RefCLEF (ReferIt) and gRefCOCO as the REFER toolkit lays them out.

A folder `refcoco`, `refcoco+`, `refcocog`, `refclef` or `grefcoco` holds `instances.json` in the style of COCO and
`refs(<split by>).p`, of gRefCOCO `grefs(<split by>).json`: a list of dicts with `ref_id`, `ann_id`, `image_id`,
`split`, `sentences`. Their `file_name` is not that of a file; the image is the one with the reference's `image_id` in
`instances.json`. In gRefCOCO `ann_id` is a list, `[-1]` where nothing is meant; regions of many objects are left out
beside single objects, as its own tools leave them out. References without sentences, which its published file holds,
are left out as well.

Source: https://github.com/lichengunc/refer, https://github.com/henghuiding/gRefCOCO
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .coco import CocoInstances, read_instances
from .images import coco_paths, saiapr_paths
from .json_files import load_json
from .plain_pickle import load_plain_pickle
from .records import (
    BadRecord,
    PreparationError,
    RawBenchmark,
    RawReference,
    as_list,
    identifier,
    read_each,
    sentences_of,
    shortened,
    take,
    take_identifier,
)

NO_TARGET = "-1"  # the annotation id of gRefCOCO for "nothing"
ANNOTATION_LICENCE = "unknown"


def read_refer(folder: Path, dataset: str, split_by: str, splits: Sequence[str] | None = None) -> RawBenchmark:
    """
    Opens one of the five benchmarks, a key of `SPLIT_BY`, in its folder or in one below the given; all splits when none
    are named.

    Raises:
        PreparationError: A file is missing or damaged.
    """
    folder = _find_folder(folder, dataset)
    stem = refs_stem(dataset, split_by)
    path = find_refs(folder, dataset, split_by)
    if path is None:
        there = ", ".join(sorted(path.name for path in folder.glob("*refs(*"))) or "none"
        raise PreparationError(f"no {stem}.p or {stem}.json in {str(folder)!r}; there are {there}")
    refs = load_refs(path)
    needed = {number for ref in refs if isinstance(ref, dict) for number in _possible_ids(ref.get("ann_id"))}
    instances = read_instances(folder / "instances.json", lambda ann_id, _: ann_id in needed)
    name = f"{dataset}_{split_by}"
    return RawBenchmark(
        name=name,
        references=_references(refs, instances, source=name, origin=path.name, splits=splits),
        files=[path, folder / "instances.json"],
        total=len(refs),
        notes=instances.notes,
    )


def refs_stem(dataset: str, split_by: str) -> str:
    """Returns the name of a benchmark's file of refs, without its ending."""
    return f"{'g' if dataset == 'grefcoco' else ''}refs({split_by})"


def find_refs(folder: Path, dataset: str, split_by: str) -> Path | None:
    """Returns a benchmark's file of refs in its folder, a pickle or JSON, where there is one."""
    names = (f"{refs_stem(dataset, split_by)}{suffix}" for suffix in (".p", ".json", ".json.gz"))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def load_refs(path: Path) -> list[Any]:
    """Returns the list that a file of refs holds; raises `PreparationError` if it holds something else."""
    refs = load_plain_pickle(path) if path.suffix == ".p" else load_json(path)
    if not isinstance(refs, list):
        raise PreparationError(f"{str(path)!r} holds no list of references, but a {type(refs).__name__}")
    return [_slim(ref) for ref in refs]


def _references(
    refs: Sequence[Any], instances: CocoInstances, *, source: str, origin: str, splits: Sequence[str] | None
) -> Iterator[RawReference | BadRecord]:
    """Yields the references of a list of refs; what is left out is counted in the notes of `instances`."""
    paths: Callable[..., tuple[str, ...]] = saiapr_paths if source.startswith("refclef") else coco_paths
    is_general, notes = source.startswith("grefcoco"), instances.notes

    def make(index: int, ref: Any) -> RawReference | None:
        split = take(ref, "split", str, "text")
        if splits is not None and split not in splits:
            return None
        if ref.get("sentences") == []:
            notes["references_without_sentences"] += 1
            return None
        image_id = take_identifier(ref, "image_id")
        ann_ids = list(dict.fromkeys(identifier(value) for value in as_list(take(ref, "ann_id", object, "an id"))))
        if NO_TARGET in ann_ids and len(ann_ids) > 1:
            raise BadRecord(f"annotation -1, nothing, stands beside others: {shortened(ref['ann_id'])}")
        ann_ids = [] if ann_ids == [NO_TARGET] else ann_ids
        if not ann_ids and not is_general:
            raise BadRecord(f"something is meant in every reference of this benchmark, got {shortened(ref['ann_id'])}")
        if ref.get("no_target") not in (None, not ann_ids):
            says, given = shortened(ref["no_target"]), shortened(ref["ann_id"])
            raise BadRecord(f"the field 'no_target' is {says}, but its annotation is {given}")
        objects = [instances.object(ann_id, image_id) for ann_id in ann_ids]
        for item in objects:
            if item.segmentation is None:
                raise BadRecord(f"annotation {item.ann_id} has no segmentation")
        if is_general and any(not item.is_crowd for item in objects):
            notes["crowd_regions_left_out"] += sum(item.is_crowd for item in objects)
            objects = [item for item in objects if not item.is_crowd]
        return RawReference(
            index=index,
            origin=origin,
            split=split,
            ref_id=take_identifier(ref, "ref_id"),
            image_id=image_id,
            images=paths(image_id, instances.image(image_id).get("file_name")),
            size_hw=instances.size_hw(image_id),
            category=instances.categories_of([item.ann_id for item in objects], image_id),
            expressions=sentences_of(ref.get("sentences")),
            objects=objects,
            source=source,
            licence=instances.licence(image_id, ANNOTATION_LICENCE),
        )

    yield from instances.bad
    yield from read_each(enumerate(refs), make, origin)


def _find_folder(folder: Path, dataset: str) -> Path:
    for candidate in (folder / dataset, folder):
        if (candidate / "instances.json").is_file():
            return candidate
    archives = [path.name for place in (folder, folder / dataset) for path in place.glob("*.zip")]
    hint = f"; unpack {', '.join(archives)} first" if archives else "; docs/data.md says where the files come from"
    raise PreparationError(f"no instances.json in {str(folder / dataset)!r} or {str(folder)!r}{hint}")


def _possible_ids(value: Any) -> Iterator[str]:
    """The ids in a value of `ann_id`, as far as they can be ids."""
    for number in as_list(value):
        try:
            yield identifier(number)
        except BadRecord:  # the record is named when it is read
            continue


def _slim(ref: Any) -> Any:
    """A ref without what is not read, above all the words of each sentence, which take most of the memory."""
    if not isinstance(ref, dict):
        return ref
    kept = {name: value for name, value in ref.items() if name not in ("sent_ids", "file_name")}
    sentences = kept.get("sentences")
    if isinstance(sentences, list):
        kept["sentences"] = [
            item["sent"] if isinstance(item, dict) and isinstance(item.get("sent"), str) else item for item in sentences
        ]
    return kept
