# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What stands beside the rows of a finished annotation: counts, dataset card, samples, a file in COCO's format."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
from datasets import Features
from datasets.info import DatasetInfo, DatasetInfosDict
from huggingface_hub import DatasetCardData

from ..processing.visualization.data_sheet import draw_data_sheet
from ..training.atomic_files import write_aside, write_text
from ..training.data.masks import area, bounding_box, decode, to_polygon
from ..training.data.prepared import FEATURES, PREDICTION_FEATURES, REPORT_NAME, read_image, read_rows, shards_by_split
from .shards import DATA, FAILED

SAMPLES_NAME, COCO_NAME, CARD_NAME = "samples.png", "instances.json", "README.md"
NUM_SAMPLES = 16
MAX_REASONS = 5  # that a report names


@dataclass(frozen=True)
class Summary:
    """
    What an annotation holds, and what the last run did for it.

    Args:
        folder: Where it lies.
        fingerprint: Of the model.
        images: Images with predictions.
        expressions: Predictions.
        found: Predictions with a mask.
        no_target: Predictions that nothing is meant.
        failed: Images that could not be used.
        reasons: Why not, the most frequent, with their numbers.
        images_of_run: Images that the last run dealt with.
        seconds: How long it took, without loading the model.
        waiting_fraction: Fraction of that in which a process waited for images.
    """

    folder: str
    fingerprint: str
    images: int = 0
    expressions: int = 0
    found: int = 0
    no_target: int = 0
    failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    images_of_run: int = 0
    seconds: float = 0.0
    waiting_fraction: float = 0.0

    def with_run(self, images: int, seconds: float, waiting_fraction: float) -> "Summary":
        """Returns the same with what a run did."""
        return replace(self, images_of_run=images, seconds=seconds, waiting_fraction=waiting_fraction)

    def counts(self) -> dict[str, Any]:
        """Returns what does not depend on the run."""
        return {name: getattr(self, name) for name in ("images", "expressions", "found", "no_target", "failed")}


def finish(folder: Path, plan: dict[str, Any], coco: bool) -> Summary:
    """
    Writes what belongs beside the rows of an annotation with all its shards, each file whole: `plan` is what the rows
    depend on, and with `coco` there is `instances.json`, too.
    """
    shards = shards_by_split(folder)[plan["split"]]
    failed = [folder / FAILED / path.name for path in shards]
    summary = _count(folder, plan["fingerprint"], shards, failed)
    report = {"counts": summary.counts(), "reasons": summary.reasons, "plan": plan}
    write_text(folder / REPORT_NAME, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    write_text(folder / CARD_NAME, _card(plan, summary))
    samples = list(_samples(shards))
    if samples:
        with write_aside(folder / SAMPLES_NAME) as aside:
            draw_data_sheet(samples).save(aside, "PNG")
    if coco:
        _write_coco(folder / COCO_NAME, shards)
    return summary


def _count(folder: Path, fingerprint: str, shards: list[Path], failed: list[Path]) -> Summary:
    images = expressions = no_target = 0
    last = None
    for row in read_rows(shards, ["source", "image_id", "no_target"]):
        image = (row["source"], row["image_id"])
        images += image != last
        expressions += 1
        no_target += row["no_target"]
        last = image
    reasons: Counter[str] = Counter()
    for row in read_rows(failed, ["reason"]):
        reasons[row["reason"]] += 1
    counted = {"images": images, "expressions": expressions, "found": expressions - no_target, "no_target": no_target}
    most = dict(reasons.most_common(MAX_REASONS))
    return Summary(str(folder), fingerprint, **counted, failed=sum(reasons.values()), reasons=most)


def _card(plan: dict[str, Any], summary: Summary) -> str:
    """The dataset card, from which `datasets.load_dataset(folder)` knows the columns."""
    header = DatasetCardData(pretty_name=plan["source"], task_categories=["image-segmentation"])
    info = DatasetInfo(features=Features({**FEATURES, **PREDICTION_FEATURES}))
    DatasetInfosDict({"default": info}).to_dataset_card_data(header)
    pattern = f"{plan['split']}-*.parquet"
    header["configs"] = [
        {"config_name": name, "data_files": [{"split": plan["split"], "path": f"{part}/{pattern}"}]}
        for name, part in (("default", DATA), ("failed", FAILED))
    ]
    rows = "\n".join(f"| {name.replace('_', ' ')} | {number:,} |" for name, number in summary.counts().items())
    asked = f"the column `{plan['column']}`" if plan["column"] else f"{len(plan['expressions']):,} for every image"
    return f"""---
{header}
---
# {plan["source"]}, annotated by SSP-SAM

One row is one prediction: an image, an expression, and the mask of what it means there. The labels are those of a model
(fingerprint `{summary.fingerprint}`); nobody has checked them. Expressions: {asked}.

| | |
|---|---:|
{rows}

`score` is the model's probability that the prediction is right. Masks are COCO run lengths. Images that could not be
used are in the configuration `failed`, each with its `reason`. `ssp-sam show-data` draws the rows, and `ssp-sam train
--dataset` trains on them.
"""


def _samples(shards: list[Path]) -> Iterator[dict[str, Any]]:
    """Rows of the annotation, few of each of several shards, with decoded images and masks."""
    filled = [path for path in shards if parquet.read_metadata(path).num_rows]
    chosen = [filled[number * len(filled) // NUM_SAMPLES] for number in range(NUM_SAMPLES)] if filled else []
    for path, number in Counter(chosen).items():
        rows = parquet.ParquetFile(path).read_row_group(0)
        for sample in range(min(number, rows.num_rows)):
            (row,) = rows.slice(sample * rows.num_rows // number if number < rows.num_rows else sample, 1).to_pylist()
            try:
                image = read_image(row)
            except ValueError:  # it has been moved or changed since
                continue
            yield row | {"image": image, "masks": [decode(rle) for rle in row["masks"]]}


# ---- COCO ------------------------------------------------------------------------------------------------------------


def _write_coco(path: Path, shards: list[Path]):
    """Writes images, categories and objects with their outlines, few rows held at once."""
    categories: dict[str, int] = {}
    with write_aside(path) as aside, open(aside, "w", encoding="utf-8") as stream:
        stream.write('{"images": [')
        _write_list(stream, (image for _, image, is_new in _coco_rows(shards, []) if is_new))
        stream.write('], "annotations": [')
        columns = ["ref_id", "expressions", "category", "masks", "box_xyxy", "score", "no_target"]
        _write_list(stream, _coco_objects(_coco_rows(shards, columns), categories))
        stream.write('], "categories": [')
        _write_list(stream, ({"id": number, "name": name} for name, number in categories.items()))
        stream.write("]}\n")


def _write_list(stream, values: Iterator[dict[str, Any]]):
    separator = "\n"
    for value in values:
        stream.write(separator + json.dumps(value, ensure_ascii=False))
        separator = ",\n"


def _coco_rows(shards: list[Path], columns: list[str]) -> Iterator[tuple[dict[str, Any], dict[str, Any], bool]]:
    """Each row, its image as COCO has it, and whether that is a new one."""
    last, number = None, 0
    for row in read_rows(shards, ["source", "image_id", "size_hw", *columns]):
        is_new = (row["source"], row["image_id"]) != last
        last, number = (row["source"], row["image_id"]), number + is_new
        height, width = row["size_hw"]
        yield row, {"id": number, "file_name": row["image_id"], "width": width, "height": height}, is_new


def _coco_objects(rows, categories: dict[str, int]) -> Iterator[dict[str, Any]]:
    number = 0
    for row, image, _ in rows:
        if row["no_target"] or not row["masks"]:
            continue
        (mask,), (expression,) = row["masks"], row["expressions"]
        number += 1
        left, top, right, bottom = bounding_box(mask) or (0.0, 0.0, 0.0, 0.0)
        yield {
            "id": number,
            "image_id": image["id"],
            "category_id": categories.setdefault(row["category"] or expression, len(categories) + 1),
            "segmentation": [to_polygon(mask)],
            "area": area(mask),
            "bbox": [left, top, right - left, bottom - top],
            "iscrowd": 0,
            "expression": expression,
            "score": row["score"],
        }
