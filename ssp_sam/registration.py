# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The public classes as transformers knows them: by `AutoModel` and the like, and by `pipeline`."""

import functools
import logging
import os
from collections.abc import Mapping
from pathlib import Path

# transformers imports torchao where it is installed, which tells of each of its files that is for other hardware.
_LEVELS = {name: logging.getLogger(name).level for name in ("torchao", "torch.utils._pytree")}
for _name in _LEVELS:
    logging.getLogger(_name).setLevel(logging.ERROR)

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoProcessor
from transformers import pipeline as transformers_pipeline
from transformers.pipelines import PIPELINE_REGISTRY

from . import EMBEDDED_CHECKPOINT
from .configuration.configuration_ssp_sam import SspSamConfig
from .modeling_ssp_sam.modeling_ssp_sam import SspSamModel, SspSamOutput
from .modeling_ssp_sam.other_tasks import register_other_tasks
from .modeling_ssp_sam.pipeline_ssp_sam import SINGLE_IMAGE_TYPES, ReferringSegmentationPipeline
from .processing.image_processing_ssp_sam import SspSamImageProcessor
from .processing.processing_ssp_sam import SspSamProcessor
from .processing.segmentation_results import SegmentationResult

for _name, _level in _LEVELS.items():
    logging.getLogger(_name).setLevel(_level)

__all__ = [
    "ReferringSegmentationPipeline",
    "SegmentationResult",
    "SspSamConfig",
    "SspSamImageProcessor",
    "SspSamModel",
    "SspSamOutput",
    "SspSamPipeline",
    "SspSamProcessor",
    "pipeline",
    "segment",
]

SspSamPipeline = ReferringSegmentationPipeline

AutoConfig.register(SspSamConfig.model_type, SspSamConfig, exist_ok=True)
AutoModel.register(SspSamConfig, SspSamModel, exist_ok=True)
AutoProcessor.register(SspSamConfig, SspSamProcessor, exist_ok=True)
AutoImageProcessor.register(SspSamConfig, image_processor_classes={"pil": SspSamImageProcessor}, exist_ok=True)
register_other_tasks()
PIPELINE_REGISTRY.register_pipeline(
    "referring-segmentation",
    pipeline_class=ReferringSegmentationPipeline,
    pt_model=AutoModel,
    default={"model": (str(EMBEDDED_CHECKPOINT), None)},
    type="multimodal",
)


def pipeline(model=None, **options) -> ReferringSegmentationPipeline:
    """
    Makes the pipeline for any name of a model, and pulls the model where that is needed.

    Args:
        model (`str`, `os.PathLike` or `PreTrainedModel`, *optional*): `owner/name` or `owner/name:FILE` on the Hub, a
            checkpoint of the original, a folder, or a model; the embedded checkpoint when not given.
        options: Those of transformers' `pipeline`, such as `device` and `dtype`.

    Raises:
        ValueError: In one sentence, if there is no such model.
    """
    if model is None:
        model = str(EMBEDDED_CHECKPOINT)
    elif isinstance(model, str | os.PathLike):
        from .modeling_ssp_sam.conversion.pull import resolve_model

        model = resolve_model(model)
    return transformers_pipeline("referring-segmentation", model=model, **options)  # pyright: ignore


def segment(image, text, model=None, **options):
    """
    Segments what expressions refer to, by a pipeline that is made once for each model and kept until its files change.

    Args:
        image: One image, in any form that the pipeline takes.
        text (`str` or `list[str]`): One expression, or several.
        model (`str` or `os.PathLike`, *optional*): As `pipeline` takes it; the embedded checkpoint when not given.
        options: Further arguments of the pipeline's call, such as `input_points` and `mask_threshold`.

    Returns:
        `SegmentationResult` for a string, a list of them for several expressions.

    Raises:
        ValueError, TypeError: In one sentence, if the image, the expressions or the model cannot be used.
    """
    results = _kept_pipeline(*_state(model))(_one_image(image), text=text, **options)
    return results[0] if isinstance(text, str) else results


def _one_image(image):
    """Returns an image as it is; raises `ValueError` for several, which the pipeline takes."""
    single = isinstance(image, (Mapping, *SINGLE_IMAGE_TYPES)) or hasattr(image, "read")
    if not single or getattr(image, "ndim", 3) not in (2, 3):
        raise ValueError(
            f"expected one image, got {_described(image)}; for several: ssp_sam.pipeline()(images, text=...)"
        )
    return image


def _described(images) -> str:
    return f"{len(images)} in a {type(images).__name__}" if hasattr(images, "__len__") else f"a {type(images).__name__}"


def _state(model) -> tuple:
    """Returns the absolute path of a model's folder or file, and what changes with its content; its name on the Hub."""
    if model is None:
        return None, ()
    if not isinstance(model, str | os.PathLike):
        kind = type(model).__name__
        raise TypeError(
            f"expected the name or folder of a model, got {kind}; ssp_sam.pipeline(model=...) takes a model"
        )
    if not os.path.exists(model):
        return os.fspath(model), ()
    path = Path(model)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return str(path.resolve()), tuple(
        (file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.exists()
    )


@functools.lru_cache(maxsize=2)
def _kept_pipeline(model: str | None, _files: tuple) -> ReferringSegmentationPipeline:
    return pipeline(model)
