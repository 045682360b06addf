# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""A prepared benchmark of small images with rectangles, and a model folder to train on it."""

import io
from pathlib import Path

import numpy as np
from datasets import Dataset

from ssp_sam.training.data.masks import encode
from ssp_sam.training.data.prepared import FEATURES
from tests.helpers.models import make_image, make_pipeline

TARGETS = ("one", "many", "none")


def tiny_row(number: int, kind: str = "one", **changes) -> dict:
    """A reference in an image of its own, with two or three sentences."""
    width, height = 40 + number % 3 * 4, 30
    stream = io.BytesIO()
    make_image(width, height, seed=number).save(stream, format="PNG")
    masks = np.zeros((2, height, width), dtype=bool)
    left = 2 + number % 9
    masks[0, 3:13, left : left + 10] = masks[1, 17:27, 20:32] = True
    masks = masks[: {"one": 1, "many": 2, "none": 0}[kind]]
    hulls = {"one": [left, 3, left + 10, 13], "many": [min(left, 20), 3, 32, 27], "none": None}
    sentences = ["the red box", "a box on the left", "the thing"][: 2 + number % 2]
    return {
        "image": {"bytes": stream.getvalue(), "path": None},
        "image_id": str(number),
        "size_hw": [height, width],
        "ref_id": str(number),
        "ann_ids": [f"{number}-{place}" for place in range(len(masks))],
        "category": "box" if len(masks) else "",
        "expressions": sentences,
        "split": "train",
        "masks": [encode(mask) for mask in masks],
        "box_xyxy": hulls[kind],
        "no_target": kind == "none",
        "source": "tiny",
        "licence": "unknown",
        **changes,
    }


def write_benchmark(folder: Path, splits: dict[str, list[dict]]) -> Path:
    """Writes rows as a prepared benchmark."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        rows = [{**row, "split": split} for row in rows]
        Dataset.from_list(rows, features=FEATURES).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def tiny_benchmark(folder: Path, num_train: int = 12, num_eval: int = 5) -> Path:
    """Writes references of every kind."""
    rows = [tiny_row(number, TARGETS[number % 3]) for number in range(num_train + num_eval)]
    return write_benchmark(folder, {"train": rows[:num_train], "val": rows[num_train:]})


def tiny_model_folder(folder: Path, single_tower: bool = False, dropout: bool = True) -> Path:
    """Saves a random model and its processor."""
    pipeline = make_pipeline(single_tower)
    if not dropout:
        config = pipeline.model.config
        config.verification_attention_dropout = 0.0
        config.text_config.hidden_dropout_prob = config.text_config.attention_probs_dropout_prob = 0.0
    pipeline.save_pretrained(folder)
    return folder
