# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Evaluation of a model, or of saved predictions, by any number of processes with the same result.

Batches of pictures are the same whatever the number of processes, which take them in turn; each expression is answered
and counted once, and sums are added up before anything is divided.
"""

from collections.abc import Callable, Iterator
from typing import Any

from accelerate.utils import gather_object
from torch.utils.data import DataLoader

from .predictions import PredictionWriter, SavedPredictions
from .predictor import predict_expressions, prepare_images
from .protocols import EvaluationTally, prediction_record
from .samples import EvaluationImage
from .validation import evaluation_keys


class ImageCollator:
    """Prepares pictures with their expressions for the model; `DataLoader` runs it in its workers."""

    def __init__(self, processor):
        self.processor = processor

    def __call__(self, images: list[EvaluationImage]) -> tuple[list[EvaluationImage], dict]:
        texts = [[item.expression for item in image.items] for image in images]
        inputs = prepare_images(self.processor, [image.image for image in images], texts)
        return [image._replace(image=None) for image in images], inputs


def predicted_batches(
    model,
    processor,
    images,
    *,
    batch_size: int = 8,
    expression_batch_size: int = 64,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[list[tuple[EvaluationImage, int, Any]]]:
    """
    Runs a model over this process's share of the pictures.

    Args:
        model: An `SspSamModel` in eval mode.
        processor: Its `SspSamProcessor`.
        images: `PreparedImages` or `SceneImages`.
        batch_size: Pictures in one pass of the image encoders.
        expression_batch_size: Most expressions in one pass of the mask decoder.
        num_workers: Processes that read and prepare pictures.
        rank: This process's number.
        world_size: Processes in all.

    Yields:
        Per batch a list of picture, place of the expression in it, and `RawAnswer`.
    """
    keys = evaluation_keys(len(images), batch_size, rank, world_size)
    loader = DataLoader(
        images,
        batch_sampler=[[index for _, index in batch] for batch in keys],
        num_workers=num_workers,
        collate_fn=ImageCollator(processor),
    )
    for batch, inputs in loader:
        answers = predict_expressions(model, processor, inputs, expression_batch_size)
        places = [(image, place) for image in batch for place in range(len(image.items))]
        yield [(image, place, answer) for (image, place), answer in zip(places, answers, strict=True)]


def evaluate_model(
    tally: EvaluationTally,
    model,
    processor,
    images,
    *,
    settings: dict[str, Any],
    save_predictions: bool = False,
    writer: PredictionWriter | None = None,
    batch_size: int = 8,
    rank: int = 0,
    world_size: int = 1,
    progress: Callable[[int], None] = lambda done: None,
    **options,
) -> EvaluationTally:
    """
    Evaluates a model.

    Args:
        tally: Empty sums of this process.
        model: An `SspSamModel` in eval mode.
        processor: Its `SspSamProcessor`.
        images: `PreparedImages` or `SceneImages`.
        settings: Thresholds in place of the processor's own.
        save_predictions: Whether predictions are brought to the process that has a `writer`.
        writer: Where they go; `None` in the other processes.
        batch_size: Pictures in one pass of the image encoders.
        rank: This process's number.
        world_size: Processes in all.
        progress: Called with the number of expressions done by all processes so far.
        options: As in `predicted_batches`.

    Returns:
        The sums of all processes, the same in each.

    Raises:
        RuntimeError: Not every expression was counted once.
    """
    batches = predicted_batches(
        model, processor, images, batch_size=batch_size, rank=rank, world_size=world_size, **options
    )
    rounds = -(-len(images) // (batch_size * world_size))
    for _ in range(rounds):
        records = []
        # In the last round some processes have nothing left to do; they bring an empty list.
        for image, place, answer in next(batches, []):
            item = image.items[place]
            record = prediction_record(image.image_id, item, answer, **settings)
            tally.add(image.index, place, image.image_id, item, record)
            records.append(record)
        if save_predictions:
            gathered = gather_object(records)
            if writer is not None:
                writer.write(gathered)
        progress(tally.num_samples * world_size)
    return _joined(tally, images)


def evaluate_predictions(
    tally: EvaluationTally, saved: SavedPredictions, images, *, rank: int = 0, world_size: int = 1
) -> EvaluationTally:
    """
    Evaluates saved predictions; pictures are not read, and no model is needed.

    Args:
        tally: Empty sums of this process.
        saved: The predictions.
        images: `PreparedImages` or `SceneImages` that they belong to.
        rank: This process's number.
        world_size: Processes in all.

    Returns:
        The sums of all processes, the same in each.

    Raises:
        ValueError: A mask does not have the size of its picture.
    """
    for index in range(rank, len(images), world_size):
        image = images.without_picture(index)
        for place, item in enumerate(image.items):
            try:
                prediction = saved.take(item.ref_id, item.sentence)
                tally.add(index, place, image.image_id, item, prediction)
            except ValueError as error:
                where = f"the prediction for sentence {item.sentence} of reference {item.ref_id!r}"
                raise ValueError(f"{where} does not fit image {image.image_id!r}: {error}") from error
    return _joined(tally, images)


def _joined(tally: EvaluationTally, images) -> EvaluationTally:
    joined = tally.merged(gather_object([tally.state()]))
    if joined.num_samples != images.num_expressions:
        raise RuntimeError(f"counted {joined.num_samples} expressions of {images.num_expressions}")
    return joined
