# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Generated scenes with referring expressions: an endless, seeded source of training and test samples.

A scene is an image with two to six objects on a background, and for every pixel the object that is visible there.
Referrals are expressions such as "the second star from the left", each with the objects it means: one, several or none.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .composition import Composition, compose, draw_size
from .expressions import Referral, refer
from .scene import Scene, SceneObject

if TYPE_CHECKING:
    from datasets import Dataset

SPLITS = ("train", "validation", "test", "novel")
MINIMUM_SIDE_PX = 48

_SCENE_STREAM, _DATASET_STREAM = 1, 2  # so that no two uses of a seed share random numbers


def generate_scene(seed: int, split: str = "train", size_hw: tuple[int, int] | None = None) -> Scene:
    """Generate one scene; the same arguments always give the same bytes.

    Args:
        seed: any non-negative integer; each is a different scene, and different again in each split.
        split: a member of `SPLITS`. `novel` scenes hold at least one of `NOVEL_COMBINATIONS`, the others none.
        size_hw: height and width in pixels; None draws a long side of 128 to 320 and an aspect ratio.

    Returns:
        The scene.

    Raises:
        ValueError: if the split is unknown, the seed negative or a side shorter than 48 pixels.
    """
    split_index = _check_split(split)
    _check_seed(seed)
    rng = np.random.default_rng([split_index + 1, seed, _SCENE_STREAM])
    size_hw = draw_size(rng) if size_hw is None else _check_size(size_hw)
    while True:
        composition = compose(size_hw, split, rng)
        if composition is not None:
            return _measured(composition)


def draw_referrals(scene: Scene, rng: np.random.Generator, count: int, split: str = "train") -> list[Referral]:
    """Draw referring expressions for a scene; the same scene can be asked again with another generator.

    Args:
        scene: the scene to talk about.
        rng: source of kinds, targets and wordings.
        count: number of expressions, at least 1. They differ from each other as far as the scene allows.
        split: a member of `SPLITS`. All but `novel` never mention one of `NOVEL_COMBINATIONS`; in `novel` most
            expressions mean such an object.

    Returns:
        `count` referrals. Each is true of the scene and complete: no other object fits it.

    Raises:
        ValueError: if the split is unknown or the count below 1.
    """
    _check_split(split)
    if count < 1:
        raise ValueError(f"expected a count of at least 1 expression, got {count}")
    return refer(scene, rng, count, novel=split == "novel")


def scene_dataset(
    split: str,
    num_scenes: int,
    expressions_per_scene: int = 6,
    seed: int = 0,
    size_hw: tuple[int, int] | None = None,
) -> Dataset:
    """Generate scenes as a dataset with one row per expression.

    Args:
        split: a member of `SPLITS`.
        num_scenes: number of scenes, at least 1.
        expressions_per_scene: number of rows per scene, at least 1.
        seed: which block of a million scenes to start at; another seed gives other scenes.
        size_hw: height and width in pixels; None draws a size for each scene.

    Returns:
        A dataset with the columns image (RGB), expression, mask (255 is the target), box (xyxy in image pixels, zeros
        without a target), kind, no_target and scene_id.

    Raises:
        ValueError: if the split is unknown, the seed negative, a side too short or a count below 1.
    """
    from datasets import Dataset, Features, List, Value
    from datasets import Image as ImageFeature

    split_index = _check_split(split)
    _check_seed(seed)
    if num_scenes < 1:
        raise ValueError(f"expected num_scenes of at least 1, got {num_scenes}")
    if expressions_per_scene < 1:
        raise ValueError(f"expected expressions_per_scene of at least 1, got {expressions_per_scene}")
    if size_hw is not None:
        _check_size(size_hw)
    columns: dict[str, list[Any]] = {
        name: [] for name in ("image", "expression", "mask", "box", "kind", "no_target", "scene_id")
    }
    for scene_id in range(seed * 1_000_000, seed * 1_000_000 + num_scenes):
        scene = generate_scene(scene_id, split, size_hw)
        rng = np.random.default_rng([split_index + 1, scene_id, _DATASET_STREAM])
        image = _png(scene.image)
        for referral in draw_referrals(scene, rng, expressions_per_scene, split):
            columns["image"].append(image)
            columns["expression"].append(referral.expression)
            columns["mask"].append(_png(scene.mask(referral.targets).astype(np.uint8) * 255))
            columns["box"].append(list(scene.box_xyxy(referral.targets) or (0.0, 0.0, 0.0, 0.0)))
            columns["kind"].append(referral.kind)
            columns["no_target"].append(not referral.targets)
            columns["scene_id"].append(scene_id)
    features = Features(
        image=ImageFeature(),
        expression=Value("string"),
        mask=ImageFeature(),
        box=List(Value("float32"), length=4),
        kind=Value("string"),
        no_target=Value("bool"),
        scene_id=Value("int64"),
    )
    return Dataset.from_dict(columns, features=features)


def _measured(composition: Composition) -> Scene:
    """Measure the visible part of every object."""
    objects = []
    for index, (noun, colour, size) in enumerate(composition.placed):
        mask = composition.instance_map == index + 1
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        center = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        objects.append(SceneObject(noun, colour, size, box, center, int(mask.sum())))
    return Scene(composition.image, composition.instance_map, tuple(objects))


def _png(array: np.ndarray) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=1)
    return {"bytes": buffer.getvalue(), "path": None}


# --- arguments --------------------------------------------------------------------------------------------------------


def _check_split(split: str) -> int:
    if split not in SPLITS:
        raise ValueError(f"expected split to be one of {', '.join(SPLITS)}, got {split!r}")
    return SPLITS.index(split)


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"expected a seed of at least 0, got {seed}")


def _check_size(size_hw: tuple[int, int]) -> tuple[int, int]:
    height, width = size_hw
    if min(height, width) < MINIMUM_SIDE_PX:
        raise ValueError(f"expected size_hw of at least {MINIMUM_SIDE_PX} pixels a side, got {tuple(size_hw)}")
    return int(height), int(width)
