# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""From logits back to masks at image size, boxes in image pixels and calibrated scores."""

import math

import numpy as np
import pytest
import torch
from transformers import BertTokenizer
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil
from transformers.utils import ModelOutput

from ssp_sam.processing.image_processing_ssp_sam import SspSamImageProcessor
from ssp_sam.processing.mask_windows import LogitMap
from ssp_sam.processing.post_processing import calibrate
from ssp_sam.processing.processing_ssp_sam import SspSamProcessor


def make(**fields) -> SspSamProcessor:
    sizes = {name: fields.pop(name) for name in ("size", "semantic_size") if name in fields}
    image_processor = SspSamImageProcessor(**{"size": 64, "semantic_size": 32, "mask_size": 32, **sizes})
    return SspSamProcessor(
        image_processor, BertTokenizer(vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}), **fields
    )


@pytest.fixture(scope="module")
def processor() -> SspSamProcessor:
    return make()


def constant_outputs(logit: float, no_target_logit: float | None = None) -> dict:
    no_target = None if no_target_logit is None else torch.tensor([no_target_logit])
    return {"pred_masks": torch.full((1, 1, 16, 16), logit), "pred_boxes": None, "no_target_logits": no_target}


# Masks


@pytest.mark.parametrize("size_hw", [(64, 64), (30, 90), (90, 31), (1, 1), (1, 4000)])
def test_masks_equal_those_of_transformers_sam_processor(processor, size_hw):
    torch.manual_seed(0)
    logits = torch.nn.functional.interpolate(torch.randn(1, 1, 4, 4), size=(16, 16), mode="bilinear")
    reshaped = processor.image_processor._get_preprocess_shape(size_hw, 64)
    reference = SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    expected = reference.post_process_masks([logits], [size_hw], [reshaped], pad_size={"height": 64, "width": 64})
    answer = processor.post_process_referring_segmentation({"pred_masks": logits}, [size_hw])[0]
    assert answer["mask"].shape == size_hw and answer["mask"].dtype == torch.bool
    assert torch.equal(answer["mask"], expected[0][0, 0])


@pytest.mark.parametrize("size_hw", [(48, 96), (96, 40)])
def test_a_mask_survives_the_way_to_the_canvas_and_back(processor, size_hw):
    mask = np.zeros(size_hw, dtype=bool)
    mask[12:30, 10:34] = True
    labels = processor.image_processor(np.zeros((*size_hw, 3), np.uint8), mask, return_tensors="pt")
    outputs = {"pred_masks": labels.mask_labels[:, None] * 20 - 10}
    back = processor.post_process_referring_segmentation(outputs, labels.original_sizes)[0]["mask"].numpy()
    assert (back & mask).sum() / (back | mask).sum() > 0.8


def test_padding_of_the_canvas_is_cut_off():
    logits = torch.full((16, 16), -1.0)
    logits[8:] = 100.0  # lies in the padding of a picture twice as wide as high
    blocks = LogitMap(logits, (64, 64), (32, 64), (10, 20)).blocks(range(16), range(16))
    assert (torch.cat([block for block, *_ in blocks])[:9] < 0).all()


def test_the_mask_threshold_is_a_probability(processor):
    outputs = constant_outputs(0.5)  # probability 0.62
    for threshold, found in [(0.6, True), (0.65, False)]:
        answer = processor.post_process_referring_segmentation(outputs, [(8, 8)], mask_threshold=threshold)[0]
        assert answer["mask"].all() == found and answer["no_target"] != found


def test_expressions_of_several_images_take_the_size_of_their_image(processor):
    outputs = {"pred_masks": torch.ones(3, 1, 16, 16)}
    answers = processor.post_process_referring_segmentation(
        outputs, torch.tensor([[5, 9], [7, 3]]), image_index=[0, 1, 1]
    )
    assert [tuple(answer["mask"].shape) for answer in answers] == [(5, 9), (7, 3), (7, 3)]


def test_a_model_output_is_read_like_a_dict(processor):
    outputs = ModelOutput(pred_masks=torch.ones(1, 1, 16, 16), pred_boxes=None)
    assert processor.post_process_referring_segmentation(outputs, [(4, 4)])[0]["mask"].all()


def test_half_precision_logits_are_read(processor):
    outputs = {"pred_masks": torch.ones(1, 1, 16, 16, dtype=torch.bfloat16)}
    assert processor.post_process_referring_segmentation(outputs, [(4, 4)])[0]["score"] == pytest.approx(
        0.731, abs=1e-3
    )


# Boxes


@pytest.mark.parametrize("semantic_size", [32, None])
@pytest.mark.parametrize("size_hw", [(60, 60), (45, 100), (100, 45), (3, 400), (400, 3)])
def test_a_box_label_comes_back_as_the_same_box(semantic_size, size_hw):
    processor = make(semantic_size=semantic_size)
    height, width = size_hw
    box = [0.1 * width, 0.2 * height, 0.7 * width, 0.9 * height]
    labels = processor.image_processor(np.zeros((height, width, 3), np.uint8), boxes=box, return_tensors="pt")
    outputs = {"pred_masks": torch.ones(1, 1, 16, 16), "pred_boxes": labels.box_labels}
    answer = processor.post_process_referring_segmentation(outputs, labels.original_sizes)[0]
    assert answer["box_xyxy"] == pytest.approx(box, abs=1e-4 * max(size_hw))
    assert all(isinstance(value, float) for value in answer["box_xyxy"])


def test_a_box_label_at_a_random_offset_comes_back_with_that_offset(processor):
    image, box = np.zeros((64, 42, 3), np.uint8), [4.0, 8.0, 20.0, 60.0]
    labels = processor.image_processor(image, boxes=box, semantic_offsets=[(11, 0)], return_tensors="pt")
    outputs = {"pred_masks": torch.ones(1, 1, 16, 16), "pred_boxes": labels.box_labels}
    answer = processor.post_process_referring_segmentation(
        outputs, labels.original_sizes, semantic_offsets=labels.semantic_offsets
    )[0]
    assert answer["box_xyxy"] == pytest.approx(box, abs=1e-3)


def test_a_box_beyond_the_image_is_cut_at_its_border(processor):
    outputs = {"pred_masks": torch.ones(1, 1, 16, 16), "pred_boxes": torch.tensor([[0.5, 0.5, 1.0, 1.0]])}
    answer = processor.post_process_referring_segmentation(outputs, [(64, 42)])[0]
    assert answer["box_xyxy"] == [0.0, 0.0, 42.0, 64.0]


def test_the_box_of_a_clicked_expression_is_tight_around_its_mask_and_leaves_the_others_alone(processor):
    masks = torch.full((2, 1, 16, 16), -9.0)
    masks[:, :, 4:8, 4:8] = 9.0
    outputs = {"pred_masks": masks, "pred_boxes": torch.tensor([[0.5, 0.5, 1.0, 1.0]] * 2)}
    clicked, other = processor.post_process_referring_segmentation(outputs, [(64, 64)], clicked=[True, False])
    rows, columns = clicked["mask"].nonzero().T
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert clicked["box_xyxy"] == [float(edge) for edge in edges] != other["box_xyxy"]
    assert other["box_xyxy"] == [0.0, 0.0, 64.0, 64.0]


def test_clicked_must_be_told_of_every_expression(processor):
    with pytest.raises(ValueError, match="expected clicked for each of 1 expressions, got 2 values"):
        processor.post_process_referring_segmentation(constant_outputs(3.0), [(64, 64)], clicked=[True, True])


def test_without_a_box_head_the_box_is_tight_around_the_mask(processor):
    logits = torch.full((1, 1, 64, 64), -9.0)
    logits[..., 10:20, 30:50] = 9.0
    answer = processor.post_process_referring_segmentation({"pred_masks": logits}, [(64, 64)])[0]
    assert answer["box_xyxy"] == [30.0, 10.0, 50.0, 20.0]


# No target and scores


def test_no_target_empties_the_mask_and_reports_its_probability(processor):
    outputs = {**constant_outputs(3.0, no_target_logit=1.0), "pred_boxes": torch.rand(1, 4)}
    answer = processor.post_process_referring_segmentation(outputs, [(8, 8)])[0]
    assert answer["no_target"] is True and not answer["mask"].any() and answer["box_xyxy"] is None
    assert answer["score"] == pytest.approx(1 / (1 + math.exp(-1)))


def test_the_threshold_of_no_target_may_be_moved(processor):
    outputs = constant_outputs(3.0, no_target_logit=1.0)  # probability 0.73
    answer = processor.post_process_referring_segmentation(outputs, [(8, 8)], no_target_threshold=0.75)[0]
    assert answer["no_target"] is False and answer["mask"].all()


def test_a_found_target_scores_the_product_of_presence_and_mask_confidence():
    processor = make(score_temperature=2.0, score_bias=0.5)
    answer = processor.post_process_referring_segmentation(constant_outputs(3.0, no_target_logit=-1.0), [(8, 8)])[0]
    presence, confidence = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-(3.0 / 2 + 0.5)))
    assert answer["score"] == pytest.approx(presence * confidence)


def test_fewer_pixels_than_the_rule_allows_mean_no_target():
    logits = torch.full((1, 1, 64, 64), -9.0)
    logits[..., :7, :7] = 9.0
    for rule, no_target in [(49, False), (50, True)]:
        answer = make(min_mask_pixels=rule).post_process_referring_segmentation({"pred_masks": logits}, [(64, 64)])[0]
        assert answer["no_target"] == no_target and answer["mask"].any() != no_target


def test_an_empty_mask_means_no_target_and_scores_what_its_best_pixel_leaves(processor):
    answer = processor.post_process_referring_segmentation(constant_outputs(-2.0), [(8, 8)])[0]
    assert answer["no_target"] and answer["score"] == pytest.approx(1 - 1 / (1 + math.exp(2)))
    answer = processor.post_process_referring_segmentation(constant_outputs(-2.0, no_target_logit=-1.0), [(8, 8)])[0]
    presence = 1 / (1 + math.exp(-1))
    assert answer["no_target"] and answer["score"] == pytest.approx(1 - presence / (1 + math.exp(2)))


@pytest.mark.parametrize("logit", [-1e4, -50.0, 0.0, 50.0, 1e4])
@pytest.mark.parametrize("temperature", [0.01, 1.0])
def test_scores_stay_within_0_and_1(logit, temperature):
    processor = make(score_temperature=temperature)
    score = processor.post_process_referring_segmentation(constant_outputs(logit, logit), [(8, 8)])[0]["score"]
    assert isinstance(score, float) and 0 <= score <= 1


def test_calibration_keeps_the_probability_when_nothing_was_fitted():
    assert calibrate(0.3, 1.0, 0.0) == pytest.approx(0.3)


# Errors


def test_outputs_without_masks_are_refused(processor):
    with pytest.raises(ValueError, match="expected outputs with pred_masks, got none"):
        processor.post_process_referring_segmentation({"pred_masks": None}, [(8, 8)])


def test_logits_that_are_not_numbers_are_refused(processor):
    with pytest.raises(ValueError, match="expected finite mask logits, got NaN or infinity; run the model in float32"):
        processor.post_process_referring_segmentation(constant_outputs(float("nan")), [(8, 8)])


def test_expressions_that_cannot_be_assigned_to_images_are_refused_with_both_counts(processor):
    outputs = {"pred_masks": torch.ones(3, 1, 16, 16)}
    with pytest.raises(ValueError, match="3 expressions are not one for each of 2 images"):
        processor.post_process_referring_segmentation(outputs, [(8, 8), (8, 8)])
    with pytest.raises(ValueError, match=r"image_index in 0..1 for each of 3 expressions, got \[0, 1, 2\]"):
        processor.post_process_referring_segmentation(outputs, [(8, 8), (8, 8)], image_index=[0, 1, 2])


@pytest.mark.parametrize(
    "box_cxcywh, expected",
    [
        ((0.5, 0.25, 0.5, 0.2), pytest.approx((16, 9.6, 48, 22.4), abs=1e-4)),
        ((0.5, 0.9, 0.5, 0.1), (0, 0, 64, 32)),  # below an image that covers the upper half
        ((0.5, 0.25, 0.0, 0.2), (0, 0, 64, 32)),
    ],
)
def test_a_box_without_a_pixel_is_that_of_the_mask(box_cxcywh, expected):
    processor = make(semantic_size=None)
    outputs = constant_outputs(5.0) | {"pred_boxes": torch.tensor([box_cxcywh])}
    (answer,) = processor.post_process_referring_segmentation(outputs, [(32, 64)])
    assert answer["mask"].all() and tuple(answer["box_xyxy"]) == expected
