# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""A model over items: while it computes a batch, threads decode the next ones and read the predictions of the last."""

import copy
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from PIL import Image

from ..processing.image_inputs import open_image, read_rgb
from ..training.data.masks import union
from ..training.evaluation.run import RawPrediction, split_predictions
from ..training.feature_cache.identity import fingerprint, weights_digest
from .items import Item


class Prepared(NamedTuple):
    """A batch as the model takes it."""

    items: list[Item]  # all of the batch, also those with a reason, in order
    images: list[Image.Image | None]  # the decoded image of each, `None` with a reason
    inputs: dict[str, Any] | None  # what the pipeline's `forward` takes; `None` where no image can be used


class Predicted(NamedTuple):
    """A batch with what the model said, before it is read."""

    items: list[Item]  # those of `Prepared`
    images: list[Image.Image | None]  # those of `Prepared`
    outputs: list[dict[str, Any]]  # of each image that can be used, what the pipeline's `forward` returned for it


class Labelled(NamedTuple):
    """An item with its predictions."""

    item: Item
    image: Image.Image | None  # decoded; `None` where the item has a reason
    # A prediction for each of its questions, its mask as run lengths, or `None` where nothing is meant
    found: list[dict[str, Any]]


class Labeller:
    """
    Predicts what items ask for.

    Args:
        segmenter: A `ReferringSegmentationPipeline`.
        max_pixels: Most pixels of an image; a larger one is given a reason.
        expression_batch_size: Most expressions in one pass of the mask decoder.
    """

    def __init__(self, segmenter, max_pixels: float = 50e6, expression_batch_size: int = 64):
        self.segmenter, self.max_pixels, self.expression_batch_size = segmenter, max_pixels, expression_batch_size
        self._of_thread = threading.local()

    def fingerprint(self) -> str:
        """Returns 12 hexadecimal digits that stand for the model's weights and the thresholds of its processor."""
        processor = self.segmenter.processor
        names = ("mask_threshold", "no_target_threshold", "min_mask_pixels", "score_temperature", "score_bias")
        settings = {name: getattr(processor, name) for name in names}
        return fingerprint({"weights": weights_digest(self.segmenter.model), **settings})

    def prepare(self, items: list[Item]) -> Prepared:
        """Decodes images and makes the model's inputs; may be called by several threads at once."""
        images = [self._read(item) for item in items]
        usable = [(item, image) for item, image in zip(items, images) if image is not None]
        if not usable:
            return Prepared(items, images, None)
        if not hasattr(self._of_thread, "segmenter"):  # a tokenizer cannot be shared by threads
            self._of_thread.segmenter = copy.copy(self.segmenter)
            self._of_thread.segmenter.processor = copy.deepcopy(self.segmenter.processor)
        requests = [
            {"image": image, "text": [question.expression for question in item.questions]} for item, image in usable
        ]
        return Prepared(items, images, self._of_thread.segmenter.preprocess(requests))

    def _read(self, item: Item) -> Image.Image | None:
        if item.reason:
            return None
        try:
            opened = open_image(item.image)
            if opened.width * opened.height > self.max_pixels:
                size = f"{opened.width} x {opened.height}"
                raise ValueError(f"expected an image of at most {self.max_pixels / 1e6:g} megapixels, got {size}")
            return read_rgb(opened)[0]
        except (ValueError, MemoryError) as error:
            item.reason = str(error) or type(error).__name__
            return None

    def predict(self, prepared: Prepared) -> Predicted:
        """Runs the model over a batch."""
        if prepared.inputs is None:
            return Predicted(prepared.items, prepared.images, [])
        options = {"expression_batch_size": self.expression_batch_size}
        outputs = self.segmenter.forward(prepared.inputs, **options)["images"]
        return Predicted(prepared.items, prepared.images, list(outputs))

    def read(self, predicted: Predicted) -> list[Labelled]:
        """Reads predictions off the model's outputs; may be called by several threads at once."""
        outputs = iter(predicted.outputs)
        return [
            Labelled(item, image, [] if image is None else [self._plain(one) for one in self._split(next(outputs))])
            for item, image in zip(predicted.items, predicted.images)
        ]

    def _split(self, output: dict[str, Any]) -> Iterator[RawPrediction]:
        return split_predictions(output, self.segmenter)

    @staticmethod
    def _plain(raw: RawPrediction) -> dict[str, Any]:
        """A prediction with its mask as run lengths, `None` where nothing is meant."""
        prediction = raw.read(windows=True)
        mask = None if prediction["no_target"] else union([prediction["mask"].run_lengths()])
        return {**prediction, "mask": mask, "score": float(prediction["score"])}


class Ahead:
    """Draws from an iterable in a thread of its own and does some work with each item in others, in order, ahead."""

    def __init__(self, work: Callable[[Any], Any], workers: int = 1):
        self.work, self.workers = work, workers
        self.waited = 0.0  # seconds that the reader waited for what was not ready yet

    def __call__(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yields what `work` returns for each item; an error of either is raised here."""
        iterator, end = iter(items), object()
        drawer, pool = ThreadPoolExecutor(1), ThreadPoolExecutor(self.workers)

        def draw() -> Any:
            item = next(iterator, end)
            return end if item is end else pool.submit(self.work, item)

        try:
            waiting = deque(drawer.submit(draw) for _ in range(self.workers + 1))
            while True:
                start = time.perf_counter()
                future = waiting.popleft().result()
                if future is end:
                    return
                waiting.append(drawer.submit(draw))
                done = future.result()
                self.waited += time.perf_counter() - start
                yield done
        finally:
            drawer.shutdown(cancel_futures=True)
            pool.shutdown(cancel_futures=True)
            if isinstance(iterator, Generator):
                iterator.close()
