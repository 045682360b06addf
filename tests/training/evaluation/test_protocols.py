# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Protocols and sums of an evaluation: the square of the original, and sums worked out by hand."""

import numpy as np
import pytest
import torch

from ssp_sam import SspSamProcessor
from ssp_sam.training.data.masks import area
from ssp_sam.training.evaluation.metrics import box_iou_xyxy
from ssp_sam.training.evaluation.protocols import prediction_record, saved_record, square_mask
from ssp_sam.training.evaluation.run import RawPrediction
from tests.helpers.evaluation import accumulator_of, image_of, item_of, record_of, rectangle
from tests.helpers.models import make_config, make_tokenizer


@pytest.fixture(scope="module")
def processor() -> SspSamProcessor:
    return SspSamProcessor.from_model_config(make_config(), make_tokenizer())


# ---- the square of the original protocol ---------------------------------------------------------------------------


def test_the_true_mask_lies_in_the_square_as_the_image_on_the_canvas():
    # 256 x 128 pixels on a canvas of 1024 are four times as large, on the square twice; the right half is padding.
    square = square_mask(rectangle((256, 128), 64, 32, 128, 96), canvas_size=1024)
    assert square.shape == (512, 512)
    rows, columns = np.flatnonzero(square.any(1)), np.flatnonzero(square.any(0))
    # Bilinear resizing reaches up to one pixel of the image beyond the edge.
    assert abs(rows[0] - 128) <= 2 and abs(rows[-1] - 255) <= 2
    assert abs(columns[0] - 64) <= 2 and abs(columns[-1] - 191) <= 2


def test_a_record_holds_masks_of_both_protocols_and_both_boxes(processor):
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    shape = {"pred_masks": torch.ones(1, 1, 32, 32), "pred_boxes": boxes}
    item = item_of(rectangle((30, 40), 0, 0, 0, 0))
    shown, gated = (
        prediction_record(
            image_of(item, image_id="7"), item, RawPrediction({**shape, "no_target_logits": logit}, (30, 40), processor)
        )
        for logit in (torch.tensor([-4.0]), torch.tensor([4.0]))
    )
    assert (shown["source"], shown["image_id"], shown["ref_id"], shown["sentence"]) == ("by hand", "7", "ref 0", 0)
    assert area(shown["segmentation"]) == 30 * 40 and shown["segmentation"]["size"] == [30, 40]
    assert area(saved_record(shown)["segmentation_512"]) == 512 * 512, "the square is scored with its padding"
    assert shown["box_xyxy"] == shown["head_box_xyxy"] == pytest.approx([10.0, 10.0, 30.0, 30.0])
    assert area(gated["segmentation"]) == gated["segmentation_512"].sum() == 0
    assert gated["box_xyxy"] is None and gated["head_box_xyxy"] == shown["head_box_xyxy"]
    assert gated["score"] == pytest.approx(gated["no_target_probability"]) == pytest.approx(0.982, abs=1e-3)


# ---- sums ----------------------------------------------------------------------------------------------------------


def test_both_protocols_count_small_masks_by_their_own_rule_and_in_their_own_pixels():
    # The image is the canvas, 512 x 512, so that both count the same pixels: 49 where nothing is meant, 49 of 49.
    small, empty = rectangle((512, 512), 0, 0, 7, 7), rectangle((512, 512), 0, 0, 0, 0)
    sums = accumulator_of(min_mask_pixels=50)
    image = image_of(item_of(empty), item_of(small))
    sums.add(image, 0, record_of(small))
    sums.add(image, 1, record_of(small))
    results = sums.results()
    assert (results["standard"]["all"]["N-acc"], results["standard"]["all"]["T-acc"]) == (1.0, 0.0)
    assert (results["original"]["all"]["N-acc"], results["original"]["all"]["T-acc"]) == (1.0, 1.0)
    assert results["standard"]["settings"]["pixel_space"] == "pixels of the image"
    assert "512 x 512" in results["original"]["settings"]["pixel_space"]
    assert results["original"]["settings"]["small_masks_rule"] == "no_target"


def test_a_target_that_the_square_loses_is_still_meant():
    point = rectangle((4096, 16), 1, 1, 2, 2)
    lost = square_mask(point, 512).any() == np.False_
    sums = accumulator_of(canvas_size=512)
    sums.add(image_of(item_of(point)), 0, record_of(point & False))
    result = sums.results()["original"]["all"]
    assert lost and (result["targeted"], result["no_target"], result["gIoU"]) == (1, 0, 0.0)


def test_the_standard_protocol_reads_the_predictions_box_and_the_original_that_of_the_head():
    mask = rectangle((8, 8), 0, 0, 4, 4)
    sums = accumulator_of("res")
    sums.add(image_of(item_of(mask)), 0, record_of(mask, box_xyxy=None, head_box_xyxy=[0, 0, 4, 3]))
    results = sums.results()
    assert box_iou_xyxy([0, 0, 4, 3], [0, 0, 4, 4]) == 0.75
    assert (results["standard"]["all"]["box Acc@0.5"], results["original"]["all"]["box Acc@0.5"]) == (0.0, 1.0)


def test_parts_of_an_evaluation_add_up_to_the_whole_exactly():
    rng = np.random.default_rng(0)
    whole, parts = accumulator_of(), [accumulator_of(), accumulator_of(), accumulator_of()]
    for number in range(24):
        predicted, true = rng.random((2, 12, 9)) < rng.random((2, 1, 1))
        true &= number % 4 != 0
        item = item_of(true, number, groups=[("kind", f"kind {number % 5}")])
        record = record_of(None if number == 7 else predicted, score=float(rng.random()))
        for sums in (whole, parts[number % 3]):
            sums.add(image_of(item, index=number, image_id=str(number)), 0, record)
    merged = whole.merged([parts[i].state() for i in (2, 0, 1)])
    assert merged.results() == whole.results()
    assert merged.fingerprint == whole.fingerprint
    assert sorted(zip(*merged.cases)) == sorted(zip(*whole.cases))
    assert whole.results()["standard"]["all"]["missing"] == 1


def test_the_fingerprint_changes_with_words_and_truth():
    mask = rectangle((8, 8), 0, 0, 4, 4)
    marks = set()
    for item in (item_of(mask), item_of(mask, 1), item_of(~mask), item_of(mask)._replace(expression="a dog")):
        marks.add(item.fingerprint("a"))
    assert len(marks | {item_of(mask).fingerprint("b")}) == 5


def test_calibration_error_is_the_mean_gap_over_bins():
    # Bin 0.9..1: score 0.95, right 3 of 4. Bin 0.2..0.3: score 0.25, rightly empty.
    full, empty = np.ones((4, 4), dtype=bool), np.zeros((4, 4), dtype=bool)
    sums = accumulator_of()
    for predicted, true, score in (*[(full, full, 0.95)] * 3, (empty, full, 0.95), (empty, empty, 0.25)):
        sums.add(image_of(item_of(true)), 0, record_of(predicted, score=score))
    assert sums.results()["standard"]["score_error"] == pytest.approx((4 * 0.2 + 0.75) / 5)
