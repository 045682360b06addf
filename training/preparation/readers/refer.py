# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads RefCOCO, RefCOCO+, RefCOCOg and RefCLEF (ReferIt) as the REFER toolkit lays them out.

A folder `refcoco`, `refcoco+`, `refcocog` or `refclef` holds `instances.json` in the style of COCO and pickles
`refs(<split by>).p`: lists of dicts with `ref_id`, `ann_id`, `image_id`, `split`, `sentences`. Their `file_name` is not
that of a file; the picture is the one with the reference's `image_id` in `instances.json`.

Source: https://github.com/lichengunc/refer
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .coco import CocoInstances, read_instances
from .images import coco_pictures, saiapr_pictures
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
    take,
)

SPLIT_BY = {
    "refcoco": ("unc", "google"),
    "refcoco+": ("unc",),
    "refcocog": ("umd", "google"),
    "refclef": ("berkeley", "unc"),
}
NO_TARGET = -1  # the annotation id of gRefCOCO for "nothing"
ANNOTATION_LICENCE = "unknown"


def read_refer(folder: Path, dataset: str, split_by: str, splits: Sequence[str] | None = None) -> RawBenchmark:
    """
    Opens one of the four benchmarks.

    Args:
        folder: The benchmark's folder, or the folder that it lies in.
        dataset: A key of `SPLIT_BY`.
        split_by: Who divided it into splits, one of `SPLIT_BY[dataset]`.
        splits: The splits wanted, all when not given.

    Raises:
        PreparationError: A file is missing or damaged.
    """
    folder = find_folder(folder, dataset)
    refs_path = find_refs(folder, f"refs({split_by})")
    refs = load_refs(refs_path)
    needed = {ann_id for ref in refs if isinstance(ref, dict) for ann_id in hashable(ref.get("ann_id"))}
    instances = read_instances(folder / "instances.json", needed)
    notes: Counter = Counter()
    return RawBenchmark(
        name=f"{dataset}_{split_by}",
        references=references_of(
            refs, instances, source=f"{dataset}_{split_by}", origin=refs_path.name, splits=splits, notes=notes
        ),
        files=[refs_path, folder / "instances.json"],
        total=len(refs),
        notes=notes,
    )


def references_of(
    refs: Iterable[Any],
    instances: CocoInstances,
    *,
    source: str,
    origin: str,
    splits: Sequence[str] | None,
    notes: Counter,
    drop_crowds: bool = False,
) -> Iterator[RawReference | BadRecord]:
    """
    Yields the references of a list of refs.

    Args:
        refs: Records of REFER or of gRefCOCO, where `ann_id` is a list, `[-1]` for nothing.
        instances: What `ann_id` and `image_id` point to.
        source: Name of the benchmark and version.
        origin: Name of the file of refs.
        splits: The splits wanted, all when None.
        notes: Gets counts of what is left out.
        drop_crowds: Whether regions of many objects are left out beside single objects.
    """
    pictures: Callable[..., tuple[str, ...]] = saiapr_pictures if source.startswith("refclef") else coco_pictures

    def make(index: int, ref: Any) -> RawReference | None:
        split = take(ref, "split", str, "text")
        if splits is not None and split not in splits:
            return None
        image_id = take(ref, "image_id", int | str, "an id")
        ann_ids = as_list(take(ref, "ann_id", int | str | list, "an id or a list of ids"))
        if NO_TARGET in ann_ids and len(ann_ids) > 1:
            raise BadRecord(f"annotation -1, nothing, stands beside others: {ann_ids}")
        ann_ids = [] if ann_ids == [NO_TARGET] else list(dict.fromkeys(value for value in ann_ids if identifier(value)))
        if not ann_ids and ref.get("no_target") is False:
            raise BadRecord(f"it says that there is a target, but its annotation is {ref['ann_id']}")
        objects = [instances.object(ann_id, image_id) for ann_id in ann_ids]
        if drop_crowds and any(not item.is_crowd for item in objects):
            notes["crowd_regions_left_out"] += sum(item.is_crowd for item in objects)
            objects = [item for item in objects if not item.is_crowd]
        kept = {item.ann_id for item in objects}
        return RawReference(
            index=index,
            origin=origin,
            split=split,
            ref_id=identifier(take(ref, "ref_id", int | str, "an id")),
            image_id=str(image_id),
            pictures=pictures(str(image_id), instances.image(image_id).get("file_name")),
            size_hw=instances.size_hw(image_id),
            category=instances.category_names([ann_id for ann_id in ann_ids if str(ann_id) in kept]),
            expressions=sentences_of(ref.get("sentences")),
            objects=objects,
            source=source,
            licence=instances.licence(image_id, ANNOTATION_LICENCE),
        )

    return read_each(refs, make, origin)


def find_folder(folder: Path, dataset: str) -> Path:
    """Returns the benchmark's folder, given itself or the one above it; raises `PreparationError` if there is none."""
    for candidate in (folder / dataset, folder):
        if (candidate / "instances.json").is_file():
            return candidate
    archives = [path.name for place in (folder, folder / dataset) for path in place.glob("*.zip")]
    hint = f"; unpack {', '.join(archives)} first" if archives else "; docs/data.md says where the files come from"
    raise PreparationError(f"no instances.json in {str(folder / dataset)!r} or {str(folder)!r}{hint}")


def find_refs(folder: Path, stem: str) -> Path:
    """Returns the file of refs, a pickle or JSON; raises `PreparationError` if there is none."""
    for name in (f"{stem}.p", f"{stem}.json"):
        if (folder / name).is_file():
            return folder / name
    there = sorted(path.name for path in folder.glob("*refs(*"))
    raise PreparationError(f"no {stem}.p or {stem}.json in {str(folder)!r}; there are {', '.join(there) or 'none'}")


def load_refs(path: Path) -> list[Any]:
    """Returns the list that a file of refs holds; raises `PreparationError` if it holds something else."""
    try:
        if path.suffix == ".json":
            with open(path, encoding="utf-8-sig") as stream:
                refs = json.load(stream)
        else:
            refs = load_plain_pickle(path)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PreparationError(f"cannot read {str(path)!r} as JSON ({error}); fetch the file again") from error
    except ValueError as error:
        raise PreparationError(str(error)) from error
    if not isinstance(refs, list):
        raise PreparationError(f"{str(path)!r} holds no list of references, but a {type(refs).__name__}")
    return [_slim(ref) for ref in refs]


def hashable(value: Any) -> list[int | str]:
    """The ids in a value of `ann_id`, as far as they can be ids."""
    return [number for number in as_list(value) if isinstance(number, int | str)]


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
