# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Adapters beside frozen towers in half precision."""

import pytest
import torch

from ssp_sam.training.adapters import adapt
from ssp_sam.training.arguments import AdapterArguments
from tests.helpers.models import KINDS, run, tiny_inputs, tiny_labels, tiny_model


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_towers_in_half_precision_stand_beside_the_rest_in_float32(kind):
    model, inputs = tiny_model(kind), tiny_inputs(kind)
    before = run(model, **inputs).pred_masks
    adapt(model, AdapterArguments(lora_rank=2, lora_targets=".*(q_proj|qkv|query)", frozen_dtype="bfloat16"))
    after = run(model, **inputs).pred_masks
    assert after.dtype == torch.float32
    assert (after - before).abs().mean() < 0.1 * before.abs().mean()
    model(**inputs, **tiny_labels()).loss.backward()
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name and parameter.dtype == torch.float32 for name, parameter in trained.items())
    assert any("sam.vision_encoder" in name and parameter.grad is not None for name, parameter in trained.items())
    frozen = {
        name.rsplit(".", 1)[0] for name, parameter in model.named_parameters() if parameter.dtype == torch.bfloat16
    }
    assert any(name.startswith("sam.vision_encoder") for name in frozen)
    assert not any(name.startswith(("prompt_generator", "sam.mask_decoder")) for name in frozen)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"lora_rank": -1}, "lora_rank must be at least 0, got -1"),
        ({"lora_targets": "a"}, r"lora_targets \('a'\) and frozen_dtype \('float32'\) need lora_rank, got 0"),
        ({"frozen_dtype": "float16"}, "need lora_rank, got 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AdapterArguments(**settings)
