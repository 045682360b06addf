# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The short evaluation during training: scenes on their canvas, with and without heads, and padding that is dropped."""

from types import SimpleNamespace

import pytest
import torch

from ssp_sam.training.evaluation.validation import evaluate_scenes


def batch_of(**more) -> dict:
    """Two expressions on a canvas of 4 x 4: one means its left half, one means nothing."""
    masks = torch.zeros(2, 4, 4)
    masks[0, :, :2] = 1
    return {
        "mask_labels": masks,
        "box_labels": torch.tensor([[0.25, 0.5, 0.5, 1.0], [0.0, 0.0, 0.0, 0.0]]),
        "no_target_labels": torch.tensor([0.0, 1.0]),
        "kinds": ["noun", "none"],
        **more,
    }


def objective_with(boxes=None, no_target=None):
    """Predicts the left half for both expressions, with the given heads."""
    masks = torch.full((2, 1, 4, 4), -5.0)
    masks[:, :, :, :2] = 5.0
    outputs = SimpleNamespace(pred_masks=masks, pred_boxes=boxes, no_target_logits=no_target)
    return lambda batch, predict: outputs


def test_scenes_are_measured_overall_and_by_kind_and_padding_is_dropped():
    boxes = torch.tensor([[0.25, 0.5, 0.5, 1.0], [0.5, 0.5, 1.0, 1.0]])
    objective = objective_with(boxes, torch.tensor([-3.0, 3.0]))
    result = evaluate_scenes(objective, [batch_of(), batch_of(is_padding=True)], "cpu")
    assert list(result) == ["all", "noun", "none"] and result["all"]["samples"] == 2
    assert result["all"]["gIoU"] == result["all"]["N-acc"] == result["noun"]["box Acc@0.5"] == 1.0
    assert result["none"]["box Acc@0.5"] is None, "without a target there is no box"


def test_without_heads_boxes_are_not_counted_and_masks_decide():
    result = evaluate_scenes(objective_with(), [batch_of()], "cpu")
    assert result["all"]["box Acc@0.5"] is None
    assert (result["all"]["gIoU"], result["none"]["N-acc"]) == (pytest.approx(0.5), 0.0)
