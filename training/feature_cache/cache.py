# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Features of images that a frozen encoder computed once, read back from disk in place of running the encoder.

    identity.json                   encoders, weights, preprocessing and dtypes that all features have in common
    ab/abcdef….safetensors          one image by its key: image_embeddings (d, height, width), patch_features (N, C)

Files are written aside and renamed, so that one in its place is a whole one.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ..atomic_files import claim_folder, remove_leftovers, write_aside, write_text
from .identity import DTYPES, IDENTITY_NAME, CacheIdentity, FeatureCacheError, encoder_of, feature_identity


class FeatureCache:
    """
    The features of many images on disk, by the images' content.

    Nothing of them stays in memory, and no file stays open. The cache can be handed to worker processes.

    Args:
        folder: Folder of the cache.
        identity: What its features have in common.
        names: Features that are read; all that are there by default.
        dtype: Dtype they are returned in; as stored by default.

    `FeatureCache.open` makes one and refuses features that are not those of the model.
    """

    def __init__(
        self,
        folder: str | Path,
        identity: CacheIdentity,
        names: Sequence[str] | None = None,
        dtype: torch.dtype | None = None,
    ):
        self.folder, self.identity = Path(folder), identity
        self.names = tuple(identity.features if names is None else names)
        self.dtype = DTYPES[identity.dtype] if dtype is None else dtype

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
            folder: What `ssp-sam cache` wrote.
            model: The `SspSamModel` that will use the features; the encoders that they replace must be frozen.
            processor: Its processor.
            names: Features to read, `"image_embeddings"` and `"patch_features"`. By default all that are there and that
                the model can use; patches cannot be used where the processor lays images at random positions, nor those
                of SigLIP while their projection trains.
            dtype: Dtype of what is read; that of the model by default.

        Raises:
            FeatureCacheError: There is no cache, it lacks a feature, another encoder or other preprocessing made it, or
                the model trains the encoder.
        """
        identity = CacheIdentity.load(folder)
        random_offset = bool(getattr(processor, "image_processor", processor).random_semantic_offset)
        if names is None:
            has_patches = getattr(model, "vision_model", None) is not None and not random_offset
            has_patches = has_patches and _is_frozen(getattr(model, "patch_projection", None))
            names = [name for name in identity.features if has_patches or name != "patch_features"]
        for name in names:
            if name not in identity.features:
                raise FeatureCacheError(f"{str(folder)!r} has no {name}, only {', '.join(identity.features)}")
            if name == "patch_features" and random_offset:
                raise FeatureCacheError(
                    f"patch_features in {str(folder)!r} are of images centred on the semantic canvas, got a processor "
                    f"with random_semantic_offset=True"
                )
            if not _is_frozen(encoder_of(model, name)):
                raise FeatureCacheError(
                    f"{name} can be read from a cache only while their encoder is frozen, but this model trains it; "
                    f"put it into frozen_modules of its configuration"
                )
            identity.check_feature(folder, name, feature_identity(model, processor, name))
        return cls(folder, identity, names, model.dtype if dtype is None else dtype)  # pyright: ignore

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in self.folder.glob("[0-9a-f][0-9a-f]/*.safetensors"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, key: str) -> bool:
        return self.path(key).is_file()

    def path(self, key: str) -> Path:
        """Returns the file of an image by its `image_key`; sub-folders keep listings short."""
        return self.folder / key[:2] / f"{key}.safetensors"

    def read(self, key: str) -> dict[str, torch.Tensor]:
        """
        Returns the features of one image.

        Args:
            key: Its `image_key`.

        Returns:
            `image_embeddings` (d, height, width) and, where they are read, `patch_features` (N, C).

        Raises:
            FeatureCacheError: The image is not in the cache, or its file is damaged or of another encoder.
        """
        path = self.path(key)
        try:
            with safe_open(path, framework="pt") as stored:
                self._check_file(path, stored)
                # Copied out of the mapped file, so that it is let go.
                return {name: stored.get_tensor(name).to(self.dtype, copy=True) for name in self.names}
        except FileNotFoundError as error:
            raise FeatureCacheError(
                f"image {key} is not among the {len(self)} images in {str(self.folder)!r}; "
                f"run `ssp-sam cache` on its data too"
            ) from error
        except (SafetensorError, OSError) as error:
            raise FeatureCacheError(f"{str(path)!r} is damaged ({error}); `ssp-sam cache` replaces it") from error

    def batch(self, keys: Sequence[str]) -> dict[str, torch.Tensor]:
        """
        Returns the features of several images by their `image_key`s, which may repeat, as `read` does, with B images
        first. With patches, `SspSamImageFeatures(**batch)` is what `forward` takes as `image_features`; without, it
        takes `image_embeddings` in place of `pixel_values`.
        """
        images = [self.read(key) for key in keys]
        return {name: torch.stack([features[name] for features in images]) for name in self.names}

    def write(self, key: str, features: dict[str, torch.Tensor]):
        """
        Keeps the features of one image, of the cache's dtype, under its `image_key`, whole or not at all; raises
        `FeatureCacheError` where they cannot be written.
        """
        tensors = {name: features[name].contiguous() for name in self.identity.features}
        try:
            with write_aside(self.path(key)) as aside:
                save_file(tensors, aside, {"identity": self.identity.fingerprint})
        except OSError as error:
            raise FeatureCacheError(str(error)) from error

    def has_whole(self, key: str) -> bool:
        """
        Returns whether the features of an image are there and not cut off; raises `FeatureCacheError` for another
        encoder's.
        """
        path = self.path(key)
        try:
            with safe_open(path, framework="pt") as stored:  # compares the header with the size of the file
                self._check_file(path, stored)
        except (SafetensorError, OSError):
            return False
        return True

    def _check_file(self, path: Path, stored: safe_open):
        if (stored.metadata() or {}).get("identity") != self.identity.fingerprint:
            raise FeatureCacheError(
                f"{str(path)!r} holds features of other settings than {IDENTITY_NAME}; move it out of the folder"
            )

    def check_room(self, num_images: int):
        """Raises a `FeatureCacheError` where less space is free than so many more images need."""
        free, needed = shutil.disk_usage(self.folder).free, num_images * self.identity.value_bytes
        if needed > free:
            raise FeatureCacheError(
                f"the features of {num_images} images need {needed / 1e9:.2f} GB, but only {free / 1e9:.2f} GB are "
                f"free at {str(self.folder)!r}; make room or use another disk"
            )


def _is_frozen(module: nn.Module | None) -> bool:
    return module is None or not any(parameter.requires_grad for parameter in module.parameters())


@contextmanager
def writing_to(folder: str | Path, identity: CacheIdentity) -> Iterator[FeatureCache]:
    """
    Makes a cache, or goes on with one, and keeps other runs from writing into it until the end.

    Raises:
        FeatureCacheError: Another run is writing, the folder cannot be made, or it holds features of another encoder or
            of other settings.
    """
    path = Path(folder) / IDENTITY_NAME
    with ExitStack() as claim:
        try:
            claim.enter_context(claim_folder(folder))
            for below in Path(folder).glob("[0-9a-f][0-9a-f]"):
                remove_leftovers(below, claimed=True)
            if path.exists():
                CacheIdentity.load(folder).check_same(folder, identity)
            else:
                write_text(path, identity.to_json())
        except OSError as error:
            raise FeatureCacheError(str(error)) from error
        yield FeatureCache(folder, identity)
