# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""A model of the smallest sizes for generated scenes, and the settings of runs of seconds."""

from pathlib import Path

from ssp_sam.training.scenes.dataset import render_scenes

CANVAS, NUM_SCENES = 32, 12
MODEL_CONFIG = {
    "vision_config": None,
    "sam_config": {
        "vision_config": {
            "image_size": CANVAS,
            "patch_size": 4,
            "hidden_size": 16,
            "output_channels": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "mlp_ratio": 2.0,
            "window_size": 0,
            "global_attn_indexes": [0],
            "use_rel_pos": False,
            "num_pos_feats": 8,
            "initializer_range": 0.1,
        },
        "prompt_encoder_config": {"hidden_size": 16, "image_size": CANVAS, "patch_size": 4, "mask_input_channels": 4},
        "mask_decoder_config": {"hidden_size": 16, "mlp_dim": 32, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
        "initializer_range": 0.1,
    },
    "text_config": {
        "model_type": "bert",
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
    },
    "projection_dim": 16,
    "grid_size": 8,
    "adapter_dim": 16,
    "verification_attention_heads": 2,
    "num_prompt_tokens": 3,
    "num_fusion_layers": 1,
    "fusion_attention_heads": 2,
    "fusion_intermediate_size": 32,
    "initializer_range": 0.1,
    "mask_size": CANVAS,
    "frozen_modules": [],
}


def tiny_scene_cache(folder: Path) -> Path:
    """Renders scenes for training and validation."""
    for split in ("train", "validation"):
        render_scenes(folder, split=split, num_scenes=NUM_SCENES, canvas_size=CANVAS)
    return folder


def tiny_scene_settings(scene_cache: Path) -> dict:
    """Settings of a run of two steps."""
    return {
        "model_config": MODEL_CONFIG,
        "scene_cache": str(scene_cache),
        "num_train_scenes": NUM_SCENES,
        "num_eval_scenes": 4,
        "images_per_device": 2,
        "expressions_per_image": 3,
        "objective": "referring",
        "max_steps": 2,
        "warmup_steps": 1,
        "learning_rate": 1e-3,
        "log_steps": 1,
        "foreground_loss_weight": 2.0,
        "find_unused_parameters": True,
    }
