# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Computes what a model's frozen image encoders say of every image once, for trainings that read it from disk."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import datasets
import torch
from accelerate import Accelerator
from torch.utils.data import ConcatDataset, Dataset
from transformers.utils import logging

from ..modeling_ssp_sam.modeling_ssp_sam import SspSamModel
from ..processing.processing_ssp_sam import SspSamProcessor
from .data.prepared import load_prepared, shards_by_split
from .feature_cache.cache import FeatureCache, writing_to
from .feature_cache.encoding import ImageEncoding, ImageScan
from .feature_cache.identity import CacheIdentity, FeatureCacheError, feature_identity, fingerprint
from .processes import on_main

_COMPUTED_IN = {"no": "float32", "fp16": "float16", "bf16": "bfloat16"}


class BenchmarkImages(Dataset):
    """
    The image of every reference of a prepared benchmark with its id, undecoded.

    Args:
        folder: What `ssp-sam prepare` wrote.
        splits: Splits that count; all of them when not given.

    Raises:
        ValueError: There is no such benchmark or split.
    """

    def __init__(self, folder: str | Path, splits: Sequence[str] | None = None):
        parts = [load_prepared(folder, split) for split in splits or shards_by_split(folder)]
        rows = datasets.concatenate_datasets(parts).select_columns(["source", "image_id", "image"])
        self._rows = rows.cast_column("image", datasets.Image(decode=False))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[str, Any]:
        row = self._rows[index]
        return f"{row['source']}/{row['image_id']}", row["image"]


def open_encoding(model_name: str, images: Sequence[Any], accelerator: Accelerator) -> ImageEncoding:
    """
    Opens what is encoded and what encodes it.

    Args:
        model_name: Folder or Hub id of a model with its processor.
        images: Sources, each a sequence of (image id, image).

    Raises:
        OSError, ValueError: The model cannot be loaded.
    """
    if not accelerator.is_main_process:
        logging.disable_progress_bar()
    model: Any = SspSamModel.from_pretrained(model_name, dtype=torch.float32)
    model.requires_grad_(False).eval().to(accelerator.device)
    return ImageEncoding(ConcatDataset(images), model, SspSamProcessor.from_pretrained(model_name), accelerator)


def cache_images(
    encoding: ImageEncoding,
    output: str | Path,
    *,
    with_patches: bool = False,
    dtype: str = "float16",
    batch_size: int = 1,
    num_workers: int = 0,
) -> ImageScan:
    """
    Computes the features of all images that a cache lacks; every process calls this and encodes its share.

    What is found, what is done and what is there at the end is printed by the main process.

    Args:
        encoding: What `open_encoding` returned.
        output: Folder of the cache.
        with_patches: Whether to keep the semantic tower's patches beside SAM's embeddings.
        dtype: Dtype of the stored values, `"float16"` or `"bfloat16"`.
        batch_size: Images in one forward of one process.
        num_workers: Processes that prepare images for each process.

    Returns:
        What was found in the sources; its `unreadable` rows are not in the cache.

    Raises:
        ValueError: The cache cannot be used as asked (`FeatureCacheError`).
    """
    # 1. Whose features are wanted.
    model, processor, accelerator = encoding.model, encoding.processor, encoding.accelerator
    names = ["image_embeddings", *(["patch_features"] if with_patches else [])]
    computed_in = _COMPUTED_IN.get(accelerator.mixed_precision, accelerator.mixed_precision)
    features = {name: feature_identity(model, processor, name) for name in names}
    identity = CacheIdentity(features, dtype, computed_in)
    with ExitStack() as claim:
        on_main(accelerator, lambda: claim.enter_context(writing_to(output, identity)))
        cache = FeatureCache(output, identity)
        # 2. Which images there are, and which of them the cache lacks.
        scan = encoding.scan()
        missing = on_main(accelerator, lambda: [key for key in scan.rows if not cache.has_whole(key)])
        accelerator.print(_found(scan, len(encoding.source), len(missing)), flush=True)
        on_main(accelerator, lambda: cache.check_room(len(missing)))
        # 3. Those.
        rows = {key: scan.rows[key] for key in missing}
        encoding.fill(cache, rows, batch_size=batch_size, num_workers=num_workers)
        on_main(accelerator, lambda: print(_summary(cache), flush=True))
    return scan


def verify_images(encoding: ImageEncoding, output: str | Path, *, num_images: int) -> dict[str, float]:
    """
    Recomputes random images of a cache, `num_images` over all processes, and compares; every process calls this.
    Returns what `ImageEncoding.verify` returns, and raises a `FeatureCacheError` where features differ.
    """
    cache = FeatureCache.open(output, model=encoding.model, processor=encoding.processor, dtype=torch.float32)
    scan = encoding.scan()
    rows = {key: row for key, row in scan.rows.items() if key in cache}
    if not rows:
        raise FeatureCacheError(f"none of the {len(scan.rows)} images are in {str(output)!r}; nothing to verify")
    return encoding.verify(cache, rows, num_images=num_images)


def _found(scan: ImageScan, num_rows: int, num_missing: int) -> str:
    lines = [f"{len(scan.rows)} distinct images in {num_rows} rows, {num_missing} to encode"]
    several = scan.ids_of_several_images
    if several:
        lines.append(f"image ids with different images, which are kept apart: {len(several)}, such as {several[0]}")
    return "\n".join([*lines, *(f"unreadable: {text}" for text in scan.unreadable[:10])])


def _summary(cache: FeatureCache) -> str:
    sizes = [cache.path(key).stat().st_size for key in cache]
    makers = (f"{name} of encoder {fingerprint(feature)}" for name, feature in cache.identity.features.items())
    return (
        f"{cache.folder}: {len(sizes)} images, {sum(sizes) / 1e9:.3f} GB, {sum(sizes) / max(1, len(sizes)):,.0f} bytes "
        f"each ({cache.identity.dtype}; {', '.join(makers)})"
    )
