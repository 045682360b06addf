# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
What a feature cache is on disk: a folder of safetensors shards, and the index that says what is in them.

    index.json                               settings, identities, the keys of every shard
    features-<hash of its keys>.safetensors  image_embeddings (n, d, h, w), patch_features (n, N, C), keys (n, 16)

Both are written in a folder of their own and moved when they are complete, so that a file in its place is a whole one.
"""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .identity import feature_identity

INDEX_NAME = "index.json"
PARTIAL_FOLDER = ".partial"
FORMAT_VERSION = 1
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class FeatureCacheError(ValueError):
    """A feature cache that cannot be used as asked; the message says why in one sentence."""


@dataclass
class FeatureIndex:
    """
    The index of a feature cache.

    Args:
        features: For each feature its `shape` and its `identity`, as `feature_identity` gives it.
        dtype: Format of the stored values, `"float16"` or `"bfloat16"`.
        computed_in: Format of the matrix products that made them: `"float32"`, `"float16"` or `"bfloat16"`.
        shards: For each shard's name its size in `bytes` and the `keys` of its images in order.
        files: Key of an image by the key of its file, for images that came as files.
    """

    features: dict[str, dict[str, Any]]
    dtype: str = "float16"
    computed_in: str = "float32"
    shards: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def for_model(
        cls, model: nn.Module, processor, names: list[str], *, dtype: str = "float16", computed_in: str = "float32"
    ) -> "FeatureIndex":
        """
        Returns the empty index of a model's features.

        Raises:
            ValueError: The model has no such feature, or there is no such dtype.
        """
        if dtype not in DTYPES:
            raise FeatureCacheError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype!r}")
        features = {
            name: {"shape": list(feature_shape(model, name)), "identity": feature_identity(model, processor, name)}
            for name in names
        }
        return cls(features, dtype, computed_in)

    @property
    def settings(self) -> dict[str, Any]:
        """What all shards of a cache have in common."""
        return {
            "format": FORMAT_VERSION,
            "dtype": self.dtype,
            "computed_in": self.computed_in,
            "features": self.features,
        }

    @property
    def settings_digest(self) -> str:
        """The settings as 32 hexadecimal digits, which every shard carries."""
        return hashlib.sha256(json.dumps(self.settings, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def num_images(self) -> int:
        """How many images are in the shards."""
        return sum(len(shard["keys"]) for shard in self.shards.values())

    @property
    def num_bytes(self) -> int:
        """Size of all shards."""
        return sum(shard["bytes"] for shard in self.shards.values())

    @property
    def value_bytes(self) -> int:
        """Bytes of one image's values."""
        sizes = (torch.Size(feature["shape"]).numel() for feature in self.features.values())
        return sum(sizes) * DTYPES[self.dtype].itemsize

    def places(self) -> dict[str, tuple[str, int]]:
        """Returns the shard and the row of every key."""
        return {key: (name, row) for name, shard in self.shards.items() for row, key in enumerate(shard["keys"])}

    def save(self, folder: Path):
        """
        Writes the index aside and renames it into place.

        Raises:
            FeatureCacheError: It cannot be written; the former index is then untouched.
        """
        content = asdict(self)
        ordered = {**self.settings, "shards": content["shards"], "files": content["files"]}
        write_aside(folder / INDEX_NAME, lambda path: path.write_text(json.dumps(ordered) + "\n", encoding="utf-8"))

    @classmethod
    def load(cls, folder: str | Path) -> "FeatureIndex":
        """
        Reads the index of a folder.

        Raises:
            FeatureCacheError: There is none, it is damaged, or of another format.
        """
        path = Path(folder) / INDEX_NAME
        if not path.is_file():
            raise FeatureCacheError(
                f"no feature cache in {str(folder)!r}, which has no {INDEX_NAME}; "
                f"scripts/cache_image_features.py makes one"
            )
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content.pop("format")
            index = cls(**content)
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            raise FeatureCacheError(
                f"{str(path)!r} is no index of a feature cache ({error}); delete it and run "
                f"scripts/cache_image_features.py again, which keeps the shards"
            ) from error
        if version != FORMAT_VERSION:
            raise FeatureCacheError(
                f"{str(folder)!r} is a feature cache of format {version}, this version reads {FORMAT_VERSION}; "
                f"make it again with scripts/cache_image_features.py"
            )
        return index


def feature_shape(model: nn.Module, name: str) -> tuple[int, ...]:
    """Returns the shape of one image's feature: (d, height, width) for SAM's embeddings, (N, C) for the patches."""
    config: Any = model.config
    if name == "image_embeddings":
        vision = config.sam_config.vision_config
        side = vision.image_size // vision.patch_size
        return vision.output_channels, side, side
    return config.grid_size**2, config.projection_dim


def write_aside(path: Path, write):
    """
    Writes a file in `PARTIAL_FOLDER` beside it, makes it safe on the disk, and moves it to its place.

    Args:
        path: Where the file goes.
        write: Called with the path to write to.

    Raises:
        FeatureCacheError: It cannot be written; nothing is left of it then, and a former file is untouched.
    """
    aside = path.parent / PARTIAL_FOLDER / path.name
    try:
        aside.parent.mkdir(exist_ok=True)
        aside.touch()
        mode = aside.stat().st_mode  # that of any new file; safetensors makes files that only their owner can read
        write(aside)
        aside.chmod(mode)
        with open(aside, "rb") as stream:
            os.fsync(stream.fileno())
        os.replace(aside, path)
    except Exception as error:  # safetensors reports a full disk by an exception of its own
        with suppress(OSError):
            aside.unlink()
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise FeatureCacheError(
            f"cannot write {str(path)!r} ({reason}); what was finished before is kept, so run the same command again "
            f"once there is room"
        ) from error
