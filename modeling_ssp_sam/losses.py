# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The training losses: dice and focal on masks, L1 and generalised IoU on boxes, cross-entropy on "no target".

Shapes: E expressions, (h, w) the square in which masks are compared.
"""

import torch
from torch import nn
from transformers.utils.generic import maybe_autocast


def dice_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """
    One minus the soft overlap of each mask with its target, averaged over expressions.

    Args:
        logits (`torch.Tensor` of shape `(E, h, w)`): Before the sigmoid.
        targets (`torch.Tensor` of shape `(E, h, w)`): 0 or 1.

    Returns:
        `torch.Tensor`: a scalar in [0, 1]. An empty prediction of an empty target costs almost nothing.
    """
    probabilities = logits.sigmoid().flatten(1)
    targets = targets.flatten(1)
    overlap = 2 * (probabilities * targets).sum(-1) + 1
    return (1 - overlap / (probabilities.sum(-1) + targets.sum(-1) + 1)).mean()


def focal_loss(logits: torch.Tensor, targets: torch.Tensor, alpha: float, gamma: float) -> torch.Tensor:
    """
    Cross-entropy that looks away from pixels already decided, averaged over pixels and expressions.

    Args:
        logits (`torch.Tensor` of shape `(E, h, w)`): Before the sigmoid.
        targets (`torch.Tensor` of shape `(E, h, w)`): 0 or 1.
        alpha (`float`): Weight of foreground pixels; background gets `1 - alpha`.
        gamma (`float`): How strongly decided pixels are ignored.

    Returns:
        `torch.Tensor`: a scalar.

    Source: Focal loss (arXiv 1708.02002).
    """
    probabilities = logits.sigmoid()
    cross_entropy = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    missed = 1 - (probabilities * targets + (1 - probabilities) * (1 - targets))
    weights = alpha * targets + (1 - alpha) * (1 - targets)
    return (weights * cross_entropy * missed**gamma).mean()


def boxes_to_corners(boxes_cxcywh: torch.Tensor) -> torch.Tensor:
    """Turns (..., 4) boxes from centre and size to left, top, right, bottom, in the same units."""
    center, size = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:]
    return torch.cat([center - size / 2, center + size / 2], dim=-1)


def generalized_box_iou(boxes: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """
    Overlap of each box with its own target, less the share of their hull that neither covers.

    Args:
        boxes, targets (`torch.Tensor` of shape `(E, 4)`): left, top, right, bottom.

    Returns:
        `torch.Tensor` of shape `(E,)`, from -1 to 1.

    Source: Generalised IoU (arXiv 1902.09630).
    """
    tiny = torch.finfo(boxes.dtype).tiny

    def area(corners):
        return (corners[:, 2:] - corners[:, :2]).clamp_min(0).prod(dim=-1)

    inner = torch.cat([torch.maximum(boxes[:, :2], targets[:, :2]), torch.minimum(boxes[:, 2:], targets[:, 2:])], -1)
    hull = torch.cat([torch.minimum(boxes[:, :2], targets[:, :2]), torch.maximum(boxes[:, 2:], targets[:, 2:])], -1)
    union = area(boxes) + area(targets) - area(inner)
    hull_area = area(hull)
    return area(inner) / union.clamp_min(tiny) - (hull_area - union) / hull_area.clamp_min(tiny)


def resize_mask_logits(mask_logits: torch.Tensor, canvas_size: int, mask_size: int) -> torch.Tensor:
    """
    Brings SAM's low-resolution logits to the square in which losses are computed, by way of SAM's canvas.

    Args:
        mask_logits (`torch.Tensor` of shape `(E, 1, h, w)`).
        canvas_size (`int`): Side of SAM's canvas, in pixels.
        mask_size (`int`): Side of the result.

    Returns:
        `torch.Tensor` of shape `(E, mask_size, mask_size)`.
    """
    mask_logits = mask_logits.squeeze(1).float()
    # Bilinear resizing takes rows and columns alike, so two products stand for both steps.
    weights = torch.eye(mask_logits.shape[-1], device=mask_logits.device)[None]
    for side in (canvas_size, mask_size):
        weights = nn.functional.interpolate(weights, side, mode="linear", align_corners=False)
    with maybe_autocast(mask_logits.device.type, enabled=False):
        return weights[0].mT @ mask_logits @ weights[0]


def ssp_sam_loss(
    config,
    *,
    pred_masks: torch.Tensor | None,
    pred_boxes: torch.Tensor | None,
    no_target_logits: torch.Tensor | None,
    mask_labels: torch.Tensor | None = None,
    box_labels: torch.Tensor | None = None,
    no_target_labels: torch.Tensor | None = None,
) -> tuple[torch.Tensor | None, dict[str, torch.Tensor]]:
    """
    Adds up every loss for which there is both a prediction and a label, with the weights of the configuration.

    Args:
        config (`SspSamConfig`): Loss weights and sizes.
        pred_masks (`torch.Tensor` of shape `(E, 1, h, w)`, *optional*): Low-resolution logits.
        pred_boxes (`torch.Tensor` of shape `(E, 4)`, *optional*): cxcywh in [0, 1].
        no_target_logits (`torch.Tensor` of shape `(E,)`, *optional*).
        mask_labels (`torch.Tensor` of shape `(E, mask_size, mask_size)`, *optional*): 0 or 1.
        box_labels (`torch.Tensor` of shape `(E, 4)`, *optional*): cxcywh in [0, 1].
        no_target_labels (`torch.Tensor` of shape `(E,)`, *optional*): 1 where nothing is meant. Such expressions have
            no box, so they take no part in the box losses.

    Returns:
        `tuple`: the weighted sum or `None` where nothing could be compared, and the unweighted terms by name.
    """
    terms = {}
    if pred_masks is not None and mask_labels is not None:
        logits = resize_mask_logits(pred_masks, config.sam_config.vision_config.image_size, mask_labels.shape[-1])
        targets = mask_labels.reshape(logits.shape).to(logits.dtype)
        terms["dice"] = dice_loss(logits, targets)
        terms["focal"] = focal_loss(logits, targets, config.focal_alpha, config.focal_gamma)
    if pred_boxes is not None and box_labels is not None:
        boxes, targets = pred_boxes.float(), box_labels.float()
        has_box = torch.ones_like(boxes[:, 0])
        if no_target_labels is not None:
            has_box = 1 - no_target_labels.to(boxes.dtype)
        giou = generalized_box_iou(boxes_to_corners(boxes), boxes_to_corners(targets))
        terms["l1"] = ((boxes - targets).abs().sum(-1) * has_box).sum() / boxes.shape[0]
        terms["giou"] = ((1 - giou) * has_box).sum() / boxes.shape[0]
    if no_target_logits is not None and no_target_labels is not None:
        terms["no_target"] = nn.functional.binary_cross_entropy_with_logits(
            no_target_logits.float(), no_target_labels.float()
        )
    if not terms:
        return None, terms
    return sum(getattr(config, f"{name}_loss_weight") * term for name, term in terms.items()), terms
