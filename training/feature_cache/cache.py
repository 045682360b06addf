# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Features of images that a frozen encoder computed once, read back from disk in place of running the encoder.

`scripts/cache_image_features.py` writes such caches; `feature_index.py` says what they look like on disk.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from .identity import encoder_of, feature_identity, identity_differences, identity_name
from .image_keys import file_key, image_key
from .index import FeatureCacheError, FeatureIndex


class FeatureCache:
    """
    The features of many images on disk, by the images' content.

    Nothing of them stays in memory: a read maps the shard, copies its rows and lets the map go. The cache can be handed
    to worker processes.

    Args:
        folder: Folder of the cache.
        index: Its index.
        names: Features that are read.
        dtype: Format they are returned in.

    `FeatureCache.open` makes one and refuses features that are not those of the model.
    """

    def __init__(self, folder: str | Path, index: FeatureIndex, names: Sequence[str], dtype: torch.dtype):
        self.folder, self.names, self.dtype = Path(folder), tuple(names), dtype
        self._shapes = {name: tuple(index.features[name]["shape"]) for name in self.names}
        self._settings = index.settings_digest
        self._places, self._files = index.places(), index.files

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        model: nn.Module,
        processor,
        names: Sequence[str] | None = None,
        dtype: torch.dtype | None = None,
    ) -> "FeatureCache":
        """
        Opens a cache for a model, after checking that this model's encoders made it.

        Args:
            folder: What `scripts/cache_image_features.py` wrote.
            model: The `SspSamModel` that will use the features; the encoders that they replace must be frozen.
            processor: Its processor.
            names: Features to read, `"image_embeddings"` and `"patch_features"`. By default all that are there and that
                the model can use; patches cannot be used where the processor places images at random.
            dtype: Format of what is read; that of the model by default.

        Raises:
            FeatureCacheError: There is no cache, it lacks a feature or a shard, another encoder or other preprocessing
                made it, or the model trains the encoder.
        """
        index = FeatureIndex.load(folder)
        random_offset = bool(getattr(processor, "image_processor", processor).random_semantic_offset)
        if names is None:
            has_patches = getattr(model, "vision_model", None) is not None and not random_offset
            names = [name for name in index.features if has_patches or name != "patch_features"]
        for name in names:
            if name not in index.features:
                raise FeatureCacheError(f"{str(folder)!r} has no {name}, only {', '.join(index.features)}")
            if name == "patch_features" and random_offset:
                raise FeatureCacheError(
                    f"patch_features in {str(folder)!r} are of images centred on the semantic canvas, got a processor "
                    f"with random_semantic_offset=True"
                )
            _check_frozen(model, name)
            check_identity(folder, name, index.features[name]["identity"], feature_identity(model, processor, name))
        _check_shards(Path(folder), index)
        return cls(folder, index, names, model.dtype if dtype is None else dtype)  # pyright: ignore

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def key_of(self, image: Any) -> str:
        """
        Returns `image_key(image)`, without decoding the image where it is a file that the cache has seen.

        Args:
            image: Anything that `image_key` takes; `{"bytes": …, "path": …}` of a dataset is the fastest.
        """
        known = self._files.get(file_key(image) or "")
        return image_key(image) if known is None else known

    def read(self, key: str) -> dict[str, torch.Tensor]:
        """
        Returns the features of one image.

        Args:
            key: Its `image_key`.

        Returns:
            `image_embeddings` (d, height, width) and, where they are read, `patch_features` (N, C).

        Raises:
            FeatureCacheError: The image is not in the cache, or a shard is gone or damaged.
        """
        return {name: values[0] for name, values in self.batch([key]).items()}

    def batch(self, keys: Sequence[str]) -> dict[str, torch.Tensor]:
        """
        Returns the features of several images, in the order of the keys, which may repeat.

        Args:
            keys: The `image_key` of each of B images.

        Returns:
            `image_embeddings` (B, d, height, width) and, where they are read, `patch_features` (B, N, C). With both,
            `SspSamImageFeatures(**batch)` is what `forward` takes as `image_features`; without patches, `forward` takes
            `image_embeddings` in place of `pixel_values`.

        Raises:
            FeatureCacheError: An image is not in the cache, or a shard is gone or damaged.
        """
        wanted: dict[str, list[tuple[int, int]]] = {}
        for number, key in enumerate(keys):
            if key not in self._places:
                raise FeatureCacheError(
                    f"image {key} is not among the {len(self)} images in {str(self.folder)!r}; "
                    f"run scripts/cache_image_features.py on its data too"
                )
            shard, row = self._places[key]
            wanted.setdefault(shard, []).append((number, row))
        features = {name: torch.empty(len(keys), *shape, dtype=self.dtype) for name, shape in self._shapes.items()}
        for shard, rows in wanted.items():
            self._copy_rows(shard, rows, features)
        return features

    def _copy_rows(self, shard: str, rows: list[tuple[int, int]], features: dict[str, torch.Tensor]):
        try:
            with safe_open(self.folder / shard, framework="pt") as stored:
                if (stored.metadata() or {}).get("settings") != self._settings:
                    raise FeatureCacheError(f"{shard!r} in {str(self.folder)!r} was replaced by a foreign shard")
                for name, values in features.items():
                    stored_rows = stored.get_slice(name)
                    for number, row in rows:
                        values[number].copy_(stored_rows[row])  # from the map, converted on the way
        except (SafetensorError, OSError) as error:
            raise FeatureCacheError(
                f"{shard!r} in {str(self.folder)!r} is gone or damaged ({error}); "
                f"run scripts/cache_image_features.py again, which replaces it"
            ) from error


def check_identity(folder: str | Path, name: str, stored: dict[str, Any], own: dict[str, Any]):
    """
    Compares the identity in a cache with that of a model.

    Raises:
        FeatureCacheError: They differ; the message names both, and what differs.
    """
    if stored != own:
        raise FeatureCacheError(
            f"{str(folder)!r} holds {name} of encoder {identity_name(stored)}, but this model's encoder is "
            f"{identity_name(own)} (they differ in {identity_differences(stored, own)}); use the model that made them, "
            f"or write this one's into another folder with scripts/cache_image_features.py"
        )


def _check_frozen(model: nn.Module, name: str):
    if any(parameter.requires_grad for parameter in encoder_of(model, name).parameters()):
        raise FeatureCacheError(
            f"{name} can be read from a cache only while their encoder is frozen, but this model trains it; put it "
            f"into frozen_modules of its configuration"
        )


def _check_shards(folder: Path, index: FeatureIndex):
    for name, shard in index.shards.items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else 0
        if size != shard["bytes"]:
            raise FeatureCacheError(
                f"{str(path)!r} has {size} bytes where the index says {shard['bytes']}; "
                f"run scripts/cache_image_features.py again, which replaces it"
            )


__all__ = ["FeatureCache", "FeatureCacheError", "check_identity", "file_key", "image_key"]
