# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Metrics of referring segmentation, summed up as predictions come; memory does not grow with the data.

I and U are the intersection and union of predicted and true mask in pixels, IoU is I / U. Three families:

- **RES**: mIoU is the mean IoU per expression, oIoU is sum I / sum U, Pr@X the fraction of expressions with IoU > X.
- **GRES** (gRefCOCO's evaluator): a no-target sample predicted empty has IoU 1 and adds nothing to I and U; predicted
  non-empty it has IoU 0 and adds the predicted area to U. A targeted sample predicted empty has IoU 0 and adds the true
  area to U. gIoU is the mean IoU over all samples, cIoU is sum I / sum U, N-acc the fraction of no-target samples
  predicted empty, T-acc the fraction of targeted samples predicted non-empty; Pr@X counts targeted samples only.
- **PhraseCut**: mIoU and cIoU over all expressions, Pr@X for X in 0.5, 0.7, 0.9.

In all of them, box Acc@0.5 is the fraction of true boxes whose predicted box overlaps them by an IoU of at least 0.5,
and a missing prediction has IoU 0. Sums are whole numbers, so that results do not depend on the order of the samples,
nor on how they are spread over processes.

Source: GRES (arXiv 2306.00968), PhraseCut (arXiv 2008.01187).
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ...processing.canvas_geometry import box_iou_xyxy  # noqa: F401 - what `update` takes

# The folder to hand to `evaluate.load`.
EVALUATE_MODULE = Path(__file__).resolve().parent / "referring_segmentation"

# What a sum of overlaps is counted in: 2**-60, below the spacing of float64 numbers in 0.1..1.
_UNITS = 2**60


class MetricFamily(NamedTuple):
    """How a family calls its two means, its precision thresholds, and whether it knows samples without a target."""

    mean: str
    overall: str
    thresholds: tuple[float, ...]
    knows_no_target: bool


FAMILIES = {
    "res": MetricFamily("mIoU", "oIoU", (0.5, 0.6, 0.7, 0.8, 0.9), False),
    "gres": MetricFamily("gIoU", "cIoU", (0.5, 0.6, 0.7, 0.8, 0.9), True),
    "phrasecut": MetricFamily("mIoU", "cIoU", (0.5, 0.7, 0.9), False),
}
SMALL_MASKS_RULES = ("all", "no_target")


class SampleScore(NamedTuple):
    """What one expression adds: its IoU, the areas in pixels, whether something is meant, and whether it was found."""

    iou: float
    intersection: int
    union: int
    targeted: bool
    found: bool


def score_areas(
    intersection: int,
    predicted_area: int | None,
    true_area: int,
    *,
    min_mask_pixels: int = 0,
    small_masks_rule: Literal["all", "no_target"] = "all",
    targeted: bool | None = None,
) -> SampleScore:
    """
    Scores one expression by areas in pixels.

    Args:
        intersection: Pixels of both masks.
        predicted_area: Pixels of the predicted mask; `None` for a missing prediction, which does not say "nothing".
        true_area: Pixels of the true mask, 0 where nothing is meant.
        min_mask_pixels: A predicted mask of fewer pixels counts as empty; 0 and 1 leave masks as they are.
        small_masks_rule: `"all"` applies that to every sample, `"no_target"` to no-target samples alone.
        targeted: Whether something is meant, where the true area does not tell because a small target was lost in
            resizing; it then has IoU 0.

    Raises:
        ValueError: The areas cannot belong together.
    """
    if not 0 <= intersection <= min(predicted_area or 0, true_area):
        raise ValueError(
            f"the intersection must lie in 0..{min(predicted_area or 0, true_area)}, the smaller of predicted area "
            f"{predicted_area} and true area {true_area}, got {intersection}"
        )
    intersection, true_area = int(intersection), int(true_area)
    targeted = true_area > 0 if targeted is None else targeted
    if predicted_area is None:
        # Wrong either way: "nothing" was not said where it would have been right.
        return SampleScore(0.0, 0, true_area, targeted, found=not targeted)
    predicted_area = int(predicted_area)
    if predicted_area < min_mask_pixels and (small_masks_rule == "all" or not targeted):
        intersection = predicted_area = 0
    union = predicted_area + true_area - intersection
    # Of two empty masks the overlap is 0/0, and a prediction of nothing is as good as it gets.
    iou = intersection / union if union else float(not targeted)
    return SampleScore(iou, intersection, union, targeted, found=predicted_area > 0)


def mask_areas(predicted_mask: Any, true_mask: Any) -> tuple[int, int | None, int]:
    """Returns the areas in pixels of the common, the predicted (`None` for no prediction) and the true mask."""
    true_mask = np.asarray(true_mask, dtype=bool)
    true_area = int(np.count_nonzero(true_mask))
    if predicted_mask is None:
        return 0, None, true_area
    predicted_mask = np.asarray(predicted_mask, dtype=bool)
    if predicted_mask.shape != true_mask.shape:
        raise ValueError(f"masks must have one shape, got {predicted_mask.shape} and {true_mask.shape}")
    return int(np.count_nonzero(predicted_mask & true_mask)), int(np.count_nonzero(predicted_mask)), true_area


class SegmentationMetrics:
    """
    Streaming metrics of one set of expressions.

    Args:
        family: `"gres"`, `"res"` or `"phrasecut"`.
        min_mask_pixels: A predicted mask of fewer pixels counts as empty; 0 and 1 leave masks as they are. The paper's
            rule is 50.
        small_masks_rule: `"all"` applies that to every sample, `"no_target"` to no-target samples alone, which is what
            the original SSP-SAM evaluation does.

    Raises:
        ValueError: An argument is none of the above.
    """

    def __init__(
        self,
        family: Literal["gres", "res", "phrasecut"] = "gres",
        *,
        min_mask_pixels: int = 0,
        small_masks_rule: Literal["all", "no_target"] = "all",
    ):
        if family not in FAMILIES:
            raise ValueError(f"family must be one of {', '.join(map(repr, FAMILIES))}, got {family!r}")
        if small_masks_rule not in SMALL_MASKS_RULES:
            raise ValueError(f"small_masks_rule must be 'all' or 'no_target', got {small_masks_rule!r}")
        if min_mask_pixels < 0:
            raise ValueError(f"min_mask_pixels must be at least 0, got {min_mask_pixels}")
        self.family, self.min_mask_pixels, self.small_masks_rule = family, min_mask_pixels, small_masks_rule
        names = ("samples", "missing", "targeted", "no_target", "iou", "intersection", "union")
        names += ("correct_empty", "correct_full", "boxes", "box_hits")
        self.sums: dict[str, int] = dict.fromkeys(names, 0)
        self.sums |= {f"above_{threshold}": 0 for threshold in FAMILIES[family].thresholds}

    def update(self, predicted_mask: Any, true_mask: Any, box_iou: float | None = None) -> SampleScore:
        """
        Adds one expression.

        Args:
            predicted_mask: Bool, any shape; `None` for a missing prediction.
            true_mask: Bool, the same shape; empty where nothing is meant.
            box_iou: Overlap of predicted and true box, where there is a true box; a missing box has overlap 0.

        Returns:
            Its score.

        Raises:
            ValueError: The shapes differ.
        """
        return self.update_areas(*mask_areas(predicted_mask, true_mask), box_iou)

    def update_areas(
        self,
        intersection: int,
        predicted_area: int | None,
        true_area: int,
        box_iou: float | None = None,
        targeted: bool | None = None,
    ) -> SampleScore:
        """Adds one expression by the areas, in pixels, of the common, the predicted and the true mask."""
        rule: dict[str, Any] = {"min_mask_pixels": self.min_mask_pixels, "small_masks_rule": self.small_masks_rule}
        score = score_areas(intersection, predicted_area, true_area, targeted=targeted, **rule)
        sums = self.sums
        sums["samples"] += 1
        sums["missing"] += predicted_area is None
        sums["targeted" if score.targeted else "no_target"] += 1
        sums["iou"] += round(score.iou * _UNITS)
        sums["intersection"] += score.intersection
        sums["union"] += score.union
        sums["correct_full"] += score.targeted and score.found
        sums["correct_empty"] += not (score.targeted or score.found)
        for threshold in FAMILIES[self.family].thresholds:
            sums[f"above_{threshold}"] += score.targeted and score.iou > threshold
        if box_iou is not None:
            sums["boxes"] += 1
            sums["box_hits"] += box_iou >= 0.5
        return score

    def merge(self, sums: dict[str, int]) -> "SegmentationMetrics":
        """Adds the `sums` of another accumulator of the same settings; returns this one."""
        for name, value in sums.items():
            self.sums[name] += value
        return self

    def compute(self) -> dict[str, float | int | None]:
        """
        Returns the metrics so far.

        Returns:
            The counts `samples`, `targeted`, `no_target` and, if there are any, `missing` predictions; `gIoU` and
            `cIoU`, `mIoU` and `oIoU`, or `mIoU` and `cIoU` by family; `Pr@X`; `N-acc` and `T-acc` in the GRES family;
            `box Acc@0.5`. A fraction of nothing is `None`.
        """
        sums, family = self.sums, FAMILIES[self.family]
        result: dict[str, float | int | None] = {name: sums[name] for name in ("samples", "targeted", "no_target")}
        if sums["missing"]:
            result["missing"] = sums["missing"]
        result[family.mean] = _fraction(sums["iou"], sums["samples"] * _UNITS)
        result[family.overall] = _fraction(sums["intersection"], sums["union"])
        of_targets = sums["targeted"] if family.knows_no_target else sums["samples"]
        for threshold in family.thresholds:
            result[f"Pr@{threshold}"] = _fraction(sums[f"above_{threshold}"], of_targets)
        if family.knows_no_target:
            result["N-acc"] = _fraction(sums["correct_empty"], sums["no_target"])
            result["T-acc"] = _fraction(sums["correct_full"], sums["targeted"])
        result["box Acc@0.5"] = _fraction(sums["box_hits"], sums["boxes"])
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
        self.groups: dict[Any, SegmentationMetrics] = {self.OVERALL: SegmentationMetrics(**settings)}

    def update(self, predicted_mask, true_mask, *, group: str, box_iou: float | None = None) -> SampleScore:
        """Adds one expression to its group and to the whole; see `SegmentationMetrics.update`."""
        return self.update_areas(*mask_areas(predicted_mask, true_mask), box_iou, groups=(group,))

    def update_areas(self, *values: Any, groups: Iterable = ()) -> SampleScore:
        """
        Adds one expression, by what `SegmentationMetrics.update_areas` takes, to the whole and to each of its groups,
        whose names are anything that keys a dict.
        """
        for group in groups:
            self.groups.setdefault(group, SegmentationMetrics(**self.settings)).update_areas(*values)
        return self.groups[self.OVERALL].update_areas(*values)

    def state(self) -> dict[Any, dict[str, int]]:
        """Returns the sums as plain numbers, to be sent between processes."""
        return {name: dict(metrics.sums) for name, metrics in self.groups.items()}

    @classmethod
    def from_states(cls, states: Iterable[dict], **settings) -> "GroupedMetrics":
        """Adds up what several processes have seen."""
        result = cls(**settings)
        for state in states:
            for name, sums in state.items():
                result.groups.setdefault(name, SegmentationMetrics(**settings)).merge(sums)
        return result

    def compute(self) -> dict[Any, dict[str, float | int | None]]:
        """Returns the metrics of every group, the whole first."""
        return {name: metrics.compute() for name, metrics in self.groups.items()}


def segmentation_metrics(
    predictions: Sequence, references: Sequence, *, box_ious: Sequence[float | None] | None = None, **settings
) -> dict[str, float | int | None]:
    """
    Returns the metrics of lists of masks.

    Args:
        predictions: Bool masks; `None` for a missing one.
        references: Bool masks of the same shapes; empty where nothing is meant.
        box_ious: Overlaps of predicted and true boxes (`box_iou_xyxy`); `None` where there is no true box.
        settings: Arguments of `SegmentationMetrics`.

    Raises:
        ValueError: The lists are not equally long, shapes differ, or a setting is unknown.
    """
    overlaps = [None] * len(references) if box_ious is None else box_ious
    if not len(predictions) == len(references) == len(overlaps):
        counts = f"{len(predictions)} predictions, {len(references)} references and {len(overlaps)} box_ious"
        raise ValueError(f"expected lists of one length, got {counts}")
    metrics = SegmentationMetrics(**settings)
    for predicted, true, overlap in zip(predictions, references, overlaps, strict=True):
        metrics.update(predicted, true, overlap)
    return metrics.compute()


def _fraction(part: int, whole: int) -> float | None:
    return part / whole if whole else None
