# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Requests of many threads in passes of one model, and images that are encoded once for all who ask about them."""

import copy
import hashlib
import queue
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch.nn import functional as F

from ..modeling_ssp_sam.model_outputs import SspSamImageFeatures
from ..modeling_ssp_sam.segmentation_requests import SPATIAL_KEYS

PIXELS = ("pixel_values", "semantic_pixel_values")
WORDS = ("input_ids", "attention_mask")


class EncodedImages:
    """
    What a model's image encoders say of the images seen last, found by their content; so many are kept, on its device.
    """

    def __init__(self, model, size: int = 32):
        self.model, self.size = model, size
        self.counts = Counter(encoded_images=0, reused_images=0)
        self._features: OrderedDict[str, SspSamImageFeatures] = OrderedDict()

    @staticmethod
    def key_of(image: Image.Image) -> str:
        """Returns what stands for the content of an image."""
        return hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()

    def of(self, keys: Sequence[str], inputs: Sequence[dict[str, Any]]) -> SspSamImageFeatures:
        """
        Returns the features of images, in order, by what `key_of` returned for each and the model's inputs for each,
        with its pixels; those that are not kept are encoded in one pass.
        """
        new = {key: own for key, own in zip(keys, inputs) if key not in self._features}
        self.counts.update(encoded_images=len(new), reused_images=len(keys) - len(new))
        if new:
            device = self.model.device
            parts = {name: [own[name] for own in new.values() if own.get(name) is not None] for name in PIXELS}
            pixels = {name: torch.cat(part).to(device) for name, part in parts.items() if part}
            with torch.no_grad():
                features = self.model.get_image_features(**pixels)
            for index, key in enumerate(new):
                self._features[key] = _map(features, lambda value, index=index: value[index : index + 1].clone())
        for key in keys:
            self._features.move_to_end(key)
        found = [self._features[key] for key in keys]
        while len(self._features) > self.size:
            self._features.popitem(last=False)
        return found[0] if len(found) == 1 else _map(found[0], lambda *values: torch.cat(values), *found[1:])


def _map(first: SspSamImageFeatures, function, *others: SspSamImageFeatures) -> SspSamImageFeatures:
    """A function on each tensor of features; what only a look into the encoders needs is left out."""
    names = [name for name, value in first.items() if isinstance(value, torch.Tensor)]
    return SspSamImageFeatures(**{name: function(first[name], *(other[name] for other in others)) for name in names})


class _Asked(NamedTuple):
    key: str
    inputs: dict[str, Any]
    answer: Future


class BatchedPredictor:
    """
    Predicts for many threads at once: requests that wait together are one pass of the model.

    While a pass runs, requests gather for the next one. Those with clicks or boxes share the pass of the encoders, and
    have one of the decoder each.

    Args:
        pipeline: A `ReferringSegmentationPipeline`.
        window: Milliseconds that a request waits for others to come when none are there.
        max_batch: Most requests in one pass.
        cached_images: Encoded images that are kept.
    """

    def __init__(self, pipeline, window: float = 5.0, max_batch: int = 8, cached_images: int = 32):
        self.pipeline, self.window, self.max_batch = pipeline, window / 1000, max_batch
        self.images = EncodedImages(pipeline.model, max(cached_images, 1))
        self.counts = Counter(passes=0, batched_requests=0)
        self._waiting: queue.SimpleQueue[_Asked] = queue.SimpleQueue()
        self._of_thread = threading.local()
        threading.Thread(target=self._work, daemon=True).start()

    def __call__(self, request: dict[str, Any]) -> dict[str, Any]:
        """Returns for one request what the `images` of the pipeline's `forward` hold for it."""
        if not hasattr(self._of_thread, "pipeline"):  # a tokenizer cannot be shared by threads
            self._of_thread.pipeline = copy.copy(self.pipeline)
            self._of_thread.pipeline.processor = copy.deepcopy(self.pipeline.processor)
        asked = _Asked(EncodedImages.key_of(request["image"]), self._of_thread.pipeline.preprocess(request), Future())
        self._waiting.put(asked)
        return asked.answer.result()

    def totals(self) -> dict[str, int]:
        """Returns what was counted so far."""
        return {**self.counts, **self.images.counts}

    def _work(self):
        while True:
            batch = [self._waiting.get()]
            end = time.monotonic() + self.window
            while len(batch) < self.max_batch:
                try:
                    batch.append(self._waiting.get(timeout=max(0.0, end - time.monotonic())))
                except queue.Empty:
                    break
            self.counts.update(passes=1, batched_requests=len(batch))
            self._answer(batch)

    def _answer(self, batch: list[_Asked]):
        try:
            found = self._predict(batch)
        except Exception as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
            else:  # the others must not suffer from what is wrong with one
                for asked in batch:
                    self._answer([asked])
            return
        for asked, own in zip(batch, found, strict=True):
            asked.answer.set_result(own)

    def _predict(self, batch: list[_Asked]) -> list[dict[str, Any]]:
        self.images.of([asked.key for asked in batch], [asked.inputs for asked in batch])  # in one pass
        together = [asked for asked in batch if not any(name in asked.inputs for name in SPATIAL_KEYS)]
        groups = [together, *([asked] for asked in batch if asked not in together)]
        found: dict[int, dict[str, Any]] = {}
        for group in filter(None, groups):
            features = self.images.of([asked.key for asked in group], [asked.inputs for asked in group])
            inputs = _joined([asked.inputs for asked in group], self._pad_token_id())
            outputs = self.pipeline.forward({**inputs, "image_features": features})["images"]
            found |= {id(asked): own for asked, own in zip(group, outputs, strict=True)}
        return [found[id(asked)] for asked in batch]

    def _pad_token_id(self) -> int:
        processor = self.pipeline.processor
        return processor.tokenizer.pad_token_id if processor.pad_token_id is None else processor.pad_token_id


def _joined(parts: list[dict[str, Any]], pad_token_id: int) -> dict[str, Any]:
    """Inputs of several images as those of one batch, without their pixels."""
    if len(parts) == 1:
        return {name: value for name, value in parts[0].items() if name not in PIXELS}
    joined: dict[str, Any] = {"has_box": None, "labels": [label for part in parts for label in part["labels"]]}
    for name in WORDS:
        width = max(part[name].shape[1] for part in parts)
        value = pad_token_id if name == "input_ids" else 0
        joined[name] = torch.cat([F.pad(part[name], (0, width - part[name].shape[1]), value=value) for part in parts])
    joined["image_index"] = torch.cat([part["image_index"] + index for index, part in enumerate(parts)])
    joined["original_sizes"] = torch.cat([torch.as_tensor(part["original_sizes"]) for part in parts])
    return joined
