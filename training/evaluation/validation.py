# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The short evaluation during training, on the metrics of a full one; every process takes some of the batches."""

from collections.abc import Callable, Iterable, Iterator

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
    Yields this process's part of a dataset as batches.

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
        if not batch.get("is_padding"):
            count += 1
            sums |= {name: sums.get(name, 0.0) + float(value) for name, value in terms.items()}
    parts = gather_object([(count, sums)])
    total = max(1, sum(part[0] for part in parts))
    names = {name for part in parts for name in part[1]}
    return {name: round(sum(part[1].get(name, 0.0) for part in parts) / total, 4) for name in sorted(names)}


def evaluate_scenes(objective, batches, device, *, mask_threshold=0.5, no_target_threshold=0.5) -> dict:
    """
    Measures the GRES metrics on the canvas by kind, `"all"` first, the same in every process.

    Args:
        objective: A `ReferringObjective` in eval mode.
        batches: This process's batches of `ReferringCollator`.
        no_target_threshold: Probability of "no target" above which the mask is emptied.
    """
    logit_threshold = torch.logit(torch.tensor(float(mask_threshold))).item()

    def read(batch, outputs):
        size = batch["mask_labels"].shape[-2:]
        logits = F.interpolate(outputs.pred_masks.float(), size, mode="bilinear", align_corners=False).squeeze(1)
        masks = logits > logit_threshold
        if outputs.no_target_logits is not None:
            masks &= (outputs.no_target_logits.sigmoid() <= no_target_threshold)[:, None, None]
        truths = batch["mask_labels"].numpy() > 0.5
        boxes = true_boxes = [None] * len(truths)
        if outputs.pred_boxes is not None:
            boxes, true_boxes = _corners(outputs.pred_boxes.cpu()), _corners(batch["box_labels"])
            true_boxes = [None if nothing else box for box, nothing in zip(true_boxes, batch["no_target_labels"])]
        return zip(masks.cpu().numpy(), truths, boxes, true_boxes)

    return _evaluate(objective, batches, device, read)


def evaluate_references(
    objective, batches, device, *, processor, box_only=False, observe: Callable | None = None
) -> dict:
    """
    Measures the GRES metrics at image resolution with the processor's own thresholds, by number of targets, `"all"`
    first, the same in every process.

    Args:
        objective: A `ReferringObjective` in eval mode.
        batches: This process's batches of `ReferCollator` with truth.
        box_only: Whether boxes are all that is measured.
        observe: Called with (batch, row, prediction) for each expression.
    """
    if box_only:
        return _evaluate_boxes(objective, batches, device, processor)

    def read(batch, outputs):
        predictions = processor.post_process_referring_segmentation(
            outputs,
            batch["original_sizes"],
            batch["image_index"].tolist(),
            reshaped_input_sizes=batch["reshaped_input_sizes"],
        )
        for row, prediction in enumerate(predictions):
            mask, truth = prediction["mask"].cpu().numpy(), batch["true_masks"][row]
            truth = np.zeros_like(mask) if truth is None else truth
            yield mask, truth, prediction["box_xyxy"], batch["true_boxes"][row]
            if observe is not None:
                observe(batch, row, prediction)

    return _evaluate(objective, batches, device, read)


def _evaluate(objective, batches, device, read: Callable[..., Iterable[tuple]]) -> dict:
    """Adds up what `read` makes of each batch: predicted and true mask, and predicted and true box or `None`."""
    metrics = GroupedMetrics()
    for batch, outputs in _outputs(objective, batches, device):
        for kind, (mask, truth, box, true_box) in zip(batch["kinds"], read(batch, outputs), strict=True):
            overlap = None if true_box is None else box_iou_xyxy(box, true_box)
            metrics.update(mask, truth, group=kind, box_iou=overlap)
    result = GroupedMetrics.from_states(gather_object([metrics.state()])).compute()
    return {kind: {k: round(v, 4) if v is not None else None for k, v in row.items()} for kind, row in result.items()}


def _evaluate_boxes(objective, batches, device, processor) -> dict:
    """Returns the mean overlap with the true boxes, and the fraction of them that are overlapped by a half or more."""
    sums = np.zeros(3)  # boxes, overlaps, overlaps of at least a half
    for batch, outputs in _outputs(objective, batches, device, predict_masks=False):
        for row, true_box in enumerate(batch["true_boxes"]):
            if true_box is not None:
                size_hw = tuple(batch["original_sizes"][batch["image_index"][row]].tolist())
                placement = processor.image_processor.box_placement(size_hw)
                overlap = box_iou_xyxy(placement.to_image(outputs.pred_boxes[row].float().cpu(), size_hw), true_box)
                sums += (1, overlap, overlap >= 0.5)
    count, *totals = np.sum(gather_object([sums]), axis=0)
    means = [round(float(total / max(1, count)), 4) for total in totals]
    return {"all": {"samples": int(count), **dict(zip(("box IoU", "box Acc@0.5"), means))}}


@torch.no_grad()
def _outputs(objective, batches, device, **options) -> Iterator[tuple[dict, object]]:
    """Runs the objective; yields each batch that counts with the outputs of the model."""
    for batch in batches:
        outputs = objective(to_device(batch, device) | options, predict=True)
        if not batch.get("is_padding"):
            yield batch, outputs


def _corners(boxes_cxcywh: torch.Tensor) -> list[list[float]]:
    center, size = boxes_cxcywh[:, :2], boxes_cxcywh[:, 2:]
    return torch.cat([center - size / 2, center + size / 2], dim=1).tolist()
