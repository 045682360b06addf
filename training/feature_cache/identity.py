# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Who made an image's features: an encoder's configuration and weights, and how images were prepared for it."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig

# What can be computed once per image, by the encoder that computes it.
ENCODERS = {"image_embeddings": "sam.vision_encoder", "patch_features": "vision_model"}

_STEPS = ("do_resize", "resample", "do_rescale", "rescale_factor", "do_normalize")
_PREPROCESSING = {
    "image_embeddings": (*_STEPS, "size", "do_pad", "pad_size", "image_mean", "image_std"),
    "patch_features": (*_STEPS, "semantic_size", "semantic_mean", "semantic_std"),
}
# Fields of a configuration that say how weights were drawn, which the weights themselves tell better.
_ONLY_AT_BIRTH = {"initializer_range", "initializer_factor"}


def feature_identity(model: nn.Module, processor, name: str) -> dict[str, Any]:
    """
    Describes what an image's features depend on beside the image.

    Args:
        model: An `SspSamModel`, on any device and of any dtype.
        processor: Its processor, or its image processor.
        name: `"image_embeddings"` (SAM's image encoder) or `"patch_features"` (the semantic tower, the image centred on
            its canvas).

    Returns:
        What JSON can hold: `config`, the encoder's settings; `weights`, a hash of its parameters and buffers as float32
        values; `preprocessing`, the image processor's settings for this encoder.

    Raises:
        ValueError: The model has no such encoder, its weights are not there, or its images keep their transparency.
    """
    encoder = encoder_of(model, name)
    images = getattr(processor, "image_processor", processor)
    settings = images.to_dict()
    if len(settings["image_mean"]) == 4:
        raise ValueError("features are kept for RGB images, got an image_mean of four values, which keeps transparency")
    model_config: Any = model.config
    if name == "image_embeddings":
        config = _plain_config(model_config.sam_config.vision_config)
    else:
        config = _plain_config(model_config.vision_config) | {"num_surgery_layers": model_config.num_surgery_layers}
    identity = {
        "config": config,
        "weights": weights_digest(encoder),
        "preprocessing": {setting: settings[setting] for setting in _PREPROCESSING[name]},
    }
    return json.loads(json.dumps(identity))  # tuples become lists, as in an identity that was stored


def encoder_of(model: nn.Module, name: str) -> nn.Module:
    """
    Returns the encoder that computes a feature.

    Raises:
        ValueError: There is no such feature, or this model computes it without an encoder of its own.
    """
    if name not in ENCODERS:
        raise ValueError(f"expected one of {', '.join(ENCODERS)}, got {name!r}")
    encoder = dict(model.named_modules()).get(ENCODERS[name])
    if encoder is None:
        raise ValueError(
            f"{name} need the model's {ENCODERS[name]}, which this model does not have; "
            f"a single-tower model computes them from image_embeddings"
        )
    return encoder


def identity_name(identity: dict[str, Any]) -> str:
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
