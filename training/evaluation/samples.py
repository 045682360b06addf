# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What is evaluated: images with all their expressions and their truth, prepared or generated."""

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Image as ImageFeature
from PIL import Image

from ..data.masks import area, encode, union
from ..data.prepared import dataset_fingerprint, load_prepared, read_image, read_rows, shards_by_split
from ..scenes.generator import SPLITS, draw_referrals, generate_scene

# Expressions of scene `seed` are drawn by (EXPRESSION_STREAM, seed), so that they are the same for every model.
EXPRESSION_STREAM = 7
# Fractions of the image that a target covers; source: PhraseCut's subsets (arXiv 2008.01187).
SMALL_TARGET, LARGE_TARGET = 0.02, 0.2
MANY_TARGETS = 5


class EvaluationItem(NamedTuple):
    """One expression and its truth."""

    ref_id: str  # reference it belongs to
    sentence: int  # its index among the expressions of that reference
    expression: str  # the words
    truth: dict[str, Any]  # COCO run lengths of the true mask at the image's size, empty where nothing is meant
    box_xyxy: Sequence[float] | None  # hull of the true boxes in pixels, `None` without a target
    # (breakdown, group) pairs such as ("category", "dog"); groups of one breakdown may overlap
    groups: tuple[tuple[str, str], ...]

    def fingerprint(self, image_id: str) -> int:
        """Returns a number that stands for the expression and its truth; such numbers are added up, modulo 2**256."""
        content = [image_id, self.ref_id, self.sentence, self.expression, self.truth["size"], self.truth["counts"]]
        return int.from_bytes(hashlib.sha256(json.dumps(content).encode()).digest(), "big")


class EvaluationImage(NamedTuple):
    """An image with everything that is asked about it; `image_id` is unique within its `source`, `index` in all."""

    index: int
    source: str
    image_id: str
    image: Image.Image | None
    items: list[EvaluationItem]


class BenchmarkSamples:
    """
    The images of one split of a prepared benchmark, its only one or `"val"` when not given, each with the expressions
    of all its references; as many from the first as `limit` says.

    Raises:
        ValueError: There is no such benchmark or split, it is empty, or one id stands for two references or images.
    """

    def __init__(self, folder: str | Path, split: str | None = None, limit: int | None = None):
        splits = list(shards_by_split(folder))
        self.folder, self.split = Path(folder), split or (splits[0] if len(splits) == 1 else "val")
        self.rows = load_prepared(folder, self.split).cast_column("image", ImageFeature(decode=False))
        self._annotations = self.rows.remove_columns("image")
        sources, image_ids = self.rows["source"][:], self.rows["image_id"][:]
        # Reference ids that only the source tells apart.
        self.shared_ref_ids = self._check_references(sources, self.rows["ref_id"][:])
        rows_of_images: dict[tuple[str, str], list[int]] = {}
        for row, key in enumerate(zip(sources, image_ids)):
            rows_of_images.setdefault(key, []).append(row)
        if not rows_of_images:
            raise ValueError(f"split {self.split!r} of {str(folder)!r} has no references")
        self._rows_of_images = list(rows_of_images.items())[:limit]
        self._check_images()
        kept = [row for _, rows in self._rows_of_images for row in rows]
        counts = [len(expressions) for expressions in self.rows["expressions"][:]]
        no_target = self.rows["no_target"][:]
        self.num_references, self.num_expressions = len(kept), sum(counts[row] for row in kept)
        self.sources = sorted({sources[row] for row in kept})
        self.has_no_target = any(no_target[row] for row in kept)

    def _check_references(self, sources: Sequence[str], ref_ids: Sequence[str]) -> set[str]:
        """Returns the ids that references of several sources share; within a source an id stands for one reference."""
        first: dict[tuple[str, str], int] = {}
        for row, key in enumerate(zip(sources, ref_ids)):
            earlier = first.setdefault(key, row)
            if earlier != row:
                raise ValueError(
                    f"rows {earlier} and {row} of split {self.split!r} in {str(self.folder)!r} are both reference "
                    f"{key[1]!r} of {key[0]!r}; give each reference an id of its own and prepare the data again"
                )
        counts = Counter(ref_id for _, ref_id in first)
        return {ref_id for ref_id, count in counts.items() if count > 1}

    def _check_images(self):
        """Expressions would otherwise be looked for in another image of the same id."""
        images = self.rows.select_columns(["image"])
        for (source, image_id), rows in self._rows_of_images:
            files = {_file(images[row]["image"]): row for row in rows} if len(rows) > 1 else {}
            # Two files may still be copies of one image.
            if len(files) > 1 and len({read_image(self.rows[row]).tobytes() for row in files.values()}) > 1:
                paths = [repr(images[row]["image"]["path"] or "stored pixels") for row in files.values()]
                raise ValueError(
                    f"different images of {source!r} have the id {image_id!r}: {' and '.join(paths)}; "
                    "give each image an id of its own and prepare the data again"
                )

    def __len__(self) -> int:
        return len(self._rows_of_images)

    def __getitem__(self, index: int) -> EvaluationImage:
        image = read_image(self.rows[self._rows_of_images[index][1][0]])
        return self.without_image(index)._replace(image=image)

    def without_image(self, index: int) -> EvaluationImage:
        """Returns the expressions and their truth alone; `image` is `None`."""
        (source, image_id), rows = self._rows_of_images[index]
        items = []
        for row in map(self._annotations.__getitem__, rows):
            truth, groups = _truth_and_groups(row)
            items += [
                EvaluationItem(row["ref_id"], sentence, expression, truth, row["box_xyxy"] or None, groups)
                for sentence, expression in enumerate(row["expressions"])
            ]
        return EvaluationImage(index, source, image_id, None, items)

    def describe(self) -> dict[str, Any]:
        """Returns what a report says about the data; `images_in_other_splits` counts images that are there, too."""
        return {
            "name": self.folder.resolve().name,
            "sources": self.sources,
            "split": self.split,
            "fingerprint": dataset_fingerprint(self.folder),
            "images": len(self),
            "references": self.num_references,
            "expressions": self.num_expressions,
            "images_in_other_splits": self._images_in_other_splits(),
        }

    def _images_in_other_splits(self) -> dict[str, int]:
        own, shared = {key for key, _ in self._rows_of_images}, {}
        for split, paths in shards_by_split(self.folder).items():
            keys = {(row["source"], row["image_id"]) for row in read_rows(paths, ["source", "image_id"])}
            if split != self.split and own & keys:
                shared[split] = len(own & keys)
        return shared


class SceneSamples:
    """Generated scenes of a split of the generator, from a first seed on, the same for every model."""

    sources = ["generated scenes"]
    has_no_target = True
    shared_ref_ids: set[str] = set()

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
        for number, referral in enumerate(referrals):
            truth = encode(scene.mask(referral.targets))
            groups = (("kind", referral.kind), *target_groups(len(referral.targets), truth))
            box = scene.box_xyxy(referral.targets)
            items.append(EvaluationItem(f"{seed}-{number}", 0, referral.expression, truth, box, groups))
        return EvaluationImage(index, self.sources[0], str(seed), Image.fromarray(scene.image), items)

    def without_image(self, index: int) -> EvaluationImage:
        """Returns the same as indexing does: expressions are drawn for the image that they are about."""
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
    Returns the groups of an expression by the number of its targets and the fraction of the image they cover.

    Several targets are `multi`, from 5 on also `many`; below 2 % of the image they are `small`, above 20 % `large`.
    """
    pixels = area(truth)
    if pixels == 0:
        return (("targets", "none"),)
    fraction = pixels / (truth["size"][0] * truth["size"][1])
    groups = [("targets", "single" if num_targets <= 1 else "multi")]
    groups += [("targets", "many")] if num_targets >= MANY_TARGETS else []
    groups.append(("size", "small" if fraction < SMALL_TARGET else "large" if fraction > LARGE_TARGET else "mid"))
    return tuple(groups)


def _file(stored: dict[str, Any]) -> tuple:
    """Tells files apart: by their path, or by their bytes where these are stored in the benchmark."""
    return (stored["path"],) if stored["bytes"] is None else (zlib.crc32(stored["bytes"]), len(stored["bytes"]))


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
