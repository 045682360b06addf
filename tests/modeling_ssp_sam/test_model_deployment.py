# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The model outside plain eager mode: exported, spread over devices, on the meta device."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter
from transformers import pipeline

from ssp_sam import SspSamModel
from tests.helpers.comparison import results_agree
from tests.helpers.models import KINDS, run, shallow_model, tiny_config, tiny_inputs, tiny_model


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:The tensor attributes:UserWarning")
def test_an_exported_graph_serves_any_number_of_expressions_and_words():
    kind = "default"  # the slow one of these tests, and the widest graph
    model = shallow_model(kind).requires_grad_(False)
    expressions = torch.export.Dim("expressions", min=2, max=64)
    inputs = {**tiny_inputs(kind), "image_index": torch.tensor([0, 1, 2, 0, 1])}
    inputs |= {name: tiny_inputs(kind, num_images=5)[name] for name in ("input_ids", "attention_mask")}
    words = {0: expressions, 1: torch.export.Dim("words", min=2, max=32)}
    dynamic = {"input_ids": words, "attention_mask": words, "image_index": {0: expressions}}
    with torch.no_grad():
        program = torch.export.export(
            model, (), kwargs=inputs, dynamic_shapes={name: dynamic.get(name) for name in inputs}, strict=False
        )
        inputs |= {name: inputs[name][1:4] for name in dynamic}
        inputs |= {name: inputs[name][:, :4] for name in ("input_ids", "attention_mask")}
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
    inputs = {**tiny_inputs(kind), "image_index": torch.tensor([0, 1, 1])}
    shapes = run(model, **{name: value.to("meta") for name, value in inputs.items()})
    assert shapes.pred_masks.shape == (3, 1, 32, 32)
    model.to_empty(device="cpu")
    model.init_weights()
    assert run(model.eval(), **tiny_inputs(kind)).pred_masks.isfinite().all()


# ---- compiled -------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("kind", ["paper", "default"])
def test_one_graph_serves_any_number_of_expressions_and_words(kind):
    model, graphs = tiny_model(kind), CompileCounter()
    inputs = tiny_inputs(kind)
    with torch.no_grad():
        features = model.get_image_features(inputs["pixel_values"], inputs["semantic_pixel_values"])
        torch._dynamo.reset()
        compiled = torch.compile(model, backend=graphs, fullgraph=True, dynamic=True)
        counts = []
        for num_expressions, num_words in ((3, 4), (2, 7), (9, 9), (4, 3)):
            words = tiny_inputs(kind, num_images=num_expressions, num_words=num_words)
            words = {name: words[name] for name in ("input_ids", "attention_mask")}
            words["image_index"] = torch.arange(num_expressions) % 3
            masks = compiled(image_features=features, **words).pred_masks
            torch.testing.assert_close(masks, model(image_features=features, **words).pred_masks, atol=1e-4, rtol=1e-4)
            counts.append(graphs.frame_count)
    assert counts[0] == 1 and counts[1:] == [counts[-1]] * 3 and counts[-1] <= 2  # none for sizes after the second


@pytest.mark.long
def test_the_whole_model_is_one_graph(kind):
    model, inputs, graphs = tiny_model(kind), tiny_inputs(kind), CompileCounter()
    torch._dynamo.reset()
    masks = run(torch.compile(model, backend=graphs, fullgraph=True), **inputs).pred_masks
    torch.testing.assert_close(masks, run(model, **inputs).pred_masks, atol=1e-4, rtol=1e-4)
    assert graphs.frame_count == 1


@pytest.mark.long
def test_a_compiled_pipeline_finds_what_the_plain_one_does(image, tiny_checkpoint):
    plain, compiled = (pipeline("referring-segmentation", tiny_checkpoint, compile=way) for way in (False, True))
    for texts in (["a cat"], ["a dog", "the red car", "tree"]):
        assert results_agree(compiled(image, texts), plain(image, texts))
