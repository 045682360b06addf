# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""SAM's mask decoder as it is computed here gives what transformers' own gives."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from ssp_sam.modeling_ssp_sam import attention_adapters, mask_decoding, mask_reading
from tests.helpers.models import run, tiny_inputs, tiny_model

# The image of each of five expressions, and how many images there are.
IMAGES = {"of one image": ([0] * 5, 1), "of several images": ([0, 2, 2, 1, 0], 3), "of an image each": (None, 5)}


def both(model, monkeypatch, **inputs) -> tuple:
    """The output with masks read by this library, and with transformers' decoder."""
    quick = run(model, **inputs)
    monkeypatch.setattr(mask_decoding, "can_read", lambda *_: False)
    return quick, run(model, **inputs)


@pytest.mark.parametrize("kind", ["default", "single tower"])
@pytest.mark.parametrize("images", IMAGES.values(), ids=IMAGES)
@pytest.mark.parametrize("numbers", [1, 2500, 1 << 20])
def test_masks_are_those_of_transformers_decoder(kind, images, numbers, monkeypatch):
    monkeypatch.setattr(mask_reading, "GROUP_NUMBERS", numbers)
    index, num_images = images
    inputs = tiny_inputs(kind, num_images=5)
    inputs |= {name: value[:num_images] for name, value in inputs.items() if "pixel" in name}
    inputs["image_index"] = None if index is None else torch.tensor(index)
    quick, expected = both(tiny_model(kind), monkeypatch, **inputs)
    torch.testing.assert_close(quick.pred_masks, expected.pred_masks, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(quick.iou_scores, expected.iou_scores, atol=1e-5, rtol=1e-4)


def test_clicks_and_boxes_are_read_beside_the_words(monkeypatch):
    clicks = {"input_points": torch.rand(3, 1, 2, 2) * 32, "input_boxes": torch.tensor([[[2.0, 3.0, 20.0, 30.0]]] * 3)}
    quick, expected = both(tiny_model("default"), monkeypatch, **tiny_inputs("default"), **clicks)
    torch.testing.assert_close(quick.pred_masks, expected.pred_masks, atol=1e-5, rtol=1e-4)


class DoubledLinear(torch.nn.Linear):
    """Stands for a layer that is more than its weights, as adapted and quantised ones are."""

    def forward(self, states):
        return 2 * super().forward(states)


def watch(layer):
    layer.register_forward_hook(lambda module, inputs, output: 2 * output)


def adapt(layer):
    layer.__class__ = DoubledLinear


@pytest.mark.parametrize("name", ["k_proj", "v_proj"])
@pytest.mark.parametrize("change", [watch, adapt])
def test_layers_that_are_more_than_their_weights_are_called(name, change, monkeypatch):
    model, inputs = tiny_model("default"), tiny_inputs("default")
    before = run(model, **inputs).pred_masks
    change(getattr(model.sam.mask_decoder.transformer.final_attn_token_to_image, name))
    quick, expected = both(model, monkeypatch, **inputs)
    torch.testing.assert_close(quick.pred_masks, expected.pred_masks, atol=1e-5, rtol=1e-4)
    assert not torch.equal(quick.pred_masks, before)


def test_half_precision_pads_keys_without_attending_to_them(monkeypatch):
    model, inputs = tiny_model("default").bfloat16(), tiny_inputs("default")
    inputs = {name: value.bfloat16() if value.is_floating_point() else value for name, value in inputs.items()}
    quick, expected = both(model, monkeypatch, **inputs)
    assert (quick.pred_masks - expected.pred_masks).norm() < 0.05 * expected.pred_masks.norm()


def test_one_graph_reads_any_number_of_masks():
    decoder, graphs = tiny_model("default").sam.mask_decoder, CompileCounter()
    size = decoder.config.hidden_size
    images, positions = torch.randn(2, size, 4, 6), torch.randn(1, size, 4, 6)
    torch._dynamo.reset()
    compiled = torch.compile(mask_reading.read_masks, backend=graphs, fullgraph=True, dynamic=True)
    with torch.no_grad():
        for number in (3, 5, 9):
            given = (decoder, images, positions, torch.randn(number, 2, size), torch.arange(number) % 2)
            for found, expected in zip(compiled(*given), mask_reading.read_masks(*given), strict=True):
                torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert graphs.frame_count == 1


@pytest.mark.parametrize("spelled_out", [False, True])
def test_gradients_are_those_of_transformers_decoder(spelled_out, monkeypatch):
    monkeypatch.setattr(mask_reading, "GROUP_NUMBERS", 2500)
    model, inputs = tiny_model("default"), tiny_inputs("default")
    gradients = []
    for decoder in ("quick", "transformers"):
        spelled = spelled_out and decoder == "quick"
        for room in (attention_adapters, mask_reading):  # as where half precision is trained on a CPU
            monkeypatch.setattr(room, "learns_in_half_on_cpu", lambda *_, spelled=spelled: spelled)
        if decoder == "transformers":
            monkeypatch.setattr(mask_decoding, "can_read", lambda *_: False)
        model.zero_grad()
        model(**inputs).pred_masks.square().sum().backward()
        gradients.append({name: weight.grad for name, weight in model.named_parameters()})
    quick, expected = gradients
    assert [name for name, value in quick.items() if value is None] == [
        name for name, value in expected.items() if value is None
    ]
    for name, value in quick.items():
        if value is not None:
            assert (value - expected[name]).norm() <= 1e-3 * expected[name].norm() + 1e-4, name


def test_what_is_exported_or_lies_elsewhere_goes_through_transformers_decoder():
    decoder, embeddings = tiny_model("default").sam.mask_decoder, torch.zeros(1)
    assert mask_reading.can_read(decoder, embeddings)
    assert not mask_reading.can_read(decoder, embeddings.to("meta"))
    assert not mask_reading.can_read(torch.nn.Identity(), embeddings)
