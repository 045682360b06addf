# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Where masks are scored, and the sums of an evaluation by both protocols side by side.

- **standard**: at the image's own resolution, with the thresholds of the model's processor.
- **original**: as SSP-SAM's authors score, in SAM's padded square resized to 512 x 512. The true mask goes onto
  SAM's canvas and from there by nearest, the logits by bilinear resizing; pixels whose sigmoid is at least 0.5 are
  inside. A mask of fewer than 50 such pixels counts as empty where nothing is meant, and there alone. Boxes are those
  of the box head, whatever the mask. N-acc and T-acc follow their definition: the authors' code counts any IoU of
  exactly 1 for the first and asks for an IoU below 1 in the second.

Where a no-target head says "nothing", the mask is empty in both.

Source: SSP-SAM (arXiv 2603.18086), evaluation.
"""

from array import array
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ...processing.canvas_geometry import fit_segmenter, mask_label
from ..data.masks import area, decode, encode, intersection_area
from .metrics import GroupedMetrics, box_iou_xyxy, mask_areas
from .samples import EvaluationImage, EvaluationItem

SQUARE_SIDE = 512
PAPER_MIN_MASK_PIXELS = 50
NUM_SCORE_BINS = 10
_SCORE_UNITS = 2**60
_FINGERPRINTS = 2**256


@dataclass(frozen=True)
class EvaluationProtocol:
    """One way to score a mask, as a report states it."""

    name: str  # `"standard"` or `"original"`
    pixel_space: str  # the pixels that areas, and so `min_mask_pixels`, are counted in
    mask_threshold: float | None  # probability from which a pixel is inside; `None` where masks come from elsewhere
    min_mask_pixels: int  # a predicted mask of fewer pixels counts as empty
    small_masks_rule: str  # `"all"` samples, or those of `"no_target"` alone

    @classmethod
    def standard(cls, mask_threshold: float | None, min_mask_pixels: int) -> "EvaluationProtocol":
        """Masks at the image's own resolution."""
        return cls("standard", "pixels of the image", mask_threshold, min_mask_pixels, "all")

    @classmethod
    def original(cls) -> "EvaluationProtocol":
        """Masks in SAM's padded square, resized to 512 x 512."""
        space = f"pixels of SAM's padded square resized to {SQUARE_SIDE} x {SQUARE_SIDE}"
        return cls("original", space, 0.5, PAPER_MIN_MASK_PIXELS, "no_target")


def square_mask(mask: np.ndarray, canvas_size: int) -> np.ndarray:
    """Returns a mask, (H, W) bool, in the square of the original protocol: onto SAM's canvas, zero padding, nearest."""
    canvas_hw = (canvas_size, canvas_size)
    return mask_label(mask, fit_segmenter(mask.shape[:2], canvas_size), canvas_hw, SQUARE_SIDE)


def prediction_record(image: EvaluationImage, item: EvaluationItem, raw, **settings) -> dict[str, Any]:
    """
    Returns the prediction for one expression: what is scored, and with `saved_record` what is saved.

    `segmentation` is at the image's size, as COCO run lengths, and `segmentation_512` in the square, (512, 512) bool;
    `box_xyxy` is that of the prediction and `head_box_xyxy` that of the box head alone, in pixels of the image, `None`
    for none.

    Args:
        raw: A `RawPrediction` for it.
        settings: Thresholds in place of the processor's own, as `RawPrediction.read` takes them.
    """
    found = raw.read(**settings)
    probability, limit = raw.no_target_probability, settings.get("no_target_threshold")
    gated = probability > (raw.processor.no_target_threshold if limit is None else limit)
    square = np.zeros((SQUARE_SIDE, SQUARE_SIDE), dtype=bool) if gated else raw.in_square(SQUARE_SIDE)
    return {
        "source": image.source,
        "image_id": image.image_id,
        "ref_id": item.ref_id,
        "sentence": item.sentence,
        "expression": item.expression,
        "segmentation": encode(found["mask"].cpu().numpy()),
        "segmentation_512": square,
        "box_xyxy": found["box_xyxy"],
        "head_box_xyxy": raw.head_box_xyxy() or found["box_xyxy"],
        "score": float(found["score"]),
        "no_target_probability": probability,
    }


def saved_record(record: dict[str, Any]) -> dict[str, Any]:
    """Returns a `prediction_record` as JSON can hold it, both masks as COCO run lengths."""
    return {**record, "segmentation_512": encode(record["segmentation_512"])}


class EvaluationAccumulator:
    """
    The sums of an evaluation; a few numbers per breakdown and group, and three per expression for finding cases again.

    Args:
        family: Family of metrics: `"res"`, `"gres"` or `"phrasecut"`.
        protocols: The standard and the original protocol.
        canvas_size: Side of SAM's canvas in pixels.
    """

    def __init__(self, family: str, protocols: Iterable[EvaluationProtocol], canvas_size: int):
        self.family, self.canvas_size = family, canvas_size
        self.protocols = {protocol.name: protocol for protocol in protocols}
        self.metrics = {
            name: GroupedMetrics(
                family=family, min_mask_pixels=protocol.min_mask_pixels, small_masks_rule=protocol.small_masks_rule
            )
            for name, protocol in self.protocols.items()
        }
        # Of each bin of scores: predictions, the sum of their scores, right ones.
        self.score_bins = [[0, 0, 0] for _ in range(NUM_SCORE_BINS)]
        self.fingerprint = 0
        # Of every expression: its image, its index there, its IoU by the standard protocol; without target, -1 - IoU.
        self.cases = (array("l"), array("l"), array("d"))

    def add(self, image: EvaluationImage, number: int, prediction: dict | None):
        """
        Adds the expression of this number among `image.items`; its prediction is a `prediction_record` or what a file
        holds, `None` if missing.
        """
        item = image.items[number]
        targeted = area(item.truth) > 0
        for name, metrics in self.metrics.items():
            areas = self._square_areas(item.truth, prediction) if name == "original" else _areas(item.truth, prediction)
            score = metrics.update_areas(*areas, _box_iou(name, item, prediction), targeted, groups=item.groups)
            if name == "standard":
                self._add_case(image.index, number, score, None if prediction is None else prediction.get("score"))
        self.fingerprint = (self.fingerprint + item.fingerprint(image.image_id)) % _FINGERPRINTS

    def _square_areas(self, truth: dict, prediction: dict | None) -> tuple[int, int | None, int]:
        prediction = prediction or {}
        predicted = prediction.get("segmentation")
        if predicted is not None:
            square = prediction.get("segmentation_512")
            if square is None:
                square = square_mask(decode(predicted), self.canvas_size)
            predicted = square if isinstance(square, np.ndarray) else decode(square)
        return mask_areas(predicted, square_mask(decode(truth), self.canvas_size))

    def _add_case(self, image_index: int, number: int, score, confidence: float | None):
        for values, value in zip(self.cases, (image_index, number, score.iou if score.targeted else -1 - score.iou)):
            values.append(value)
        if confidence is not None:
            right = score.iou > 0.5 if score.targeted else not score.found
            score_bin = min(int(confidence * NUM_SCORE_BINS), NUM_SCORE_BINS - 1)
            _add_up(self.score_bins[score_bin], (1, round(confidence * _SCORE_UNITS), int(right)))

    def state(self) -> dict[str, Any]:
        """Returns everything that was summed up, to be sent between processes."""
        sums = {name: metrics.state() for name, metrics in self.metrics.items()}
        return {"sums": sums, "bins": self.score_bins, "fingerprint": self.fingerprint, "cases": self.cases}

    def merged(self, states: Iterable[dict[str, Any]]) -> "EvaluationAccumulator":
        """Returns the sums of what several processes have seen, given the `state` of each."""
        states, result = list(states), EvaluationAccumulator(self.family, self.protocols.values(), self.canvas_size)
        for name, metrics in self.metrics.items():
            result.metrics[name] = GroupedMetrics.from_states(
                (state["sums"][name] for state in states), **metrics.settings
            )
        for state in states:
            for sums, more in zip(result.score_bins, state["bins"]):
                _add_up(sums, more)
            result.fingerprint = (result.fingerprint + state["fingerprint"]) % _FINGERPRINTS
            for values, more in zip(result.cases, state["cases"]):
                values.extend(more)
        return result

    @property
    def num_samples(self) -> int:
        """Expressions added so far."""
        return len(self.cases[0])

    def results(self) -> dict[str, dict[str, Any]]:
        """
        Returns for each protocol its `settings`, the metrics over all expressions (`all`) and `breakdowns`, which map a
        breakdown to its groups' metrics; the standard protocol also has `score_error`.
        """
        results: dict[str, dict[str, Any]] = {}
        for name, metrics in self.metrics.items():
            rows = metrics.compute()
            results[name] = {"settings": asdict(self.protocols[name]), "all": rows.pop(GroupedMetrics.OVERALL)}
            breakdowns: dict[str, dict[str, Any]] = {}
            for (breakdown, group), row in sorted(rows.items()):
                breakdowns.setdefault(breakdown, {})[group] = row
            results[name]["breakdowns"] = breakdowns
        if "standard" in results:
            results["standard"]["score_error"] = self.score_error()
        return results

    def score_error(self) -> float | None:
        """
        Returns the expected calibration error: the mean gap, over ten equal bins of the scores, between mean score and
        fraction of right predictions, which have an IoU above 0.5 or rightly say "nothing"; `None` without scores.
        """
        scored = sum(count for count, _, _ in self.score_bins)
        gaps = sum(abs(scores - right * _SCORE_UNITS) for _, scores, right in self.score_bins)
        return gaps / (scored * _SCORE_UNITS) if scored else None


def _areas(truth: dict, prediction: dict | None) -> tuple[int, int | None, int]:
    predicted = None if prediction is None else prediction.get("segmentation")
    if predicted is None:
        return 0, None, area(truth)
    return intersection_area(predicted, truth), area(predicted), area(truth)


def _add_up(sums: list[int], values: Iterable[int]):
    sums[:] = (total + value for total, value in zip(sums, values))


def _box_iou(protocol: str, item: EvaluationItem, prediction: dict | None) -> float | None:
    """The overlap of predicted and true box; `None` without a true box, or where predictions carry no boxes at all."""
    if item.box_xyxy is None:
        return None
    key = "head_box_xyxy" if protocol == "original" else "box_xyxy"
    if prediction is None:
        return 0.0
    return box_iou_xyxy(prediction[key], item.box_xyxy) if key in prediction else None
