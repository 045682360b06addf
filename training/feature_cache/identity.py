# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Who made an image's features: an encoder's configuration and weights, and how images were prepared for it."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

IDENTITY_NAME = "identity.json"
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
# What can be computed once per image, by the modules that compute it. What projects SigLIP's patches usually trains.
ENCODERS = {"image_embeddings": ("sam.vision_encoder",), "patch_features": ("vision_model", "patch_projection")}

_STEPS = ("do_resize", "resample", "do_rescale", "rescale_factor", "do_normalize")
_PREPROCESSING = {
    "image_embeddings": (*_STEPS, "size", "do_pad", "pad_size", "image_mean", "image_std"),
    "patch_features": (*_STEPS, "semantic_size", "semantic_mean", "semantic_std"),
}
# Fields of a configuration that say how weights were drawn, which the weights themselves tell better.
_ONLY_AT_BIRTH = {"initializer_range", "initializer_factor"}


class FeatureCacheError(ValueError):
    """A feature cache that cannot be used as asked; the message says why in one sentence."""


@dataclass(frozen=True)
class CacheIdentity:
    """What all features of a cache have in common; `identity.json` beside them keeps it."""

    features: dict[str, dict[str, Any]]  # for each feature what `feature_identity` says of it
    dtype: str = "float16"  # dtype of the stored values, `"float16"` or `"bfloat16"`
    # Dtype of the matrix products that made them: `"float32"`, `"float16"` or `"bfloat16"`
    computed_in: str = "float32"

    @classmethod
    def load(cls, folder: str | Path) -> "CacheIdentity":
        """
        Reads the identity of the cache in a folder; raises `FeatureCacheError` where there is none, or it is damaged.
        """
        path = Path(folder) / IDENTITY_NAME
        if not path.is_file():
            raise FeatureCacheError(
                f"no feature cache in {str(folder)!r}, which has no {IDENTITY_NAME}; `ssp-sam cache` makes one"
            )
        try:
            identity = cls(**json.loads(path.read_text(encoding="utf-8")))
            if identity.value_bytes == 0:
                raise ValueError("it names no features")
        except (ValueError, TypeError, KeyError, AttributeError, OSError) as error:
            raise FeatureCacheError(
                f"{str(path)!r} is no identity of a feature cache ({error}); make the cache again in another folder"
            ) from error
        return identity

    def to_json(self) -> str:
        """Returns what `identity.json` holds."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @property
    def fingerprint(self) -> str:
        """The identity as 12 hexadecimal digits, which every file of the cache carries."""
        return fingerprint(asdict(self))

    @property
    def value_bytes(self) -> int:
        """Bytes of one image's values."""
        sizes = (torch.Size(feature["shape"]).numel() for feature in self.features.values())
        return sum(sizes) * DTYPES[self.dtype].itemsize

    def check_feature(self, folder: str | Path, name: str, own: dict[str, Any]):
        """
        Raises a `FeatureCacheError` where another encoder made a feature of the cache in a folder than a model's own;
        names both.
        """
        stored = self.features[name]
        if stored != own:
            raise FeatureCacheError(
                f"{str(folder)!r} holds {name} of encoder {fingerprint(stored)}, but this model's encoder is "
                f"{fingerprint(own)} (they differ in {identity_differences(stored, own)}); use the model that made "
                f"them, or write this one's into another folder with `ssp-sam cache`"
            )

    def check_same(self, folder: str | Path, wanted: "CacheIdentity"):
        """
        Raises a `FeatureCacheError` where the cache in a folder differs from what a run would add to it; names both.
        """
        for name in self.features.keys() & wanted.features.keys():
            self.check_feature(folder, name, wanted.features[name])
        for what in ("features", "dtype", "computed_in"):
            there, asked = (getattr(identity, what) for identity in (self, wanted))
            if there != asked:
                there, asked = (" and ".join(value) if what == "features" else value for value in (there, asked))
                raise FeatureCacheError(
                    f"{str(folder)!r} was begun with {what} {there}, got {asked}; "
                    f"go on with the same, or use another folder"
                )


def feature_identity(model: nn.Module, processor, name: str) -> dict[str, Any]:
    """
    Describes what an image's features depend on beside the image.

    Args:
        model: An `SspSamModel`, on any device and of any dtype.
        processor: Its processor, or its image processor.
        name: `"image_embeddings"` (SAM's image encoder) or `"patch_features"` (the semantic tower, the image centred on
            its canvas).

    Returns:
        What JSON can hold: `shape` of one image's feature, (d, height, width) or (N, C); `config`, the encoder's
        settings; `weights`, a hash of its parameters and buffers as float32 values; `preprocessing`, the image
        processor's settings for this encoder.

    Raises:
        ValueError: The model has no such encoder, its weights are not there, or its images keep their transparency.
    """
    encoder = encoder_of(model, name)
    settings = getattr(processor, "image_processor", processor).to_dict()
    if len(settings["image_mean"]) == 4:
        raise ValueError("features are kept for RGB images, got an image_mean of four values, which keeps transparency")
    model_config: Any = model.config
    if name == "image_embeddings":
        vision = model_config.sam_config.vision_config
        side = vision.image_size // vision.patch_size
        shape, config = (vision.output_channels, side, side), _plain_config(vision)
    else:
        shape = (model_config.grid_size**2, model_config.projection_dim)
        config = _plain_config(model_config.vision_config) | {"num_surgery_layers": model_config.num_surgery_layers}
    identity = {
        "shape": shape,
        "config": config,
        "weights": weights_digest(encoder),
        "preprocessing": {setting: settings[setting] for setting in _PREPROCESSING[name]},
    }
    return json.loads(json.dumps(identity))  # tuples become lists, as in an identity that was stored


def encoder_of(model: nn.Module, name: str) -> nn.Module:
    """
    Returns the modules that compute a feature; raises `ValueError` for another feature, for one that this model
    computes without an encoder of its own, and where a mask decoder reads more than the feature.
    """
    if name not in ENCODERS:
        raise ValueError(f"expected one of {', '.join(ENCODERS)}, got {name!r}")
    network: Any = model
    if network.config.uses_sam_hq:
        raise ValueError("features are not kept for SAM-HQ, whose mask decoder reads more than image_embeddings")
    modules = dict(model.named_modules())
    if ENCODERS[name][0] not in modules:
        raise ValueError(
            f"{name} need the model's {ENCODERS[name][0]}, which this model does not have; "
            f"a single-tower model computes them from image_embeddings"
        )
    return nn.ModuleList(modules[module] for module in ENCODERS[name] if module in modules)


def fingerprint(identity: dict[str, Any]) -> str:
    """Returns an identity in 12 hexadecimal digits."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def identity_differences(first: dict[str, Any], second: dict[str, Any]) -> str:
    """Says in words in what two identities differ, with the values of both."""
    found = []
    for part in ("preprocessing", "config"):
        for setting in sorted(first[part] | second[part]):
            values = [identity[part].get(setting) for identity in (first, second)]
            if values[0] != values[1]:
                found.append(f"{setting} {values[0]} and {values[1]}")
    if first["weights"] != second["weights"]:
        found.append(f"weights {first['weights'][:12]} and {second['weights'][:12]}")
    return ", ".join(found)


def weights_digest(module: nn.Module) -> str:
    """
    Hashes names, shapes and values of a module's parameters and buffers.

    Values are read as float32, so that a checkpoint in half precision is the same loaded as it is or widened.

    Raises:
        ValueError: A weight has no value, as on the meta device.
    """

    def digest(item: tuple[str, torch.Tensor]) -> bytes:
        name, tensor = item
        values = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
        part = hashlib.sha256(f"{name} {tuple(values.shape)} ".encode())
        part.update(values.data)
        return part.digest()

    weights = sorted(module.state_dict().items())
    absent = [name for name, tensor in weights if tensor.is_meta]
    if absent:
        raise ValueError(f"cannot tell which encoder this is: {absent[0]!r} is on the meta device, without a value")
    with ThreadPoolExecutor() as pool:  # hashing a large tensor frees the interpreter
        return hashlib.sha256(b"".join(pool.map(digest, weights))).hexdigest()[:32]


def _plain_config(config: PretrainedConfig) -> dict[str, Any]:
    """Returns the fields that an encoder's configuration has beyond those of every configuration."""
    shared = set(PretrainedConfig().to_dict()) | _ONLY_AT_BIRTH | {"transformers_version"}
    return {name: value for name, value in config.to_dict().items() if name not in shared}
