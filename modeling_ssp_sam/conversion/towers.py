# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The towers a checkpoint of the original may leave out: CLIP or SigLIP, and SAM's encoders, from their own files."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, CLIPConfig, SamConfig, SiglipConfig
from transformers.utils import cached_file

from .checkpoint_files import CheckpointError, read_weights
from .checkpoint_sources import check_source
from .sizes import Shapes, is_siglip
from .weight_map import (
    CLIP_RULES,
    HF_CLIP_RULES,
    HF_SAM_RULES,
    SAM_RULES,
    SIGLIP_RULES,
    original_names,
    rename_weights,
    shortened,
)

CLIP_PARTS = ("vision_model.", "text_model.")
SAM_PARTS = ("sam.vision_encoder.", "sam.prompt_encoder.", "sam.shared_image_embedding.")
# Where the paper's towers come from on the Hub, by the number of CLIP's patches.
CLIP_ON_HUB = {14 * 14: "openai/clip-vit-base-patch16", 24 * 24: "openai/clip-vit-large-patch14-336"}
SIGLIP_ON_HUB = "google/siglip2-base-patch16-224"
SAM_ON_HUB = "facebook/sam-vit-huge"
SAM_WIDTHS = {768: "ViT-B", 1024: "ViT-L", 1280: "ViT-H"}


@dataclass
class NamedWeights:
    """Tensors by their names in this model, with where each of them came from.

    Args:
        source (`str`): What to call the file in messages.
        tensors (`dict[str, torch.Tensor]`): Views of the files' tensors.
        origins (`dict[str, str]`): For messages: the original name, and the file.
        dropped (`list[str]`): Original names of what the weight map drops.
        has_surgery (`bool`): Whether CLIP's image tower has the names of the original's surgery.
    """

    source: str
    tensors: dict[str, torch.Tensor]
    origins: dict[str, str]
    dropped: list[str]
    has_surgery: bool = False

    @classmethod
    def of(cls, weights: Mapping[str, torch.Tensor], rules, source: str) -> "NamedWeights":
        tensors = rename_weights(weights, rules, source)
        names = original_names(weights, rules)
        dropped = sorted(set(weights) - set(names.values()))
        surgery = any("visual." in name and ".attn.qkv." in name for name in weights)
        return cls(source, tensors, {ours: f"{name} of {source}" for ours, name in names.items()}, dropped, surgery)

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.tensors)

    def shapes(self) -> Shapes:
        return Shapes({name: tuple(tensor.shape) for name, tensor in self.tensors.items()}, self.source)

    def described(self, name: str) -> str:
        return f"{self.origins[name]} {tuple(self.tensors[name].shape)}"

    def fill(self, other: "NamedWeights", parts: tuple[str, ...]):
        """Takes whole parts that are missing here from `other`; what both have must agree in shape."""
        for name, tensor in other.tensors.items():
            if name in self.tensors and self.tensors[name].shape != tensor.shape:
                raise CheckpointError(
                    f"{other.described(name)} does not have the shape of {self.described(name)}; "
                    f"give the file that this checkpoint was trained with"
                )
        for part in [part for part in parts if not self.has(part)]:
            for name in [name for name in other.tensors if name.startswith(part)]:
                self.tensors[name], self.origins[name] = other.tensors[name], other.origins[name]


def tower_sources(weights: NamedWeights) -> tuple[dict[str, str], list[str]]:
    """
    Decides from the tensors of a checkpoint what has to come from the Hub.

    Returns:
        The options of `convert_weights` that name the sources, and a line for the user on each.
    """
    shapes = weights.shapes()
    patches = shapes["prompt_generator.positions.weight"][0] - 1 - shapes["prompt_generator.prompt_tokens.weight"][0]
    kind, clip = "CLIP", CLIP_ON_HUB.get(patches, CLIP_ON_HUB[14 * 14])  # one vocabulary for all; towers are compared
    if is_siglip(shapes):
        kind, clip = "SigLIP", SIGLIP_ON_HUB
    if all(weights.has(part) for part in CLIP_PARTS):
        sources, lines = {"tokenizer": clip}, [f"the tokenizer comes from {clip}"]
    else:
        sources, lines = {"clip_model": clip}, [f"{kind}, which the checkpoint leaves out, comes from {clip}"]
    if not all(weights.has(part) for part in SAM_PARTS):
        sources["sam_model"] = SAM_ON_HUB
        lines.append(f"SAM's image encoder, which the checkpoint leaves out, comes from {SAM_ON_HUB}")
    return sources, lines


def add_clip(weights: NamedWeights, clip, clip_model) -> dict[str, Any]:
    """
    Fills missing towers of CLIP or SigLIP.

    Returns:
        The configuration fields that a `CLIPModel` or `SiglipModel` knows beyond its shapes.
    """
    filled, siglip = [part for part in CLIP_PARTS if not weights.has(part)], is_siglip(weights.shapes())
    if clip is not None and siglip:
        raise CheckpointError(
            f"{weights.source} was trained on SigLIP, got a file of CLIP ({clip}); give a SiglipModel by --clip-model"
        )
    if clip is None and clip_model is None:
        if filled:
            kind, remedy = ("SigLIP", "a SiglipModel by --clip-model") if siglip else ("CLIP", "--clip or --clip-model")
            raise CheckpointError(f"{weights.source} holds no {kind} (no name begins with encoder.); give {remedy}")
        return {}
    fields: dict[str, Any] = {}
    if clip is not None:
        given = NamedWeights.of(read_weights(clip), CLIP_RULES, str(clip))
    elif filled:
        kind = (SiglipConfig, SIGLIP_RULES) if siglip else (CLIPConfig, HF_CLIP_RULES)
        config, given = read_hub_model(kind[0], clip_model, kind[1])
        kept = ("num_attention_heads", "hidden_act", "layer_norm_eps")
        for part in ("vision_config", "text_config"):
            fields[part] = {name: getattr(getattr(config, part), name) for name in kept}
    else:
        return {}  # only its tokenizer is wanted
    if filled and not siglip:
        check_clip_fits(weights, given)
    weights.fill(given, CLIP_PARTS)
    return fields


def check_clip_fits(weights: NamedWeights, clip: NamedWeights):
    """Raises a `CheckpointError` if the adapters were trained on another CLIP."""
    expected, given = weights.shapes(), clip.shapes()
    learned = 1 + expected["prompt_generator.prompt_tokens.weight"][0]
    projection, words = "vision_model.visual_projection.weight", "text_model.text_model.final_layer_norm.weight"
    patches = "vision_model.vision_model.embeddings.position_embedding.weight"
    for tower, size, adapter, wanted in (
        (projection, given[projection][0], "visual_adapter.layers.0.weight", lambda shape: shape[1]),
        (words, given[words][0], "word_projection.weight", lambda shape: shape[1]),
        (patches, given[patches][0] - 1, "prompt_generator.positions.weight", lambda shape: shape[0] - learned),
    ):
        if size != wanted(expected[adapter]):
            raise CheckpointError(
                f"{clip.described(tower)} does not fit {weights.described(adapter)}: the adapters were trained on a "
                f"CLIP with {wanted(expected[adapter])} there, not {size}"
            )


def add_sam(weights: NamedWeights, sam, sam_model, allow_other_sam: bool, say: Callable[[str], None]):
    """Fills missing encoders of SAM; the mask decoder is always the checkpoint's own."""
    missing = [part for part in SAM_PARTS if not weights.has(part)]
    if sam is None and (sam_model is None or not missing):
        if missing:
            raise CheckpointError(f"{weights.source} holds no {shortened(missing)} of SAM; give --sam or --sam-model")
        if sam_model is not None:
            say(f"{weights.source} holds all of SAM, so {sam_model} was not read")
        return
    if sam is not None:
        given = NamedWeights.of(read_weights(sam), SAM_RULES, str(sam))
    else:
        _, given = read_hub_model(SamConfig, sam_model, HF_SAM_RULES)
    positions, decoder = "sam.vision_encoder.pos_embed", "sam.mask_decoder.iou_token.weight"
    width = given.shapes()[positions][-1]
    if positions not in weights.tensors and width in SAM_WIDTHS and width != 1280 and not allow_other_sam:
        raise CheckpointError(
            f"{given.described(positions)} is SAM {SAM_WIDTHS[width]}, but SSP-SAM is trained on ViT-H, whose last "
            f"size is 1280; give that, or --allow-other-sam if {weights.source} was trained on this one"
        )
    if decoder not in weights.tensors:
        raise CheckpointError(f"{weights.source} holds no mask decoder of SAM (no name begins with sam.mask_decoder.)")
    weights.fill(given, SAM_PARTS)


def read_hub_model(config_class: type, identifier: str, rules) -> tuple[Any, NamedWeights]:
    """
    Reads configuration and weights of transformers' own model, in a folder or on the Hub.

    Args:
        config_class: The class of its configuration.
        identifier: The folder, or the hub id, of which only configuration and weights are fetched.
        rules: The weight map for its names.

    Raises:
        CheckpointError: If there is no such model, or it is of another type.
    """
    expected = f"expected the folder or hub id of a model of type {config_class.model_type!r}"
    try:
        check_source(identifier)
        config = AutoConfig.from_pretrained(identifier)
        files = [] if config.model_type != config_class.model_type else _weight_files(identifier)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot load {identifier}, {expected}: {str(error).strip().splitlines()[0]}") from error
    if config.model_type != config_class.model_type:
        raise CheckpointError(f"{identifier} is a model of type {config.model_type!r}; {expected}")
    weights = {name: tensor for file in files for name, tensor in read_weights(file).items()}
    return config, NamedWeights.of(weights, rules, identifier)


def _weight_files(identifier: str) -> list[str]:
    """The files of weights of a folder or hub id, fetched where needed."""
    for name in ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"):
        file = cached_file(identifier, name, _raise_exceptions_for_missing_entries=False)
        if file is not None and name.endswith(".index.json"):
            shards = sorted(set(json.loads(Path(file).read_text("utf-8"))["weight_map"].values()))
            return [str(cached_file(identifier, shard)) for shard in shards]
        if file is not None:
            return [file]
    raise OSError("it has no model.safetensors and no pytorch_model.bin")
