# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Valid files for every reader of annotations, and what comes of reading them."""

import functools
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssp_sam.training.data import masks as run_lengths
from ssp_sam.training.preparation.readers.custom.formats import open_custom
from ssp_sam.training.preparation.readers.hub_mirrors import read_hub_mirror
from ssp_sam.training.preparation.readers.images import ImageFolder
from ssp_sam.training.preparation.readers.original import read_merge, read_original
from ssp_sam.training.preparation.readers.phrasecut import read_phrasecut
from ssp_sam.training.preparation.readers.records import BadRecord, PreparationError, RawBenchmark, making_record
from ssp_sam.training.preparation.readers.refer import read_refer
from ssp_sam.training.preparation.rows import RowMaker
from tests.helpers import custom_datasets, raw_benchmarks


@dataclass(frozen=True)
class Sample:
    """
    Valid files of one kind.

    Args:
        write: Writes them into an empty folder.
        read: Opens them.
        images: The folder of images below that folder, None where the files hold them.
    """

    write: Callable[[Path], Any]
    read: Callable[[Path], RawBenchmark]
    images: str | None = "."


def refer(dataset: str) -> Sample:
    def write(root: Path):
        (raw_benchmarks.write_grefcoco if dataset == "grefcoco" else raw_benchmarks.write_refer)(root)
        raw_benchmarks.write_coco_images(root / "images")

    return Sample(write, lambda root: read_refer(root, dataset, "unc"), "images")


def write_phrasecut(root: Path):
    tasks = [raw_benchmarks.phrasecut_task(), raw_benchmarks.phrasecut_task(task_id="2", phrase="all chairs")]
    raw_benchmarks.write_phrasecut(root, miniv=tasks)


def write_original(root: Path, dataset: str):
    raw_benchmarks.write_coco_images(root / "images")
    (root / "anns").mkdir()
    box = [2, 3, 10, 10] if dataset != "grefcoco" else [2, 3, 25, 15]
    entry = {"iid": 581857, "bbox": box, "cat_id": [0] if dataset != "grefcoco" else [0, 1]}
    entries = [
        {**entry, "refs": ["the lady"], "mask_id": 0},
        {"iid": 581857, "bbox": [20.0, 5.0, 5.0, 10.0], "cat_id": 1, "refs": ["dog", "a dog"], "mask_id": 1},
    ]
    if dataset == "grefcoco":
        entries[1] = {"iid": 9, "bbox": [0, 0, 0, 0], "cat_id": [-1], "refs": ["nothing there"], "mask_id": 2}
    (root / "anns" / f"{dataset}.json").write_text(
        json.dumps({"train": entries, "val": [{**entries[0], "mask_id": 0}]})
    )
    (root / "instances.json").write_text(json.dumps(raw_benchmarks.instances()))
    for number, box in enumerate([(2, 3, 12, 13), (20, 5, 25, 15)]):
        raw_benchmarks.write_array(root / "masks" / f"{number}.npy", raw_benchmarks.rectangle(30, 40, *box))


def write_merge(root: Path):
    raw_benchmarks.write_image(root / "images" / "coco" / "train2014" / raw_benchmarks.coco_name(9), (40, 30))
    entries = [
        {"data_source": "coco", "iid": raw_benchmarks.coco_name(9), "bbox": [2, 3, 12, 13], "refs": ["a dog", "dog"]},
        {"data_source": "coco", "iid": raw_benchmarks.coco_name(9), "bbox": [0, 0, 40, 30], "refs": ["all of it"]},
    ]
    (root / "merge.json").write_text(json.dumps({"train": entries, "val": entries[:1]}))


def hub(*rows: dict) -> Sample:
    def write(root: Path):
        raw_benchmarks.write_parquet(root, "train-00000-of-00001.parquet", list(rows))
        if "raw_anns" in rows[0]:
            raw_benchmarks.write_coco_images(root / "images")

    images = "images" if "raw_anns" in rows[0] else None
    return Sample(write, lambda root: read_hub_mirror(str(root)), images)


def moondream_rows() -> list[dict]:
    mask = run_lengths.encode(raw_benchmarks.rectangle(30, 40, 2, 3, 12, 13))
    samples = [
        {"id": number, "category": "person", "sentences": [f"the lady {number}"], "bbox": [2.0, 3.0, 10.0, 10.0]}
        | {"mask": mask}
        for number in (1, 2)
    ]
    row = {"image": raw_benchmarks.stored_image(), "image_id": 581857, "file_name": raw_benchmarks.coco_name(581857)}
    return [{**row, "samples": samples}]


def open_written(writer: Callable, root: Path) -> RawBenchmark:
    is_table = custom_datasets.DATASETS[writer] == "table"
    return open_custom(str(root), columns=custom_datasets.COLUMNS if is_table else None)


SAMPLES = {
    "refcoco": refer("refcoco"),
    "grefcoco": refer("grefcoco"),
    "phrasecut": Sample(write_phrasecut, read_phrasecut),
    **{
        f"original {name}": Sample(
            functools.partial(write_original, dataset=name),
            lambda root, name=name: read_original(root / "anns" / f"{name}.json", coco=root / "instances.json"),
            "images",
        )
        for name in ("refcoco", "grefcoco")
    },
    "original with masks": Sample(
        functools.partial(write_original, dataset="refcoco"),
        lambda root: read_original(root / "anns" / "refcoco.json", masks=root / "masks"),
        "images",
    ),
    "merge": Sample(write_merge, lambda root: read_merge(root / "merge.json", set(), {}), "images"),
    "jxu124": hub(raw_benchmarks.jxu124_row(), raw_benchmarks.jxu124_row(ref_id=1, sentences=[{"sent": "her"}])),
    "lmms-lab": hub(raw_benchmarks.lmms_row(), raw_benchmarks.lmms_row(question_id="2", answer=["she"])),
    "moondream": hub(*moondream_rows()),
    **{
        writer.__name__: Sample(writer, functools.partial(open_written, writer), None if kind == "table" else ".")
        for writer, kind in custom_datasets.DATASETS.items()
    },
}


@dataclass
class Read:
    """What came of a reader: rows by their first sentence and split, bad records, or why the file is none."""

    rows: dict[tuple, dict]
    bad: list[BadRecord]
    refused: str = ""
    notes: Counter | None = None

    def read(self, sample: Sample, root: Path):
        benchmark = sample.read(root)
        maker = RowMaker(ImageFolder(root / sample.images) if sample.images is not None else None)
        for item in benchmark.references:
            try:
                if isinstance(item, BadRecord):
                    raise item
                with making_record(item.origin, item.index, item.split):
                    row = maker.row(item)
                self.rows[tuple(row["expressions"]), row["split"], row["image_id"]] = row
            except BadRecord as bad:
                self.bad.append(bad)
        self.notes = benchmark.notes + maker.notes


def read(sample: Sample, root: Path) -> Read:
    found = Read({}, [])
    try:
        found.read(sample, root)
    except PreparationError as error:
        found.refused = str(error)
    return found
