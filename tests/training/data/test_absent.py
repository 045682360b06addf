# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Expressions that a dataset implies to be absent: which they are, and how a training asks for them."""

from datasets import Dataset

from ssp_sam.training.data.absent import absent_expressions
from ssp_sam.training.data.prepared import FEATURES
from ssp_sam.training.data.references import ReferDataset
from tests.helpers.benchmark import tiny_row


def rows_of(*lines: tuple[int, str, bool]) -> Dataset:
    """References by image, expression and whether it means something."""
    rows = [
        tiny_row(image, "one" if found else "none", ref_id=str(number), expressions=[expression])
        for number, (image, expression, found) in enumerate(lines)
    ]
    return Dataset.from_list(rows, features=FEATURES)


CUPS = (
    (0, "the red cup", True),
    (0, "the plate", False),
    (1, "the plate", True),
    (1, "the cup", False),
    (2, "the fork", True),
    (2, "the left cup", False),
    (3, "the cup on the left", True),
)


def test_what_is_called_absent_elsewhere_and_named_nowhere_in_an_image_is_absent_from_it():
    absent = absent_expressions(rows_of(*CUPS))
    assert absent[4] == absent[5] == ["the cup", "the left cup", "the plate"]
    # An image's own line is no news of it, and not all that is named in one image is absent from the others.
    assert absent[2] == ["the cup", "the left cup"]


def test_what_a_longer_expression_may_mean_is_not_absent():
    absent = absent_expressions(rows_of(*CUPS))
    assert absent[0] == ["the left cup", "the plate"]
    assert absent[6] == ["the plate"]


def test_data_that_calls_nothing_absent_implies_nothing():
    assert absent_expressions(rows_of((0, "the cup", True), (1, "the plate", True))) == [[], []]


def test_a_fraction_of_the_items_asks_for_what_is_absent():
    rows = rows_of(*CUPS)
    plain, asking, always = (ReferDataset(rows, absent_fraction=fraction) for fraction in (0.0, 0.5, 1.0))
    keys = [(epoch, 4) for epoch in range(40)]
    assert {plain[key]["expression"] for key in keys} == {"the fork"}
    items = [always[key] for key in keys]
    assert {item["expression"] for item in items} == {"the cup", "the left cup", "the plate"}
    assert {(item["kind"], item["mask"], item["box_xyxy"]) for item in items} == {("none", None, None)}
    assert {asking[key]["kind"] for key in keys} == {"one", "none"}
    assert [asking[key]["expression"] for key in keys] == [asking[key]["expression"] for key in keys]


def test_evaluation_asks_for_every_expression_of_the_data_and_no_other():
    rows = rows_of(*CUPS)
    dataset = ReferDataset(rows, every_expression=True, absent_fraction=1.0)
    assert [dataset[index]["expression"] for index in range(len(dataset))] == [line[1] for line in CUPS]
