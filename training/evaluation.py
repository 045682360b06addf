# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Cheap evaluation during training, on the canvas, with every process taking its share of the batches."""

import torch
from accelerate.utils import gather_object

from .metrics import GroupedMetrics, box_iou_xyxy


def evaluation_keys(num_items: int, batch_size: int, rank: int, world_size: int) -> list[list[tuple[int, int]]]:
    """Returns this process's batches of (epoch, index): every item once over all processes, epoch 0."""
    starts = range(rank * batch_size, num_items, batch_size * world_size)
    return [[(0, index) for index in range(start, min(start + batch_size, num_items))] for start in starts]


def to_device(batch: dict, device) -> dict:
    """Moves the tensors of a batch and leaves the rest."""
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


@torch.no_grad()
def evaluate_terms(objective, batches, device) -> dict[str, float]:
    """Averages an objective's parts over all processes' batches."""
    sums: dict[str, float] = {}
    count = 0
    for batch in batches:
        _, terms = objective(to_device(batch, device))
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + float(value)
        count += 1
    shares = gather_object([(count, sums)])
    total = max(1, sum(share[0] for share in shares))
    names = {name for share in shares for name in share[1]}
    return {name: round(sum(share[1].get(name, 0.0) for share in shares) / total, 4) for name in sorted(names)}


@torch.no_grad()
def evaluate_referring(objective, batches, device, *, mask_threshold=0.5, no_target_threshold=0.5) -> dict:
    """
    Measures the GRES metrics on the canvas, overall and per kind.

    Args:
        objective: A `ReferringObjective` in eval mode.
        batches: This process's batches of `ReferringCollator`.
        device: Where to run.
        mask_threshold: Probability above which a pixel belongs to the mask.
        no_target_threshold: Probability of "no target" above which the mask is emptied.

    Returns:
        Metrics by kind, `"all"` first, the same in every process.
    """
    metrics = GroupedMetrics()
    logit_threshold = torch.logit(torch.tensor(float(mask_threshold))).item()
    for batch in batches:
        logits, boxes, no_target = objective.predict(to_device(batch, device))
        masks = logits > logit_threshold
        if no_target is not None:
            masks &= (no_target <= no_target_threshold)[:, None, None]
        masks, truths = masks.cpu().numpy(), batch["mask_labels"].numpy() > 0.5
        box_rows = None if boxes is None else _corners(boxes.cpu())
        true_boxes = _corners(batch["box_labels"])
        for row, kind in enumerate(batch["kinds"]):
            overlap = None
            if box_rows is not None and not batch["no_target_labels"][row]:
                overlap = box_iou_xyxy(box_rows[row], true_boxes[row])
            metrics.update(masks[row], truths[row], group=kind, box_iou=overlap)
    result = GroupedMetrics.from_states(gather_object([metrics.state()])).compute()
    return {kind: {k: round(v, 4) if v is not None else None for k, v in row.items()} for kind, row in result.items()}


def evaluate(objective, batches, device) -> dict:
    """Evaluates either stage; leaves the objective in training mode."""
    objective.eval()
    if hasattr(objective, "predict"):
        result = evaluate_referring(objective, batches, device)
    else:
        result = evaluate_terms(objective, batches, device)
    objective.train()
    return result


def _corners(boxes_cxcywh: torch.Tensor) -> list[list[float]]:
    center, size = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:]
    return torch.cat([center - size / 2, center + size / 2], dim=1).tolist()


__all__ = ["evaluate", "evaluate_referring", "evaluate_terms", "evaluation_keys", "to_device"]
