# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Tiny random models of the three tower combinations, and inputs for them."""

import torch
from conftest import make_config
from transformers import CLIPTextConfig

from ssp_sam import SspSamConfig, SspSamModel

KINDS = ("default", "paper", "single tower")
SIZES = (
    "adapter_dim",
    "num_surgery_layers",
    "verification_attention_heads",
    "num_prompt_tokens",
    "num_fusion_layers",
    "fusion_attention_heads",
    "fusion_intermediate_size",
    "initializer_range",
)


def tiny_sizes() -> dict:
    """The configuration fields that no tower gives."""
    config = make_config()
    return {name: getattr(config, name) for name in SIZES}


def tiny_config(kind: str, **kwargs) -> SspSamConfig:
    """A configuration of one of `KINDS`; layers are wide at birth, so that outputs react to every input."""
    if kind != "paper":
        return make_config(single_tower=kind == "single tower", **kwargs)
    towers = make_config(single_tower=False)
    text = CLIPTextConfig(
        vocab_size=34,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        projection_dim=16,
        eos_token_id=33,
        pad_token_id=0,
        initializer_factor=10.0,
    )
    fields = {"gru_reads_padding": True, "use_no_target_head": False, **tiny_sizes(), **kwargs}
    return SspSamConfig(sam_config=towers.sam_config, vision_config=towers.vision_config, text_config=text, **fields)


def tiny_model(kind: str, seed: int = 0, **kwargs) -> SspSamModel:
    """A random model in eval mode."""
    torch.manual_seed(seed)
    return SspSamModel(tiny_config(kind, **kwargs)).eval()


def tiny_inputs(kind: str, num_images: int = 3, num_words: int = 6, seed: int = 0) -> dict[str, torch.Tensor]:
    """One expression per image, without padding; CLIP's end-of-text token stands last."""
    generator = torch.Generator().manual_seed(seed)
    inputs = {"pixel_values": torch.randn(num_images, 3, 32, 32, generator=generator)}
    if kind != "single tower":
        inputs["semantic_pixel_values"] = torch.randn(num_images, 3, 32, 32, generator=generator)
    inputs["input_ids"] = torch.randint(5, 30, (num_images, num_words), generator=generator)
    if kind == "paper":
        inputs["input_ids"][:, -1] = 33
    inputs["attention_mask"] = torch.ones(num_images, num_words, dtype=torch.long)
    return inputs


def tiny_labels(num_expressions: int = 3, side: int = 16, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random masks, boxes and one expression without target."""
    generator = torch.Generator().manual_seed(seed)
    no_target = torch.zeros(num_expressions)
    no_target[-1] = 1
    return {
        "mask_labels": (torch.rand(num_expressions, side, side, generator=generator) > 0.5).float(),
        "box_labels": torch.rand(num_expressions, 4, generator=generator) * 0.4 + 0.3,
        "no_target_labels": no_target,
    }


def run(model: SspSamModel, **inputs):
    """A forward pass without gradients."""
    with torch.no_grad():
        return model(**inputs)
