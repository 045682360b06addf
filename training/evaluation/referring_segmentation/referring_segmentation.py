# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
The metrics of `ssp_sam.training.evaluation.metrics` as a module of the `evaluate` library.

`evaluate` copies this file into its cache and runs the copy, so it finds the metrics by importing `ssp_sam`. What it
keeps of a sample is a few numbers: masks are reduced to areas as they are added, and none is stored.
"""

import datasets
import evaluate
import numpy as np

try:
    from ssp_sam.training.data.masks import area, decode, intersection_area
    from ssp_sam.training.evaluation.metrics import FAMILIES, GroupedMetrics, box_iou_xyxy, mask_areas
except ImportError as error:
    raise ImportError(
        f"the metric 'referring_segmentation' computes with the package ssp_sam, which cannot be imported ({error}); "
        "install it with `pip install ssp-sam`, or put the root of its checkout on PYTHONPATH"
    ) from error

_DESCRIPTION = """\
Metrics of referring segmentation: mIoU, oIoU, gIoU, cIoU, Pr@0.5 to Pr@0.9, N-acc, T-acc and box Acc@0.5, by the
definitions of RES, GRES and PhraseCut."""

_INPUTS = """
Args of `add`, `add_batch` and `compute` (`add` takes one of each, under the names in the singular):
    predictions: bool masks (height, width), COCO run lengths {"size", "counts"}, or None for a missing prediction.
    references: masks of the same sizes in either form; empty where nothing is meant.
    predicted_boxes, true_boxes (optional): [left, top, right, bottom]; None for no box. Samples without a true box do
        not count for box Acc@0.5.
    groups (optional): a name per sample; `compute` then also returns the metrics of each, under "groups".
Further args of `compute`:
    family: "gres", "res" or "phrasecut"; the name of the configuration by default, "gres" without one.
    min_mask_pixels: predicted masks of fewer pixels count as empty, 0 by default.
    small_masks_rule: "all", or "no_target" to apply that to samples without a target alone.
"""

_CITATION = """\
@inproceedings{liu2023gres, title={GRES: Generalized Referring Expression Segmentation},
author={Liu, Chang and Ding, Henghui and Jiang, Xudong}, booktitle={CVPR}, year={2023}}"""

# What is stored of one sample; an area of -1 stands for a missing prediction, an overlap of -1 for no true box.
_FEATURES = {
    "predictions": {"intersection": datasets.Value("int64"), "area": datasets.Value("int64")},
    "references": {"area": datasets.Value("int64")},
    "box_ious": datasets.Value("float64"),
    "groups": datasets.Value("string"),
}


class ReferringSegmentation(evaluate.Metric):
    """See `inputs_description`."""

    def _info(self):
        if self.config_name not in ("default", *FAMILIES):
            raise ValueError(f"the configuration must be one of {', '.join(FAMILIES)}, got {self.config_name!r}")
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(_FEATURES),
        )

    def add(self, *, prediction, reference, predicted_box=None, true_box=None, group=None):
        """Adds one sample."""
        self.add_batch(
            predictions=[prediction],
            references=[reference],
            predicted_boxes=[predicted_box],
            true_boxes=[true_box],
            groups=[group],
        )

    def add_batch(self, *, predictions, references, predicted_boxes=None, true_boxes=None, groups=None):
        """Adds samples."""
        count = len(references)
        columns = {"predicted_boxes": predicted_boxes, "true_boxes": true_boxes, "groups": groups}
        columns = {name: [None] * count if values is None else values for name, values in columns.items()}
        for name, values in {"predictions": predictions, **columns}.items():
            if len(values) != count:
                raise ValueError(f"expected one of {name} per reference, got {len(values)} for {count}")
        areas = [_areas(*pair) for pair in zip(predictions, references)]
        box_pairs = zip(columns["predicted_boxes"], columns["true_boxes"])
        evaluate.Metric.add_batch(
            self,
            predictions=[{"intersection": row[0], "area": -1 if row[1] is None else row[1]} for row in areas],
            references=[{"area": row[2]} for row in areas],
            box_ious=[-1.0 if true is None else box_iou_xyxy(predicted, true) for predicted, true in box_pairs],
            groups=["" if group is None else str(group) for group in columns["groups"]],
        )

    def compute(
        self, *, predictions=None, references=None, predicted_boxes=None, true_boxes=None, groups=None, **settings
    ):
        """Adds what is given, then computes over all that was added and forgets it."""
        settings["family"] = settings.get("family") or ("gres" if self.config_name == "default" else self.config_name)
        GroupedMetrics(**settings)  # a wrong setting is told before anything is forgotten
        if predictions is not None or references is not None:
            boxes = {"predicted_boxes": predicted_boxes, "true_boxes": true_boxes}
            self.add_batch(predictions=predictions, references=references, groups=groups, **boxes)
        return evaluate.Metric.compute(self, **settings)

    def _compute(self, predictions, references, box_ious, groups, **settings):
        metrics = GroupedMetrics(**settings)
        for predicted, true, box_iou, group in zip(predictions, references, box_ious, groups):
            predicted_area = None if predicted["area"] < 0 else predicted["area"]
            values = (predicted["intersection"], predicted_area, true["area"], None if box_iou < 0 else box_iou)
            metrics.update_areas(*values, groups=(group,) if group else ())
        result = metrics.compute()
        overall = result.pop(GroupedMetrics.OVERALL)
        return {**overall, "groups": result} if result else overall


def _areas(predicted, true):
    """Areas of the common, the predicted and the true mask; run lengths are not drawn where both are given so."""
    if isinstance(predicted, dict) and isinstance(true, dict):
        return intersection_area(predicted, true), area(predicted), area(true)
    return mask_areas(*(decode(mask) if isinstance(mask, dict) else _array(mask) for mask in (predicted, true)))


def _array(mask):
    return None if mask is None else np.asarray(mask)
