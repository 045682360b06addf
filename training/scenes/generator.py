# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Generated scenes with referring expressions: an endless, seeded source of training and test samples.

A scene is an image with two to six objects on a background, and for every pixel the object that is visible there.
Referrals are expressions such as "the second star from the left", each with the objects it means: one, several or none.
"""

from __future__ import annotations

import numpy as np

from .composition import Composition, compose, draw_size
from .expressions import Referral, refer
from .scene import Scene, SceneObject

SPLITS = ("train", "validation", "test", "novel")
MINIMUM_SIDE_PX = 48

_SCENE_STREAM = 1  # keeps the random numbers of scenes apart from those of their expressions


def generate_scene(seed: int, split: str = "train", size_hw: tuple[int, int] | None = None) -> Scene:
    """Generates one scene; the same arguments always give the same bytes.

    Args:
        seed: Any non-negative integer; each is a different scene, and different again in each split.
        split: A member of `SPLITS`. `novel` scenes hold at least one of `NOVEL_COMBINATIONS`, the others none.
        size_hw: Height and width in pixels; `None` draws a long side of 128 to 320 and an aspect ratio.

    Raises:
        ValueError: The split is unknown, the seed negative or a side shorter than 48 pixels.
    """
    _check_split(split)
    if seed < 0:
        raise ValueError(f"expected a seed of at least 0, got {seed}")
    if size_hw is not None and min(size_hw) < MINIMUM_SIDE_PX:
        raise ValueError(f"expected size_hw of at least {MINIMUM_SIDE_PX} pixels a side, got {tuple(size_hw)}")
    rng = np.random.default_rng([SPLITS.index(split) + 1, seed, _SCENE_STREAM])
    size_hw = draw_size(rng) if size_hw is None else (int(size_hw[0]), int(size_hw[1]))
    while True:
        composition = compose(size_hw, split, rng)
        if composition is not None:
            return _measured(composition)


def draw_referrals(scene: Scene, rng: np.random.Generator, count: int, split: str = "train") -> list[Referral]:
    """Draws referring expressions for a scene; the same scene can be asked again with another generator.

    Args:
        scene: The scene to talk about.
        rng: Source of kinds, targets and wordings.
        count: Number of expressions, at least 1. They differ from each other as far as the scene allows.
        split: A member of `SPLITS`. All but `novel` never mention one of `NOVEL_COMBINATIONS`; in `novel` most
            expressions mean such an object.

    Returns:
        `count` referrals. Each is true of the scene and complete: no other object fits it.

    Raises:
        ValueError: The split is unknown or the count below 1.
    """
    _check_split(split)
    if count < 1:
        raise ValueError(f"expected a count of at least 1 expression, got {count}")
    return refer(scene, rng, count, novel=split == "novel")


def _measured(composition: Composition) -> Scene:
    """Measures the visible part of every object."""
    objects = []
    for index, (noun, colour, size) in enumerate(composition.placed):
        mask = composition.instance_map == index + 1
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        center = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        objects.append(SceneObject(noun, colour, size, box, center, int(mask.sum())))
    return Scene(composition.image, composition.instance_map, tuple(objects))


def _check_split(split: str):
    if split not in SPLITS:
        raise ValueError(f"expected split to be one of {', '.join(SPLITS)}, got {split!r}")
