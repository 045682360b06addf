# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Measuring and fitting on generated scenes: an oracle gets full marks, thresholds are found where they were put."""

import numpy as np
import pytest
import torch
from PIL import Image

from ssp_sam import SspSamImageProcessor, SspSamProcessor
from ssp_sam.training.data.masks import decode
from ssp_sam.training.evaluation.protocols import EvaluationAccumulator, EvaluationProtocol, prediction_record
from ssp_sam.training.evaluation.run import predicted_batches
from ssp_sam.training.evaluation.samples import SceneSamples
from ssp_sam.training.evaluation.thresholds import ThresholdFit, _fit_calibration, _fit_no_target, fit_thresholds
from ssp_sam.training.scenes.dataset import to_canvas
from ssp_sam.training.scenes.tokenizer import build_word_tokenizer
from ssp_sam.training.scenes.words import VOCABULARY_WORDS

CANVAS = 128


@pytest.fixture
def processor() -> SspSamProcessor:
    images = SspSamImageProcessor(size={"longest_edge": CANVAS}, semantic_size=None, mask_size=CANVAS)
    return SspSamProcessor(images, build_word_tokenizer(VOCABULARY_WORDS))


class Oracle:
    """A pipeline whose model knows the truth; `doubt` is the no-target logit of expressions that mean something."""

    device = torch.device("cpu")

    def __init__(self, processor, samples, doubt: float = -9.0):
        self.processor, self.images, self.doubt = processor, [samples[index] for index in range(len(samples))], doubt

    def preprocess(self, requests):
        return requests

    def forward(self, requests, expression_batch_size):
        images, self.images = self.images[: len(requests)], self.images[len(requests) :]
        return {"images": [self._output(image.items, request) for image, request in zip(images, requests)]}

    def _output(self, items, request):
        size = (request["image"].height, request["image"].width)
        placement = self.processor.image_processor.box_placement(size)
        masks = [to_canvas(decode(item.truth).astype(np.uint8), CANVAS, Image.Resampling.NEAREST) for item in items]
        boxes = [np.full(4, 0.5) if item.box_xyxy is None else placement.to_canvas(item.box_xyxy) for item in items]
        outputs = {
            "pred_masks": torch.tensor(np.array(masks) * 16.0 - 8.0, dtype=torch.float32)[:, None],
            "pred_boxes": torch.tensor(np.array(boxes), dtype=torch.float32),
            "no_target_logits": torch.tensor([9.0 if item.box_xyxy is None else self.doubt for item in items]),
        }
        return {"outputs": outputs, "original_size": size, "labels": request["text"]}


def scenes(split: str, count: int) -> SceneSamples:
    return SceneSamples(split, count, 6)


def test_an_oracle_gets_full_marks(processor):
    samples = scenes("test", 5)
    accumulator = EvaluationAccumulator("gres", (EvaluationProtocol.standard(0.5, 0),), CANVAS)
    for batch in predicted_batches(Oracle(processor, samples), samples, batch_size=2):
        for image, number, raw in batch:
            accumulator.add(image, number, prediction_record(image, image.items[number], raw))
    result = accumulator.results()
    overall, kinds = result["standard"]["all"], result["standard"]["breakdowns"]["kind"]
    assert overall["samples"] == 30 == sum(row["samples"] for row in kinds.values())
    assert overall["N-acc"] == overall["T-acc"] == overall["Pr@0.7"] == overall["box Acc@0.5"] == 1.0
    assert overall["gIoU"] > 0.93, "a mask of 128 pixels enlarged to the image loses an edge of half a pixel"
    assert result["standard"]["score_error"] < 0.01


def test_fitting_finds_where_doubt_ends(processor):
    samples = scenes("validation", 6)
    processor.score_temperature, processor.score_bias, processor.min_mask_pixels = 3.0, 1.0, 10**6
    # Targeted expressions come with p = 0.7, those without a target with p close to 1.
    fit = fit_thresholds(Oracle(processor, samples, doubt=float(np.log(0.7 / 0.3))), samples, batch_size=3)
    assert (processor.score_temperature, processor.score_bias, processor.min_mask_pixels) == (3.0, 1.0, 10**6)
    assert 0.7 <= fit.no_target_threshold < 0.99
    assert fit.gIoU > 0.93 and fit.n_acc == fit.t_acc == 1.0


def test_the_no_target_threshold_weighs_both_errors():
    # Targets with IoU 0.9 and p 0.1, 0.2, 0.6; no targets with p 0.5, 0.8. A gate between 0.2 and 0.5 loses one
    # target, a gate between 0.6 and 0.8 shows one mask too many: 0.9 lost against 1.0 lost.
    iou, targeted = np.array([0.9, 0.9, 0.9, 0.0, 0.0]), np.array([True, True, True, False, False])
    probabilities = np.array([0.1, 0.2, 0.6, 0.5, 0.8])
    threshold, (giou, n_acc, t_acc) = _fit_no_target(iou, np.ones(5, dtype=bool), probabilities, targeted)
    assert 0.2 <= threshold < 0.5
    assert (giou, n_acc, t_acc) == pytest.approx(((0.9 + 0.9 + 0 + 1 + 1) / 5, 1.0, 2 / 3))


def test_calibration_recovers_the_rule_that_made_the_data():
    rng = np.random.default_rng(0)
    logits = rng.normal(2, 1.5, 20000)
    truth = rng.random(20000) < 1 / (1 + np.exp(-(logits / 2.0 - 0.7)))
    temperature, bias = _fit_calibration(1 / (1 + np.exp(-logits)), np.zeros(20000), truth)
    assert temperature == pytest.approx(2.0, abs=0.15)
    assert bias == pytest.approx(-0.7, abs=0.1)


def test_calibration_stays_finite_when_every_prediction_is_right():
    temperature, bias = _fit_calibration(np.full(50, 0.9), np.zeros(50), np.ones(50, dtype=bool))
    assert 0 < temperature < 100 and abs(bias) < 100


def test_a_fit_is_stored_in_the_processor(processor, tmp_path):
    fit = ThresholdFit(0.45, 0.3, 1.5, -0.2, gIoU=0.8, n_acc=1.0, t_acc=1.0)
    fit.apply(processor)
    processor.save_pretrained(tmp_path)
    loaded = SspSamProcessor.from_pretrained(tmp_path)
    names = ("mask_threshold", "no_target_threshold", "score_temperature", "score_bias")
    assert [getattr(loaded, name) for name in names] == [0.45, 0.3, 1.5, -0.2]
