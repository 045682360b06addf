# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The example picture, and what the embedded checkpoint makes of it."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import pipeline

from ssp_sam import EMBEDDED_CHECKPOINT

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def example():
    """The picture, and the mask of each object by colour and noun."""
    script = runpy.run_path(str(ROOT / "scripts" / "make_example.py"))
    picture, masks = script["make_example"]()
    names = [" ".join(filter(None, (colour, noun))) for noun, colour, *_ in script["OBJECTS"]]
    by_name: dict[str, np.ndarray] = {}
    for name, mask in zip(names, masks):
        by_name[name] = by_name.get(name, False) | mask
    return picture, by_name


def test_the_shipped_picture_is_what_its_script_makes(example):
    with Image.open(ROOT / "examples" / "scene.png") as shipped:
        difference = np.abs(np.asarray(shipped.convert("RGB"), int) - np.asarray(example[0], int))
    assert difference.max() <= 8  # resampling may round differently in another version of Pillow


@pytest.mark.skipif(not EMBEDDED_CHECKPOINT.is_dir(), reason="this checkout has no embedded checkpoint")
def test_the_demo_finds_what_a_person_would_and_nothing_else(example):
    segment = pipeline("referring-segmentation", device="cpu")
    expected = {"the red car": ["red car"], "the dog": ["dog"], "everything": list(example[1])}
    *results, missing = segment(str(ROOT / "examples" / "scene.png"), [*expected, "the penguin"])
    for result in results:
        mask = np.asarray(result["mask"]) > 0
        truth = np.logical_or.reduce([example[1][name] for name in expected[result["label"]]])
        assert (mask & truth).sum() / (mask | truth).sum() > 0.7, result["label"]
    assert missing["no_target"]
