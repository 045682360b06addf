# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Runs a model over images by any number of processes with the same result.

The model runs as its pipeline runs it. Batches of images are the same whatever the number of processes, which take them
in turn, and each expression is predicted once.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from ...modeling_ssp_sam.losses import resize_mask_logits
from .samples import BenchmarkSamples, EvaluationImage, SceneSamples
from .validation import evaluation_keys

Samples = BenchmarkSamples | SceneSamples


class RawPrediction:
    """
    What a model says about one expression, before thresholds.

    Args:
        outputs: `pred_masks` (1, 1, h, w) and, of the heads that the model has, `pred_boxes` (1, 4) and
            `no_target_logits` (1,).
        size_hw: Height and width of the image.
        processor: The model's `SspSamProcessor`.
    """

    def __init__(self, outputs: dict[str, Any], size_hw: tuple[int, int], processor):
        self.outputs, self.size_hw, self.processor = outputs, size_hw, processor

    @property
    def no_target_probability(self) -> float:
        """Probability that nothing is meant; 0 for a model without such a head."""
        logits = self.outputs.get("no_target_logits")
        return 0.0 if logits is None else float(logits.float().sigmoid())

    def read(self, **settings) -> dict[str, Any]:
        """Returns the prediction; `settings` as in `SspSamProcessor.post_process_referring_segmentation`."""
        return self.processor.post_process_referring_segmentation(self.outputs, [self.size_hw], **settings)[0]

    def in_square(self, side: int) -> np.ndarray:
        """Returns the mask, (side, side) bool, of probabilities from 0.5 on, on SAM's canvas, padding included."""
        canvas_size = self.processor.image_processor.pad_size.height
        logits = resize_mask_logits(self.outputs["pred_masks"], canvas_size, side)[0]
        return (logits >= 0).cpu().numpy()

    def head_box_xyxy(self) -> list[float] | None:
        """Returns the box head's box in pixels of the image, whatever else the model says; `None` without one."""
        boxes = self.outputs.get("pred_boxes")
        if boxes is None:
            return None
        placement = self.processor.image_processor.box_placement(self.size_hw)
        return placement.to_image(boxes[0].float().tolist(), self.size_hw)


def predicted_batches(
    segmenter,
    samples: Samples,
    *,
    batch_size: int = 8,
    expression_batch_size: int = 64,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[list[tuple[EvaluationImage, int, RawPrediction]]]:
    """
    Yields, batch by batch of this process's part of the images, a list of image, index of the expression among its
    items, and `RawPrediction`; every image is encoded once for all its expressions.

    Raises:
        ValueError: An image or its annotations cannot be used.
    """
    keys = evaluation_keys(len(samples), batch_size, rank, world_size)
    loader = DataLoader(
        range(len(samples)),  # pyright: ignore[reportArgumentType]
        batch_sampler=[[index for _, index in batch] for batch in keys],
        num_workers=num_workers,
        collate_fn=functools.partial(_prepare, segmenter, samples),
    )
    for images, inputs in loader:
        if isinstance(inputs, ValueError):
            raise inputs
        outputs = segmenter.forward(inputs, expression_batch_size=expression_batch_size)["images"]
        yield [
            (image, number, prediction)
            for image, output in zip(images, outputs, strict=True)
            for number, prediction in enumerate(split_predictions(output, segmenter))
        ]


def _prepare(segmenter, samples: Samples, indices: Sequence[int]) -> tuple[list[EvaluationImage], Any]:
    """Reads images and makes the model's inputs; a fault is returned, since a worker process would garble it."""
    try:
        images = [samples[index] for index in indices]
        requests = [{"image": image.image, "text": [item.expression for item in image.items]} for image in images]
        return [image._replace(image=None) for image in images], segmenter.preprocess(requests)
    except ValueError as error:
        return [], error


def split_predictions(output: dict[str, Any], segmenter) -> Iterator[RawPrediction]:
    """One `RawPrediction` per expression of an image, on the model's device, where masks are enlarged fast."""
    rows = {name: values.to(segmenter.device) for name, values in output["outputs"].items()}
    height, width = (int(side) for side in output["original_size"])
    for row in range(len(output["labels"])):
        single = {name: values[row : row + 1] for name, values in rows.items()}
        yield RawPrediction(single, (height, width), segmenter.processor)


def predict_image(segmenter, image: Any, expressions: Sequence[str]) -> list[RawPrediction]:
    """Runs a pipeline over one image and expressions; returns what it says before thresholds."""
    inputs = segmenter.preprocess({"image": image, "text": list(expressions)})
    return list(split_predictions(segmenter.forward(inputs)["images"][0], segmenter))
