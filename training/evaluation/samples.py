# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What is evaluated: pictures with all their expressions and their truth, prepared or generated."""

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Image as ImageFeature
from PIL import Image

from ...processing.image_inputs import read_rgb
from ..data.masks import area, encode, union
from ..data.prepared import dataset_fingerprint, load_prepared
from ..scenes.generator import SPLITS, draw_referrals, generate_scene

# Expressions of scene `seed` are drawn by (EXPRESSION_STREAM, seed), so that they are the same for every model.
EXPRESSION_STREAM = 7
# Shares of the picture that a target covers; source: PhraseCut's subsets (arXiv 2008.01187).
SMALL_TARGET, LARGE_TARGET = 0.02, 0.2
MANY_TARGETS = 5


class EvaluationItem(NamedTuple):
    """
    One expression and its truth.

    Args:
        ref_id: Reference it belongs to.
        sentence: Its place among the expressions of that reference.
        expression: The words.
        truth: COCO run lengths of the true mask at the picture's size, empty where nothing is meant.
        box_xyxy: Hull of the true boxes in pixels, `None` without a target.
        groups: (breakdown, group) pairs such as ("category", "dog"); groups of one breakdown may overlap.
    """

    ref_id: str
    sentence: int
    expression: str
    truth: dict[str, Any]
    box_xyxy: Sequence[float] | None
    groups: tuple[tuple[str, str], ...]

    def fingerprint(self, image_id: str) -> int:
        """Returns a number that stands for the expression and its truth; such numbers are added up, modulo 2**256."""
        content = [image_id, self.ref_id, self.sentence, self.expression, self.truth["size"], self.truth["counts"]]
        return int.from_bytes(hashlib.sha256(json.dumps(content).encode()).digest(), "big")


class EvaluationImage(NamedTuple):
    """A picture with everything that is asked about it; `index` is its place in the evaluation."""

    index: int
    image_id: str
    image: Image.Image | None
    items: list[EvaluationItem]


class PreparedImages:
    """
    The pictures of one split of a prepared benchmark, each with the expressions of all its references.

    Args:
        folder: A folder in the form of `refer_data`.
        split: As the benchmark names it.
        limit: Number of pictures to keep, from the first; all when not given.

    Raises:
        ValueError: There is no such benchmark or split, or it is empty.
    """

    def __init__(self, folder: str | Path, split: str, limit: int | None = None):
        self.folder, self.split = Path(folder), split
        self.rows = load_prepared(folder, split).cast_column("image", ImageFeature(decode=False))
        self._annotations = self.rows.remove_columns("image")
        rows_of_images: dict[str, list[int]] = {}
        for number, image_id in enumerate(self.rows["image_id"][:]):
            rows_of_images.setdefault(image_id, []).append(number)
        if not rows_of_images:
            raise ValueError(f"split {split!r} of {str(folder)!r} has no references")
        self.image_ids = list(rows_of_images)[:limit]
        self.row_numbers = [rows_of_images[image_id] for image_id in self.image_ids]
        counts = [len(expressions) for expressions in self.rows["expressions"][:]]
        kept = [number for numbers in self.row_numbers for number in numbers]
        self.num_references, self.num_expressions = len(kept), sum(counts[number] for number in kept)
        sources, no_target = self.rows["source"][:], self.rows["no_target"][:]
        self.sources = sorted({sources[number] for number in kept})
        self.has_no_target = any(no_target[number] for number in kept)

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> EvaluationImage:
        picture = read_picture(self.rows[self.row_numbers[index][0]])
        return self.without_picture(index)._replace(image=picture)

    def without_picture(self, index: int) -> EvaluationImage:
        """Returns the expressions and their truth alone; `image` is `None`."""
        items = []
        for number in self.row_numbers[index]:
            row = self._annotations[number]
            truth, groups = _truth_and_groups(row)
            items += [
                EvaluationItem(row["ref_id"], place, expression, truth, row["box_xyxy"] or None, groups)
                for place, expression in enumerate(row["expressions"])
            ]
        return EvaluationImage(index, self.image_ids[index], None, items)

    def describe(self) -> dict[str, Any]:
        """Returns what a report says about the data."""
        return {
            "name": self.folder.resolve().name,
            "sources": self.sources,
            "split": self.split,
            "fingerprint": dataset_fingerprint(self.folder),
            "images": len(self),
            "references": self.num_references,
            "expressions": self.num_expressions,
        }


class SceneImages:
    """
    Generated scenes, the same for every model.

    Args:
        split: Split of the generator.
        num_scenes: Scenes, at least 1.
        expressions_per_scene: Expressions of each.
        first_seed: Seed of the first scene.
    """

    sources = ["generated scenes"]
    has_no_target = True

    def __init__(self, split: str, num_scenes: int, expressions_per_scene: int, first_seed: int = 0):
        if split not in SPLITS:
            raise ValueError(f"expected a split of the scenes, one of {', '.join(SPLITS)}, got {split!r}")
        for name, value, least in (
            ("num_scenes", num_scenes, 1),
            ("expressions_per_scene", expressions_per_scene, 1),
            ("first_seed", first_seed, 0),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        self.split, self.num_scenes, self.first_seed = split, num_scenes, first_seed
        self.expressions_per_scene = expressions_per_scene

    def __len__(self) -> int:
        return self.num_scenes

    @property
    def num_expressions(self) -> int:
        """Expressions in all."""
        return self.num_scenes * self.expressions_per_scene

    def __getitem__(self, index: int) -> EvaluationImage:
        seed = self.first_seed + index
        scene, rng = generate_scene(seed, self.split), np.random.default_rng((EXPRESSION_STREAM, seed))
        referrals = draw_referrals(scene, rng, self.expressions_per_scene, self.split)
        items = []
        for place, referral in enumerate(referrals):
            truth = encode(scene.mask(referral.targets))
            groups = (("kind", referral.kind), *target_groups(len(referral.targets), truth))
            box = scene.box_xyxy(referral.targets)
            items.append(EvaluationItem(f"{seed}-{place}", 0, referral.expression, truth, box, groups))
        return EvaluationImage(index, str(seed), Image.fromarray(scene.image), items)

    def without_picture(self, index: int) -> EvaluationImage:
        """Returns the same as indexing does: expressions are drawn for the picture that they are about."""
        return self[index]

    def describe(self) -> dict[str, Any]:
        """Returns what a report says about the data."""
        return {
            "name": "generated scenes",
            "sources": self.sources,
            "split": self.split,
            "first_seed": self.first_seed,
            "expressions_per_scene": self.expressions_per_scene,
            "images": len(self),
            "references": self.num_expressions,
            "expressions": self.num_expressions,
        }


def target_groups(num_targets: int, truth: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """
    Returns the groups of an expression by the number of its targets and the share of the picture they cover.

    Several targets are `multi`, from 5 on also `many`; below 2 % of the picture they are `small`, above 20 % `large`.
    """
    pixels = area(truth)
    if pixels == 0:
        return (("targets", "none"),)
    share = pixels / (truth["size"][0] * truth["size"][1])
    groups = [("targets", "single" if num_targets <= 1 else "multi")]
    groups += [("targets", "many")] if num_targets >= MANY_TARGETS else []
    groups.append(("size", "small" if share < SMALL_TARGET else "large" if share > LARGE_TARGET else "mid"))
    return tuple(groups)


def read_picture(row: dict[str, Any]) -> Image.Image:
    """
    Returns the picture of a row as its file stores it, without the turn that EXIF asks for: masks know of none.

    Args:
        row: A row of a prepared benchmark whose `image` is not decoded.

    Raises:
        ValueError: The picture is missing or damaged, or has another size than its row says.
    """
    stored, size_hw = row["image"], tuple(row["size_hw"])
    try:
        source = io.BytesIO(stored["bytes"]) if stored["bytes"] is not None else stored["path"]
        with Image.open(source) as picture:
            if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
                pixels = np.asarray(picture)
            else:
                pixels = np.asarray(picture.convert("RGBA" if picture.has_transparency_data else "RGB"))
    except OSError as error:
        raise ValueError(f"cannot read the picture of image {row['image_id']!r} ({error}); prepare it again") from error
    if pixels.shape[:2] != size_hw:
        raise ValueError(
            f"the picture of image {row['image_id']!r} has height and width {pixels.shape[:2]}, "
            f"its annotations {size_hw}; prepare the benchmark again"
        )
    return read_rgb(pixels)[0]


def _truth_and_groups(row: dict[str, Any]) -> tuple[dict[str, Any], tuple[tuple[str, str], ...]]:
    height, width = row["size_hw"]
    if not row["masks"] and not row["no_target"]:
        raise ValueError(
            f"reference {row['ref_id']!r} of {row['source']!r} has a box but no mask, so there is nothing to measure "
            "masks against; evaluate on a benchmark with masks"
        )
    nothing = {"size": [height, width], "counts": [height * width]}
    try:
        truth = union([nothing, *row["masks"]])
    except ValueError as error:
        raise ValueError(f"reference {row['ref_id']!r} of {row['source']!r}: {error}") from error
    groups = target_groups(len(row["masks"]), truth)
    # Categories of several objects are joined by ", ".
    return truth, groups + tuple(("category", name) for name in row["category"].split(", ") if name)
