# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The named configurations: sizes of the paper's models, rows of its ablation, and how they are changed."""

import re
from pathlib import Path

import pytest
import torch

from ssp_sam import SspSamConfig, SspSamModel
from ssp_sam.configuration.presets import ABLATIONS, PRESETS

# The paper counts as trained what no gradient reaches: SAM's IoU head, frozen here, and an attention with its norm that
# the original builds and never reads, at d = 256.
IOU_HEAD = 2 * (256 * 256 + 256) + 256 * 4 + 4
NEVER_READ = 4 * (256 * 256 + 256) + 2 * 256

# Millions of parameters of each preset: all, and those that train.
PARAMETERS = {
    "default": (303.5, 127.5),
    "single_tower": (217.4, 127.6),
    "paper_b16": (804.8, 18.0),
    "paper_l14_336": (1083.4, 18.3),
    "only_LAD": (803.2, 16.4),
    "only_VAD": (801.6, 14.8),
    "only_LAD_VAD": (804.8, 18.0),
    "only_Q_token": (800.0, 13.2),
    "only_LAD_Q_token": (803.2, 16.4),
    "only_VAD_Q_token": (801.6, 14.8),
    "wo_gaussian": (804.8, 18.0),
    "single_task": (804.6, 17.8),
    "w_decoder": (806.3, 19.5),
    "layer_ablation": (804.8, 18.0),
    "siglip2": (1024.7, 19.4),
}


def count_parameters(config: SspSamConfig) -> tuple[int, int]:
    """All parameters and those that train, without making any."""
    with torch.device("meta"):
        parameters = list(SspSamModel(config).parameters())
    return sum(p.numel() for p in parameters), sum(p.numel() for p in parameters if p.requires_grad)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_its_number_of_parameters(name):
    found = tuple(round(count / 1e6, 1) for count in count_parameters(SspSamConfig.from_preset(name)))
    assert found == PARAMETERS[name]


@pytest.mark.parametrize(("name", "total", "trained"), [("paper_b16", 805, 18.4), ("paper_l14_336", 1084, 18.7)])
def test_the_papers_models_have_the_papers_number_of_parameters(name, total, trained):
    found, found_trained = count_parameters(SspSamConfig.from_preset(name))
    assert round((found + NEVER_READ) / 1e6) == total
    assert round((found_trained + IOU_HEAD + NEVER_READ) / 1e6, 1) == trained


@pytest.mark.parametrize("name", [name for name in PRESETS if name not in ("default", "single_tower", "siglip2")])
def test_models_of_the_paper_read_clip_and_sam_as_the_original_does(name):
    config = SspSamConfig.from_preset(name)
    assert config.uses_clip_text and config.text_config.pad_token_id == 0
    assert config.text_config.max_position_embeddings == 77
    assert config.gru_reads_padding and not config.use_no_target_head
    assert config.sam_config.mask_decoder_config.layer_norm_eps == 1e-5
    assert config.sam_config.vision_config.hidden_size == 1280
    assert config.mask_size == 512


def test_the_row_on_siglip_2_has_the_sizes_of_its_base_model():
    config = SspSamConfig.from_preset("siglip2")
    assert config.uses_siglip_text and config.uses_siglip_vision
    assert config.text_config.max_position_embeddings == 64 and config.text_config.vocab_size == 256000
    assert config.text_config.pad_token_id == 0 and config.text_config.hidden_act == "gelu_pytorch_tanh"
    assert config.grid_size == 14 and config.projection_dim == config.vision_config.hidden_size == 768
    assert config.gru_reads_padding and not config.use_no_target_head and config.num_surgery_layers == 0
    assert config.sam_config.mask_decoder_config.layer_norm_eps == 1e-5


def test_the_larger_model_has_the_sizes_of_clip_l14_at_336():
    config = SspSamConfig.from_preset("paper_l14_336")
    assert config.grid_size == 24 and config.projection_dim == 768 and config.adapter_dim == 512
    assert config.text_config.hidden_size == 768 and config.text_config.num_attention_heads == 12


@pytest.mark.parametrize("name", ABLATIONS)
def test_a_row_of_the_ablation_differs_from_the_main_model_in_its_own_fields_alone(name):
    row, main = SspSamConfig.from_preset(name).to_dict(), SspSamConfig.from_preset("paper_b16").to_dict()
    assert {field for field in main if row[field] != main[field]} == set(ABLATIONS[name])


def test_overrides_replace_fields_and_change_single_entries_of_sub_configurations():
    config = SspSamConfig.from_preset("layer_ablation", num_fusion_layers=3, vision_config={"image_size": 384})
    assert config.num_fusion_layers == 3
    assert config.vision_config.image_size == 384 and config.vision_config.patch_size == 16
    assert SspSamConfig.from_preset("layer_ablation").vision_config.image_size == 224


def test_an_unknown_preset_is_refused_with_the_names_there_are():
    with pytest.raises(ValueError, match="there is no preset 'only_lad'; the presets are default, single_tower, paper"):
        SspSamConfig.from_preset("only_lad")


def test_the_guide_lists_every_preset_with_its_parameters():
    text = (Path(__file__).resolve().parents[2] / "docs/usage.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \|[^|]+\| ([\d.]+) \| ([\d.]+) \|$", text, re.M)
    assert {name: (float(total), float(trained)) for name, total, trained in rows} == PARAMETERS
