# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Expressions, images and predictions of an evaluation, made by hand, and a small prepared benchmark."""

import io
from pathlib import Path

import numpy as np
from datasets import Dataset
from PIL import Image

from ssp_sam.training.data.masks import encode
from ssp_sam.training.data.prepared import FEATURES
from ssp_sam.training.evaluation.protocols import EvaluationAccumulator, EvaluationProtocol
from ssp_sam.training.evaluation.samples import EvaluationImage, EvaluationItem
from tests.helpers.models import make_image


def rectangle(size_hw, top, left, bottom, right) -> np.ndarray:
    mask = np.zeros(size_hw, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def item_of(mask: np.ndarray, number: int = 0, groups=()) -> EvaluationItem:
    box = (0.0, 0.0, 4.0, 4.0) if mask.any() else None
    return EvaluationItem(f"ref {number}", 0, "the dog", encode(mask), box, tuple(groups))


def image_of(*items: EvaluationItem, index: int = 0, image_id: str = "a") -> EvaluationImage:
    return EvaluationImage(index, "by hand", image_id, None, list(items))


def record_of(mask: np.ndarray | None, **more) -> dict | None:
    return None if mask is None else {"segmentation": encode(mask), **more}


def accumulator_of(family: str = "gres", min_mask_pixels: int = 0, canvas_size: int = 512) -> EvaluationAccumulator:
    standard = EvaluationProtocol.standard(0.5, min_mask_pixels)
    return EvaluationAccumulator(family, (standard, EvaluationProtocol.original()), canvas_size)


def png(image: Image.Image, **options) -> dict:
    """An image as a prepared benchmark stores it."""
    stream = io.BytesIO()
    image.save(stream, "PNG", **options)
    return {"bytes": stream.getvalue(), "path": None}


def reference(index: int, number: int, *masks: np.ndarray, **changes) -> dict:
    """One row of a prepared benchmark about an image of 40 x 30 pixels."""
    return {
        "image": png(make_image(seed=index)),
        "image_id": f"image {index}",
        "size_hw": [30, 40],
        "ref_id": f"{index}-{number}",
        "ann_ids": [str(mask) for mask in range(len(masks))],
        "category": "dog, cat" if len(masks) > 1 else "dog" if masks else "",
        "expressions": ["the red dog", "the dog on the left"][: 2 - number],
        "split": "val",
        "masks": [encode(mask) for mask in masks],
        "box_xyxy": [2.0, 3.0, 22.0, 13.0] if masks else None,
        "no_target": not masks,
        "source": "own",
        "licence": "unknown",
        **changes,
    }


def write_split(folder: Path, rows: list[dict], split: str = "val") -> str:
    """Writes rows as a split of a prepared benchmark; returns its folder."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows, features=FEATURES).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    return str(folder)
