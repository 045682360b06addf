# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The model outside plain eager mode: exported, spread over devices, on the meta device."""

import pytest
import torch

from ssp_sam import SspSamModel
from tests.helpers.models import KINDS, run, tiny_config, tiny_inputs, tiny_model


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")
def test_an_exported_graph_serves_any_number_of_expressions():
    kind = "default"  # the slow one of these tests, and the widest graph
    model = tiny_model(kind).requires_grad_(False)
    expressions = torch.export.Dim("expressions", min=2, max=64)
    inputs = {**tiny_inputs(kind), "image_index": torch.tensor([0, 1, 2, 0, 1])}
    inputs |= {name: tiny_inputs(kind, num_images=5)[name] for name in ("input_ids", "attention_mask")}
    dynamic = dict.fromkeys(("input_ids", "attention_mask", "image_index"), {0: expressions})
    with torch.no_grad():
        program = torch.export.export(
            model, (), kwargs=inputs, dynamic_shapes={name: dynamic.get(name) for name in inputs}, strict=False
        )
        inputs |= {name: inputs[name][1:4] for name in dynamic}
        exported = program.module()(**inputs)
    torch.testing.assert_close(exported["pred_masks"], run(model, **inputs).pred_masks, atol=1e-4, rtol=1e-4)


def test_large_parts_can_be_offloaded_to_the_disk(kind, tmp_path):
    model, inputs = tiny_model(kind), tiny_inputs(kind)
    model.save_pretrained(tmp_path / "model")
    parts = [name for name, _ in model.named_children() if name != "sam"]
    device_map = dict.fromkeys([*parts, "sam.vision_encoder"], "disk")
    device_map |= {f"sam.{name}": "cpu" for name, _ in model.sam.named_children() if name != "vision_encoder"}
    loaded = SspSamModel.from_pretrained(tmp_path / "model", device_map=device_map, offload_folder=tmp_path / "offload")
    assert loaded.prompt_generator.reg_token.weight.device.type == "meta"
    torch.testing.assert_close(run(loaded, **inputs).pred_masks, run(model, **inputs).pred_masks, atol=1e-4, rtol=1e-4)


def test_a_model_on_the_meta_device_takes_no_memory_until_it_is_initialised(kind):
    with torch.device("meta"):
        model = SspSamModel(tiny_config(kind))
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    model.to_empty(device="cpu")
    model.init_weights()
    assert run(model.eval(), **tiny_inputs(kind)).pred_masks.isfinite().all()
