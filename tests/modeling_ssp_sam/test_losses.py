# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The losses, against numbers worked out by hand."""

import math

import pytest
import torch

from ssp_sam.modeling_ssp_sam.losses import (
    boxes_to_corners,
    dice_loss,
    focal_loss,
    generalized_box_iou,
    resize_mask_logits,
    ssp_sam_loss,
)
from tests.helpers.models import tiny_config

SURE = 100.0  # a logit whose sigmoid is 0 or 1 in float32


def test_dice_counts_the_overlap_plus_one():
    # Two of four pixels predicted, one of them right, two in the target: 1 - (2 * 1 + 1) / (2 + 2 + 1).
    logits = torch.tensor([[[SURE, SURE], [-SURE, -SURE]]])
    targets = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert dice_loss(logits, targets).item() == pytest.approx(1 - 3 / 5)


def test_dice_of_probabilities_one_half():
    # p = 1/2 everywhere, one of four pixels in the target: 1 - (2 * 0.5 + 1) / (2 + 1 + 1).
    targets = torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])
    assert dice_loss(torch.zeros(1, 2, 2), targets).item() == pytest.approx(0.5)


def test_dice_is_the_mean_over_expressions():
    logits = torch.tensor([[[SURE]], [[-SURE]]])
    assert dice_loss(logits, torch.ones(2, 1, 1)).item() == pytest.approx((0 + 1 - 1 / 2) / 2)


def test_an_empty_prediction_of_an_empty_target_costs_nothing():
    assert dice_loss(torch.full((1, 4, 4), -SURE), torch.zeros(1, 4, 4)).item() == 0


def test_focal_weighs_errors_by_class_and_confidence():
    # p = 3/4 on a foreground pixel and on a background pixel.
    logits = torch.full((1, 1, 2), math.log(3))
    targets = torch.tensor([[[1.0, 0.0]]])
    foreground = 0.25 * (1 / 4) ** 2 * -math.log(3 / 4)
    background = 0.75 * (3 / 4) ** 2 * -math.log(1 / 4)
    assert focal_loss(logits, targets, alpha=0.25, gamma=2.0).item() == pytest.approx((foreground + background) / 2)


def test_boxes_turn_from_centre_and_size_to_corners():
    boxes = boxes_to_corners(torch.tensor([[0.5, 0.4, 0.2, 0.6]]))
    torch.testing.assert_close(boxes, torch.tensor([[0.4, 0.1, 0.6, 0.7]]))


@pytest.mark.parametrize(
    ("box", "target", "value"),
    [
        ([0, 0, 2, 2], [0, 0, 2, 2], 1),
        ([0, 0, 2, 2], [1, 0, 3, 2], 2 / 6),  # overlap 2, union 6, hull 6
        ([0, 0, 1, 1], [2, 0, 3, 1], -1 / 3),  # apart: union 2, hull 3
        ([0, 0, 1, 1], [1, 1, 2, 2], -2 / 4),  # corners touch: union 2, hull 4
        ([0, 0, 0, 0], [0, 0, 0, 0], 0),  # nothing in nothing stays a number
    ],
)
def test_generalised_overlap(box, target, value):
    boxes, targets = torch.tensor([box], dtype=torch.float32), torch.tensor([target], dtype=torch.float32)
    assert generalized_box_iou(boxes, targets).item() == pytest.approx(value)
    assert generalized_box_iou(targets, boxes).item() == pytest.approx(value)


def test_box_losses_are_sums_over_coordinates_per_expression():
    loss, terms = ssp_sam_loss(
        tiny_config("single tower"),
        pred_masks=None,
        pred_boxes=torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 1.0, 1.0]]),
        no_target_logits=None,
        box_labels=torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.5, 0.5, 0.5, 0.5]]),
    )
    assert terms["l1"].item() == pytest.approx((0 + 1) / 2)
    assert terms["giou"].item() == pytest.approx((0 + 3 / 4) / 2)
    assert loss.item() == pytest.approx(5 * 0.5 + 2 * 0.375)


def test_an_expression_without_target_has_no_box_to_learn():
    _, terms = ssp_sam_loss(
        tiny_config("single tower"),
        pred_masks=None,
        pred_boxes=torch.tensor([[0.5, 0.5, 1.0, 1.0], [0.1, 0.1, 0.1, 0.1]]),
        no_target_logits=torch.tensor([0.0, math.log(3)]),
        box_labels=torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]]),
        no_target_labels=torch.tensor([0.0, 1.0]),
    )
    assert terms["l1"].item() == pytest.approx(1 / 2)
    assert terms["giou"].item() == pytest.approx((3 / 4) / 2)
    assert terms["no_target"].item() == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)


def test_every_term_has_its_weight():
    weights = {
        f"{name}_loss_weight": weight for weight, name in enumerate(("dice", "focal", "l1", "giou", "no_target"))
    }
    loss, terms = ssp_sam_loss(
        tiny_config("single tower", **weights),
        pred_masks=torch.linspace(-2, 2, 16).reshape(1, 1, 4, 4),
        pred_boxes=torch.full((1, 4), 0.5),
        no_target_logits=torch.ones(1),
        mask_labels=torch.eye(16).unsqueeze(0),
        box_labels=torch.full((1, 4), 0.25),
        no_target_labels=torch.zeros(1),
    )
    assert list(terms) == ["dice", "focal", "l1", "giou", "no_target"]
    assert loss.item() == pytest.approx(sum(weight * term.item() for weight, term in enumerate(terms.values())))


def test_nothing_to_compare_is_no_loss():
    loss, terms = ssp_sam_loss(
        tiny_config("single tower"), pred_masks=None, pred_boxes=None, no_target_logits=None, mask_labels=torch.ones(1)
    )
    assert loss is None
    assert terms == {}


def test_logits_go_through_the_canvas_to_the_size_of_the_labels():
    logits = torch.tensor([[[[0.0, 8.0]] * 2]])
    resized = resize_mask_logits(logits, canvas_size=4, mask_size=2)
    # Bilinear from 2 to 4 columns gives 0, 2, 6, 8, and back to 2 the means of pairs.
    torch.testing.assert_close(resized, torch.tensor([[[1.0, 7.0]] * 2]))
    assert resize_mask_logits(logits.half(), 2, 2).dtype == torch.float32
