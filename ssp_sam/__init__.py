# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""SSP-SAM: an image and a sentence in, the mask of what the sentence means out.

Importing this package makes its classes known to transformers: `AutoConfig`, `AutoModel`, `AutoProcessor`,
`AutoImageProcessor` and `pipeline("referring-segmentation")` find them.
"""

import sys
from importlib import import_module
from pathlib import Path

__version__ = "0.2.0"

EMBEDDED_CHECKPOINT = Path(__file__).resolve().parent / "checkpoints" / "ssp-sam-scenes"

# The command `ssp-sam` reads its words first, and imports torch and transformers when it knows that they are needed.
if Path(*sys.argv[:1]).name not in ("ssp-sam", "ssp-sam.exe"):
    from .registration import (
        ReferringSegmentationPipeline,
        SegmentationResult,
        SspSamConfig,
        SspSamImageProcessor,
        SspSamModel,
        SspSamOutput,
        SspSamPipeline,
        SspSamProcessor,
        pipeline,
        segment,
    )


_HOMES = {"annotate": ".annotation.job", "ray_annotator": ".annotation.ray_annotator"}
_HOMES |= {"pull": ".modeling_ssp_sam.conversion.pull"}


def __getattr__(name: str):
    if name in __all__:  # some are imported by those who use them, and the other names late by the command alone
        return getattr(import_module(_HOMES.get(name, ".registration"), __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "EMBEDDED_CHECKPOINT",
    "ReferringSegmentationPipeline",
    "SegmentationResult",
    "SspSamConfig",
    "SspSamImageProcessor",
    "SspSamModel",
    "SspSamOutput",
    "SspSamPipeline",
    "SspSamProcessor",
    "annotate",
    "pipeline",
    "pull",
    "ray_annotator",
    "segment",
]
