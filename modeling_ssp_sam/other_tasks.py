# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What transformers' classes for other tasks are told that look for a model of theirs in an SSP-SAM checkpoint."""

from transformers import (
    AutoModelForImageSegmentation,
    AutoModelForInstanceSegmentation,
    AutoModelForMaskGeneration,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
)

from ..configuration.configuration_ssp_sam import SspSamConfig
from .pretrained_model import SspSamPreTrainedModel

OTHER_CLASSES = (
    AutoModelForImageSegmentation,
    AutoModelForInstanceSegmentation,
    AutoModelForMaskGeneration,
    AutoModelForSemanticSegmentation,
    AutoModelForUniversalSegmentation,
)


class OtherTaskError(LookupError):
    """A task was asked for that SSP-SAM is not made for. Pipelines try on after errors of other kinds."""


class SspSamForOtherTasks(SspSamPreTrainedModel):
    """Stands where transformers looks for models of other tasks; it cannot be made."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *model_args, **kwargs):
        """
        Names the task that SSP-SAM is for.

        Raises:
            OtherTaskError: Always.
        """
        raise OtherTaskError(
            f"{pretrained_model_name_or_path!r} segments what expressions refer to, got another task; use "
            "pipeline('referring-segmentation', model=...) or AutoModel.from_pretrained(...)"
        )


def register_other_tasks():
    """Makes transformers' classes for other tasks say which task SSP-SAM is for."""
    for other in OTHER_CLASSES:
        other.register(SspSamConfig, SspSamForOtherTasks, exist_ok=True)
