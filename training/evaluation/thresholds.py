# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Fits the thresholds of a processor and the calibration of its scores to pictures that no report uses."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..data.masks import decode
from .run import predicted_batches

MASK_THRESHOLDS = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
# Of thresholds whose gIoU is this close to the best, the one with the best balance of N-acc and T-acc is taken.
GIOU_TOLERANCE = 0.003


@dataclass
class ThresholdFit:
    """Fitted settings of a processor, and what they give on the scenes they were fitted on."""

    mask_threshold: float
    no_target_threshold: float
    score_temperature: float
    score_bias: float
    gIoU: float
    n_acc: float
    t_acc: float


def fit_thresholds(
    model, processor, images, *, batch_size: int = 8, progress: Callable[[int], None] = lambda done: None
) -> ThresholdFit:
    """
    Fits mask threshold, no-target threshold and score calibration.

    The mask threshold maximises the mean IoU of targeted expressions, the no-target threshold gIoU, and temperature
    and bias the likelihood of "the answer is right".

    Args:
        model: An `SspSamModel` in eval mode.
        processor: Its `SspSamProcessor`, with a temperature of 1, a bias of 0 and no rule for small masks.
        images: `PreparedImages` or `SceneImages`.
        batch_size: Pictures in one pass of the image encoders.
        progress: Called with the number of expressions done.
    """
    overlaps, shown, probabilities, targeted, foreground = [], [], [], [], []
    answers = (row for batch in predicted_batches(model, processor, images, batch_size=batch_size) for row in batch)
    for number, (image, place, raw) in enumerate(answers):
        truth, probability = decode(image.items[place].truth), raw.no_target_probability
        row, non_empty, means = [], [], []
        for threshold in MASK_THRESHOLDS:
            # With no gate and no calibration, score / (1 - p) is the mean probability of the mask's pixels.
            answer = raw.read(mask_threshold=threshold, no_target_threshold=1.0)
            mask = answer["mask"].cpu().numpy()
            row.append(_iou(mask, truth))
            non_empty.append(bool(mask.any()))
            means.append(answer["score"] / max(1e-6, 1 - probability) if mask.any() else 0.0)
        overlaps.append(row)
        shown.append(non_empty)
        foreground.append(means)
        probabilities.append(probability)
        targeted.append(bool(truth.any()))
        progress(number + 1)
    overlaps, shown, foreground = np.array(overlaps), np.array(shown), np.array(foreground)
    probabilities, targeted = np.array(probabilities), np.array(targeted)
    best = int(overlaps[targeted].mean(0).argmax())
    iou, visible = overlaps[:, best], shown[:, best]
    threshold, figures = _fit_no_target(iou, visible, probabilities, targeted)
    answered = visible & (probabilities <= threshold)
    temperature, bias = _fit_calibration(
        foreground[answered, best], probabilities[answered], (iou[answered] > 0.5) & targeted[answered]
    )
    return ThresholdFit(MASK_THRESHOLDS[best], threshold, temperature, bias, *figures)


def _fit_no_target(iou, visible, probabilities, targeted) -> tuple[float, tuple[float, float, float]]:
    """Tries every hundredth; returns the threshold, and gIoU, N-acc and T-acc there."""
    rows = []
    for threshold in np.arange(0.02, 0.99, 0.01):
        answered = visible & (probabilities <= threshold)
        giou = np.where(targeted, iou * answered, ~answered).mean()
        n_acc = (~answered)[~targeted].mean() if (~targeted).any() else 1.0
        t_acc = answered[targeted].mean() if targeted.any() else 1.0
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
        # A weak pull towards no change keeps the fit finite when every answer is right.
        loss = torch.nn.functional.binary_cross_entropy(score.clamp(1e-6, 1 - 1e-6), truth)
        loss = loss + 1e-3 * (log_temperature**2 + bias**2)
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return round(math.exp(log_temperature.item()), 4), round(bias.item(), 4)


def _iou(mask: np.ndarray, truth: np.ndarray) -> float:
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0
