# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Measuring and fitting on generated scenes: an oracle gets full marks, thresholds are found where they were put."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from scripts.evaluate_scenes import measure, store_fit
from ssp_sam import SspSamImageProcessor, SspSamProcessor
from ssp_sam.training.data.masks import decode
from ssp_sam.training.evaluation.samples import SceneImages
from ssp_sam.training.evaluation.thresholds import _fit_calibration, _fit_no_target, fit_thresholds
from ssp_sam.training.scenes.dataset import to_canvas
from ssp_sam.training.scenes.expressions import KINDS
from ssp_sam.training.scenes.tokenizer import build_word_tokenizer
from ssp_sam.training.scenes.words import VOCABULARY_WORDS

CANVAS = 128


@pytest.fixture
def processor() -> SspSamProcessor:
    images = SspSamImageProcessor(size={"longest_edge": CANVAS}, semantic_size=None, mask_size=CANVAS)
    return SspSamProcessor(images, build_word_tokenizer(VOCABULARY_WORDS))


class Oracle:
    """Stands for a model that knows the answers; `doubt` is the no-target logit of expressions that have one."""

    device = torch.device("cpu")

    def __init__(self, processor, images, doubt: float = -9.0):
        self.masks, self.boxes, self.no_target = [], [], []
        for image in images:
            placement = processor.image_processor.box_placement((image.image.height, image.image.width))
            for item in image.items:
                mask = decode(item.truth).astype(np.uint8)
                self.masks.append(to_canvas(mask, CANVAS, Image.Resampling.NEAREST) * 16.0 - 8.0)
                found = item.box_xyxy is not None
                self.boxes.append(placement.to_canvas(item.box_xyxy) if found else np.full(4, 0.5, dtype=np.float32))
                self.no_target.append(doubt if found else 9.0)

    def get_image_features(self, pixel_values):
        return SimpleNamespace()

    def __call__(self, *, input_ids, **_):
        count = len(input_ids)
        values = [values[:count] for values in (self.masks, self.boxes, self.no_target)]
        self.masks, self.boxes, self.no_target = self.masks[count:], self.boxes[count:], self.no_target[count:]
        masks, boxes, no_target = (torch.tensor(np.array(rows), dtype=torch.float32) for rows in values)
        return SimpleNamespace(pred_masks=masks[:, None], pred_boxes=boxes, no_target_logits=no_target)


def scenes(split: str, count: int) -> SceneImages:
    return SceneImages(split, count, 6)


def test_an_oracle_gets_full_marks(processor):
    images = scenes("test", 5)
    result = measure(Oracle(processor, [images[i] for i in range(5)]), processor, images, batch_size=2)
    overall = result["all"]
    assert overall["samples"] == 30
    assert overall["N-acc"] == overall["T-acc"] == overall["Pr@0.7"] == overall["box Acc@0.5"] == 1.0
    assert overall["gIoU"] > 0.93, "a mask of 128 pixels enlarged to the image loses an edge of half a pixel"
    assert overall["score_error"] < 0.01
    assert list(result) == ["all", *[kind for kind in KINDS if kind in result]]
    assert sum(row["samples"] for kind, row in result.items() if kind != "all") == 30


def test_fitting_finds_where_doubt_ends(processor):
    images = scenes("validation", 6)
    # Targeted expressions come with p = 0.7, those without a target with p close to 1.
    oracle = Oracle(processor, [images[i] for i in range(6)], doubt=float(np.log(0.7 / 0.3)))
    fit = fit_thresholds(oracle, processor, images, batch_size=3)
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


def test_calibration_stays_finite_when_every_answer_is_right():
    temperature, bias = _fit_calibration(np.full(50, 0.9), np.zeros(50), np.ones(50, dtype=bool))
    assert 0 < temperature < 100 and abs(bias) < 100


def test_a_fit_is_stored_in_the_processor(processor, tmp_path):
    fit = {"mask_threshold": 0.45, "no_target_threshold": 0.3, "score_temperature": 1.5, "score_bias": -0.2}
    store_fit(tmp_path, processor, {**fit, "gIoU": 0.8})
    loaded = SspSamProcessor.from_pretrained(tmp_path)
    assert {name: getattr(loaded, name) for name in fit} == fit
