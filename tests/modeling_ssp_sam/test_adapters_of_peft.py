# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Low-rank adapters that peft puts into the model."""

import pytest
import torch
from peft import LoraConfig

from tests.helpers.models import KINDS, run, tiny_inputs, tiny_labels, tiny_model


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_of_any_layer_change_the_masks_and_learn(kind):
    model, inputs = tiny_model(kind), tiny_inputs(kind)
    before = run(model, **inputs).pred_masks
    targets = ["prompt_tokens", "reg_token", "positions", "q_proj", "query", "qkv", "word_projection"]
    model.add_adapter(LoraConfig(r=2, target_modules=targets, init_lora_weights=False))
    assert not torch.equal(run(model, **inputs).pred_masks, before)
    model(**inputs, **tiny_labels()).loss.backward()
    trained = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name for name in trained)
    for part in ("prompt_tokens", "sam.mask_decoder", "sam.vision_encoder"):
        assert any(part in name and grad is not None and grad.abs().sum() > 0 for name, grad in trained.items()), part


def test_dropout_of_adapters_is_on_in_training_where_that_of_frozen_towers_is_off():
    model = tiny_model("default")
    model.add_adapter(LoraConfig(r=2, target_modules=["vision_model.*q_proj", "q_proj"], lora_dropout=0.5))
    model.train()
    layer = model.vision_model.vision_model.encoder.layers[0].self_attn
    assert layer.q_proj.lora_dropout["default"].training
    assert not layer.training and not layer.q_proj.base_layer.training
    assert (
        not model.eval().vision_model.vision_model.encoder.layers[0].self_attn.q_proj.lora_dropout["default"].training
    )
