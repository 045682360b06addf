# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Feature caches of small benchmarks."""

from io import BytesIO
from pathlib import Path

import torch
from PIL import Image

from ssp_sam.cli.main import main
from ssp_sam.training.feature_cache.cache import FeatureCache
from tests.helpers.benchmark import tiny_row


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    """The bytes of an image file."""
    stream = BytesIO()
    image.save(stream, format=kind)
    return stream.getvalue()


def image_row(image_id: str, content: bytes) -> dict:
    """A reference to nothing in an image."""
    return tiny_row(0, "none", image_id=image_id, image={"bytes": content, "path": None}, source="fixture")


def cache_features(model: Path, data: Path, output: Path, *options: str) -> int:
    """Runs `ssp-sam cache` in this process and returns its exit code."""
    return main(["cache", "--model", str(model), "--data", str(data), "--output", str(output), *options])


def open_cache(folder: Path, pipeline, **options) -> FeatureCache:
    """The cache in a folder for a pipeline's model."""
    return FeatureCache.open(folder, model=pipeline.model, processor=pipeline.processor, **options)


def all_features(cache: FeatureCache) -> dict[str, torch.Tensor]:
    """Every feature of a cache by image and name."""
    return {f"{key} {name}": values for key in sorted(cache) for name, values in cache.read(key).items()}
