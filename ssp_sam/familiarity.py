# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Whether an image is like those that the embedded checkpoint was trained on, and what to tell whoever gave it.

Every generated scene holds objects, so that "everything" means something in it. Where even that means nothing to the
model, or little, the image is none of its kind, and "nothing found" says nothing about the image. Statistics of the
image encoder do not tell photographs from scenes, half of which have photographs as backgrounds.
"""

from PIL import Image

from .modeling_ssp_sam.embedded_model import embedded_hint, is_embedded
from .modeling_ssp_sam.pipeline_ssp_sam import ReferringSegmentationPipeline

PROBE = "everything"
LEAST_SCORE = 0.8  # measured by scripts/measure_familiarity.py


def is_unfamiliar(segmenter: ReferringSegmentationPipeline, image: Image.Image) -> bool:
    """Whether the model finds nothing in an image that it would call everything; takes one more prediction."""
    [result] = segmenter(image, PROBE)
    return result["no_target"] or result["score"] < LEAST_SCORE


def hint_for(segmenter: ReferringSegmentationPipeline, image: Image.Image, results: list[dict]) -> str | None:
    """Returns one line for the user where the embedded checkpoint answers beyond what it knows, otherwise `None`."""
    if not is_embedded(segmenter.model):
        return None
    nothing = all(result["no_target"] for result in results)
    return embedded_hint(results, is_unfamiliar=nothing and is_unfamiliar(segmenter, image))
