# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Fills a feature cache, every process with its share of the images, and checks it against recomputed features."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, tqdm
from torch import nn
from torch.utils.data import DataLoader, Dataset

from .cache import FeatureCache
from .identity import DTYPES, FeatureCacheError
from .image_keys import image_key


@dataclass
class ImageScan:
    """The distinct images among the rows of a source."""

    rows: dict[str, int] = field(default_factory=dict)  # the first row of each image, by its key
    unreadable: list[str] = field(default_factory=list)  # one sentence for each row that holds no readable image
    ids_of_several_images: list[str] = field(default_factory=list)  # image ids under which there are different images


@dataclass
class ImageEncoding:
    """Rows of (image id, image), decoded or not, and what encodes them."""

    source: Dataset
    model: nn.Module  # on the accelerator's device, in eval mode
    processor: Any
    accelerator: Accelerator

    def scan(self) -> ImageScan:
        """Finds the distinct images; every process reads its share of the rows, and all return the same."""
        rank, world, count = self.accelerator.process_index, self.accelerator.num_processes, len(self.source)  # pyright: ignore
        keys_of_files: dict[bytes, str] = {}  # so that the file of many references is decoded once
        found: list[tuple[int, str, str, str]] = []
        for row in tqdm(range(count * rank // world, count * (rank + 1) // world), desc="reading images", leave=False):
            name, key, problem = f"row {row}", "", ""
            try:
                name, image = self.source[row]
                content = image.get("bytes") if isinstance(image, dict) else None
                digest = sha256(content).digest() if content else b""
                key = keys_of_files.get(digest) or image_key(image)
                if content:
                    keys_of_files[digest] = key
            except (ValueError, OSError) as error:
                problem = f"{name}: {error}"
            found.append((row, name, key, problem))
        scan, keys_of_ids = ImageScan(), defaultdict(set)
        for row, name, key, problem in gather_object(found):
            if problem:
                scan.unreadable.append(problem)
            else:
                scan.rows.setdefault(key, row)
                keys_of_ids[name].add(key)
        scan.ids_of_several_images = sorted(name for name, keys in keys_of_ids.items() if len(keys) > 1)
        return scan

    def fill(self, cache: FeatureCache, rows: dict[str, int], *, batch_size: int = 1, num_workers: int = 0):
        """
        Encodes images into a cache, which one of the processes has claimed by `writing_to`, every process its share of
        the rows, which are given by their keys; returns when all have ended. A stopped process loses a batch at most.

        Raises:
            FeatureCacheError: Values do not fit the dtype, or a file cannot be written; raised in every process, after
                those that could have written their share.
        """
        world, problem = self.accelerator.num_processes, None
        share = list(rows.items())[self.accelerator.process_index :: world]
        label = "encoding images" if world == 1 else f"encoding images (1 of {world} equal shares)"
        try:
            with tqdm(total=len(share), desc=label, unit="image", smoothing=0.05) as bar:
                for batch in self._batches(share, cache, batch_size, num_workers):
                    features = compute_features(self.model, batch, cache.names, self.accelerator)
                    for index, key in enumerate(batch["key"]):
                        rounded = {
                            name: _rounded(
                                values[index].cpu(), cache.identity.dtype, f"{name} of {batch['name'][index]!r}"
                            )
                            for name, values in features.items()
                        }
                        cache.write(key, rounded)
                        bar.update()
        except FeatureCacheError as error:
            problem = str(error)
        problems = [text for text in gather_object([problem]) if text]
        if problems:
            raise FeatureCacheError(problems[0])

    def verify(self, cache: FeatureCache, rows: dict[str, int], *, num_images: int, seed: int = 0) -> dict[str, float]:
        """
        Recomputes random images of a cache and compares; rows as for `fill`, `num_images` over all processes.

        Returns:
            For each feature the largest relative difference of an image, `|stored - computed| / |computed|` in the
            Euclidean norm; the same in every process.

        Raises:
            FeatureCacheError: An image's difference is larger than the dtypes explain.
        """
        keys = sorted(rows)
        chosen = random.Random(seed).sample(keys, min(num_images, len(keys)))
        share = [(key, rows[key]) for key in chosen[self.accelerator.process_index :: self.accelerator.num_processes]]
        found: list[tuple[str, str, float]] = []
        for batch in tqdm(self._batches(share, cache, 1, 0), desc="verifying", unit="image", leave=False):
            computed = compute_features(self.model, batch, cache.names, self.accelerator)
            for name, stored in cache.batch(batch["key"]).items():
                truth = computed[name].float().cpu()
                found.append((name, batch["key"][0], ((stored.float() - truth).norm() / truth.norm()).item()))
        found = gather_object(found)
        # Rounding costs at most half a step of the stored dtype; low-precision products depend on the batch size, too.
        stored_step = torch.finfo(DTYPES[cache.identity.dtype]).eps
        limit = max(stored_step, 4 * torch.finfo(getattr(torch, cache.identity.computed_in)).eps)
        for name, key, difference in found:
            if not difference <= limit:
                raise FeatureCacheError(
                    f"{name} of image {key} in {str(cache.folder)!r} differ from recomputed ones by {difference:.2g} "
                    f"of their norm, more than {limit:.2g}; make the cache again in an empty folder"
                )
        return {name: max(row[2] for row in found if row[0] == name) for name in {row[0] for row in found}}

    def _batches(self, keys_and_rows, cache: FeatureCache, batch_size: int, num_workers: int) -> Iterator:
        images = getattr(self.processor, "image_processor", self.processor)
        canvases = _Canvases(self.source, keys_and_rows, images, "patch_features" in cache.names)
        return iter(DataLoader(canvases, batch_size=batch_size, num_workers=num_workers, worker_init_fn=_one_thread))


@torch.no_grad()
def compute_features(
    model: nn.Module, batch: dict[str, Any], names: Sequence[str], accelerator: Accelerator
) -> dict[str, torch.Tensor]:
    """
    Runs the encoders of the features wanted on a batch with `pixel_values` and, for the patches,
    `semantic_pixel_values`, on any device: `image_embeddings` (B, d, height, width) and, where wanted, `patch_features`
    (B, N, C).
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


def _rounded(values: torch.Tensor, dtype: str, title: str) -> torch.Tensor:
    """Returns values in a half precision whose range holds them, so that rounding alone changes them."""
    stored, values = values.to(DTYPES[dtype]), values.float()
    if not (stored.float() - values).norm() <= torch.finfo(stored.dtype).eps * values.norm():
        raise FeatureCacheError(f"{title} have values that {dtype} cannot hold; use another of {', '.join(DTYPES)}")
    return stored


class _Canvases(Dataset):
    """Images as the encoders take them, with their ids and keys."""

    def __init__(self, source: Dataset, keys_and_rows: Sequence[tuple[str, int]], image_processor, with_patches: bool):
        self.source, self.keys_and_rows, self.image_processor = source, keys_and_rows, image_processor
        # Without patches nobody reads the semantic canvas.
        self.options = {"random_semantic_offset": False} if with_patches else {"semantic_size": None}

    def __len__(self) -> int:
        return len(self.keys_and_rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        key, row = self.keys_and_rows[index]
        name, image = self.source[row]
        canvases = self.image_processor(images=[image], return_tensors="pt", **self.options)
        return {"key": key, "name": name} | {
            name: canvases[name][0] for name in canvases if name.endswith("pixel_values")
        }


def _one_thread(_worker: int):
    torch.set_num_threads(1)
