# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The named configurations: the product's own, the paper's two models, and one per row of the paper's ablation.

Every preset is a set of [`SspSamConfig`] fields. An ablation row is the paper's B/16 model with a few fields changed.
"""

from typing import Any

_SAM_VIT_H = {
    "vision_config": {
        "hidden_size": 1280,
        "mlp_dim": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "global_attn_indexes": [7, 15, 23, 31],
    },
    # SAM's own value; transformers' default is 1e-6.
    "mask_decoder_config": {"layer_norm_eps": 1e-5},
}

PAPER_B16: dict[str, Any] = {
    "sam_config": _SAM_VIT_H,
    "vision_config": {"patch_size": 16},
    "text_config": {"model_type": "clip_text_model", "pad_token_id": 0},
    "gru_reads_padding": True,
    "use_no_target_head": False,
}

PAPER_L14_336: dict[str, Any] = {
    **PAPER_B16,
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "projection_dim": 768,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 336,
        "patch_size": 14,
    },
    "text_config": {
        **PAPER_B16["text_config"],
        "hidden_size": 768,
        "intermediate_size": 3072,
        "projection_dim": 768,
        "num_attention_heads": 12,
    },
}

# What the rows of the ablation take away. LAD, VAD: linguistic and visual attention adapter.
_NO_VISUAL_ADAPTER = {"num_surgery_layers": 0, "use_similarity_map": False, "verification": "none"}
_NO_LINGUISTIC_ADAPTER = {"linguistic_adapter": "sentence"}
_NO_PROMPT_TOKENS = {"prompt_source": "patches"}

ABLATIONS: dict[str, dict[str, Any]] = {
    "only_LAD": {**_NO_VISUAL_ADAPTER, **_NO_PROMPT_TOKENS},
    "only_VAD": {**_NO_LINGUISTIC_ADAPTER, **_NO_PROMPT_TOKENS},
    "only_LAD_VAD": {**_NO_PROMPT_TOKENS},
    "only_Q_token": {**_NO_VISUAL_ADAPTER, "linguistic_adapter": "projected_sentence"},
    "only_LAD_Q_token": {**_NO_VISUAL_ADAPTER},
    "only_VAD_Q_token": {**_NO_LINGUISTIC_ADAPTER},
    "wo_gaussian": {"verification": "cosine"},
    "single_task": {"use_box_head": False},
    "w_decoder": {"fusion_layer_type": "decoder"},
    # The paper's row varies the depth: from_preset("layer_ablation", num_fusion_layers=...).
    "layer_ablation": {},
    # SigLIP 2 at a fixed resolution (google/siglip2-base-patch16-224), which transformers calls SigLIP.
    "siglip2": {
        "vision_config": {"model_type": "siglip_vision_model", "vision_use_head": False},
        "text_config": {
            "model_type": "siglip_text_model",
            "vocab_size": 256000,
            "pad_token_id": 0,
            "bos_token_id": 2,
            "eos_token_id": 1,
        },
        "projection_dim": 768,
        "num_surgery_layers": 0,
    },
}

PRESETS: dict[str, dict[str, Any]] = {
    "default": {},
    "single_tower": {"vision_config": None},
    "paper_b16": PAPER_B16,
    "paper_l14_336": PAPER_L14_336,
    **{name: {**PAPER_B16, **changes} for name, changes in ABLATIONS.items()},
}


def preset_fields(name: str, **overrides: Any) -> dict[str, Any]:
    """
    Returns the configuration fields of a preset, with some of them replaced.

    Args:
        name (`str`): A key of `PRESETS`.
        overrides: Fields of [`SspSamConfig`]. A `dict` given for a sub-configuration changes only the entries it names;
            everything else replaces the preset's value.

    Returns:
        `dict[str, Any]`: Arguments of [`SspSamConfig`].

    Raises:
        ValueError: If there is no preset of this name.
    """
    if name not in PRESETS:
        raise ValueError(f"there is no preset {name!r}; the presets are {', '.join(PRESETS)}")
    return merge_fields(PRESETS[name], overrides)


def merge_fields(fields: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Returns a copy of nested fields with some replaced; where both have a mapping, its entries are, one by one."""
    merged = {key: merge_fields(value, {}) if isinstance(value, dict) else value for key, value in fields.items()}
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge_fields(merged[key], value) if both else value
    return merged
