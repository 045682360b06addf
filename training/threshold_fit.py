# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Measures a finished model on generated scenes at image resolution, and fits the thresholds of its processor."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from .metrics import GroupedMetrics, box_iou_xyxy
from .scenes import KINDS, Referral, Scene, draw_referrals, generate_scene

# Expressions of scene `seed` are drawn by (EXPRESSION_STREAM, seed), so that they are the same for every model.
EXPRESSION_STREAM = 7
COLUMNS = ("gIoU", "cIoU", "Pr@0.5", "Pr@0.7", "Pr@0.9", "N-acc", "T-acc", "box Acc@0.5")
MASK_THRESHOLDS = (0.35, 0.4, 0.45, 0.5, 0.55, 0.6)
# Of thresholds whose gIoU is this close to the best, the one with the best balance of N-acc and T-acc is taken.
GIOU_TOLERANCE = 0.003


def scene_samples(
    split: str, num_scenes: int, expressions_per_scene: int, first_seed: int = 0
) -> Iterator[tuple[Scene, list[Referral]]]:
    """Generates scenes with their expressions; the same arguments always give the same ones."""
    for seed in range(first_seed, first_seed + num_scenes):
        scene = generate_scene(seed, split)
        rng = np.random.default_rng((EXPRESSION_STREAM, seed))
        yield scene, draw_referrals(scene, rng, expressions_per_scene, split)


@torch.no_grad()
def predict_scenes(model, processor, samples, batch_size: int = 8) -> Iterator[tuple[Scene, Referral, float, Callable]]:
    """
    Runs a model over scenes, several at a time.

    Args:
        model: An `SspSamModel` in eval mode.
        processor: Its `SspSamProcessor`.
        samples: What `scene_samples` yields.
        batch_size: Scenes in one forward.

    Yields:
        Scene, referral, no-target probability (0 without such a head), and a function that takes the settings of
        `post_process_referring_segmentation` and returns the answer.
    """
    batch: list[tuple[Scene, list[Referral]]] = []
    for sample in samples:
        batch.append(sample)
        if len(batch) == batch_size:
            yield from _predict_batch(model, processor, batch)
            batch = []
    if batch:
        yield from _predict_batch(model, processor, batch)


def _predict_batch(model, processor, batch):
    texts = [[referral.expression for referral in referrals] for _, referrals in batch]
    inputs = processor(images=[scene.image for scene, _ in batch], text=texts, return_tensors="pt")
    sizes, image_index = inputs.pop("original_sizes"), inputs["image_index"]
    reshaped = inputs.pop("reshaped_input_sizes")
    outputs = model(**inputs.to(model.device))
    no_target = outputs.no_target_logits
    probabilities = [0.0] * len(image_index) if no_target is None else no_target.float().sigmoid().tolist()
    pairs = [(scene, referral) for scene, referrals in batch for referral in referrals]
    for row, (scene, referral) in enumerate(pairs):
        single = {
            "pred_masks": outputs.pred_masks[row : row + 1],
            "pred_boxes": None if outputs.pred_boxes is None else outputs.pred_boxes[row : row + 1],
            "no_target_logits": None if no_target is None else no_target[row : row + 1],
        }
        image = int(image_index[row])

        def answer(single=single, image=image, **settings) -> dict:
            return processor.post_process_referring_segmentation(
                single, sizes[image : image + 1], reshaped_input_sizes=reshaped[image : image + 1], **settings
            )[0]

        yield scene, referral, probabilities[row], answer


def measure(model, processor, samples, *, batch_size: int = 8, progress: Callable | None = None) -> dict[str, dict]:
    """
    Measures the GRES metrics at image resolution with the processor's own thresholds.

    Returns:
        Metrics overall (`"all"`) and per kind of expression, in the order of `KINDS`; `score_error` of `"all"` is the
        expected calibration error of the scores against "the answer is right" (IoU above 0.5, or rightly none).
    """
    metrics, scores, right = GroupedMetrics(), [], []
    for number, (scene, referral, _, answer_of) in enumerate(predict_scenes(model, processor, samples, batch_size)):
        answer = answer_of()
        mask, truth = answer["mask"].cpu().numpy(), scene.mask(referral.targets)
        true_box = scene.box_xyxy(referral.targets)
        box_iou = None
        if true_box is not None:
            box_iou = 0.0 if answer["box_xyxy"] is None else box_iou_xyxy(answer["box_xyxy"], true_box)
        metrics.update(mask, truth, group=referral.kind, box_iou=box_iou)
        scores.append(answer["score"])
        right.append(_is_right(mask, truth))
        if progress is not None:
            progress(number + 1)
    result = metrics.compute()
    result["all"]["score_error"] = calibration_error(np.array(scores), np.array(right))
    return {name: result[name] for name in ("all", *KINDS) if name in result}


def calibration_error(scores: np.ndarray, right: np.ndarray, num_bins: int = 10) -> float:
    """Returns the expected calibration error: mean gap between score and share of right answers over equal bins."""
    bins = np.minimum((scores * num_bins).astype(int), num_bins - 1)
    gaps = [abs(scores[bins == b].mean() - right[bins == b].mean()) * (bins == b).sum() for b in np.unique(bins)]
    return float(sum(gaps) / max(1, len(scores)))


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


def fit_thresholds(model, processor, samples, *, batch_size: int = 8, progress: Callable | None = None) -> ThresholdFit:
    """
    Fits mask threshold, no-target threshold and score calibration to scenes that no report uses.

    The mask threshold maximises the mean IoU of targeted expressions, the no-target threshold gIoU, and temperature
    and bias the likelihood of "the answer is right".
    """
    overlaps, shown, probabilities, targeted, foreground = [], [], [], [], []
    for number, (scene, referral, probability, answer_of) in enumerate(
        predict_scenes(model, processor, samples, batch_size)
    ):
        truth = scene.mask(referral.targets)
        row, non_empty, means = [], [], []
        for threshold in MASK_THRESHOLDS:
            # With no gate and no calibration, score / (1 - p) is the mean probability of the mask's pixels.
            answer = answer_of(mask_threshold=threshold, no_target_threshold=1.0)
            mask = answer["mask"].cpu().numpy()
            row.append(_iou(mask, truth))
            non_empty.append(bool(mask.any()))
            means.append(answer["score"] / max(1e-6, 1 - probability) if mask.any() else 0.0)
        overlaps.append(row)
        shown.append(non_empty)
        foreground.append(means)
        probabilities.append(probability)
        targeted.append(bool(referral.targets))
        if progress is not None:
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


def markdown_table(result: dict[str, dict]) -> str:
    """Formats metrics by kind as a Markdown table, in percent-free decimals; a dash where nothing was counted."""
    lines = ["| kind | expressions | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 2) + "|"]
    for name, row in result.items():
        cells = ["–" if row[column] is None else f"{row[column]:.3f}" for column in COLUMNS]
        lines.append(f"| {name} | {row['samples']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _iou(mask: np.ndarray, truth: np.ndarray) -> float:
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


def _is_right(mask: np.ndarray, truth: np.ndarray) -> bool:
    return _iou(mask, truth) > 0.5 if truth.any() else not mask.any()
