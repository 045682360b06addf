# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""One evaluation from its options to its report: what the report says, predictions read again, faults."""

import json
from pathlib import Path

import pytest
from accelerate import Accelerator
from PIL import Image

from ssp_sam.training.data.masks import encode
from ssp_sam.training.evaluation.job import Evaluation
from ssp_sam.training.evaluation.options import EvaluationOptions
from tests.helpers.evaluation import rectangle, reference, write_split
from tests.helpers.models import make_pipeline

SAME = ("format", "dataset", "model", "settings", "counts", "protocols")
MASKS = [rectangle((30, 40), 3, left, 13, left + 10) for left in (2, 12)]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    """Five images with a reference to one or two objects and another that means nothing: fifteen expressions."""
    rows = [reference(image, 0, *MASKS[: 1 + image % 2]) for image in range(5)]
    rows += [reference(image, 1) for image in range(5)]
    return write_split(tmp_path_factory.mktemp("benchmark") / "pets", rows)


def evaluate(output: Path, segmenter=None, **options) -> dict:
    """Evaluates in this process; returns the report as it was written."""
    chosen = EvaluationOptions(output=str(output), batch_size=2, **options)
    Evaluation(chosen, Accelerator(cpu=True), segmenter, "tiny").run({"command": "by hand"})
    return json.loads((output / "report.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def evaluated(data, tmp_path_factory) -> Path:
    """The folder that an evaluation of a tiny random model leaves."""
    output = tmp_path_factory.mktemp("out") / "report"
    evaluate(output, make_pipeline(), data=data, save_predictions=True, cases=1)
    return output


def test_a_report_says_what_was_measured_on_what_and_how(evaluated):
    report = json.loads((evaluated / "report.json").read_text("utf-8"))
    assert report["counts"] == {
        "images": 5, "references": 10, "expressions": 15, "targeted": 10, "no_target": 5, "missing": 0
    }  # fmt: skip
    assert report["dataset"]["name"] == "pets" and report["dataset"]["sources"] == ["own"]
    assert len(report["dataset"]["fingerprint"]) == len(report["dataset"]["expressions_fingerprint"]) == 16
    assert report["settings"]["family"] == "gres" and report["settings"]["canvas_size"] == 32
    assert report["model"]["name"] == "tiny" and report["model"]["parameters"] > 1000
    assert list(report["protocols"]) == ["standard", "original"]
    for protocol in report["protocols"].values():
        assert {"pixel_space", "min_mask_pixels", "small_masks_rule"} <= protocol["settings"].keys()
        groups = protocol["breakdowns"]
        assert {name: row["samples"] for name, row in groups["targets"].items()} == {"none": 5, "single": 6, "multi": 4}
        assert {name: row["samples"] for name, row in groups["category"].items()} == {"dog": 10, "cat": 4}
    text = (evaluated / "report.md").read_text("utf-8")
    assert "## By category" in text and "contact_sheet.png" in text and "command by hand" in text
    with Image.open(evaluated / "contact_sheet.png") as sheet:
        assert sheet.width > 400


def test_saved_predictions_give_the_same_numbers_without_the_model(evaluated, data, tmp_path):
    again = evaluate(tmp_path, data=data, from_predictions=str(evaluated / "predictions.json"))
    first = json.loads((evaluated / "report.json").read_text("utf-8"))
    assert {name: first[name] for name in SAME} == {name: again[name] for name in SAME}
    assert again["run"]["unused_predictions"] == 0
    saved = json.loads((evaluated / "predictions.json").read_text("utf-8"))
    assert saved["predictions"][0].items() >= {"source": "own", "image_id": "image 0", "ref_id": "0-0"}.items()


def test_generated_scenes_are_evaluated_by_kind(tmp_path):
    report = evaluate(tmp_path, make_pipeline(), scenes="test", num_scenes=3, expressions_per_scene=4, cases=0)
    assert report["counts"]["expressions"] == 12 and report["settings"]["family"] == "gres"
    assert sum(row["samples"] for row in report["protocols"]["original"]["breakdowns"]["kind"].values()) == 12
    assert not (tmp_path / "contact_sheet.png").exists() and "Cases" not in (tmp_path / "report.md").read_text("utf-8")


def test_figures_of_papers_stand_in_the_report_of_their_benchmark(tmp_path):
    folder = write_split(tmp_path / "grefcoco", [reference(0, 0, *MASKS, source="grefcoco_unc")])
    report = evaluate(tmp_path / "out", make_pipeline(), data=folder, published=True, cases=0)
    measured = 100 * report["protocols"]["original"]["all"]["gIoU"]
    assert report["published"][0]["difference"] == pytest.approx(measured - 69.09, abs=0.011)
    assert "## Published results" in (tmp_path / "out" / "report.md").read_text("utf-8")


# ---- predictions of other models -------------------------------------------------------------------------------------


def test_predictions_of_another_model_need_an_id_and_a_mask_alone(data, tmp_path):
    # Of fifteen expressions one is predicted rightly in each of two images, and one with nothing.
    empty = encode(MASKS[0] & False)
    predictions = [
        {"ref_id": "0-0", "segmentation": encode(MASKS[0])},
        {"ref_id": "1-0", "sentence": 1, "segmentation": encode(MASKS[0])},
        {"ref_id": "2-1", "segmentation": empty},
        {"ref_id": "3-0", "segmentation": None},
        {"ref_id": "elsewhere", "segmentation": empty},
    ]
    (tmp_path / "theirs.json").write_text(json.dumps(predictions))
    report = evaluate(tmp_path / "out", data=data, from_predictions=str(tmp_path / "theirs.json"), cases=2)
    result = report["protocols"]["standard"]["all"]
    assert report["counts"]["missing"] == 12 and report["run"]["unused_predictions"] == 1
    assert result["gIoU"] == pytest.approx((1 + 0.5 + 1) / 15)
    # 6 expressions mean 100 pixels, 4 mean 200.
    assert result["cIoU"] == pytest.approx(200 / 1400)
    assert (result["N-acc"], result["T-acc"]) == (pytest.approx(1 / 5), pytest.approx(2 / 10))
    assert report["protocols"]["original"]["all"]["gIoU"] == pytest.approx((1 + 0.5 + 1) / 15, abs=0.02)
    assert report["model"] is None and report["protocols"]["standard"]["settings"]["mask_threshold"] is None
    assert "predictions were read from a file" in (tmp_path / "out/report.md").read_text("utf-8")


def test_predictions_for_other_data_are_refused(data, tmp_path):
    def refusal(**prediction) -> str:
        (tmp_path / "theirs.json").write_text(json.dumps([{"segmentation": encode(MASKS[0]), **prediction}]))
        with pytest.raises(ValueError) as error:
            evaluate(tmp_path / "out", data=data, from_predictions=str(tmp_path / "theirs.json"))
        return str(error.value)

    assert "none of the 1 predictions in" in refusal(ref_id="elsewhere")
    assert "does not fit image 'image 0': it is about image '17'" in refusal(ref_id="0-0", image_id="17")
    turned = refusal(ref_id="0-0", segmentation=encode(MASKS[0].T))
    assert "the prediction for sentence 0 of reference '0-0' does not fit image 'image 0'" in turned


# ---- options ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either data or scenes, got data None and scenes None"),
        ({"data": "d", "scenes": "test"}, "either data or scenes, got data 'd' and scenes 'test'"),
        ({"data": "d", "batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"data": "d", "limit": 0}, "limit must be at least 1, got 0"),
        ({"data": "d", "workers": -1}, "workers must be at least 0, got -1"),
        ({"data": "d", "min_mask_pixels": -1}, "min_mask_pixels must be at least 0, got -1"),
        ({"data": "d", "family": "coco"}, "family must be one of res, gres, phrasecut, got 'coco'"),
        ({"scenes": "test", "limit": 3}, "split and limit belong to data"),
        ({"scenes": "test", "published": True}, "published figures are of whole splits"),
        ({"data": "d", "limit": 3, "published": True}, "published figures are of whole splits"),
        ({"data": "d", "from_predictions": "p", "save_predictions": True}, "are not saved again"),
        ({"data": "d", "output": __file__}, "output must be a folder, got the file"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EvaluationOptions(**options)


def test_a_report_that_is_there_is_replaced_on_request_only(evaluated, data):
    with pytest.raises(ValueError, match=r"already holds report.json and predictions.json; give another output"):
        EvaluationOptions(data=data, output=str(evaluated))
    with pytest.raises(ValueError, match=r"already holds report.json; give another output"):
        EvaluationOptions(data=data, output=str(evaluated), from_predictions="p.json")
    assert EvaluationOptions(data=data, output=str(evaluated), overwrite=True)


def test_nothing_is_left_where_an_image_is_damaged(tmp_path):
    rows = [reference(0, 0, *MASKS), reference(1, 0, *MASKS, image={"bytes": b"no image", "path": None})]
    with pytest.raises(ValueError, match="reference own/val/1-0: could not read an image "):
        evaluate(tmp_path / "out", make_pipeline(), data=write_split(tmp_path, rows), save_predictions=True)
    assert not (tmp_path / "out").exists()
