# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Reads the sizes of a model off the shapes of its weights, so that nobody has to type them.

What shapes do not tell: the attention heads of adapters, prompt generator and mask decoder, 8 in the original. Heads of
CLIP and SigLIP are 64 wide, those of SAM's image encoder as wide as its relative positions.
"""

import re
from collections.abc import Mapping
from typing import Any

from .checkpoint_files import CheckpointError

Shape = tuple[int, ...]


class Shapes:
    """Shapes of weights by their names in this model."""

    def __init__(self, shapes: Mapping[str, Shape], source: str):
        self.shapes, self.source = shapes, source

    def __getitem__(self, name: str) -> Shape:
        if name not in self.shapes:
            raise CheckpointError(f"{self.source}: no weight fills {name}, which is needed to read the model's sizes")
        return self.shapes[name]

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def count(self, prefix: str) -> int:
        """How many numbered modules, counted from 0, stand under a prefix such as `"encoder.layers."`."""
        numbers = {match[1] for name in self.shapes if (match := re.match(re.escape(prefix) + r"(\d+)\.", name))}
        return len(numbers)


def is_siglip(shapes: Shapes) -> bool:
    """Returns whether the adapters were trained on SigLIP's towers, whose patches they project themselves."""
    return "patch_projection.weight" in shapes


def infer_fields(shapes: Shapes, num_heads: int | None) -> dict[str, Any]:
    """
    Returns the configuration fields that shapes tell.

    Args:
        shapes (`Shapes`): Of all weights of a model with the two towers of CLIP or SigLIP.
        num_heads (`int`, *optional*): Heads of adapters, prompt generator and mask decoder; 8, of at least 8 channels
            each, when not given.

    Returns:
        `dict[str, Any]`: Fields of [`SspSamConfig`].

    Raises:
        CheckpointError: If a weight is missing, or the image tower has no square grid.
    """
    prompt_size, adapter_dim = shapes["fusion.projection.weight"]
    num_heads = min(8, max(1, prompt_size // 8)) if num_heads is None else num_heads
    return {
        "sam_config": _sam(shapes, num_heads),
        **(_siglip(shapes) if is_siglip(shapes) else _clip(shapes)),
        "adapter_dim": adapter_dim,
        "verification_attention_heads": num_heads,
        "num_prompt_tokens": shapes["prompt_generator.prompt_tokens.weight"][0],
        "num_fusion_layers": shapes.count("prompt_generator.layers."),
        "fusion_attention_heads": num_heads,
        "fusion_intermediate_size": shapes["prompt_generator.layers.0.mlp.layers.0.weight"][0],
        "fusion_layer_type": "decoder"
        if "prompt_generator.layers.0.memory_attn.q_proj.weight" in shapes
        else "encoder",
    }


def _clip(shapes: Shapes) -> dict[str, Any]:
    vision = _vision(shapes, "vision_model.vision_model", num_class_tokens=1)
    text = _text(shapes, "text_model.text_model")
    text |= {"bos_token_id": text["vocab_size"] - 2, "eos_token_id": text["vocab_size"] - 1}
    return {
        "vision_config": {**vision, "projection_dim": shapes["vision_model.visual_projection.weight"][0]},
        "text_config": {**text, "projection_dim": shapes["text_model.text_projection.weight"][0]},
    }


def _siglip(shapes: Shapes) -> dict[str, Any]:
    return {
        "vision_config": _vision(shapes, "vision_model", num_class_tokens=0),
        "text_config": {**_text(shapes, "text_model"), "projection_size": shapes["text_model.head.weight"][0]},
        "projection_dim": shapes["patch_projection.weight"][0],
    }


def _vision(shapes: Shapes, tower: str, num_class_tokens: int) -> dict[str, Any]:
    width, _, patch, _ = shapes[f"{tower}.embeddings.patch_embedding.weight"]
    num_patches = shapes[f"{tower}.embeddings.position_embedding.weight"][0] - num_class_tokens
    grid = round(num_patches**0.5)
    if grid**2 != num_patches:
        raise CheckpointError(f"{shapes.source}: the image tower has {num_patches} patches, which are no square grid")
    return {**_layers(shapes, tower, width), "image_size": grid * patch, "patch_size": patch}


def _text(shapes: Shapes, tower: str) -> dict[str, Any]:
    vocabulary, width = shapes[f"{tower}.embeddings.token_embedding.weight"]
    positions = shapes[f"{tower}.embeddings.position_embedding.weight"][0]
    return {**_layers(shapes, tower, width), "vocab_size": vocabulary, "max_position_embeddings": positions}


def _layers(shapes: Shapes, tower: str, width: int) -> dict[str, Any]:
    return {
        "hidden_size": width,
        "intermediate_size": shapes[f"{tower}.encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": shapes.count(f"{tower}.encoder.layers."),
        "num_attention_heads": max(1, width // 64),
    }


def _sam(shapes: Shapes, num_heads: int) -> dict[str, Any]:
    encoder, decoder = "sam.vision_encoder", "sam.mask_decoder"
    _, grid, _, width = shapes[f"{encoder}.pos_embed"]
    patch = shapes[f"{encoder}.patch_embed.projection.weight"][-1]
    num_layers = shapes.count(f"{encoder}.layers.")
    spans = [shapes[f"{encoder}.layers.{index}.attn.rel_pos_h"] for index in range(num_layers)]
    windows = [(length + 1) // 2 for length, _ in spans if length != 2 * grid - 1]
    channels = shapes[f"{encoder}.neck.conv1.weight"][0]
    hidden_size = shapes[f"{decoder}.iou_token.weight"][1]
    canvas = {"image_size": grid * patch, "patch_size": patch}
    return {
        "vision_config": {
            **canvas,
            "hidden_size": width,
            "mlp_dim": shapes[f"{encoder}.layers.0.mlp.lin1.weight"][0],
            "num_hidden_layers": num_layers,
            "num_attention_heads": width // spans[0][1],
            "output_channels": channels,
            "num_pos_feats": shapes["sam.shared_image_embedding.positional_embedding"][1],
            "window_size": windows[0] if windows else 14,
            "global_attn_indexes": [index for index, (length, _) in enumerate(spans) if length == 2 * grid - 1],
        },
        "prompt_encoder_config": {
            **canvas,
            "hidden_size": shapes["sam.prompt_encoder.no_mask_embed.weight"][1],
            "mask_input_channels": shapes["sam.prompt_encoder.mask_embed.conv2.weight"][0],
            "num_point_embeddings": shapes.count("sam.prompt_encoder.point_embed."),
        },
        "mask_decoder_config": {
            "hidden_size": hidden_size,
            "mlp_dim": shapes[f"{decoder}.transformer.layers.0.mlp.lin1.weight"][0],
            "num_hidden_layers": shapes.count(f"{decoder}.transformer.layers."),
            "num_attention_heads": num_heads,
            "attention_downsample_rate": hidden_size
            // shapes[f"{decoder}.transformer.layers.0.cross_attn_token_to_image.q_proj.weight"][0],
            "num_multimask_outputs": shapes[f"{decoder}.mask_tokens.weight"][0] - 1,
            "iou_head_hidden_dim": shapes[f"{decoder}.iou_prediction_head.proj_in.weight"][0],
        },
    }
