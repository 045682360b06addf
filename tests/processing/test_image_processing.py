# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The two canvases, and every kind of image that can be handed in."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from ssp_sam.processing.canvas_geometry import centred_offset, fit_semantic
from ssp_sam.processing.image_processing_ssp_sam import SspSamImageProcessor

CLIP_MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])
CLIP_STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])


@pytest.fixture
def processor() -> SspSamImageProcessor:
    return SspSamImageProcessor(size={"longest_edge": 64}, semantic_size=32, mask_size=32)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# The canvases


@pytest.mark.parametrize("size_hw", [(64, 64), (37, 91), (91, 37), (200, 133), (7, 300)])
def test_the_sam_canvas_equals_that_of_transformers_sam_processor(processor, size_hw):
    image = noise(*size_hw)
    reference = SamImageProcessorPil(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    expected, ours = reference(image, return_tensors="pt"), processor(image, return_tensors="pt")
    torch.testing.assert_close(ours.pixel_values, expected.pixel_values, atol=2e-6, rtol=0)
    assert ours.original_sizes.tolist() == torch.as_tensor(expected.original_sizes).tolist()
    assert ours.reshaped_input_sizes.tolist() == torch.as_tensor(expected.reshaped_input_sizes).tolist()


@pytest.mark.parametrize(
    ("size_hw", "resized_hw", "offset"),
    # d = 32 - 21 = 11: round(5.4) = 5; d = 32 - 22 = 10: round(4.9) = 5; d = 31: round(15.4) = 15
    [
        ((64, 42), (32, 21), (5, 0)),
        ((44, 64), (22, 32), (0, 5)),
        ((1, 4000), (1, 32), (0, 15)),
        ((9, 9), (32, 32), (0, 0)),
    ],
)
def test_the_semantic_canvas_is_centred_by_hand_worked_offsets(size_hw, resized_hw, offset):
    assert fit_semantic(size_hw, 32) == resized_hw
    assert centred_offset(resized_hw, 32) == offset


def test_semantic_padding_is_zero_after_normalisation(processor):
    white = np.full((64, 42, 3), 255, dtype=np.uint8)
    canvas = processor(white, return_tensors="pt").semantic_pixel_values[0]
    inside = torch.zeros(32, 32, dtype=torch.bool)
    inside[:, 5:26] = True
    assert (canvas[:, ~inside] == 0).all()
    torch.testing.assert_close(canvas[:, inside], ((1 - CLIP_MEAN) / CLIP_STD)[:, None].expand(3, 32 * 21))


def test_random_offsets_stay_on_the_canvas_repeat_with_the_generator_and_move_the_image(processor):
    images = [noise(64, 42, seed) for seed in range(20)]
    runs = [
        processor(
            images,
            random_semantic_offset=True,
            generator=torch.Generator().manual_seed(3),
            return_tensors="pt",
        )
        for _ in range(2)
    ]
    offsets = runs[0].semantic_offsets
    assert torch.equal(offsets, runs[1].semantic_offsets)
    assert (offsets[:, 1] == 0).all() and offsets[:, 0].min() >= 0 and offsets[:, 0].max() <= 11
    assert len(offsets[:, 0].unique()) > 3
    left = int(offsets[0, 0])
    centred = processor(images[0], return_tensors="pt").semantic_pixel_values[0]
    moved = runs[0].semantic_pixel_values[0]
    assert torch.equal(moved[:, :, left : left + 21], centred[:, :, 5:26])


def test_an_offset_off_the_canvas_is_refused_with_its_value(processor):
    with pytest.raises(
        ValueError, match=r"\(12, 0\) moves an image of width 21 and height 32 off the canvas of side 32"
    ):
        processor(noise(64, 42), semantic_offsets=[(12, 0)])


def test_a_single_tower_has_no_semantic_canvas_also_after_saving(tmp_path):
    SspSamImageProcessor(size=64, semantic_size=None).save_pretrained(tmp_path)
    loaded = SspSamImageProcessor.from_pretrained(tmp_path)
    assert loaded.semantic_size is None
    assert "semantic_pixel_values" not in loaded(noise(8, 8))


def test_the_canvas_follows_the_size_of_a_call(processor):
    assert processor(noise(8, 8), size={"longest_edge": 48}, return_tensors="pt").pixel_values.shape == (1, 3, 48, 48)


def test_sams_canvas_is_left_out_on_request_and_all_else_stays(processor):
    image, mask = noise(40, 60), np.ones((40, 60), dtype=bool)
    whole = processor(image, segmentation_maps=mask, return_tensors="pt")
    rest = processor(image, segmentation_maps=mask, return_pixel_values=False, return_tensors="pt")
    assert whole.keys() - rest.keys() == {"pixel_values"}
    assert all(torch.equal(whole[name], rest[name]) for name in rest)


def test_a_size_without_longest_edge_is_refused():
    with pytest.raises(ValueError, match=r"size must be \{'longest_edge': pixels\}, got \{'height': 3, 'width': 4\}"):
        SspSamImageProcessor(size={"height": 3, "width": 4})


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 4000), (4000, 1)])
def test_extreme_shapes_keep_at_least_one_pixel(processor, size_hw):
    output = processor(np.full((*size_hw, 3), 200, dtype=np.uint8), return_tensors="pt")
    assert output.original_sizes.tolist() == [list(size_hw)]
    assert output.reshaped_input_sizes.min() >= 1
    assert output.pixel_values.shape == (1, 3, 64, 64) and output.semantic_pixel_values.shape == (1, 3, 32, 32)
    assert (output.semantic_pixel_values != 0).any()


# Calls and files


@pytest.mark.parametrize("kind", ["pil", "hwc", "chw", "torch", "float", "path", "str"])
def test_every_kind_of_image_gives_the_same_canvases(processor, kind, tmp_path):
    array = noise(20, 30)
    Image.fromarray(array).save(tmp_path / "image.png")
    image = {
        "pil": Image.fromarray(array),
        "hwc": array,
        "chw": array.transpose(2, 0, 1),
        "torch": torch.from_numpy(array).permute(2, 0, 1),
        "float": torch.from_numpy(array).permute(2, 0, 1) / 255,
        "path": tmp_path / "image.png",
        "str": str(tmp_path / "image.png"),
    }[kind]
    expected, output = processor(array, return_tensors="pt"), processor(image, return_tensors="pt")
    assert torch.equal(output.pixel_values, expected.pixel_values)
    assert torch.equal(output.semantic_pixel_values, expected.semantic_pixel_values)


@pytest.mark.parametrize("nest", [lambda a, b: [a, b], lambda a, b: [[a], [b]], lambda a, b: np.stack([a, b])])
def test_a_batch_equals_its_images_one_by_one(processor, nest):
    first, second = noise(20, 30, 1), noise(20, 30, 2)
    batch = processor(nest(first, second), return_tensors="np")
    for row, image in enumerate((first, second)):
        single = processor(image, return_tensors="np")
        for name in processor.model_input_names:
            assert np.array_equal(batch[name][row], single[name][0])


def test_saving_and_loading_keeps_every_field(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    loaded = SspSamImageProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    assert json.loads(processor.to_json_string())["semantic_size"] == 32


def test_float_images_in_0_to_1_stay_there_without_rescaling(processor):
    image = noise(16, 16)
    options = {"do_rescale": False, "do_normalize": False, "return_tensors": "np"}
    assert processor(image / 255.0, **options).pixel_values.max() <= 1
    assert processor(image, **options).pixel_values.max() > 100


def test_a_scalar_mean_is_accepted(processor):
    options = {"image_mean": 0.0, "image_std": 1.0, "return_tensors": "pt"}
    assert processor(noise(20, 30), **options).pixel_values.max() <= 1


def test_a_mean_of_four_values_keeps_alpha_on_the_sam_canvas_alone(processor):
    array = np.full((64, 64, 4), 51, dtype=np.uint8)
    output = processor(
        array, input_data_format="channels_last", image_mean=[0.0] * 4, image_std=[1.0] * 4, return_tensors="pt"
    )
    assert output.pixel_values.shape == (1, 4, 64, 64)
    torch.testing.assert_close(output.pixel_values, torch.full((1, 4, 64, 64), 0.2))
    assert output.semantic_pixel_values.shape == (1, 3, 32, 32)


def test_no_image_at_all_is_refused(processor):
    with pytest.raises(ValueError, match="expected at least one image, got an empty list"):
        processor([])
