# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
References of a prepared benchmark as items, and items as batches made by the processor.

Letters: B images, E expressions, H, W height and width of an image.
"""

import hashlib
import json
import zlib
from typing import Any

import numpy as np
import PIL.Image
from datasets import Image
from torch.utils.data import Dataset

from ...processing.canvas_geometry import fit_semantic, shifted_offset
from ..feature_cache.cache import FeatureCache
from ..feature_cache.image_keys import image_key
from .absent import absent_expressions
from .prepared import decode_masks, read_image

TARGET_KINDS = ("none", "one", "many")


class ReferDataset(Dataset):
    """
    References with one sentence each, drawn anew every epoch, or all their sentences one by one.

    An item is asked for by (epoch, index) and depends on nothing but the seed and that pair; an index alone is one of
    epoch 0.

    Args:
        rows: Prepared references, as `data.prepared.load_prepared` opens them.
        seed: Seed of the draws.
        every_expression: Whether each sentence is an item of its own, as in evaluation, instead of each reference.
        random_offset: Whether items carry a random offset on the semantic canvas.
        absent_fraction: Fraction of the items that ask for what `absent_expressions` says of their image instead.

    Raises:
        ValueError: When an item is asked for: its image is missing or damaged, or its mask is; names it.
    """

    def __init__(
        self,
        rows,
        *,
        seed: int = 0,
        every_expression: bool = False,
        random_offset: bool = False,
        absent_fraction: float = 0.0,
    ):
        # Images are decoded here, where a damaged one becomes one sentence.
        self.rows = rows.cast_column("image", Image(decode=False))
        self.seed, self.random_offset, self.absent_fraction = seed, random_offset, absent_fraction
        self._absent = absent_expressions(rows) if absent_fraction and not every_expression else []
        self._last: tuple[tuple, PIL.Image.Image] | None = None  # what was read last, and from where
        self._sentences: list[tuple[int, int]] | None = None
        if every_expression:
            counts = [len(sentences) for sentences in rows["expressions"]]
            self._sentences = [(row, number) for row, count in enumerate(counts) for number in range(count)]

    def __len__(self) -> int:
        return len(self.rows) if self._sentences is None else len(self._sentences)

    def fingerprint(self) -> str:
        """Returns 16 hexadecimal digits that stand for all references, in order, but not for their pixels."""
        digest = hashlib.sha256()
        for batch in self.rows.remove_columns("image").with_format("arrow").iter(1000):
            digest.update(json.dumps(batch.to_pylist(), separators=(",", ":")).encode())
        return digest.hexdigest()[:16]

    def image_numbers(self) -> np.ndarray:
        """Returns the number of the image that each reference is in, (references,) int."""
        names = [f"{source}/{image_id}" for source, image_id in zip(self.rows["source"], self.rows["image_id"])]
        return np.unique(names, return_inverse=True)[1]

    def __getitem__(self, key: tuple[int, int] | int) -> dict:
        """Returns an item; raises `ValueError` where its image cannot be read, or its mask does not fit."""
        epoch, index = key if isinstance(key, tuple) else (0, key)
        rng = np.random.default_rng((self.seed, epoch, index))
        if self._sentences is None:
            row = self.rows[index]
            number = int(rng.integers(len(row["expressions"])))
        else:
            position, number = self._sentences[index]
            row = self.rows[position]
        if self._absent and self._absent[index] and rng.random() < self.absent_fraction:
            row = row | {"expressions": self._absent[index], "no_target": True}
            number = int(rng.integers(len(row["expressions"])))
        has_mask = not row["no_target"] and len(row["masks"]) > 0
        return {
            "key": key,
            "name": f"{row['source']}/{row['split']}/{row['ref_id']}",
            "image": self._read(row),
            "expression": row["expressions"][number],
            "mask": decode_masks(row) if has_mask else None,
            "box_xyxy": None if row["no_target"] else row["box_xyxy"],
            "kind": TARGET_KINDS[0 if row["no_target"] else min(2, max(1, len(row["ann_ids"])))],
            "offset_draws": tuple(rng.random(2)) if self.random_offset else None,
        }

    def _read(self, row: dict) -> PIL.Image.Image:
        """Reads an image, once for items that follow each other."""
        read_from = row["image"], row["size_hw"]
        if self._last is None or self._last[0] != read_from:
            self._last = read_from, read_image(row)
        return self._last[1]


class ReferCollator:
    """
    Turns items of `ReferDataset` into model inputs and labels; expressions of one image share it.

    Args:
        processor: The model's `SspSamProcessor`.
        box_only: Whether the boxes are all that is learned, so that items need no mask.
        with_truth: Whether images and masks at full size come along, as evaluation needs them.
        feature_cache: What frozen encoders say of the images, in place of their pixels.
        inputs_only: Whether a batch holds nothing but what the model takes, as transformers' `Trainer` needs it.
    """

    def __init__(
        self,
        processor,
        *,
        box_only: bool = False,
        with_truth: bool = False,
        feature_cache: FeatureCache | None = None,
        inputs_only: bool = False,
    ):
        self.processor, self.box_only, self.with_truth = processor, box_only, with_truth
        self.feature_cache, self.inputs_only = feature_cache, inputs_only

    def __call__(self, items: list[dict]) -> dict:
        """
        Builds a batch.

        Returns:
            Inputs and labels of `SspSamModel` by name, `num_samples`, the `names` of the references (unless
            `inputs_only`), and with
            `with_truth` per expression: `images`, `true_masks` (H, W) bool or `None`, `true_boxes`, `kinds`,
            `expressions`; per image `original_sizes` and `reshaped_input_sizes`.

        Raises:
            ValueError: A reference has a target but no mask (with masks) or no box (without), cannot be read, or its
                image is not in the feature cache.
        """
        # 1. Images once each, with their expressions together.
        groups: dict[Any, list[dict]] = {}
        for item in items:
            groups.setdefault((_fingerprint(item["image"]), self._semantic_offset(item)), []).append(item)
        items = [item for group in groups.values() for item in group]
        for item in items:
            self._check(item)
        # 2. The processor makes the rest.
        maps = None if self.box_only else [[item["mask"] for item in group] for group in groups.values()]
        offsets = [offset for _, offset in groups]
        try:
            inputs = self.processor(
                images=[group[0]["image"] for group in groups.values()],
                text=[[item["expression"] for item in group] for group in groups.values()],
                segmentation_maps=maps,
                boxes=[[item["box_xyxy"] for item in group] for group in groups.values()],
                semantic_offsets=offsets if None not in offsets else None,
                return_pixel_values=self.feature_cache is None,
                return_tensors="pt",
            )
        except ValueError as error:
            raise ValueError(f"references {[item['name'] for item in items]} cannot be used: {error}") from error
        # 3. What the model does not read.
        batch: dict[str, Any] = {**inputs}
        if not self.inputs_only:
            batch |= {"num_samples": len(items), "names": [item["name"] for item in items]}
        sizes = {name: batch.pop(name) for name in ("original_sizes", "reshaped_input_sizes")}
        batch.pop("semantic_offsets", None)
        if self.feature_cache is not None:
            features = self.feature_cache.batch([image_key(group[0]["image"]) for group in groups.values()])
            if "patch_features" in features:
                del batch["semantic_pixel_values"]
            batch |= features
        if self.with_truth:
            batch |= sizes
            batch["images"] = [item["image"] for item in items]
            batch["true_masks"] = [item["mask"] for item in items]
            batch["true_boxes"] = [item["box_xyxy"] for item in items]
            batch["kinds"] = [item["kind"] for item in items]
            batch["expressions"] = [item["expression"] for item in items]
        return batch

    def _check(self, item: dict):
        if item["kind"] == "none":
            return
        missing = item["box_xyxy"] is None if self.box_only else item["mask"] is None
        if missing:
            what, remedy = ("box", "give it one") if self.box_only else ("mask", "use it for box_only training")
            raise ValueError(f"reference {item['name']} has a target but no {what}; {remedy}, or leave it out")

    def _semantic_offset(self, item: dict) -> tuple[int, int] | None:
        """Returns the item's random (left, top) on the semantic canvas; `None` where it stays in the middle."""
        side = self.processor.image_processor.semantic_size
        if side is None or item["offset_draws"] is None:
            return None
        resized_hw = fit_semantic((item["image"].height, item["image"].width), side)
        return shifted_offset(resized_hw, side, item["offset_draws"])


def _fingerprint(image) -> tuple:
    """Tells images apart by their pixels, whatever their ids say."""
    return image.size, image.mode, zlib.crc32(image.tobytes())
