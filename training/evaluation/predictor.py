# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Runs a model over pictures that have several expressions each; every picture is encoded once."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from ...modeling_ssp_sam.losses import resize_mask_logits

OUTPUTS = ("pred_masks", "pred_boxes", "no_target_logits")


class RawAnswer:
    """
    What a model says about one expression, before thresholds.

    Args:
        outputs: `pred_masks` (1, 1, h, w), `pred_boxes` (1, 4) and `no_target_logits` (1,), which may be `None`.
        size_hw: Height and width of the picture, (1, 2).
        resized_hw: The same on SAM's canvas, (1, 2).
        processor: The model's `SspSamProcessor`.
    """

    def __init__(self, outputs: dict[str, Any], size_hw, resized_hw, processor):
        self.outputs, self.size_hw, self.resized_hw, self.processor = outputs, size_hw, resized_hw, processor

    @property
    def no_target_probability(self) -> float:
        """Probability that nothing is meant; 0 for a model without such a head."""
        logits = self.outputs["no_target_logits"]
        return 0.0 if logits is None else float(logits.float().sigmoid())

    def read(self, **settings) -> dict[str, Any]:
        """Returns the answer in the picture; `settings` as in `SspSamProcessor.post_process_referring_segmentation`."""
        return self.processor.post_process_referring_segmentation(
            self.outputs, self.size_hw, reshaped_input_sizes=self.resized_hw, **settings
        )[0]

    def in_square(self, side: int) -> np.ndarray:
        """Returns the mask, (side, side) bool, where the sigmoid is at least 0.5 on SAM's canvas, padding included."""
        canvas_size = self.processor.image_processor.pad_size.height
        logits = resize_mask_logits(self.outputs["pred_masks"], canvas_size, side)[0]
        return (logits.sigmoid() >= 0.5).cpu().numpy()

    def head_box_xyxy(self) -> list[float] | None:
        """Returns the box head's box in pixels of the picture, whatever else the model says; `None` without one."""
        boxes = self.outputs["pred_boxes"]
        if boxes is None:
            return None
        size_hw = tuple(int(side) for side in self.size_hw[0])
        return self.processor.image_processor.box_placement(size_hw).to_image(boxes[0].float().tolist(), size_hw)


def prepare_images(processor, images: Sequence, texts: Sequence[Sequence[str]]) -> dict[str, torch.Tensor]:
    """Returns the processor's tensors for pictures with a list of expressions each."""
    return dict(processor(images=list(images), text=[list(own) for own in texts], return_tensors="pt"))


@torch.no_grad()
def predict_expressions(
    model, processor, inputs: dict[str, torch.Tensor], expression_batch_size: int = 64
) -> Iterator[RawAnswer]:
    """
    Runs a model over prepared pictures and expressions.

    Args:
        model: An `SspSamModel` in eval mode.
        processor: Its `SspSamProcessor`.
        inputs: What `prepare_images` returned.
        expression_batch_size: Most expressions in one pass of the mask decoder.

    Yields:
        The answer to each expression, in order, as tensors on the model's device.
    """
    sizes, resized, image_index = (inputs[name] for name in ("original_sizes", "reshaped_input_sizes", "image_index"))
    pixels = {
        name: inputs[name].to(model.device) for name in ("pixel_values", "semantic_pixel_values") if name in inputs
    }
    features = model.get_image_features(**pixels)
    for rows in torch.arange(len(image_index)).split(expression_batch_size):
        words = {name: inputs[name][rows].to(model.device) for name in ("input_ids", "attention_mask")}
        output = model(**words, image_features=features, image_index=image_index[rows].to(model.device))
        for place, row in enumerate(rows.tolist()):
            single = {
                name: None if getattr(output, name) is None else getattr(output, name)[place : place + 1]
                for name in OUTPUTS
            }
            image = slice(int(image_index[row]), int(image_index[row]) + 1)
            yield RawAnswer(single, sizes[image], resized[image], processor)


__all__ = ["RawAnswer", "predict_expressions", "prepare_images"]
