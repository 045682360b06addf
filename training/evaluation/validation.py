# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Evaluation during training, with every process taking its share of the batches and sums added before dividing."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from accelerate.utils import gather_object

from .metrics import GroupedMetrics, box_iou_xyxy


def evaluation_keys(num_items: int, batch_size: int, rank: int, world_size: int) -> list[list[tuple[int, int]]]:
    """Returns this process's batches of (epoch, index): every item once over all processes, epoch 0."""
    starts = range(rank * batch_size, num_items, batch_size * world_size)
    return [[(0, index) for index in range(start, min(start + batch_size, num_items))] for start in starts]


def evaluation_batches(dataset, collate, batch_size: int, rank: int, world_size: int):
    """
    Yields this process's share of a dataset as batches.

    Every process gets the same number of them, as sharded models need it; a batch that is one too many repeats items
    and has `is_padding` set, and its results are dropped.
    """
    keys = evaluation_keys(len(dataset), batch_size, rank, world_size)
    for batch_keys in keys:
        yield collate([dataset[key] for key in batch_keys])
    for _ in range(len(evaluation_keys(len(dataset), batch_size, 0, world_size)) - len(keys)):
        yield collate([dataset[0, 0]]) | {"is_padding": True}


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
        if batch.get("is_padding"):
            continue
        for name, value in terms.items():
            sums[name] = sums.get(name, 0.0) + float(value)
        count += 1
    shares = gather_object([(count, sums)])
    total = max(1, sum(share[0] for share in shares))
    names = {name for share in shares for name in share[1]}
    return {name: round(sum(share[1].get(name, 0.0) for share in shares) / total, 4) for name in sorted(names)}


@torch.no_grad()
def evaluate_scenes(objective, batches, device, *, mask_threshold=0.5, no_target_threshold=0.5) -> dict:
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
        outputs = objective(to_device(batch, device), predict=True)
        if batch.get("is_padding"):
            continue
        size = batch["mask_labels"].shape[-2:]
        logits = F.interpolate(outputs.pred_masks.float(), size, mode="bilinear", align_corners=False).squeeze(1)
        masks = logits > logit_threshold
        if outputs.no_target_logits is not None:
            masks &= (outputs.no_target_logits.sigmoid() <= no_target_threshold)[:, None, None]
        masks, truths = masks.cpu().numpy(), batch["mask_labels"].numpy() > 0.5
        box_rows = None if outputs.pred_boxes is None else _corners(outputs.pred_boxes.cpu())
        true_boxes = _corners(batch["box_labels"])
        for row, kind in enumerate(batch["kinds"]):
            overlap = None
            if box_rows is not None and not batch["no_target_labels"][row]:
                overlap = box_iou_xyxy(box_rows[row], true_boxes[row])
            metrics.update(masks[row], truths[row], group=kind, box_iou=overlap)
    return _rounded(GroupedMetrics.from_states(gather_object([metrics.state()])).compute())


@torch.no_grad()
def evaluate_references(
    objective, batches, device, *, processor, box_only=False, observe: Callable | None = None
) -> dict:
    """
    Measures the GRES metrics at image resolution with the processor's own thresholds, overall and by number of targets.

    Args:
        objective: A `ReferringObjective` in eval mode.
        batches: This process's batches of `ReferCollator` with truth.
        device: Where to run.
        processor: The model's `SspSamProcessor`.
        box_only: Whether boxes are all that is measured.
        observe: Called with (batch, row, answer) for each expression.

    Returns:
        Metrics by kind, `"all"` first, the same in every process.
    """
    metrics, boxes = GroupedMetrics(), BoxMetrics()
    for batch in batches:
        outputs = objective(to_device(batch, device) | {"predict_masks": not box_only}, predict=True)
        if batch.get("is_padding"):
            continue
        sizes, index = batch["original_sizes"], batch["image_index"].tolist()
        if box_only:
            boxes.update(processor, outputs.pred_boxes.float().cpu(), batch)
            continue
        answers = processor.post_process_referring_segmentation(
            outputs, sizes, index, reshaped_input_sizes=batch["reshaped_input_sizes"]
        )
        for row, answer in enumerate(answers):
            predicted, truth, box = answer["mask"].cpu().numpy(), batch["true_masks"][row], batch["true_boxes"][row]
            truth = np.zeros_like(predicted) if truth is None else truth
            overlap = None
            if box is not None:
                overlap = 0.0 if answer["box_xyxy"] is None else box_iou_xyxy(answer["box_xyxy"], box)
            metrics.update(predicted, truth, group=batch["kinds"][row], box_iou=overlap)
            if observe is not None:
                observe(batch, row, answer)
    if box_only:
        return boxes.compute()
    return _rounded(GroupedMetrics.from_states(gather_object([metrics.state()])).compute())


class BoxMetrics:
    """Streaming share of boxes that overlap the true one by half, and their mean overlap."""

    def __init__(self):
        self.sums = np.zeros(3)  # boxes, overlaps, overlaps of at least a half

    def update(self, processor, pred_boxes: torch.Tensor, batch: dict):
        """Adds the boxes (E, 4) of a batch, cxcywh on their canvas; expressions without a box are passed over."""
        for row, truth in enumerate(batch["true_boxes"]):
            if truth is not None:
                size_hw = tuple(batch["original_sizes"][batch["image_index"][row]].tolist())
                box = processor.image_processor.box_placement(size_hw).to_image(pred_boxes[row], size_hw)
                overlap = box_iou_xyxy(box, truth)
                self.sums += (1, overlap, overlap >= 0.5)

    def compute(self) -> dict:
        """Returns the metrics over all processes."""
        count, overlaps, hits = np.sum(gather_object([self.sums]), axis=0)
        shares = {"box IoU": overlaps, "box Acc@0.5": hits}
        return {"all": {"samples": int(count)} | {k: round(float(v / max(1, count)), 4) for k, v in shares.items()}}


def _rounded(result: dict) -> dict:
    return {kind: {k: round(v, 4) if v is not None else None for k, v in row.items()} for kind, row in result.items()}


def _corners(boxes_cxcywh: torch.Tensor) -> list[list[float]]:
    center, size = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:]
    return torch.cat([center - size / 2, center + size / 2], dim=1).tolist()
