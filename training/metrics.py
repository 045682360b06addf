# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Metrics of referring segmentation, summed up as predictions come; memory does not grow with the data.

I and U are the intersection and union of predicted and true mask in pixels. Two protocols:

- **RES**: mIoU is the mean of I / U per expression, oIoU is sum I / sum U, Pr@X the share of expressions with IoU > X.
- **GRES** (gRefCOCO's evaluator): a no-target sample predicted empty has IoU 1 and adds nothing to I and U; predicted
  non-empty it has IoU 0 and adds the predicted area to U. A targeted sample predicted empty has IoU 0 and adds the true
  area to U. gIoU is the mean IoU over all samples, cIoU is sum I / sum U, N-acc the share of no-target samples
  predicted empty, T-acc the share of targeted samples predicted non-empty; Pr@X counts targeted samples only.

Source: GRES (arXiv 2306.00968) for the second.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np

PRECISION_THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


class SegmentationMetrics:
    """
    Streaming metrics of one set of expressions.

    Args:
        protocol: `"gres"` or `"res"`.
        min_mask_pixels: A predicted mask of fewer pixels counts as empty; 0 and 1 leave masks as they are. The paper's
            rule is 50.
        small_masks_rule: `"all"` applies that to every sample, `"no_target"` to no-target samples alone, which is what
            the original SSP-SAM evaluation does.

    Raises:
        ValueError: An argument is none of the above.
    """

    def __init__(
        self,
        protocol: Literal["gres", "res"] = "gres",
        *,
        min_mask_pixels: int = 0,
        small_masks_rule: Literal["all", "no_target"] = "all",
    ):
        if protocol not in ("gres", "res"):
            raise ValueError(f"protocol must be 'gres' or 'res', got {protocol!r}")
        if small_masks_rule not in ("all", "no_target"):
            raise ValueError(f"small_masks_rule must be 'all' or 'no_target', got {small_masks_rule!r}")
        self.protocol, self.min_mask_pixels, self.small_masks_rule = protocol, min_mask_pixels, small_masks_rule
        names = ("samples", "targeted", "no_target", "iou", "intersection", "union", "correct_empty", "correct_full")
        self.sums: dict[str, float] = dict.fromkeys((*names, "boxes", "box_hits"), 0.0)
        self.sums |= {f"above_{threshold}": 0.0 for threshold in PRECISION_THRESHOLDS}

    def update(self, predicted_mask: np.ndarray, true_mask: np.ndarray, box_iou: float | None = None):
        """
        Adds one expression.

        Args:
            predicted_mask: Bool, any shape.
            true_mask: Bool, the same shape; empty where nothing is meant.
            box_iou: Overlap of predicted and true box, where there is a true box; a missing box has overlap 0.

        Raises:
            ValueError: The shapes differ.
        """
        predicted_mask, true_mask = np.asarray(predicted_mask, dtype=bool), np.asarray(true_mask, dtype=bool)
        if predicted_mask.shape != true_mask.shape:
            raise ValueError(f"masks must have one shape, got {predicted_mask.shape} and {true_mask.shape}")
        intersection = int(np.count_nonzero(predicted_mask & true_mask))
        self.update_areas(
            intersection, int(np.count_nonzero(predicted_mask)), int(np.count_nonzero(true_mask)), box_iou
        )

    def update_areas(self, intersection: int, predicted_area: int, true_area: int, box_iou: float | None = None):
        """Adds one expression by the areas, in pixels, of the common, the predicted and the true mask."""
        sums, targeted = self.sums, true_area > 0
        if predicted_area < self.min_mask_pixels and (self.small_masks_rule == "all" or not targeted):
            intersection = predicted_area = 0
        union = predicted_area + true_area - intersection
        sums["samples"] += 1
        sums["targeted" if targeted else "no_target"] += 1
        sums["intersection"] += intersection
        sums["union"] += union
        if targeted:
            iou = intersection / union
            sums["correct_full"] += predicted_area > 0
            for threshold in PRECISION_THRESHOLDS:
                sums[f"above_{threshold}"] += iou > threshold
        else:
            # The RES protocol knows no empty targets: IoU is 0/0 there, and an answer of nothing is as good as it gets.
            iou = float(predicted_area == 0)
            sums["correct_empty"] += predicted_area == 0
        sums["iou"] += iou
        if box_iou is not None:
            sums["boxes"] += 1
            sums["box_hits"] += box_iou >= 0.5

    def merge(self, other: "SegmentationMetrics") -> "SegmentationMetrics":
        """Adds what another accumulator of the same settings has seen; returns this one."""
        for name, value in other.sums.items():
            self.sums[name] += value
        return self

    def compute(self) -> dict[str, float | int | None]:
        """
        Returns the metrics so far.

        Returns:
            `gIoU`, `cIoU`, `N-acc`, `T-acc` or `mIoU`, `oIoU` by protocol; `Pr@X`, `box Acc@0.5`; the counts `samples`,
            `targeted`, `no_target`. A share of nothing is `None`.
        """
        sums = self.sums
        mean, overall = ("gIoU", "cIoU") if self.protocol == "gres" else ("mIoU", "oIoU")
        result: dict[str, float | int | None] = {name: int(sums[name]) for name in ("samples", "targeted", "no_target")}
        result[mean] = _share(sums["iou"], sums["samples"])
        result[overall] = _share(sums["intersection"], sums["union"])
        of_targets = sums["targeted"] if self.protocol == "gres" else sums["samples"]
        for threshold in PRECISION_THRESHOLDS:
            result[f"Pr@{threshold}"] = _share(sums[f"above_{threshold}"], of_targets)
        if self.protocol == "gres":
            result["N-acc"] = _share(sums["correct_empty"], sums["no_target"])
            result["T-acc"] = _share(sums["correct_full"], sums["targeted"])
        result["box Acc@0.5"] = _share(sums["box_hits"], sums["boxes"])
        return result


class GroupedMetrics:
    """
    `SegmentationMetrics` overall and per group, for example per kind of expression.

    Args:
        settings: Arguments of `SegmentationMetrics`.
    """

    OVERALL = "all"

    def __init__(self, **settings):
        self.settings = settings
        self.groups = {self.OVERALL: SegmentationMetrics(**settings)}

    def update(self, predicted_mask, true_mask, *, group: str, box_iou: float | None = None):
        """Adds one expression to its group and to the whole; see `SegmentationMetrics.update`."""
        group_metrics = self.groups.setdefault(group, SegmentationMetrics(**self.settings))
        group_metrics.update(predicted_mask, true_mask, box_iou)
        single = SegmentationMetrics(**self.settings)
        single.update(predicted_mask, true_mask, box_iou)
        self.groups[self.OVERALL].merge(single)

    def state(self) -> dict[str, dict[str, float]]:
        """Returns the sums as plain numbers, to be sent between processes."""
        return {name: dict(metrics.sums) for name, metrics in self.groups.items()}

    @classmethod
    def from_states(cls, states: Iterable[dict], **settings) -> "GroupedMetrics":
        """Adds up what several processes have seen."""
        result = cls(**settings)
        for state in states:
            for name, sums in state.items():
                metrics = result.groups.setdefault(name, SegmentationMetrics(**settings))
                for key, value in sums.items():
                    metrics.sums[key] += value
        return result

    def compute(self) -> dict[str, dict[str, float | int | None]]:
        """Returns the metrics of every group, the whole first."""
        return {name: metrics.compute() for name, metrics in self.groups.items()}


def box_iou_xyxy(first, second) -> float:
    """Returns the overlap of two boxes (left, top, right, bottom) in the same units, 0 for boxes without area."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return float(width * height / (sum(areas) - width * height))


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None
