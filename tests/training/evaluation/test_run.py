# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Running a pipeline over images: what comes out before thresholds, every image once, faults of worker processes."""

import numpy as np
import pytest
import torch

from ssp_sam import SspSamModel, SspSamProcessor
from ssp_sam.training.evaluation.run import RawPrediction, predict_image, predicted_batches
from ssp_sam.training.evaluation.samples import BenchmarkSamples
from tests.helpers.evaluation import rectangle, reference, write_split
from tests.helpers.models import make_config, make_pipeline, make_tokenizer

MASK = rectangle((30, 40), 3, 2, 13, 12)


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> BenchmarkSamples:
    """Five images with three expressions each."""
    rows = [row for image in range(5) for row in (reference(image, 0, MASK), reference(image, 1))]
    return BenchmarkSamples(write_split(tmp_path_factory.mktemp("data"), rows))


def test_the_mask_in_the_square_is_where_the_sigmoid_is_at_least_a_half():
    logits = torch.full((1, 1, 32, 32), -2.0)
    logits[..., :16, :] = 0.0  # a probability of exactly 0.5
    processor = SspSamProcessor.from_model_config(make_config(), make_tokenizer())
    prediction = RawPrediction({"pred_masks": logits}, (32, 32), processor)
    square = prediction.in_square(512)
    assert square[:240].all() and not square[260:].any()
    assert not prediction.read(mask_threshold=0.5)["mask"].any(), "the standard protocol asks for more than 0.5"
    assert prediction.no_target_probability == 0 and prediction.head_box_xyxy() is None


def test_predictions_are_those_of_the_pipeline(samples):
    segmenter = make_pipeline()
    found = {
        (image.index, number): prediction.read()
        for batch in predicted_batches(segmenter, samples, batch_size=2)
        for image, number, prediction in batch
    }
    assert list(found) == [(index, number) for index in range(5) for number in range(3)]
    for index in range(5):
        image = samples[index]
        expected = segmenter(image.image, [item.expression for item in image.items])
        for number, result in enumerate(expected):
            mask = found[index, number]["mask"].numpy()
            differing = np.count_nonzero(mask != (np.asarray(result["mask"]) > 0))
            assert differing <= 0.01 * mask.size, "batches of other sizes may round differently"
            assert found[index, number]["score"] == pytest.approx(result["score"], abs=1e-3)
    alone = predict_image(segmenter, samples[3].image, [samples[3].items[1].expression])[0].read()
    assert alone["score"] == pytest.approx(found[3, 1]["score"], abs=1e-3)


def test_every_image_is_encoded_once_whatever_is_asked_about_it(samples, monkeypatch):
    encode_images, encoded = SspSamModel.get_image_features, []

    def counted(self, pixel_values, **kwargs):
        encoded.append(len(pixel_values))
        return encode_images(self, pixel_values, **kwargs)

    monkeypatch.setattr(SspSamModel, "get_image_features", counted)
    batches = predicted_batches(make_pipeline(), samples, batch_size=2, expression_batch_size=3)
    assert [len(batch) for batch in batches] == [6, 6, 3]
    assert encoded == [2, 2, 1]


def test_processes_take_batches_in_turn_and_each_image_once(samples):
    parts = [list(predicted_batches(make_pipeline(), samples, batch_size=2, rank=r, world_size=2)) for r in (0, 1)]
    seen = [[image.index for batch in part for image, number, _ in batch if number == 0] for part in parts]
    assert seen == [[0, 1, 4], [2, 3]]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_damaged_image_is_named_whichever_process_reads_it(num_workers, tmp_path):
    rows = [reference(0, 0, MASK), reference(1, 0, MASK, image={"bytes": b"\x89PNG", "path": None})]
    damaged = BenchmarkSamples(write_split(tmp_path, rows))
    batches = predicted_batches(make_pipeline(), damaged, batch_size=1, num_workers=num_workers)
    assert len(next(batches)) == 2
    with pytest.raises(ValueError, match="^reference own/val/1-0: could not read an image "):
        next(batches)
