# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What small golden values cannot show: the true numbers of patches, positions, windows, layers and heads.

The model is compared with `original_in_plain_torch.py`, which is compared with the original's own values here first.
`check_full_size.py` does the same at the full width, which takes minutes and gigabytes.
"""

import math

import pytest
import torch
from transformers import AutoModel

from ssp_sam import SspSamConfig
from ssp_sam.modeling_ssp_sam.conversion.convert import check_complete, convert, make_config
from ssp_sam.modeling_ssp_sam.conversion.towers import NamedWeights
from ssp_sam.modeling_ssp_sam.conversion.weight_map import ORIGINAL_RULES
from tests.helpers.golden_reference import GOLDEN, at_loss_size, golden_inputs, golden_tensors, original_weights
from tests.helpers.golden_weights import make_weights, seeded
from tests.helpers.original_in_plain_torch import Original, Sizes, losses
from tests.helpers.original_shapes import FULL_SIZES, CheckpointSizes, after_first_forward, checkpoint_shapes

# Millions of parameters as the paper's models have them: all, and those that train.
PARAMETERS = {"paper_b16": (805, 18.4), "paper_l14_336": (1084, 18.7)}

SMALL = CheckpointSizes(
    grid=7, vision_width=128, vision_layers=8, projection=64, text_width=64, text_layers=2, vocabulary=200, adapter=64,
    prompt=32, prompt_tokens=8, fusion_layers=2, fusion_hidden=64, sam_width=32, sam_layers=2, sam_heads=2, sam_grid=8,
    sam_window=3, sam_global=(1,), decoder_hidden=64,
)  # fmt: skip


# ---- the second implementation, and the shapes ----------------------------------------------------------------------


def test_the_second_implementation_computes_what_the_original_computed():
    heads = {"adapter_heads": 4, "fusion_heads": 4, "decoder_heads": 4, "sam_heads": 2}
    original = Original(original_weights(), Sizes(**heads, sam_window=3, sam_global=(1,)))
    found, golden = original(**golden_inputs()), golden_tensors()
    torch.testing.assert_close(found["embeddings"], golden["input.sam_image_embedding"], atol=1e-5, rtol=0)
    torch.testing.assert_close(found["masks"], golden["inter.low_res_masks"].reshape(3, 32, 32), atol=1e-4, rtol=0)
    torch.testing.assert_close(found["boxes"], golden["out.pred_boxes"].reshape(3, 4), atol=1e-5, rtol=0)
    masks = at_loss_size(found["masks"][:, None]).reshape(3, 64, 64)
    labels = golden["input.gt_masks"].reshape(3, 64, 64).float(), golden["input.gt_boxes"]
    for name, loss in losses(masks, found["boxes"], *labels).items():
        torch.testing.assert_close(loss, golden[f"loss.{name}"].reshape(()), atol=0, rtol=1e-5, msg=name)


def test_shapes_are_those_of_the_original():
    shapes = checkpoint_shapes(SMALL)
    assert shapes == GOLDEN["weights_before_first_forward"]
    assert after_first_forward(shapes, SMALL.vision_layers) == GOLDEN["weights_after_first_forward"]


@pytest.mark.parametrize("preset", FULL_SIZES)
def test_full_size_has_the_papers_number_of_parameters(preset):
    shapes, (total, trained) = checkpoint_shapes(FULL_SIZES[preset]), PARAMETERS[preset]
    frozen = ("encoder.", "sam.image_encoder.", "sam.prompt_encoder.")
    assert sum(math.prod(shape) for shape in shapes.values()) / 1e6 == pytest.approx(total, abs=0.5)
    own = (math.prod(shape) for name, shape in shapes.items() if not name.startswith(frozen))
    assert sum(own) / 1e6 == pytest.approx(trained, abs=0.06)


# ---- the converter at full size -------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", FULL_SIZES)
def test_full_size_shapes_make_the_preset_and_fill_every_weight(preset):
    shapes = after_first_forward(checkpoint_shapes(FULL_SIZES[preset]), FULL_SIZES[preset].vision_layers)
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    weights = NamedWeights.of(tensors, ORIGINAL_RULES, preset)
    config = make_config(weights.shapes(), "paper", None, {})
    assert check_complete(weights, config, "paper") == []
    found, expected = config.to_dict(), SspSamConfig.from_preset(preset).to_dict()
    assert found == expected
    assert expected["sam_config"]["vision_config"]["global_attn_indexes"] == [7, 15, 23, 31]


# Full numbers of patches, positions, windows and prompts; few narrow layers.
NARROW = {
    "patches of 16 in 14 x 14": CheckpointSizes(
        vision_width=128, vision_layers=7, projection=64, text_width=64, text_layers=2, vocabulary=400, adapter=64,
        prompt=64, fusion_layers=2, fusion_hidden=64, sam_width=48, sam_layers=4, sam_heads=2, sam_global=(1, 3),
        decoder_hidden=64,
    ),
    "patches of 14 in 24 x 24": CheckpointSizes(
        patch=14, grid=24, vision_width=128, vision_layers=8, projection=96, text_width=64, text_layers=2,
        vocabulary=400, adapter=64, prompt=64, fusion_layers=2, fusion_hidden=64, sam_width=48, sam_layers=2,
        sam_heads=3, sam_global=(1,), decoder_hidden=64,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NARROW)
def test_a_converted_model_of_full_geometry_computes_what_the_original_does(tmp_path, name):
    sizes = NARROW[name]
    weights = make_weights(checkpoint_shapes(sizes), sizes.vision_layers)
    torch.save({"model": weights}, tmp_path / "best.pth")
    convert(tmp_path / "best.pth", tmp_path / "out")
    model = AutoModel.from_pretrained(tmp_path / "out").eval()
    side = sizes.patch * sizes.grid
    ids = torch.zeros(2, 77, dtype=torch.long)
    ids[:, :6] = torch.tensor([398, 5, 7, 11, 13, 399])
    ids[1, 4:76], ids[1, 76] = torch.arange(1, 73), 399  # all positions
    inputs = {
        "pixel_values": seeded("pixels", (1, 3, 1024, 1024)).expand(2, -1, -1, -1),
        "semantic_pixel_values": seeded("semantic pixels", (2, 3, side, side)),
        "input_ids": ids,
    }
    heads = {"sam_heads": sizes.sam_heads, "sam_global": sizes.sam_global}
    expected = Original(weights, Sizes(**heads))(**inputs)
    with torch.no_grad():
        features = model.get_image_features(
            inputs["pixel_values"], semantic_pixel_values=inputs["semantic_pixel_values"]
        )
        found = model(input_ids=ids, image_features=features)
    torch.testing.assert_close(features.image_embeddings, expected["embeddings"], atol=2e-5, rtol=0)
    torch.testing.assert_close(found.pred_masks[:, 0], expected["masks"], atol=1e-4, rtol=0)
    torch.testing.assert_close(found.pred_boxes, expected["boxes"], atol=1e-5, rtol=0)
    assert expected["masks"].std() > 0.1 and (expected["masks"][0] - expected["masks"][1]).abs().max() > 0.1
