# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The metrics through `evaluate.load`: the same numbers, a few bytes per sample, several processes, plain faults."""

import sys

import evaluate
import numpy as np
import pytest

from ssp_sam.training.data.masks import encode
from ssp_sam.training.evaluation.metrics import EVALUATE_MODULE, segmentation_metrics


@pytest.fixture(scope="module", autouse=True)
def modules_cache(tmp_path_factory):
    """The cache that `evaluate` copies the module into; nothing of the user's is touched."""
    folder = str(tmp_path_factory.mktemp("modules"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evaluate.config.HF_MODULES_CACHE", folder)
        patch.setattr("sys.path", list(sys.path))
        yield


@pytest.fixture
def load(tmp_path):
    return lambda *args, **kwargs: evaluate.load(
        str(EVALUATE_MODULE), *args, module_type="metric", cache_dir=str(tmp_path), **kwargs
    )


@pytest.fixture
def masks():
    rng = np.random.default_rng(0)
    predictions, references = rng.random((2, 8, 20, 30)) < rng.random((2, 8, 1, 1))
    references[:3] = False
    predictions[0] = False
    return list(predictions), list(references)


def test_masks_and_run_lengths_give_the_numbers_of_the_plain_functions(load, masks):
    predictions, references = masks
    expected = segmentation_metrics(predictions, references, family="gres")
    metric = load()
    for predicted, true in zip(predictions[:3], references):
        metric.add(prediction=predicted, reference=true)
    metric.add_batch(predictions=predictions[3:], references=[encode(true) for true in references[3:]])
    assert metric.compute() == expected
    coded = [[encode(mask) for mask in side] for side in masks]
    assert load().compute(predictions=coded[0], references=coded[1]) == expected


def test_the_configuration_is_the_family_and_settings_come_with_compute(load, masks):
    assert "oIoU" in load("res").compute(predictions=masks[0], references=masks[1])
    settings = {"family": "phrasecut", "min_mask_pixels": 300, "small_masks_rule": "no_target"}
    found = load().compute(predictions=masks[0], references=masks[1], **settings)
    assert found == segmentation_metrics(*masks, **settings)


def test_boxes_groups_and_missing_predictions_count(load, masks):
    metric = load("res")
    metric.add_batch(
        predictions=[masks[0][4], masks[0][5], None],
        references=masks[1][4:7],
        predicted_boxes=[[0, 0, 10, 10], None, [0, 0, 1, 1]],
        true_boxes=[[0, 0, 10, 12], [0, 0, 1, 1], None],
        groups=["dog", "cat", "dog"],
    )
    result = metric.compute()
    assert (result["samples"], result["missing"], result["box Acc@0.5"]) == (3, 1, 0.5)
    assert {name: row["samples"] for name, row in result["groups"].items()} == {"dog": 2, "cat": 1}


def test_what_is_kept_of_a_sample_does_not_grow_with_its_mask(load, tmp_path):
    rng = np.random.default_rng(0)
    sizes = []
    for side in (16, 512):
        metric = load(experiment_id=f"side-{side}")
        for _ in range(50):
            mask = rng.random((side, side)) < 0.5
            metric.add(prediction=mask, reference=~mask)
        metric.writer.finalize(close_stream=False)
        sizes.append(next(tmp_path.rglob(f"side-{side}*.arrow")).stat().st_size)
    assert sizes[0] == sizes[1] < 50 * 500


def test_wrong_input_is_told_and_what_was_added_stays(load, masks):
    metric = load()
    metric.add(prediction=masks[0][5], reference=masks[1][5])
    with pytest.raises(ValueError, match=r"one shape, got \(3, 3\) and \(20, 30\)"):
        metric.add(prediction=np.ones((3, 3)), reference=masks[1][5])
    with pytest.raises(ValueError, match="expected one of groups per reference, got 1 for 2"):
        metric.add_batch(predictions=masks[0][:2], references=masks[1][:2], groups=["a"])
    with pytest.raises(ValueError, match="family must be one of .*, got 'coco'"):
        metric.compute(family="coco")
    assert metric.compute()["samples"] == 1
    with pytest.raises(ValueError, match="one of res, gres, phrasecut, got 'coco'"):
        load("coco")


def test_without_the_package_the_module_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ssp_sam.training.evaluation.metrics", None)
    source = (EVALUATE_MODULE / "referring_segmentation.py").read_text("utf-8")
    with pytest.raises(ImportError, match="computes with the package ssp_sam.*pip install ssp-sam"):
        exec(compile(source, "referring_segmentation.py", "exec"), {"__name__": "referring_segmentation"})
