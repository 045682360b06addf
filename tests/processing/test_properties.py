# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What holds for every image and every expression, tried on generated ones."""

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from PIL import Image, ImageOps

from ssp_sam.processing.canvas_geometry import CanvasPlacement, centred_offset, fit_semantic
from ssp_sam.processing.image_inputs import read_rgb
from ssp_sam.processing.processing_ssp_sam import SspSamProcessor
from tests.helpers.models import WORDS, make_config, make_tokenizer
from tests.helpers.properties import Property

CONFIG = make_config(single_tower=False)
PROCESSOR = SspSamProcessor.from_model_config(CONFIG, make_tokenizer())

SIDES = st.integers(1, 70)
SEEDS = st.integers(0, 2**31 - 1)
WORD_LISTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)


def image_of(width: int, height: int, number: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8))


IMAGES = st.builds(image_of, SIDES, SIDES, SEEDS)
REQUESTS = st.lists(st.tuples(IMAGES, st.lists(WORD_LISTS, min_size=1, max_size=3)), min_size=1, max_size=3)


def outputs_of(count: int, number: int) -> dict:
    """Random outputs of a model for so many expressions."""
    generator = torch.Generator().manual_seed(number)
    boxes = torch.rand(count, 4, generator=generator)
    return {
        "pred_masks": torch.randn(count, 1, 8, 8, generator=generator) * 3,
        "pred_boxes": boxes,
        "no_target_logits": torch.randn(count, generator=generator),
    }


def same(first: dict, second: dict) -> bool:
    boxes = first["box_xyxy"], second["box_xyxy"]
    return (
        torch.equal(first["mask"], second["mask"])
        and first["score"] == pytest.approx(second["score"], abs=1e-6)
        and (boxes[0] == boxes[1] or boxes[0] == pytest.approx(boxes[1]))
    )


def many_equal_one(requests):
    """Images and expressions together are prepared as each is alone, but for padding."""
    images, texts = [image for image, _ in requests], [text for _, text in requests]
    together, row = PROCESSOR(images=images, text=texts), 0
    for index, (image, text) in enumerate(requests):
        alone = PROCESSOR(images=image, text=text)
        for name in ("pixel_values", "semantic_pixel_values", "original_sizes", "reshaped_input_sizes"):
            assert torch.equal(together[name][index], alone[name][0]), name
        for own in range(len(text)):
            kept = alone["attention_mask"][own].bool()
            assert together["image_index"][row] == index
            assert torch.equal(
                together["input_ids"][row][together["attention_mask"][row].bool()], alone["input_ids"][own][kept]
            )
            row += 1


def order_does_not_matter(requests):
    images, texts = [image for image, _ in requests], [text for _, text in requests]
    forth, back = PROCESSOR(images=images, text=texts), PROCESSOR(images=images[::-1], text=texts[::-1])
    for name in ("pixel_values", "semantic_pixel_values", "original_sizes"):
        assert torch.equal(forth[name], back[name].flip(0)), name
    counts = [len(text) for text in texts]
    rows = [row.flip(0) for row in back["input_ids"].flip(0).split(counts)]
    assert torch.equal(forth["input_ids"], torch.cat(rows))


def masks_many_equal_one(sizes, number):
    """Predictions of many images are those of each alone, whatever the order."""
    count = len(sizes)
    outputs = outputs_of(count, number)
    together = PROCESSOR.post_process_referring_segmentation(outputs, sizes)
    order = list(range(count))[::-1]
    turned = {name: value[order] for name, value in outputs.items()}
    back = PROCESSOR.post_process_referring_segmentation(turned, [sizes[index] for index in order])
    for index, size in enumerate(sizes):
        own = {name: value[index : index + 1] for name, value in outputs.items()}
        [alone] = PROCESSOR.post_process_referring_segmentation(own, [size])
        assert alone["mask"].shape == tuple(size) and 0 <= alone["score"] <= 1
        assert same(together[index], alone) and same(back[count - 1 - index], alone)


def orientation_is_upright(image, orientation):
    """An image turned by EXIF gives the canvases and sizes of the upright image."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.info["exif"] = exif.tobytes()
    turned, upright = PROCESSOR(images=image), PROCESSOR(images=ImageOps.exif_transpose(image))
    for name in ("pixel_values", "semantic_pixel_values", "original_sizes"):
        assert torch.equal(turned[name], upright[name]), name
    assert read_rgb(image)[0].size == ((image.height, image.width) if orientation > 4 else image.size)


def boxes_come_back(width, height, fractions):
    """A box on the image -> fractions of the canvas -> the same box."""
    xs, ys = sorted(fractions[:2]), sorted(fractions[2:])
    box = [xs[0] * width, ys[0] * height, xs[1] * width, ys[1] * height]
    resized = fit_semantic((height, width), 32)
    placement = CanvasPlacement.of((height, width), resized, centred_offset(resized, 32), (32, 32))
    assert placement.to_image(placement.to_canvas(box), (height, width)) == pytest.approx(box, abs=1e-3)


_SIZES = st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=4)
_FRACTIONS = st.lists(st.floats(0, 1), min_size=4, max_size=4)
PROPERTIES = [
    Property(many_equal_one, (REQUESTS,), many=2_000),
    Property(order_does_not_matter, (REQUESTS,), many=2_000),
    Property(masks_many_equal_one, (_SIZES, SEEDS), many=3_000),
    Property(orientation_is_upright, (IMAGES, st.integers(1, 8)), many=3_000),
    Property(boxes_come_back, (st.integers(1, 5000), st.integers(1, 5000), _FRACTIONS), many=10_000),
]
of_each = pytest.mark.parametrize("of", PROPERTIES, ids=lambda of: of.holds.__name__)


@of_each
def test_what_holds_for_every_input(of):
    assert of.check(12, number=0) > 0


@pytest.mark.long
@of_each
def test_what_holds_for_thousands_of_inputs(of):
    assert of.check_many() > of.many // 2
