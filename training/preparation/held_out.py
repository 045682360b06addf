# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Which images of different benchmarks are the same, and which of them are held out for validation and test."""

from collections.abc import Iterable
from pathlib import Path

from ..data.prepared import read_rows, shards_by_split, split_role
from .readers.images import shared_image_name
from .readers.phrasecut import read_image_data
from .readers.records import SPLIT_BY, PreparationError
from .readers.refer import find_refs, load_refs


def read_visual_genome_to_coco(path: Path | None) -> dict[str, str]:
    """Returns COCO's ids of images of Visual Genome from its `image_data.json`; nothing where there is no file."""
    records = (record for record in read_image_data(path) if record.get("coco_id"))
    return {str(record["image_id"]): str(record["coco_id"]) for record in records}


def find_held_out(
    annotations: Path, prepared: Iterable[Path], visual_genome_to_coco: dict[str, str]
) -> dict[str, dict[str, set[str]]]:
    """
    Returns the images that benchmarks hold out, as `shared_image_name` names them, by benchmark and split: of raw
    benchmarks in the folder of annotations or beside it, and of prepared ones.

    Raises:
        PreparationError: One of the prepared folders is none, or a file of refs is damaged.
    """
    held_out: dict[str, dict[str, set[str]]] = {}

    def add(name: str, split: str, image_id: str):
        if split_role(split) != "train":
            names = held_out.setdefault(name, {}).setdefault(split, set())
            names.add(shared_image_name(name, image_id, visual_genome_to_coco))

    for dataset, versions in SPLIT_BY.items():
        for split_by in versions:
            for ref in _raw_refs(annotations, dataset, split_by):
                if isinstance(ref, dict) and "image_id" in ref:
                    add(f"{dataset}_{split_by}", str(ref.get("split")), str(ref["image_id"]))
    for folder in prepared:
        try:
            shards = shards_by_split(folder)
        except ValueError as error:
            raise PreparationError(str(error)) from error
        for split, paths in shards.items():
            for row in read_rows(paths, ["source", "image_id"]):
                add(row["source"], split, row["image_id"])
    return held_out


def _raw_refs(annotations: Path, dataset: str, split_by: str) -> list:
    for folder in (annotations / dataset, annotations.parent / dataset):
        path = find_refs(folder, dataset, split_by)
        if path is not None:
            return load_refs(path)
    return []
