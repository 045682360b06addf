# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The labels made from maps and boxes at image size."""

import numpy as np
import pytest
import torch
from PIL import Image

from ssp_sam.processing.canvas_geometry import mask_label
from ssp_sam.processing.image_processing_ssp_sam import SspSamImageProcessor


@pytest.fixture
def processor() -> SspSamImageProcessor:
    return SspSamImageProcessor(size={"longest_edge": 64}, semantic_size=32, mask_size=32)


def blank(height: int, width: int) -> np.ndarray:
    return np.zeros((height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size_hw", [(64, 64), (40, 63), (128, 90), (301, 17), (5, 9)])
def test_mask_labels_equal_bilinear_resizing_thresholding_padding_and_nearest(processor, size_hw):
    mask = np.random.default_rng(1).random(size_hw) > 0.9
    output = processor(np.zeros((*size_hw, 3), np.uint8), mask, return_tensors="pt")
    resized = tuple(output.reshaped_input_sizes[0].tolist())
    tensor = torch.from_numpy(mask)[None, None].double()
    canvas = torch.zeros(1, 1, 64, 64, dtype=torch.double)
    interpolated = torch.nn.functional.interpolate(tensor, size=resized, mode="bilinear", align_corners=False)
    canvas[..., : resized[0], : resized[1]] = (interpolated > 1e-9).double()
    expected = torch.nn.functional.interpolate(canvas, size=(32, 32), mode="nearest")[0].float()
    assert output.mask_labels.dtype == torch.float32
    assert torch.equal(output.mask_labels, expected)


def test_a_mask_label_of_another_ratio_picks_nearest_canvas_pixels():
    mask = np.eye(6, dtype=bool)
    assert (
        mask_label(mask, (6, 6), (6, 6), 4).tolist()
        == np.eye(6, dtype=bool)[np.ix_([0, 1, 3, 4], [0, 1, 3, 4])].tolist()
    )


def test_box_labels_are_the_tight_box_on_the_semantic_canvas(processor):
    mask = np.zeros((64, 42), dtype=np.uint8)
    mask[10:20, 4:12] = 255
    output = processor(np.zeros((64, 42, 3), np.uint8), mask, return_tensors="pt")
    # ratio 1/2, offset (5, 0): x 2+5..6+5, y 5..10, of 32
    torch.testing.assert_close(output.box_labels, torch.tensor([[9, 7.5, 4, 5]]) / 32)
    assert output.no_target_labels.tolist() == [0.0]


def test_box_labels_of_a_single_tower_are_on_the_sam_canvas():
    processor = SspSamImageProcessor(size=64, semantic_size=None, mask_size=32)
    output = processor(np.zeros((32, 16, 3), np.uint8), boxes=[4, 8, 12, 16], return_tensors="pt")
    torch.testing.assert_close(output.box_labels, torch.tensor([[16, 24, 16, 16]]) / 64)
    assert "mask_labels" not in output


def test_box_labels_follow_the_random_offset(processor):
    image, box = np.zeros((64, 42, 3), np.uint8), [0, 0, 42, 64]
    output = processor(image, boxes=box, semantic_offsets=[(11, 0)], return_tensors="pt")
    torch.testing.assert_close(output.box_labels, torch.tensor([[11 + 10.5, 16, 21, 32]]) / 32)


@pytest.mark.parametrize("empty", [None, np.zeros((8, 8), bool)])
def test_an_empty_map_means_no_target(processor, empty):
    output = processor(np.zeros((8, 8, 3), np.uint8), [empty, np.ones((8, 8), bool)], return_tensors="pt")
    assert output.no_target_labels.tolist() == [1.0, 0.0]
    assert output.box_labels[0].tolist() == [0.0] * 4
    assert output.mask_labels[0].sum() == 0


def test_maps_may_be_nested_by_image(processor):
    maps = [[np.ones((8, 8)), None], Image.new("L", (9, 9), 255), np.zeros((3, 10, 10))]
    images = [np.zeros((side, side, 3), np.uint8) for side in (8, 9, 10)]
    assert processor(images, maps, return_tensors="pt").no_target_labels.tolist() == [0, 1, 0, 1, 1, 1]


def test_a_map_of_another_size_is_refused_with_both_sizes(processor):
    with pytest.raises(ValueError, match=r"map 0 has shape \(8, 9\), but its upright image has height 9 and width 8"):
        processor(np.zeros((9, 8, 3), np.uint8), np.ones((8, 9)))


def test_a_box_without_area_is_refused_with_its_value(processor):
    with pytest.raises(ValueError, match=r"box 0 must be \[x0, y0, x1, y1\] .*, got \[3.0, 3.0, 3.0, 5.0\]"):
        processor(np.zeros((9, 8, 3), np.uint8), boxes=[3, 3, 3, 5])


def test_maps_for_another_number_of_images_are_refused(processor):
    with pytest.raises(ValueError, match="expected segmentation_maps for each image, got 1 for 2 images"):
        processor([blank(8, 8), blank(8, 8)], [np.ones((8, 8))])
