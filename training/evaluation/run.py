# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Evaluation of a model, or of saved predictions, by any number of processes with the same result.

The model runs as its pipeline runs it. Batches of images are the same whatever the number of processes, which take them
in turn; each expression is predicted and counted once, and sums are added up before anything is divided.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from accelerate.utils import gather_object
from torch.utils.data import DataLoader

from ...modeling_ssp_sam.losses import resize_mask_logits
from .predictions import SavedPredictions
from .protocols import EvaluationAccumulator, prediction_record
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
        """Returns the mask, (side, side) bool, where the sigmoid is at least 0.5 on SAM's canvas, padding included."""
        canvas_size = self.processor.image_processor.pad_size.height
        logits = resize_mask_logits(self.outputs["pred_masks"], canvas_size, side)[0]
        return (logits.sigmoid() >= 0.5).cpu().numpy()

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
    Runs a pipeline over this process's part of the images; every image is encoded once for all its expressions.

    Args:
        segmenter: A `ReferringSegmentationPipeline`.
        samples: The images.
        batch_size: Images in one pass of the image encoders.
        expression_batch_size: Most expressions in one pass of the mask decoder.
        num_workers: Processes that read and prepare images.
        rank: This process's number.
        world_size: Processes in all.

    Yields:
        Per batch, a list of image, index of the expression among its items, and `RawPrediction`.

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


def evaluate_model(
    accumulator: EvaluationAccumulator,
    segmenter,
    samples: Samples,
    *,
    settings: dict[str, Any],
    gather_predictions: bool = False,
    write: Callable | None = None,
    batch_size: int = 8,
    rank: int = 0,
    world_size: int = 1,
    progress: Callable[[int], Any] = lambda done: None,
    **options,
) -> EvaluationAccumulator:
    """
    Evaluates a model.

    Args:
        accumulator: Empty sums of this process.
        segmenter: A `ReferringSegmentationPipeline`.
        samples: The images.
        settings: Thresholds in place of the processor's own.
        gather_predictions: Whether predictions are brought to the process that has a `write`.
        write: What `write_predictions` yields; `None` in the other processes.
        batch_size: Images in one pass of the image encoders.
        rank: This process's number.
        world_size: Processes in all.
        progress: Called with the number of expressions done by all processes so far.
        options: As in `predicted_batches`.

    Returns:
        The sums of all processes, the same in each.

    Raises:
        ValueError: An image or its annotations cannot be used.
        RuntimeError: Not every expression was counted once.
    """
    batches = predicted_batches(segmenter, samples, batch_size=batch_size, rank=rank, world_size=world_size, **options)
    for _ in range(-(-len(samples) // (batch_size * world_size))):
        records = []
        # In the last round some processes have nothing left to do; they bring an empty list.
        for image, number, prediction in next(batches, []):
            record = prediction_record(image, image.items[number], prediction, **settings)
            accumulator.add(image, number, record)
            records.append(record)
        if gather_predictions:
            gathered = gather_object(records)
            if write is not None:
                write(gathered)
        progress(min(accumulator.num_samples * world_size, samples.num_expressions))
    return _joined(accumulator, samples)


def evaluate_predictions(
    accumulator: EvaluationAccumulator,
    saved: SavedPredictions,
    samples: Samples,
    *,
    rank: int = 0,
    world_size: int = 1,
) -> EvaluationAccumulator:
    """
    Evaluates saved predictions; images are not read, and no model is needed.

    Args:
        accumulator: Empty sums of this process.
        saved: The predictions.
        samples: The images that they belong to.
        rank: This process's number.
        world_size: Processes in all.

    Returns:
        The sums of all processes, the same in each.

    Raises:
        ValueError: A prediction is about another image, or its mask has another size.
    """
    saved.check_sources(samples.shared_ref_ids)
    for index in range(rank, len(samples), world_size):
        image = samples.without_image(index)
        for number, item in enumerate(image.items):
            try:
                accumulator.add(image, number, saved.take(image, item))
            except ValueError as error:
                where = f"the prediction for sentence {item.sentence} of reference {item.ref_id!r}"
                raise ValueError(f"{where} does not fit image {image.image_id!r}: {error}") from error
    return _joined(accumulator, samples)


def _joined(accumulator: EvaluationAccumulator, samples: Samples) -> EvaluationAccumulator:
    joined = accumulator.merged(gather_object([accumulator.state()]))
    if joined.num_samples != samples.num_expressions:
        raise RuntimeError(f"counted {joined.num_samples} expressions of {samples.num_expressions}")
    return joined
