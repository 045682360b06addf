# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Eight-bit linear layers, and the command that compares precisions."""

import numpy as np
import pytest
import torch
from torch import nn

from scripts import compare_precision
from scripts.compare_precision import mean_iou
from ssp_sam.deployment.quantize import Int8Linear, quantize_linear_layers
from tests.helpers.models import KINDS, make_image, make_pipeline, run, tiny_inputs, tiny_model


def linear(weight, bias=None) -> nn.Linear:
    weight = torch.tensor(weight)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight.data = weight
    if bias is not None:
        layer.bias.data = torch.tensor(bias)
    return layer


# ---- the layer ------------------------------------------------------------------------------------------------------


def test_a_product_worked_by_hand():
    layer = Int8Linear(linear([[1.27, -0.64], [0.0, 2.54]], [10.0, 0.0]))
    assert layer.int8_weight.tolist() == [[127, -64], [0, 127]]
    # The row (127, 64) is exact with scale 1, and so are the weights with 0.01 and 0.02.
    found = layer(torch.tensor([127.0, 64.0]))
    expected = [10 + 0.01 * (127 * 127 - 64 * 64), 0.02 * 127 * 64]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_zeros_give_the_bias():
    layer = Int8Linear(linear([[0.5, 1.0], [0.0, 0.0]], [3.0, -1.0]))
    assert layer(torch.zeros(2, 2)).tolist() == [[3.0, -1.0], [3.0, -1.0]]


def test_the_error_is_that_of_rounding():
    torch.manual_seed(0)
    layer, inputs = nn.Linear(300, 40), torch.randn(5, 7, 300)
    found, expected = Int8Linear(layer)(inputs), layer(inputs)
    # Each factor is off by half a step at most.
    steps = inputs.abs().amax(-1, keepdim=True) / 254 * layer.weight.abs().sum(1)
    steps = steps + inputs.abs().sum(-1, keepdim=True) * layer.weight.abs().amax(1) / 254 * 1.01
    assert found.shape == expected.shape and ((found - expected).abs() <= steps + 1e-5).all()
    assert (found - expected).abs().mean() < 0.02 * expected.abs().mean()


def test_rows_do_not_depend_on_each_other():
    torch.manual_seed(0)
    layer, inputs = Int8Linear(nn.Linear(20, 30)), torch.randn(6, 20)
    inputs[0] *= 1000
    assert torch.equal(layer(inputs)[1:], layer(inputs[1:]))


# ---- the model ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_runs_with_eight_bit_layers(kind):
    model, inputs = tiny_model(kind), tiny_inputs(kind)
    expected, size = run(model, **inputs), sum(parameter.numel() for parameter in model.parameters())
    narrow = [name for name, module in model.named_modules() if type(module) is nn.Linear and module.out_features < 16]
    assert quantize_linear_layers(model) is model and not model.training
    found = run(model, **inputs)
    for name in ("pred_boxes", "pred_masks"):
        difference = (found[name] - expected[name]).abs().mean()
        assert 0 < difference < 0.2 * expected[name].std(), name
    assert [name for name, module in model.named_modules() if type(module) is nn.Linear] == narrow
    assert sum(parameter.numel() for parameter in model.parameters()) < size / 2


def test_a_pipeline_runs_on_a_model_with_eight_bit_layers():
    segmenter = make_pipeline()
    quantize_linear_layers(segmenter.model)
    assert segmenter(make_image(), "the red car")[0]["mask"].size == (40, 30)


def test_a_model_in_half_precision_is_refused():
    with pytest.raises(
        ValueError, match=r"expected a float32 model, got .* in torch.float16; call model.float\(\) first"
    ):
        quantize_linear_layers(tiny_model("single tower").half())
    with pytest.raises(ValueError, match=r"expected a model on the CPU, got weight on meta; call model.cpu\(\) first"):
        quantize_linear_layers(nn.Linear(20, 20, device="meta"))


# ---- the comparison -------------------------------------------------------------------------------------------------


def test_the_overlap_of_two_empty_masks_is_one():
    full, half, empty = np.ones((2, 2), bool), np.array([[True, True], [False, False]]), np.zeros((2, 2), bool)
    assert mean_iou([empty], [empty]) == 1.0
    assert mean_iou([full, empty, full, full], [half, full, full, empty]) == (0.5 + 0 + 1 + 0) / 4


@pytest.mark.parametrize(("bound", "code"), [(0.0, 0), (1.1, 1)])
def test_the_command_prints_a_row_per_precision_and_fails_below_the_bound(
    tiny_checkpoint, capsys, monkeypatch, bound, code
):
    monkeypatch.setattr(compare_precision, "REQUIRED_IOU", {"bfloat16": bound})
    assert compare_precision.main([tiny_checkpoint, "--num-scenes", "2"]) == code
    captured = capsys.readouterr()
    rows = [line.split(" | ") for line in captured.out.splitlines() if line.startswith("| ")][1:]
    assert [row[0].removeprefix("| ") for row in rows] == list(compare_precision.PRECISIONS)
    assert float(rows[0][1]) == 1 and float(rows[0][3]) > float(rows[4][3]) and float(rows[1][1]) > 0.5
    assert ("is below 1.1" in captured.err) == (code == 1)
