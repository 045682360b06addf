# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""A model over items: the next batches are decoded by threads while this one is computed, and come out as rows."""

import copy
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..processing.image_inputs import open_image, read_rgb
from ..training.data.masks import encode
from ..training.evaluation.run import split_predictions
from ..training.feature_cache.identity import fingerprint, weights_digest
from .items import Item


class Prepared(NamedTuple):
    """
    A batch as the model takes it.

    Args:
        items: All of the batch, also those with a reason, in order.
        images: The decoded image of each, `None` with a reason.
        inputs: What the pipeline's `forward` takes; `None` where no image can be used.
    """

    items: list[Item]
    images: list[Image.Image | None]
    inputs: dict[str, Any] | None


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

    def predict(self, prepared: Prepared) -> Iterator[tuple[Item, Image.Image | None, list[dict[str, Any]]]]:
        """Yields each item of a batch with its image and, for each of its questions, the prediction."""
        outputs = iter(())
        if prepared.inputs is not None:
            options = {"expression_batch_size": self.expression_batch_size}
            outputs = iter(self.segmenter.forward(prepared.inputs, **options)["images"])
        for item, image in zip(prepared.items, prepared.images):
            found = (
                []
                if image is None
                else [_plain(one.read()) for one in split_predictions(next(outputs), self.segmenter)]
            )
            yield item, image, found


def _plain(prediction: dict[str, Any]) -> dict[str, Any]:
    """A prediction with its mask as run lengths, `None` where nothing is meant."""
    mask = None if prediction["no_target"] else encode(np.asarray(prediction["mask"].cpu()))
    return {**prediction, "mask": mask, "score": float(prediction["score"])}


class ReadAhead:
    """
    Draws from an iterable in a thread of its own and prepares what comes in others, in order, ahead of the reader.

    Args:
        prepare: Called with each item.
        workers: Threads that prepare.
        ahead: Items that are drawn ahead.
    """

    def __init__(self, prepare: Callable[[Any], Any], workers: int = 1, ahead: int = 4):
        self.prepare, self.workers, self.ahead = prepare, workers, ahead
        self.waited = 0.0  # seconds that the reader waited for what was not ready yet

    def __call__(self, items: Iterable[Any]) -> Iterator[Any]:
        """Yields what `prepare` returns for each item; an error of either is raised here."""
        iterator, end = iter(items), object()
        drawer, pool = ThreadPoolExecutor(1), ThreadPoolExecutor(self.workers)

        def draw() -> Any:
            item = next(iterator, end)
            return end if item is end else pool.submit(self.prepare, item)

        try:
            waiting = deque(drawer.submit(draw) for _ in range(self.ahead))
            while True:
                start = time.perf_counter()
                future = waiting.popleft().result()
                if future is end:
                    return
                waiting.append(drawer.submit(draw))
                prepared = future.result()
                self.waited += time.perf_counter() - start
                yield prepared
        finally:
            drawer.shutdown(cancel_futures=True)
            pool.shutdown(cancel_futures=True)
