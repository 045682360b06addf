# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""SAM's image encoder gives what transformers' own modules give, in every way that its layers are computed."""

import copy

import pytest
import torch
from transformers import SamConfig, SamHQConfig, SamHQModel, SamModel

from ssp_sam.modeling_ssp_sam import sam_layers
from ssp_sam.modeling_ssp_sam.attention_functions import attend_in_parts
from ssp_sam.modeling_ssp_sam.towers import build_sam
from tests.helpers.models import tiny_config

WINDOWS = {"fit": 4, "stick out": 3, "are larger than the canvas": 11}


def encoders(model_class=SamModel, **vision) -> tuple[torch.nn.Module, torch.nn.Module, torch.Tensor]:
    """transformers' encoder and ours with the same weights, and an image for them."""
    config = tiny_config("single tower").sam_config
    settings = config.vision_config.to_dict() | {"initializer_range": 0.3} | vision
    config_class = SamHQConfig if model_class is SamHQModel else SamConfig
    parts = {"prompt_encoder_config": config.prompt_encoder_config, "mask_decoder_config": config.mask_decoder_config}
    config = config_class(vision_config=settings, **{name: part.to_dict() for name, part in parts.items()})
    config.vision_config._attn_implementation = "sdpa"
    torch.manual_seed(0)
    stock = model_class(config).eval()
    for name, table in stock.vision_encoder.named_parameters():
        if "rel_pos" in name:
            torch.nn.init.normal_(table)
    ours = build_sam(config).eval()
    ours.load_state_dict(stock.state_dict())
    return stock.vision_encoder, ours.vision_encoder, torch.randn(2, 3, 32, 32)


@pytest.mark.parametrize("model_class", [SamModel, SamHQModel])
@pytest.mark.parametrize("window_size", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("way", ["_attend_in_blocks", "_attend_at_once"])
def test_layers_give_what_those_of_transformers_give(model_class, window_size, way, monkeypatch):
    stock, ours, pixels = encoders(model_class, window_size=window_size)
    for name in ("_attend_in_blocks", "_attend_at_once"):
        monkeypatch.setattr(sam_layers, name, getattr(sam_layers, way))
    with torch.no_grad():
        torch.testing.assert_close(ours(pixels)[0], stock(pixels)[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("block", [1, 100, 64 * 64, 3 * 64 * 64])
def test_blocks_of_any_size_give_the_same(block, monkeypatch):
    stock, ours, pixels = encoders()
    monkeypatch.setattr(sam_layers, "BLOCK", block)
    with torch.no_grad():
        torch.testing.assert_close(ours(pixels)[0], stock(pixels)[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("setting", [{"qkv_bias": False}, {"use_rel_pos": False}, {"use_abs_pos": False}])
def test_every_setting_of_the_encoder_is_kept(setting):
    stock, ours, pixels = encoders(window_size=3, **setting)
    with torch.no_grad():
        torch.testing.assert_close(ours(pixels)[0], stock(pixels)[0], atol=1e-5, rtol=1e-4)


def test_half_precision_stays_near_single():
    _, ours, pixels = encoders(window_size=3)
    with torch.no_grad():
        expected = ours(pixels)[0]
        with torch.autocast("cpu", torch.bfloat16):
            mixed = ours(pixels)[0].float()
        half = copy.deepcopy(ours).bfloat16()(pixels.bfloat16())[0].float()
    for given in (mixed, half):
        assert (given - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize("window_size", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("use_rel_pos", [True, False])
@pytest.mark.parametrize("in_parts", [True, False])
def test_gradients_are_those_of_transformers(window_size, use_rel_pos, in_parts, monkeypatch):
    if in_parts:  # as where half precision is trained on a CPU
        for name in ("learns_in_half_on_cpu", "_in_half_on_cpu"):
            monkeypatch.setattr(sam_layers, name, lambda _: True)
    stock, ours, pixels = encoders(window_size=window_size, use_rel_pos=use_rel_pos)
    for encoder in (stock, ours):
        encoder(pixels)[0].square().sum().backward()
    expected = dict(stock.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name].grad, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("autocast", [True, False])
def test_half_precision_is_trained_by_products_whose_gradients_are_quick(autocast, monkeypatch):
    used = []
    monkeypatch.setattr(
        sam_layers, "attend_in_parts", lambda *given: used.append(given[0].dtype) or attend_in_parts(*given)
    )
    _, ours, pixels = encoders(window_size=3)
    if not autocast:
        ours, pixels = ours.bfloat16(), pixels.bfloat16()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours(pixels)[0].sum().backward()
        assert used == [torch.bfloat16] * len(ours.layers)
        with torch.no_grad():
            ours(pixels)
    assert len(used) == len(ours.layers)


def test_eager_attention_still_gives_its_weights():
    config = tiny_config("single tower").sam_config
    config.vision_config._attn_implementation = "eager"
    encoder = build_sam(config).eval().vision_encoder
    with torch.no_grad():
        attentions = encoder(torch.randn(1, 3, 32, 32), output_attentions=True).attentions
    assert len(attentions) == len(encoder.layers) and attentions[0].shape[-1] == 16
