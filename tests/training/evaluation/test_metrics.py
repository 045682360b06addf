# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Metrics against numbers worked out by hand, and against what the original code's functions returned."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from ssp_sam.modeling_ssp_sam.losses import generalized_box_iou
from ssp_sam.training.data.masks import decode
from ssp_sam.training.evaluation.metrics import (
    GroupedMetrics,
    SegmentationMetrics,
    box_iou_xyxy,
    mask_areas,
    score_areas,
    segmentation_metrics,
)

GOLDEN = json.loads((Path(__file__).resolve().parents[2] / "fixtures" / "golden_metrics.json").read_text("utf-8"))

# (intersection, predicted area, true area) of four expressions:
#   a: IoU 80/100 = 0.8    b: IoU 30/90 = 1/3    c: no target, predicted empty    d: no target, 60 pixels predicted
TARGETED = [(80, 90, 90), (30, 60, 60)]
NO_TARGET = [(0, 0, 0), (0, 60, 0)]


def accumulate(rows, **settings):
    metrics = SegmentationMetrics(**settings)
    for row in rows:
        metrics.update_areas(*row)
    return metrics.compute()


def test_res_means_per_expression_and_overall():
    result = accumulate(TARGETED, family="res")
    assert result["mIoU"] == pytest.approx((0.8 + 1 / 3) / 2)
    assert result["oIoU"] == pytest.approx(110 / 190)
    assert result["Pr@0.5"] == result["Pr@0.7"] == 0.5
    assert "N-acc" not in result and "gIoU" not in result


def test_precision_counts_overlaps_above_the_threshold_only():
    # An IoU of exactly 0.8 is not above 0.8.
    result = accumulate([(80, 90, 90)], family="res")
    assert result["Pr@0.7"] == 1.0
    assert result["Pr@0.8"] == 0.0


def test_gres_rewards_a_rightly_empty_mask_and_charges_a_wrong_one():
    result = accumulate(TARGETED + NO_TARGET)
    assert result["gIoU"] == pytest.approx((0.8 + 1 / 3 + 1 + 0) / 4)
    # c adds nothing; d adds its 60 pixels to the union.
    assert result["cIoU"] == pytest.approx(110 / (190 + 60))
    assert result["N-acc"] == 0.5
    assert result["T-acc"] == 1.0
    assert result["Pr@0.5"] == 0.5, "precision is over targeted expressions"
    assert (result["samples"], result["targeted"], result["no_target"]) == (4, 2, 2)


def test_gres_charges_a_missed_target_with_its_area():
    result = accumulate([(80, 90, 90), (0, 0, 50)])
    assert result["gIoU"] == pytest.approx(0.4)
    assert result["cIoU"] == pytest.approx(80 / 150)
    assert result["T-acc"] == 0.5
    assert result["N-acc"] is None


def test_masks_of_fewer_pixels_than_the_minimum_count_as_empty():
    rows = [(49, 49, 49), (50, 50, 50), (0, 49, 0), (0, 50, 0)]
    result = accumulate(rows, min_mask_pixels=50)
    assert result["gIoU"] == pytest.approx((0 + 1 + 1 + 0) / 4)
    assert result["cIoU"] == pytest.approx(50 / (49 + 50 + 50))
    assert (result["N-acc"], result["T-acc"]) == (0.5, 0.5)


def test_the_original_protocol_empties_small_masks_of_no_target_samples_only():
    rows = [(49, 49, 49), (0, 49, 0)]
    result = accumulate(rows, min_mask_pixels=50, small_masks_rule="no_target")
    assert result["gIoU"] == 1.0
    assert (result["N-acc"], result["T-acc"]) == (1.0, 1.0)


def test_a_whole_right_mask_of_a_target_is_a_true_positive():
    # IoU of exactly 1 on a targeted sample counts for T-acc, not for N-acc.
    result = accumulate([(40, 40, 40)])
    assert result["T-acc"] == 1.0
    assert result["N-acc"] is None


def test_masks_and_areas_give_the_same_metrics():
    predicted, true = np.zeros((2, 10, 10), dtype=bool)
    predicted[2:6, 2:8] = True  # 24 pixels
    true[4:8, 2:8] = True  # 24 pixels, 12 in common
    by_mask, by_area = SegmentationMetrics(), SegmentationMetrics()
    by_mask.update(predicted, true, box_iou=0.5)
    by_area.update_areas(12, 24, 24, box_iou=0.5)
    assert by_mask.compute() == by_area.compute()
    assert by_mask.compute()["gIoU"] == pytest.approx(12 / 36)
    assert by_mask.compute()["box Acc@0.5"] == 1.0, "a box overlap of exactly 0.5 is a hit"


def test_merging_parts_equals_one_pass():
    whole = GroupedMetrics()
    parts = [GroupedMetrics(), GroupedMetrics()]
    rng = np.random.default_rng(0)
    for number in range(20):
        predicted, true = rng.random((2, 8, 8)) < rng.random()
        true &= number % 4 != 0
        for metrics in (whole, parts[number % 2]):
            metrics.update(predicted, true, group=f"kind {number % 3}")
    merged = GroupedMetrics.from_states(part.state() for part in parts)
    assert merged.compute().keys() == whole.compute().keys()
    for name, row in whole.compute().items():
        assert merged.compute()[name] == row


def test_groups_add_up_to_the_whole():
    metrics = GroupedMetrics()
    full, empty = np.ones((4, 4), dtype=bool), np.zeros((4, 4), dtype=bool)
    metrics.update(full, full, group="noun", box_iou=0.9)
    metrics.update(full, empty, group="none")
    result = metrics.compute()
    assert list(result) == ["all", "noun", "none"]
    assert (result["noun"]["gIoU"], result["none"]["gIoU"], result["all"]["gIoU"]) == (1.0, 0.0, 0.5)
    assert result["all"]["cIoU"] == 0.5
    assert result["none"]["Pr@0.5"] is None


def test_box_overlap():
    assert box_iou_xyxy((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert box_iou_xyxy((0, 0, 10, 10), (10, 0, 20, 10)) == 0.0
    assert box_iou_xyxy((0, 0, 0, 0), (0, 0, 0, 0)) == 0.0


def test_settings_and_shapes_are_checked():
    with pytest.raises(ValueError, match="family must be one of 'res', 'gres', 'phrasecut', got 'coco'"):
        SegmentationMetrics("coco")
    with pytest.raises(ValueError, match="small_masks_rule must be 'all' or 'no_target', got 'some'"):
        SegmentationMetrics(small_masks_rule="some")
    with pytest.raises(ValueError, match="min_mask_pixels must be at least 0, got -1"):
        SegmentationMetrics(min_mask_pixels=-1)
    with pytest.raises(ValueError, match=r"intersection must lie in 0..10, .* got 11"):
        score_areas(11, 10, 20)
    with pytest.raises(ValueError, match="2 predictions, 1 references and 1 box_ious"):
        segmentation_metrics([None, None], [np.ones((2, 2))])
    with pytest.raises(ValueError, match=r"one shape, got \(2, 2\) and \(3, 3\)"):
        SegmentationMetrics().update(np.zeros((2, 2)), np.zeros((3, 3)))


def test_phrasecut_means_over_all_expressions_at_three_thresholds():
    result = accumulate([*TARGETED, (60, 64, 60)], family="phrasecut")
    assert result["mIoU"] == pytest.approx((0.8 + 1 / 3 + 60 / 64) / 3)
    assert result["cIoU"] == pytest.approx((80 + 30 + 60) / (100 + 90 + 64))
    assert [name for name in result if name.startswith("Pr")] == ["Pr@0.5", "Pr@0.7", "Pr@0.9"]
    assert (result["Pr@0.5"], result["Pr@0.9"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))


@pytest.mark.parametrize("family", ["res", "gres", "phrasecut"])
def test_a_missing_prediction_scores_nothing_and_costs_the_true_area(family):
    result = accumulate([(80, 90, 90), (0, None, 100)], family=family)
    assert result["missing"] == 1
    assert result["gIoU" if family == "gres" else "mIoU"] == pytest.approx(0.4)
    assert result["oIoU" if family == "res" else "cIoU"] == pytest.approx(80 / 200)


def test_a_missing_prediction_does_not_say_nothing():
    result = accumulate([(0, None, 0), (0, 0, 0)])
    assert (result["gIoU"], result["N-acc"]) == (0.5, 0.5)


def test_results_do_not_depend_on_order_or_on_who_counted():
    rng = np.random.default_rng(1)
    rows = [(int(a), int(a + b), int(a + c)) for a, b, c in rng.integers(1, 10**6, (1000, 3))]
    whole, turned = accumulate(rows), accumulate(rows[::-1])
    parts = [SegmentationMetrics(), SegmentationMetrics(), SegmentationMetrics()]
    for number, row in enumerate(rows):
        parts[number % 3].update_areas(*row)
    assert whole == turned == parts[2].merge(parts[0].sums).merge(parts[1].sums).compute()
    exact = sum(a / (b + c - a) for a, b, c in rows) / len(rows)
    assert whole["gIoU"] == pytest.approx(exact, abs=1e-14)


def test_lists_of_masks_give_what_the_stream_gives():
    full, half = np.ones((4, 4), dtype=bool), np.zeros((4, 4), dtype=bool)
    half[:2] = True
    result = segmentation_metrics([half, None], [full, full], box_ious=[0.5, 0.49], family="res")
    assert (result["mIoU"], result["oIoU"], result["box Acc@0.5"]) == (0.25, 0.25, 0.5)


def test_a_missing_box_overlaps_nothing():
    assert box_iou_xyxy(None, (0, 0, 1, 1)) == box_iou_xyxy((0, 0, 1, 1), None) == 0.0


@pytest.mark.parametrize("case", range(len(GOLDEN["iou"])))
def test_overlap_and_areas_are_the_originals(case):
    predicted, true = (decode({"size": GOLDEN["size"], "counts": GOLDEN[side][case]}) for side in ("predicted", "true"))
    score = score_areas(*mask_areas(predicted, true), min_mask_pixels=50, small_masks_rule="no_target")
    assert score.iou == pytest.approx(GOLDEN["iou"][case], rel=1e-6)
    assert (score.intersection, score.union) == (GOLDEN["intersection"][case], GOLDEN["union"][case])


def test_accuracies_follow_their_definition_where_the_original_goes_by_overlap():
    # Of the ten samples four mean nothing, of which 10 and 49 pixels count as empty, 50 and 100 do not; a fifth means
    # nothing and is predicted empty. The original takes the two right masks of IoU 1 for rightly empty ones.
    metrics = SegmentationMetrics(min_mask_pixels=50, small_masks_rule="no_target")
    for predicted, true in zip(GOLDEN["predicted"], GOLDEN["true"]):
        metrics.update(*(decode({"size": GOLDEN["size"], "counts": counts}) for counts in (predicted, true)))
    result = metrics.compute()
    assert (result["no_target"], result["targeted"]) == (5, 5)
    assert result["N-acc"] == 3 / 5
    assert result["T-acc"] == 4 / 5
    assert result["gIoU"] == pytest.approx(np.mean(GOLDEN["iou"]))
    assert result["cIoU"] == sum(GOLDEN["intersection"]) / sum(GOLDEN["union"])


def test_box_overlaps_are_the_originals():
    pairs = list(zip(GOLDEN["box_pred"], GOLDEN["box_gt"]))
    assert [box_iou_xyxy(*pair) for pair in pairs] == pytest.approx(GOLDEN["box_iou"], rel=1e-6)
    assert generalized_box_iou(*torch.tensor(pairs).transpose(0, 1)).tolist() == pytest.approx(GOLDEN["box_giou"])
