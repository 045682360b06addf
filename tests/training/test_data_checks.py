# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What is said of references that lack something, before a training starts."""

import pytest
from datasets import Dataset

from ssp_sam.training.data.prepared import FEATURES
from ssp_sam.training.data_checks import what_is_missing
from tests.helpers.benchmark import tiny_row

CANVAS = {"canvas_size": 32, "patch_size": 4}


def missing(rows: list[dict]) -> list[str]:
    return what_is_missing(Dataset.from_list(rows, features=FEATURES), **CANVAS)


def enough(**changes) -> list[dict]:
    return [tiny_row(number, "none" if number % 5 == 0 else "one", **changes) for number in range(25)]


def test_nothing_is_said_of_enough_images_with_several_expressions():
    assert missing(enough()) == []


def test_references_without_any_mask_are_refused():
    with pytest.raises(ValueError, match="none of the 3 training references has a mask, so there is nothing to segm"):
        missing([tiny_row(number, "none") for number in range(3)])


def test_few_images_are_counted():
    assert missing(enough()[:12]) == [
        "few images (12): what is learned from them may not hold for others; more would help most"
    ]


def test_a_lone_expression_is_named():
    (said,) = missing(enough(expressions=["the cup"]))
    assert said.startswith("one expression alone ('the cup'): the model learns what it means, but not to tell it from")


def test_targets_that_the_canvas_hides_are_measured():
    # 30 of 4,000 pixels are a quarter of a pixel on a canvas of 32.
    rows = [
        {**tiny_row(number), "size_hw": [3000, 4000], "box_xyxy": [100.0, 100.0, 130.0, 130.0]} for number in range(25)
    ]
    (said,) = missing(rows)
    assert said.startswith("targets are too small to be seen: half of them are under 0.2 of the 32 pixels")
    assert "it needs about 2" in said
