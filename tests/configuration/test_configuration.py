# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The configuration: three combinations of towers, what it infers, and what it refuses."""

import pytest
from transformers import AutoConfig, BertConfig, CLIPTextConfig, DistilBertConfig, Sam2Config, ViTConfig

from ssp_sam import SspSamConfig
from tests.helpers.models import make_config

PAPER = {"text_config": {"model_type": "clip_text_model", "pad_token_id": 0}, "use_no_target_head": False}
COMBINATIONS = {"default": {}, "paper": PAPER, "single tower": {"vision_config": None}}


@pytest.mark.parametrize("fields", COMBINATIONS.values(), ids=COMBINATIONS)
def test_saving_and_loading_gives_the_same_configuration(fields, tmp_path):
    config = SspSamConfig(**fields, num_prompt_tokens=7, focal_alpha=0.4)
    config.save_pretrained(tmp_path)
    for loaded in (SspSamConfig.from_pretrained(tmp_path), AutoConfig.from_pretrained(tmp_path)):
        assert type(loaded) is SspSamConfig
        assert {**loaded.to_dict(), "_name_or_path": ""} == config.to_dict()
        assert (loaded.vision_config is None) == (config.vision_config is None)
        assert type(loaded.text_config) is type(config.text_config)


def test_the_defaults_are_bert_clip_b16_and_sam_vit_b():
    config = SspSamConfig()
    assert isinstance(config.text_config, BertConfig)
    assert (config.vision_config.patch_size, config.vision_config.image_size) == (16, 224)
    assert (config.projection_dim, config.grid_size, config.prompt_hidden_size) == (512, 14, 256)
    assert config.sam_config.vision_config.num_hidden_layers == 12
    assert config.mask_size == 512
    assert not config.uses_clip_text


def test_the_paper_reads_text_with_clip():
    config = SspSamConfig(**PAPER)
    assert isinstance(config.text_config, CLIPTextConfig)
    assert config.uses_clip_text
    assert "text_model" in config.frozen_modules


def test_none_for_the_semantic_tower_is_the_single_tower_model():
    config = SspSamConfig(vision_config=None)
    assert config.vision_config is None
    assert (config.projection_dim, config.grid_size) == (512, 16)
    assert "vision_model" not in config.frozen_modules


def test_any_bert_like_text_config_is_taken_as_an_object_or_a_dict():
    for text_config in (DistilBertConfig(dim=96, n_heads=4), {"model_type": "distilbert", "dim": 96, "n_heads": 4}):
        assert SspSamConfig(text_config=text_config).text_config.hidden_size == 96


def test_what_is_frozen_can_be_chosen_and_survives_a_round_trip(tmp_path):
    SspSamConfig(vision_config=None, frozen_modules=["text_model"]).save_pretrained(tmp_path)
    assert list(SspSamConfig.from_pretrained(tmp_path).frozen_modules) == ["text_model"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_prompt_tokens", 0, "num_prompt_tokens must be at least 1, got 0"),
        ("num_prompt_tokens", -3, "num_prompt_tokens must be at least 1, got -3"),
        ("grid_size", 0, "grid_size must be at least 1, got 0"),
        ("projection_dim", -1, "projection_dim must be at least 1, got -1"),
        ("adapter_dim", 0, "adapter_dim must be at least 1, got 0"),
        ("num_surgery_layers", -1, "num_surgery_layers must be at least 0, got -1"),
        ("num_fusion_layers", 0, "num_fusion_layers must be at least 1, got 0"),
        ("fusion_attention_heads", 0, "fusion_attention_heads must be at least 1, got 0"),
        ("mask_size", 0, "mask_size must be at least 1, got 0"),
        ("fusion_dropout", 1.5, "fusion_dropout must be between 0 and 1, got 1.5"),
        ("dice_loss_weight", -4, "dice_loss_weight must be at least 0, got -4"),
        ("verification_sigma", 0, "verification_sigma must be above 0, got 0"),
        ("adapter_dim", 15, r"adapter_dim \(15\) must be divisible by verification_attention_heads \(2\)"),
        ("fusion_attention_heads", 3, r"prompt size \(16\) must be divisible by fusion_attention_heads \(3\)"),
    ],
)
def test_a_value_that_makes_no_sense_is_named(field, value, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        make_config(**{field: value})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_surgery_layers": 3}, r"num_surgery_layers \(3\) must be at most vision_config.num_hidden_layers \(2\)"),
        ({"projection_dim": 8}, r"projection_dim \(8\) must be 16, as vision_config gives it"),
        ({"grid_size": 5}, r"grid_size \(5\) must be 4, as vision_config gives it"),
        (
            {"linguistic_adapter": "sentence", "adapter_dim": 32},
            r"linguistic_adapter='sentence' needs projection_dim \(16\) equal to adapter_dim \(32\)",
        ),
    ],
)
def test_sizes_that_do_not_fit_the_semantic_tower_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        make_config(single_tower=False, **fields)


def test_sizes_that_do_not_fit_the_text_tower_are_named():
    clip = {"model_type": "clip_text_model", "projection_dim": 24}
    with pytest.raises(ValueError, match=r"text_config.projection_dim \(24\) must equal projection_dim \(512\)"):
        SspSamConfig(text_config=clip)
    with pytest.raises(ValueError, match=r"projection_dim \(512\) equal to text_config.hidden_size \(768\)"):
        SspSamConfig(linguistic_adapter="projected_sentence")


def test_parts_of_sam_that_do_not_fit_each_other_are_named():
    with pytest.raises(ValueError, match=r"sam_config.vision_config.output_channels \(64\) must be 256 to fit"):
        SspSamConfig(sam_config={"vision_config": {"output_channels": 64}})
    with pytest.raises(ValueError, match=r"sam_config.vision_config.image_size \(512\) must be 1024 to fit"):
        SspSamConfig(sam_config={"vision_config": {"image_size": 512}})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sam_config": Sam2Config()}, "sam_config must have model type 'sam' or 'sam_hq', got 'sam2'"),
        (
            {"vision_config": ViTConfig()},
            "vision_config must have model type 'clip_vision_model' or 'siglip_vision_model', got 'vit'",
        ),
        ({"text_config": ViTConfig()}, "text_config must be a text encoder's, got model type 'vit'"),
    ],
)
def test_a_tower_of_another_kind_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        SspSamConfig(**fields)


def test_an_unknown_variant_is_named():
    with pytest.raises(Exception, match="expected one of .*'tokens', 'patches'.*, got words"):
        SspSamConfig(prompt_source="words")
