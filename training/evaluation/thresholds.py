# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Fits the thresholds of a processor and the calibration of its scores to images that no report uses."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from ..data.masks import decode
from .metrics import mask_areas, score_areas
from .run import Samples, predicted_batches

MASK_THRESHOLDS = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
# Of thresholds whose gIoU is this close to the best, the one with the best balance of N-acc and T-acc is taken.
GIOU_TOLERANCE = 0.003


@dataclass
class ThresholdFit:
    """Fitted settings of a processor, and what they give on the images they were fitted on."""

    mask_threshold: float
    no_target_threshold: float
    score_temperature: float
    score_bias: float
    gIoU: float
    n_acc: float
    t_acc: float

    def apply(self, processor):
        """Gives a processor the fitted settings."""
        for name in ("mask_threshold", "no_target_threshold", "score_temperature", "score_bias"):
            setattr(processor, name, getattr(self, name))


def fit_thresholds(segmenter, samples: Samples, *, batch_size: int = 8) -> ThresholdFit:
    """
    Fits mask threshold, no-target threshold and score calibration; the pipeline's processor keeps its own.

    The mask threshold maximises the mean IoU of targeted expressions, the no-target threshold gIoU, and temperature and
    bias the likelihood of "the prediction is right".
    """
    processor = segmenter.processor
    calibration = processor.score_temperature, processor.score_bias
    processor.score_temperature, processor.score_bias = 1.0, 0.0  # a plain confidence is what calibration starts from
    try:
        rows = _read_rows(segmenter, samples, batch_size)
    finally:
        processor.score_temperature, processor.score_bias = calibration
    overlaps, shown, foreground, probabilities, targeted = map(np.array, zip(*rows))
    best = int(overlaps[targeted].mean(0).argmax()) if targeted.any() else MASK_THRESHOLDS.index(0.5)
    iou, visible = overlaps[:, best], shown[:, best]
    threshold, figures = _fit_no_target(iou, visible, probabilities, targeted)
    found = visible & (probabilities <= threshold)
    temperature, bias = _fit_calibration(
        foreground[found, best], probabilities[found], (iou[found] > 0.5) & targeted[found]
    )
    return ThresholdFit(MASK_THRESHOLDS[best], threshold, temperature, bias, *figures)


def _read_rows(segmenter, samples: Samples, batch_size: int) -> list[tuple]:
    """
    Returns for each expression, by mask threshold, the IoU, whether there is a mask, and the mean probability of its
    pixels; then the probability that nothing is meant, and whether something is.
    """
    rows = []
    for batch in predicted_batches(segmenter, samples, batch_size=batch_size):
        for image, number, raw in batch:
            truth, probability = decode(image.items[number].truth), raw.no_target_probability
            overlaps, shown, means = [], [], []
            for threshold in MASK_THRESHOLDS:
                # With no gate and no calibration, score / (1 - p) is the mean probability of the mask's pixels.
                prediction = raw.read(mask_threshold=threshold, no_target_threshold=1.0, min_mask_pixels=0)
                mask = prediction["mask"].cpu().numpy()
                overlaps.append(score_areas(*mask_areas(mask, truth)).iou)
                shown.append(bool(mask.any()))
                means.append(prediction["score"] / max(1e-6, 1 - probability) if shown[-1] else 0.0)
            rows.append((overlaps, shown, means, probability, bool(truth.any())))
    return rows


def _fit_no_target(iou, visible, probabilities, targeted) -> tuple[float, tuple[float, float, float]]:
    """Tries every hundredth; returns the threshold, and gIoU, N-acc and T-acc there."""
    rows = []
    for threshold in np.arange(0.02, 0.99, 0.01):
        found = visible & (probabilities <= threshold)
        giou = np.where(targeted, iou * found, ~found).mean()
        n_acc = (~found)[~targeted].mean() if (~targeted).any() else 1.0
        t_acc = found[targeted].mean() if targeted.any() else 1.0
        rows.append((float(giou), float(n_acc), float(t_acc), round(float(threshold), 2)))
    highest = max(row[0] for row in rows)
    close = [row for row in rows if row[0] >= highest - GIOU_TOLERANCE]
    chosen = max(close, key=lambda row: min(row[1], row[2]))
    return chosen[3], chosen[:3]


def _fit_calibration(foreground, probabilities, right) -> tuple[float, float]:
    """Fits temperature and bias of (1 - p) sigmoid(logit(f) / T + b) by maximum likelihood."""
    if len(foreground) == 0:
        return 1.0, 0.0
    f = torch.tensor(foreground, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
    keep = torch.tensor(1 - probabilities, dtype=torch.float64)
    truth = torch.tensor(right, dtype=torch.float64)
    log_temperature = torch.zeros((), dtype=torch.float64, requires_grad=True)
    bias = torch.zeros((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        score = keep * torch.sigmoid(torch.logit(f) / log_temperature.exp() + bias)
        # A weak pull towards no change keeps the fit finite when every prediction is right.
        loss = torch.nn.functional.binary_cross_entropy(score.clamp(1e-6, 1 - 1e-6), truth)
        loss = loss + 1e-3 * (log_temperature**2 + bias**2)
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return round(math.exp(log_temperature.item()), 4), round(bias.item(), 4)
