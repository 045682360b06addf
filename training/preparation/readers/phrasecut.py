# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Reads PhraseCut: phrases about images of Visual Genome, each with polygons of all that it means.

A folder holds `refer_<split>.json`, lists of tasks with `task_id`, `image_id`, `phrase`, `instance_boxes` (left, top,
width, height) and `Polygons` (per instance a list of polygons, each a list of [x, y]). `image_data_split*.json`, where
it is there, gives the sizes of the images.

Source: https://github.com/ChenyunWu/PhraseCutDataset
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .images import visual_genome_paths
from .json_files import stream_items
from .records import (
    BadRecord,
    PreparationError,
    RawBenchmark,
    RawObject,
    RawReference,
    as_list,
    box_from_xywh,
    identifier,
    read_each,
    shortened,
    size_of,
    take,
    take_identifier,
)

SPLITS = ("train", "val", "test", "miniv")
LICENCE = "image: CC BY 4.0 (Visual Genome); annotations: unknown"


def read_phrasecut(folder: Path, splits: Sequence[str] | None = None) -> RawBenchmark:
    """Opens PhraseCut; all splits that are there when none are named. Raises `PreparationError` for a missing file."""
    found = {name: folder / f"refer_{name}.json" for name in SPLITS if (folder / f"refer_{name}.json").is_file()}
    wanted = list(splits) if splits is not None else list(found)
    missing = [name for name in wanted if name not in found]
    if missing or not wanted:
        raise PreparationError(f"no refer_{missing[0] if missing else '<split>'}.json in {str(folder)!r}")
    metadata = find_image_data(folder)
    sizes = dict(_sizes(metadata))

    def references() -> Iterator[RawReference | BadRecord]:
        for split in wanted:
            name = found[split].name
            make = partial(_reference, split=split, origin=name, sizes=sizes)
            tasks = (task for _, task in stream_items(found[split]))
            yield from read_each(enumerate(tasks), make, name, split)

    files = [found[split] for split in wanted] + ([metadata] if metadata else [])
    return RawBenchmark(name="phrasecut", references=references(), files=files)


def find_image_data(folder: Path) -> Path | None:
    """Returns the file that describes the images of Visual Genome, where it lies in the folder."""
    return next((path for path in sorted(folder.glob("image_data*.json")) if path.is_file()), None)


def read_image_data(path: Path | None) -> Iterator[dict[str, Any]]:
    """Yields the records of that file, `image_id`, `width`, `height`, `coco_id`; nothing where there is no file."""
    for _, record in stream_items(path) if path is not None else ():
        if isinstance(record, dict) and isinstance(record.get("image_id"), int):
            yield record


def _sizes(path: Path | None) -> Iterator[tuple[str, tuple[int, int] | None]]:
    for record in read_image_data(path):
        try:
            yield identifier(record["image_id"]), size_of(record)
        except BadRecord:  # the image's own header tells as well
            continue


def _reference(
    index: int, task: Any, split: str, origin: str, sizes: dict[str, tuple[int, int] | None]
) -> RawReference:
    image_id = take_identifier(task, "image_id")
    instances = take(task, "Polygons", list, "a list with the polygons of each instance")
    boxes = take(task, "instance_boxes", list, "a list of boxes")
    if not instances or len(instances) != len(boxes):
        raise BadRecord(f"expected one box per instance, got {len(instances)} instances and {len(boxes)} boxes")
    task_id = take_identifier(task, "task_id")
    ids = [identifier(value) for value in as_list(task.get("ann_ids") or [])]
    if len(ids) != len(instances):  # these are Visual Genome's objects, not always the instances drawn
        ids = [f"{task_id}:{number}" for number in range(len(instances))]
    structure = task.get("phrase_structure")
    return RawReference(
        index=index,
        origin=origin,
        split=split,
        ref_id=task_id,
        image_id=image_id,
        images=visual_genome_paths(image_id),
        size_hw=sizes.get(image_id),
        category=str(structure.get("name") or "") if isinstance(structure, dict) else "",
        expressions=[take(task, "phrase", str, "text")],
        objects=[
            RawObject(ann_id=ann_id, segmentation=_flat(polygons), box_xyxy=box_from_xywh(box))
            for ann_id, polygons, box in zip(ids, instances, boxes)
        ],
        source="phrasecut",
        licence=LICENCE,
    )


def _flat(polygons: Any) -> list[list[float]]:
    """Polygons as flat lists of numbers."""
    for polygon in polygons if isinstance(polygons, list) else [polygons]:
        if not isinstance(polygon, list) or not all(isinstance(point, list) and len(point) == 2 for point in polygon):
            raise BadRecord(f"a polygon must be a list of [x, y], got {shortened(polygon)}")
    return [[value for point in polygon for value in point] for polygon in polygons]
