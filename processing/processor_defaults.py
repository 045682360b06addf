# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What a processor must be like to fit a model: sizes, normalisation, padding and thresholds by the configuration."""

import copy
from typing import Any

from transformers.utils.constants import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD


def image_defaults(config) -> dict[str, Any]:
    """Returns the settings of the image processor of a model by its [`SspSamConfig`]."""
    fields: dict[str, Any] = {
        "size": {"longest_edge": config.sam_config.vision_config.image_size},
        "semantic_size": None if config.vision_config is None else config.vision_config.image_size,
        "mask_size": config.mask_size,
    }
    if config.uses_siglip_vision:
        fields.update(semantic_mean=IMAGENET_STANDARD_MEAN, semantic_std=IMAGENET_STANDARD_STD)
    return fields


def text_defaults(config, tokenizer) -> dict[str, Any]:
    """
    Returns the settings of the processor of a model by its [`SspSamConfig`], with its tokenizer.

    For SigLIP a copy of the tokenizer is taken, which pads on the right as the original does: the sentence is read at
    the last position, where SigLIP 2's own tokenizer, which pads on the left, would put a word.
    """
    # A tokenizer may allow fewer tokens than there are positions, as RoBERTa's does.
    positions = getattr(config.text_config, "max_position_embeddings", tokenizer.model_max_length)
    fields = {
        "max_expression_length": min(positions, tokenizer.model_max_length),
        "min_mask_pixels": 0 if config.use_no_target_head else 50,
    }
    if config.text_reads_padding:
        fields.update(expression_template="{}.", expression_padding="max_length")
    if config.uses_clip_text or (config.uses_siglip_text and config.text_config.pad_token_id == 0):
        fields["pad_token_id"] = 0
    if config.uses_siglip_text:
        fields["max_expression_length"] = positions
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.padding_side = tokenizer.init_kwargs["padding_side"] = "right"
    return {"tokenizer": tokenizer, **fields}
