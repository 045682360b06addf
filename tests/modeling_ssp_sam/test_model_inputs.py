# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What the model says when its inputs are missing, contradict each other or do not fit."""

import pytest
import torch

from ssp_sam import SspSamModel
from tests.helpers.models import run, tiny_inputs, tiny_labels, tiny_model


@pytest.fixture(scope="module")
def model() -> SspSamModel:
    """A random two-tower model; tests must not change it."""
    return tiny_model("default")


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    return tiny_inputs("default")


def refuses(model, message: str, **inputs):
    with pytest.raises(ValueError, match=f"^{message}$"):
        run(model, **inputs)


# ---- images --------------------------------------------------------------------------------------------------------


def test_an_image_is_needed(model, inputs):
    del inputs["pixel_values"]
    refuses(model, "expected one of pixel_values and image_embeddings, got neither", **inputs)


def test_pixels_and_embeddings_of_the_image_exclude_each_other(model, inputs):
    embeddings = torch.zeros(3, 16, 8, 8)
    message = "expected one of pixel_values and image_embeddings, got both"
    refuses(model, message, **inputs, image_embeddings=embeddings)


def test_the_semantic_image_is_needed_by_two_towers_alone(model, inputs):
    del inputs["semantic_pixel_values"]
    refuses(model, "expected semantic_pixel_values beside the image, got None; the processor returns them", **inputs)
    assert run(tiny_model("single tower"), **inputs).pred_masks.shape[0] == 3


def test_encoded_images_exclude_pixels(model, inputs):
    with torch.no_grad():
        features = model.get_image_features(inputs["pixel_values"], inputs["semantic_pixel_values"])
    message = "expected image_features alone, got pixel_values or image_embeddings beside them"
    refuses(model, message, **inputs, image_features=features)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("pixel_values", (3, 3, 64, 64)),
        ("pixel_values", (3, 1, 32, 32)),
        ("pixel_values", (3, 32, 32)),
        ("semantic_pixel_values", (3, 3, 24, 24)),
        ("semantic_pixel_values", (3, 3, 32, 16)),
    ],
)
def test_an_image_of_another_size_is_named(model, inputs, name, shape):
    inputs[name] = torch.zeros(shape)
    got = ", ".join(map(str, shape))
    refuses(model, rf"expected {name} of shape \(images, 3, 32, 32\), got \({got}\)", **inputs)


def test_image_embeddings_of_another_size_are_named(model, inputs):
    inputs["pixel_values"] = None
    message = r"expected image_embeddings of shape \(images, 16, 8, 8\), got \(3, 16, 4, 4\)"
    refuses(model, message, **inputs, image_embeddings=torch.zeros(3, 16, 4, 4))


def test_one_semantic_image_belongs_to_each_image(model, inputs):
    inputs["semantic_pixel_values"] = inputs["semantic_pixel_values"][:2]
    refuses(model, "expected one semantic image per image, got 2 for 3", **inputs)


# ---- expressions ---------------------------------------------------------------------------------------------------


def test_expressions_are_needed(model, inputs):
    del inputs["input_ids"]
    refuses(model, r"expected input_ids \(one row per expression\), got None", **inputs)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.ones(6, dtype=torch.long), r"expected input_ids of shape \(expressions, words\), got \(6,\)"),
        (torch.ones(3, 0, dtype=torch.long), "expected 1 to 32 words in each row of input_ids, got 0"),
        (torch.ones(3, 40, dtype=torch.long), "expected 1 to 32 words in each row of input_ids, got 40"),
        (torch.ones(3, 6), r"expected input_ids of whole numbers \(torch.int64\), got torch.float32"),
        (
            torch.full((3, 6), 99),
            r"expected input_ids between 0 and \d+, got 99 to 99; does the tokenizer belong to this model\?",
        ),
    ],
)
def test_ids_that_the_text_tower_cannot_read_are_named(model, inputs, ids, message):
    refuses(model, message, **{**inputs, "input_ids": ids, "attention_mask": None})


def test_a_mask_that_does_not_fit_the_ids_is_named(model, inputs):
    inputs["attention_mask"] = torch.ones(3, 5, dtype=torch.long)
    refuses(model, r"expected attention_mask of shape \(3, 6\), got \(3, 5\)", **inputs)


# ---- which image an expression belongs to --------------------------------------------------------------------------


def test_more_expressions_than_images_need_an_index(model, inputs):
    inputs["input_ids"] = torch.ones(5, 6, dtype=torch.long)
    inputs["attention_mask"] = None
    message = (
        "expected one expression per image, got 5 expressions for 3 images; "
        "pass image_index to say which image each expression belongs to"
    )
    refuses(model, message, **inputs)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ([0, 1, 3], "expected image_index between 0 and 2, got 0 to 3"),
        ([0, -1, 2], "expected image_index between 0 and 2, got -1 to 2"),
        ([0, 1], r"expected image_index of shape \(3,\), one entry per expression, got \(2,\)"),
        ([[0, 1, 2]], r"expected image_index of shape \(3,\), one entry per expression, got \(1, 3\)"),
        ([0.0, 1.0, 2.0], r"expected image_index of whole numbers \(torch.int64\), got torch.float32"),
        ([True, False, True], r"expected image_index of whole numbers \(torch.int64\), got torch.bool"),
    ],
)
def test_an_index_that_points_nowhere_is_named(model, inputs, index, message):
    refuses(model, message, **inputs, image_index=torch.tensor(index))


def test_a_plain_list_is_an_index_too(model, inputs):
    swapped = run(model, **inputs, image_index=[2, 1, 0])
    torch.testing.assert_close(swapped.pred_masks[1], run(model, **inputs).pred_masks[1], atol=1e-5, rtol=1e-5)


# ---- clicks, boxes, masks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("input_points", (3, 2), "3, 1, points, 2"),
        ("input_points", (2, 1, 1, 2), "3, 1, points, 2"),
        ("input_points", (3, 2, 1, 2), "3, 1, points, 2"),
        ("input_points", (3, 1, 1, 3), "3, 1, points, 2"),
        ("input_boxes", (3, 4), "3, 1, 4"),
        ("input_boxes", (3, 2, 4), "3, 1, 4"),
        ("input_masks", (3, 32, 32), "3, 1, 32, 32"),
        ("input_masks", (3, 1, 8, 8), "3, 1, 32, 32"),
    ],
)
def test_a_spatial_prompt_of_another_shape_is_named(model, inputs, name, shape, expected):
    got = ", ".join(map(str, shape))
    refuses(model, rf"expected {name} of shape \({expected}\), got \({got}\)", **inputs, **{name: torch.zeros(shape)})


def test_labels_need_points_of_the_same_number(model, inputs):
    labels = torch.ones(3, 1, 2, dtype=torch.long)
    message = r"expected input_points beside input_labels of shape \(3, 1, 2\), got None"
    refuses(model, message, **inputs, input_labels=labels)
    message = r"expected input_labels of shape \(3, 1, 1\), got \(3, 1, 2\)"
    refuses(model, message, **inputs, input_points=torch.zeros(3, 1, 1, 2), input_labels=labels)


# ---- labels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("mask_labels", (2, 16, 16), "3, 16, 16"),
        ("mask_labels", (3, 8, 16), "3, 16, 16"),
        ("mask_labels", (3, 2, 16, 16), "3, 1, 16, 16"),
        ("box_labels", (3, 1, 4), "3, 4"),
        ("box_labels", (2, 4), "3, 4"),
        ("no_target_labels", (3, 1), "3"),
    ],
)
def test_labels_of_another_shape_are_named(model, inputs, name, shape, expected):
    labels = {**tiny_labels(), name: torch.zeros(shape)}
    got = ", ".join(map(str, shape))
    refuses(model, rf"expected {name} of shape \({expected},?\), got \({got}\)", **inputs, **labels)
