# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Images for the widget of a model's page, given or generated."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..processing.image_files import load, open_file
from ..training.scenes.generator import draw_referrals, generate_scene

# Scenes of the generator's test split, which no training has seen; one of the expressions means nothing there.
SCENE_SEEDS = (18, 29)
SCENE_SIZE_HW = (300, 400)
EXPRESSIONS_PER_SCENE = 3


@dataclass(frozen=True)
class Sample:
    """An image for the widget of the model's page."""

    image: Path  # file of the image
    expressions: tuple[str, ...]  # what to look for in it

    @property
    def path(self) -> str:
        """Where it lies in the repository."""
        return f"samples/{Path(self.image).name}"


def scene_samples(folder: Path) -> list[Sample]:
    """Returns generated scenes with expressions of their own, always the same, their images put into a folder."""
    samples = []
    for seed in SCENE_SEEDS:
        scene = generate_scene(seed, split="test", size_hw=SCENE_SIZE_HW)
        referrals = draw_referrals(scene, np.random.default_rng(seed), EXPRESSIONS_PER_SCENE, split="test")
        path = folder / f"scene_{seed}.png"
        Image.fromarray(scene.image).save(path)
        samples.append(Sample(path, tuple(referral.expression for referral in referrals)))
    return samples


def write_samples(folder: Path, samples: Sequence[Sample]):
    """Copies images into a repository; raises `ValueError` for a file that is no image."""
    for sample in samples:
        load(open_file(sample.image))  # as it is for those who read the repository
        target = folder / sample.path
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(sample.image, target)
