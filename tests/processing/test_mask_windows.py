# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Masks that are computed and kept in their window alone are those of the whole image."""

import copy
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco
from torch.nn import functional as F

from ssp_sam.processing import mask_windows
from ssp_sam.processing.mask_windows import LogitMap, MaskImage, MaskWindow

# Image on the canvas of 64 x 64, and image.
SIZES = {
    "as large as the canvas": ((64, 64), (64, 64)),
    "wide and larger": ((48, 64), (300, 400)),
    "tall and smaller": ((64, 31), (40, 19)),
    "one pixel": ((64, 64), (1, 1)),
    "one row": ((1, 64), (1, 500)),
}


def whole(logits: LogitMap) -> torch.Tensor:
    """All logits at image size, by PyTorch's own interpolation."""
    values = F.interpolate(logits.low[None, None], size=logits.canvas_hw, mode="bilinear", align_corners=False)
    values = values[..., : logits.resized_hw[0], : logits.resized_hw[1]]
    return F.interpolate(values, size=logits.size_hw, mode="bilinear", align_corners=False)[0, 0]


def smooth_logits(seed: int, sizes, offset: float = 0.0) -> LogitMap:
    generator = torch.Generator().manual_seed(seed)
    low = F.interpolate(torch.randn(1, 1, 4, 4, generator=generator), size=(16, 16), mode="bicubic")[0, 0]
    return LogitMap(6 * low + offset, (64, 64), *sizes)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("offset", [0.0, -6.0, -12.0])
@pytest.mark.parametrize("block", [1, 1000, 1 << 18])
def test_a_mask_is_where_the_logits_of_the_whole_image_exceed_the_threshold(sizes, offset, block, monkeypatch):
    monkeypatch.setattr(mask_windows, "CPU_BLOCK", block)
    for seed in range(5):
        logits = smooth_logits(seed, sizes, offset)
        expected = whole(logits)
        for threshold in (0.0, 1.5):
            window, count, mean = logits.mask(threshold)
            inside = torch.from_numpy(window.inside())
            differs = inside != (expected > threshold)
            assert (expected[differs] - threshold).abs().max().item() < 5e-3 if differs.any() else True
            assert count == int(inside.sum()) and inside.shape == expected.shape
            if count:
                assert mean == pytest.approx(float(expected[inside].double().sigmoid().mean()), abs=1e-3)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_highest_logit_is_that_of_the_whole_image(sizes):
    for seed in range(5):
        logits = smooth_logits(seed, sizes)
        logits.low[-1, -1] = 100.0  # in the padding, where there is some
        assert logits.highest() == pytest.approx(float(whole(logits).max()), abs=5e-3)


def test_only_the_window_is_computed():
    logits = LogitMap(torch.full((16, 16), -5.0), (64, 64), (64, 64), (6400, 6400))
    logits.low[4:6, 8:10] = 5.0
    window, count, _ = logits.mask(0.0)
    assert window.bits.size * 8 < 6400**2 / 10 and 400**2 < count < 1600**2


def a_mask(name: str) -> np.ndarray:
    mask = np.zeros((9, 13), dtype=bool)
    if name == "noise":
        mask[:] = np.random.default_rng(0).random(mask.shape) > 0.5
    elif name == "full":
        mask[:] = True
    elif name == "columns":  # runs that go on from one column to the next
        mask[:, 3:6] = True
        mask[4, 4] = False
    elif name == "corner":
        mask[-1, -1] = True
    return mask


@pytest.mark.parametrize("name", ["empty", "full", "noise", "columns", "corner"])
def test_a_window_gives_back_its_mask_and_what_is_known_of_it(name):
    mask = a_mask(name)
    window = MaskWindow.of(mask)
    assert np.array_equal(window.inside(), mask) and window.area() == mask.sum()
    lengths = window.run_lengths()
    assert np.array_equal(coco.decode(coco.frPyObjects(lengths, *mask.shape)), mask)
    assert lengths["counts"][1:] == [length for length in lengths["counts"][1:] if length > 0]
    assert window.bounds() == Image.fromarray(mask.astype(np.uint8)).getbbox()


@pytest.mark.parametrize(
    "read",
    [np.asarray, Image.Image.copy, copy.deepcopy, lambda image: pickle.loads(pickle.dumps(image)), lambda image: image],
    ids=["array", "copy", "deep copy", "pickle", "itself"],
)
def test_a_mask_image_is_like_any_other_once_it_is_read(read):
    mask = a_mask("noise")
    expected = Image.fromarray(mask.astype(np.uint8) * 255)
    image = MaskImage(MaskWindow.of(mask))
    assert image.size == expected.size and image.mode == "L" and image.window is not None
    assert np.array_equal(np.asarray(read(image)), np.asarray(expected))
    assert image == expected and expected == image and image.getbbox() == expected.getbbox()
