# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Fills a feature cache, every process with its share of the images, and checks it against recomputed features."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, tqdm
from torch import nn
from torch.utils.data import DataLoader, Dataset

from .cache import FeatureCache
from .image_keys import open_image
from .index import DTYPES, FeatureCacheError, FeatureIndex
from .shards import write_shard


def plan_shards(missing: Sequence[str], images_per_shard: int, world_size: int) -> list[list[list[str]]]:
    """
    Deals the keys of missing images out to processes.

    Returns:
        For each process the keys of each shard that it writes; no shard is larger than `images_per_shard`, and all
        processes get work where there is enough.
    """
    size = min(images_per_shard, max(1, -(-len(missing) // world_size)))
    shards = [list(missing[start : start + size]) for start in range(0, len(missing), size)]
    return [shards[rank::world_size] for rank in range(world_size)]


def encode_images(
    folder: str | Path,
    index: FeatureIndex,
    source: Dataset,
    rows: dict[str, int],
    model: nn.Module,
    processor,
    accelerator: Accelerator,
    *,
    batch_size: int = 1,
    images_per_shard: int = 64,
    num_workers: int = 0,
):
    """
    Encodes images and writes their shards, every process its own; returns when all have ended.

    Args:
        folder: Folder of the cache.
        index: Its index, the same in all processes.
        source: Rows of (image id, image).
        rows: The row of each image that is to be encoded, by its key, the same in all processes.
        model, processor: What encodes; the model on the accelerator's device, in eval mode.
        accelerator: The run's `Accelerator`.
        batch_size: Images in one forward.
        images_per_shard: Images in one shard, and so what a stopped run loses at most in each process.
        num_workers: Worker processes that prepare images for each process.

    Raises:
        FeatureCacheError: Values do not fit the dtype, or a shard cannot be written; raised in every process, after
            those that could have written their share.
    """
    plan = plan_shards(list(rows), images_per_shard, accelerator.num_processes)[accelerator.process_index]
    problem = None
    try:
        _encode_share(folder, index, source, rows, plan, model, processor, accelerator, batch_size, num_workers)
    except FeatureCacheError as error:
        problem = str(error)
    problems = [text for text in gather_object([problem]) if text]
    if problems:
        raise FeatureCacheError(problems[0])


def _encode_share(folder, index, source, rows, plan, model, processor, accelerator, batch_size, num_workers):
    keys = [key for shard in plan for key in shard]
    batches = _batches(source, [(key, rows[key]) for key in keys], index, processor, batch_size, num_workers)
    shards = iter(plan)
    shard: list[str] = []
    filled, stored = 0, {}
    with tqdm(total=len(keys), desc=_share_label(accelerator), unit="image", smoothing=0.05) as bar:
        for batch in batches:
            features = compute_features(model, batch, list(index.features), accelerator)
            for number, key in enumerate(batch["key"]):
                if filled == len(shard):
                    shard, filled = next(shards), 0
                    stored = _empty_rows(index, len(shard))
                for name, values in features.items():
                    stored[name][filled] = values[number]
                    if not _holds(stored[name][filled], values[number]):
                        raise FeatureCacheError(
                            f"{name} of {source[rows[key]][0]!r} have values that {index.dtype} cannot hold; use "
                            f"another dtype of {', '.join(DTYPES)}"
                        )
                filled += 1
                if filled == len(shard):
                    write_shard(folder, index, shard, stored)
                bar.update()


def _holds(stored: torch.Tensor, values: torch.Tensor) -> bool:
    """Whether rounding alone tells stored values from true ones, with nothing above or below the format's range."""
    values = values.float().cpu()
    return bool((stored.float() - values).norm() <= torch.finfo(stored.dtype).eps * values.norm())


def _share_label(accelerator: Accelerator) -> str:
    world = accelerator.num_processes
    return "encoding images" if world == 1 else f"encoding images (1 of {world} equal shares)"


def _empty_rows(index: FeatureIndex, count: int) -> dict[str, torch.Tensor]:
    dtype = DTYPES[index.dtype]
    return {name: torch.empty(count, *feature["shape"], dtype=dtype) for name, feature in index.features.items()}


@torch.no_grad()
def compute_features(
    model: nn.Module, batch: dict[str, Any], names: Sequence[str], accelerator: Accelerator
) -> dict[str, torch.Tensor]:
    """
    Runs the encoders of the features wanted on a batch.

    Args:
        model: An `SspSamModel` in eval mode.
        batch: `pixel_values` and, for the patches, `semantic_pixel_values`, on any device.
        names: Features wanted.
        accelerator: Gives device and precision.

    Returns:
        `image_embeddings` (B, d, height, width) and, where wanted, `patch_features` (B, N, C).
    """
    network: Any = model
    pixels = batch["pixel_values"].to(accelerator.device, network.dtype)
    with accelerator.autocast():
        embeddings = network.sam.vision_encoder(pixels, return_dict=True).last_hidden_state
        features = {"image_embeddings": embeddings}
        if "patch_features" in names:
            semantic = batch["semantic_pixel_values"].to(accelerator.device, network.dtype)
            encoded = network.get_image_features(
                semantic_pixel_values=semantic, image_embeddings=embeddings, return_dict=True
            )
            features["patch_features"] = encoded.patch_features
    return {name: features[name] for name in names}


class _Canvases(Dataset):
    """Images as the encoders take them, with their keys."""

    def __init__(self, source: Dataset, places: Sequence[tuple[str, int]], image_processor, with_patches: bool):
        self.source, self.places, self.image_processor = source, places, image_processor
        # Without patches nobody reads the semantic canvas.
        self.options = {"random_semantic_offset": False} if with_patches else {"semantic_size": None}

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: int) -> dict[str, Any]:
        key, row = self.places[number]
        image = open_image(self.source[row][1])
        canvases = self.image_processor(images=image, return_tensors="pt", **self.options)
        return {"key": key} | {name: canvases[name][0] for name in canvases if name.endswith("pixel_values")}


def _batches(source, places, index: FeatureIndex, processor, batch_size: int, num_workers: int) -> DataLoader:
    images = getattr(processor, "image_processor", processor)
    canvases = _Canvases(source, places, images, "patch_features" in index.features)
    return DataLoader(
        canvases,
        batch_size=batch_size,
        num_workers=num_workers,
        worker_init_fn=_one_thread,
    )


def _one_thread(_worker: int):
    torch.set_num_threads(1)


def verify_cache(
    cache: FeatureCache,
    index: FeatureIndex,
    source: Dataset,
    rows: dict[str, int],
    model: nn.Module,
    processor,
    accelerator: Accelerator,
    *,
    num_images: int,
    seed: int = 0,
) -> dict[str, float]:
    """
    Recomputes random images of a cache and compares.

    Args:
        cache, index: The cache and its index.
        source, rows: As for `encode_images`.
        model, processor, accelerator: As for `encode_images`.
        num_images: How many images to recompute, over all processes.
        seed: Which ones.

    Returns:
        For each feature the largest relative difference of an image, `|stored - computed| / |computed|` in the
        Euclidean norm; the same in every process.

    Raises:
        FeatureCacheError: An image's difference is larger than the formats explain.
    """
    keys = sorted(rows)
    chosen = random.Random(seed).sample(keys, min(num_images, len(keys)))
    share = [(key, rows[key]) for key in chosen[accelerator.process_index :: accelerator.num_processes]]
    found: list[tuple[str, str, float]] = []
    for batch in tqdm(_batches(source, share, index, processor, 1, 0), desc="verifying", unit="image", leave=False):
        computed = compute_features(model, batch, cache.names, accelerator)
        for name, stored in cache.batch(batch["key"]).items():
            truth = computed[name].float().cpu()
            found.append((name, batch["key"][0], ((stored.float() - truth).norm() / truth.norm()).item()))
    found = gather_object(found)
    # Rounding costs at most half a step of the stored format; low-precision products depend on the batch size as well.
    stored_step = torch.finfo(DTYPES[index.dtype]).eps
    limit = max(stored_step, 4 * torch.finfo(getattr(torch, index.computed_in)).eps)
    for name, key, difference in found:
        if not difference <= limit:
            raise FeatureCacheError(
                f"{name} of image {key} in {str(cache.folder)!r} differ from recomputed ones by {difference:.2g} of "
                f"their norm, more than {limit:.2g}; make the cache again in an empty folder"
            )
    return {name: max(row[2] for row in found if row[0] == name) for name in {row[0] for row in found}}
