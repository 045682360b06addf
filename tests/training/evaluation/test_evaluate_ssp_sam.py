# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""`scripts/evaluate_ssp_sam.py` as a user runs it: reports, saved predictions, several processes, faults."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image

from scripts import evaluate_ssp_sam
from ssp_sam import SspSamModel
from ssp_sam.training.data.masks import encode
from ssp_sam.training.data.prepared import FEATURES
from ssp_sam.training.evaluation.predictions import PredictionWriter, SavedPredictions
from ssp_sam.training.evaluation.samples import PreparedImages
from tests.helpers.models import make_image

ROOT = Path(__file__).resolve().parents[3]
SAME = ("format", "dataset", "model", "settings", "counts", "protocols")
NUM_IMAGES = 5


def png(picture: Image.Image, **options) -> dict:
    stream = io.BytesIO()
    picture.save(stream, "PNG", **options)
    return {"bytes": stream.getvalue(), "path": None}


def reference(picture: int, number: int, *masks: np.ndarray, **changes) -> dict:
    """One row of a prepared benchmark about a picture of 40 x 30 pixels."""
    return {
        "image": png(make_image(seed=picture)),
        "image_id": f"picture {picture}",
        "size_hw": [30, 40],
        "ref_id": f"{picture}-{number}",
        "ann_ids": [str(place) for place in range(len(masks))],
        "category": "dog, cat" if len(masks) > 1 else "dog" if masks else "",
        "expressions": ["the red dog", "the dog on the left"][: 2 - number],
        "split": "val",
        "masks": [encode(mask) for mask in masks],
        "box_xyxy": [2.0, 3.0, 22.0, 13.0] if masks else None,
        "no_target": not masks,
        "source": "own data",
        "licence": "unknown",
        **changes,
    }


def benchmark(folder: Path, rows: list[dict]) -> str:
    (folder / "data").mkdir(parents=True)
    Dataset.from_list(rows, features=FEATURES).to_parquet(folder / "data" / "val-00000-of-00001.parquet")
    return str(folder)


@pytest.fixture(scope="module")
def masks() -> tuple[np.ndarray, np.ndarray]:
    masks = np.zeros((2, 30, 40), dtype=bool)
    masks[0, 3:13, 2:12] = masks[1, 3:13, 12:22] = True
    return masks[0], masks[1]


@pytest.fixture(scope="module")
def data(tmp_path_factory, masks) -> str:
    """Five pictures with a reference to one or two objects and another that means nothing: fifteen expressions."""
    rows = [reference(image, 0, *masks[: 1 + image % 2]) for image in range(NUM_IMAGES)]
    rows += [reference(image, 1) for image in range(NUM_IMAGES)]
    return benchmark(tmp_path_factory.mktemp("benchmark") / "pets", rows)


@pytest.fixture(scope="module")
def evaluated(data, tiny_checkpoint, tmp_path_factory) -> Path:
    """The folder that an evaluation of a tiny random model by one thread leaves."""
    output, threads = tmp_path_factory.mktemp("out") / "report", torch.get_num_threads()
    torch.set_num_threads(1)
    options = ["--model", tiny_checkpoint, "--batch-size", "2", "--save-predictions", "--cases", "1"]
    assert evaluate_ssp_sam.main(["--data", data, "--output", str(output), *options]) == 0
    torch.set_num_threads(threads)
    return output


def report_of(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text("utf-8"))


def fault(arguments: list, capsys) -> str:
    """Runs the script, which must refuse with exit code 2 and one line, below the progress bar if it got that far."""
    assert evaluate_ssp_sam.main([str(word) for word in arguments]) == 2
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if "expression/s" not in line]
    assert len(lines) == 1 and lines[0].startswith("evaluate_ssp_sam: "), lines
    return lines[0]


# ---- the report ----------------------------------------------------------------------------------------------------


def test_a_report_says_what_was_measured_on_what_and_how(evaluated):
    report = report_of(evaluated)
    assert report["counts"] == {
        "images": 5, "references": 10, "expressions": 15, "targeted": 10, "no_target": 5, "missing": 0
    }  # fmt: skip
    assert report["dataset"]["name"] == "pets" and report["dataset"]["sources"] == ["own data"]
    assert len(report["dataset"]["fingerprint"]) == len(report["dataset"]["expressions_fingerprint"]) == 16
    assert report["settings"]["family"] == "gres" and report["settings"]["canvas_size"] == 32
    assert report["model"]["parameters"] > 1000 and len(report["model"]["weights_sha256"]) == 64
    assert list(report["protocols"]) == ["standard", "original"]
    for protocol in report["protocols"].values():
        assert {"pixel_space", "min_mask_pixels", "small_masks_rule"} <= protocol["settings"].keys()
        groups = protocol["breakdowns"]
        assert {name: row["samples"] for name, row in groups["targets"].items()} == {"none": 5, "single": 6, "multi": 4}
        assert {name: row["samples"] for name, row in groups["category"].items()} == {"dog": 10, "cat": 4}
    text = (evaluated / "report.md").read_text("utf-8")
    assert "## By category" in text and "contact_sheet.png" in text
    with Image.open(evaluated / "contact_sheet.png") as sheet:
        assert sheet.width > 400


def test_saved_predictions_give_the_same_numbers_without_the_model(evaluated, data, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate_ssp_sam, "load_pipeline", None)
    saved = ["--from-predictions", str(evaluated / "predictions.json")]
    assert evaluate_ssp_sam.main(["--data", data, "--output", str(tmp_path / "again"), *saved]) == 0
    first, again = report_of(evaluated), report_of(tmp_path / "again")
    assert {name: first[name] for name in SAME} == {name: again[name] for name in SAME}
    assert again["run"]["unused_predictions"] == 0


def test_two_processes_give_exactly_the_numbers_and_predictions_of_one(evaluated, data, tiny_checkpoint, tmp_path):
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--config_file", str(ROOT / "training/accelerate_configs/two_cpu_processes.yaml")]
    command += [str(ROOT / "scripts/evaluate_ssp_sam.py"), "--model", tiny_checkpoint, "--data", data]
    command += ["--output", str(tmp_path / "two"), "--batch-size", "2", "--save-predictions", "--cases", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = report_of(evaluated), report_of(tmp_path / "two")
    assert (one["run"]["processes"], two["run"]["processes"]) == (1, 2)
    # Three batches: the second process has nothing to do in the last round, and nothing is counted twice.
    assert {name: one[name] for name in SAME} == {name: two[name] for name in SAME}
    assert (evaluated / "predictions.json").read_text("utf-8") == (tmp_path / "two/predictions.json").read_text("utf-8")


def test_every_picture_is_encoded_once_whatever_is_asked_about_it(data, tiny_checkpoint, tmp_path, monkeypatch):
    encode_images, encoded = SspSamModel.get_image_features, []

    def counted(self, pixel_values, **kwargs):
        encoded.append(len(pixel_values))
        return encode_images(self, pixel_values, **kwargs)

    monkeypatch.setattr(SspSamModel, "get_image_features", counted)
    options = ["--batch-size", "2", "--expression-batch-size", "3", "--cases", "0", "--output", str(tmp_path)]
    assert evaluate_ssp_sam.main(["--data", data, "--model", tiny_checkpoint, *options]) == 0
    assert encoded == [2, 2, 1]
    assert not (tmp_path / "contact_sheet.png").exists() and "Cases" not in (tmp_path / "report.md").read_text("utf-8")


def test_generated_scenes_are_evaluated_by_kind(tiny_checkpoint, tmp_path):
    options = ["--scenes", "test", "--num-scenes", "3", "--expressions-per-scene", "4", "--cases", "0"]
    assert evaluate_ssp_sam.main([*options, "--model", tiny_checkpoint, "--output", str(tmp_path)]) == 0
    report = report_of(tmp_path)
    assert report["counts"]["expressions"] == 12 and report["settings"]["family"] == "gres"
    assert sum(row["samples"] for row in report["protocols"]["original"]["breakdowns"]["kind"].values()) == 12


def test_the_report_tells_the_command_as_far_as_numbers_depend_on_it():
    def command(words: str) -> str:
        return evaluate_ssp_sam.command_line(evaluate_ssp_sam.build_parser().parse_args(words.split()))

    script = "python scripts/evaluate_ssp_sam.py"
    silent = "--output o --overwrite --cases 0 --workers 2 --save-predictions"
    assert command(f"--scenes test {silent}") == f"{script} --scenes test"
    assert command("--data d --min-mask-pixels 0 --model m --limit 3 --dtype float16") == (
        f"{script} --model m --data d --limit 3 --min-mask-pixels 0 --dtype float16"
    )
    assert command("--data d --from-predictions p.json") == f"{script} --data d --from-predictions p.json"


# ---- predictions of other models -----------------------------------------------------------------------------------


def test_predictions_of_another_model_need_an_id_and_a_mask_alone(data, masks, tmp_path, capsys):
    # Of fifteen expressions one is answered rightly in each of two pictures, and one with nothing.
    empty = encode(masks[0] & False)
    predictions = [
        {"ref_id": "0-0", "segmentation": encode(masks[0])},
        {"ref_id": "1-0", "sentence": 1, "segmentation": encode(masks[0])},
        {"ref_id": "2-1", "segmentation": empty},
        {"ref_id": "3-0", "segmentation": None},
        {"ref_id": "elsewhere", "segmentation": empty},
    ]
    (tmp_path / "theirs.json").write_text(json.dumps(predictions))
    options = ["--from-predictions", str(tmp_path / "theirs.json"), "--output", str(tmp_path / "out"), "--cases", "2"]
    assert evaluate_ssp_sam.main(["--data", data, *options]) == 0
    report = report_of(tmp_path / "out")
    result = report["protocols"]["standard"]["all"]
    assert report["counts"]["missing"] == 12 and report["run"]["unused_predictions"] == 1
    assert result["gIoU"] == pytest.approx((1 + 0.5 + 1) / 15)
    # 6 expressions mean 100 pixels, 4 mean 200.
    assert result["cIoU"] == pytest.approx(200 / 1400)
    assert (result["N-acc"], result["T-acc"]) == (pytest.approx(1 / 5), pytest.approx(2 / 10))
    assert report["protocols"]["original"]["all"]["gIoU"] == pytest.approx((1 + 0.5 + 1) / 15, abs=0.02)
    assert report["model"] is None and report["protocols"]["standard"]["settings"]["mask_threshold"] is None
    assert "predictions were read from a file" in (tmp_path / "out/report.md").read_text("utf-8")


def test_predictions_that_do_not_fit_are_refused_by_name(data, masks, tmp_path, capsys):
    file = tmp_path / "theirs.json"

    def refusal(content) -> str:
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return fault(["--data", data, "--from-predictions", file, "--output", tmp_path / "out"], capsys)

    good = {"ref_id": "0-0", "segmentation": encode(masks[0])}
    assert "cannot read predictions" in refusal("{")
    assert "must hold an object with a list 'predictions'" in refusal({"masks": []})
    assert "prediction 1 of" in refusal([good, {"ref_id": "0-0"}])
    assert "two predictions for sentence 0 of reference '0-0'" in refusal([good, good])
    assert "add up to" in refusal([{"ref_id": "0-0", "segmentation": {"size": [30, 40], "counts": [7]}}])
    assert "'box_xyxy' must be 4 numbers, got [1, 2]" in refusal([{**good, "box_xyxy": [1, 2]}])
    assert "'score' must lie in 0..1, got 7" in refusal([{**good, "score": 7}])
    turned = refusal([{"ref_id": "0-0", "segmentation": encode(masks[0].T)}])
    assert "sentence 0 of reference '0-0' does not fit image 'picture 0'" in turned


def test_a_file_of_predictions_appears_when_it_is_complete(tmp_path):
    writer = PredictionWriter(tmp_path / "deep" / "predictions.json", {"dataset": "pets"})
    writer.write([{"ref_id": "ä", "segmentation": None}])
    assert not (tmp_path / "deep" / "predictions.json").exists()
    writer.close(settings={"canvas_size": 32})
    saved = SavedPredictions(tmp_path / "deep" / "predictions.json")
    assert len(saved) == 1 and saved.info["dataset"] == "pets" and saved.info["settings"] == {"canvas_size": 32}
    PredictionWriter(tmp_path / "other.json", {}).discard()
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


# ---- data and faults -----------------------------------------------------------------------------------------------


def test_pictures_are_read_as_their_file_stores_them_since_masks_know_of_no_exif(masks, tmp_path):
    picture = make_image()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter
    row = reference(0, 0, masks[0], image=png(picture, exif=exif))
    read = PreparedImages(benchmark(tmp_path / "turned", [row]), "val")[0].image
    assert read.size == (40, 30) and np.array_equal(np.asarray(read), np.asarray(picture))


def test_data_that_cannot_be_measured_is_refused_by_name(masks, tiny_checkpoint, tmp_path, capsys):
    def refusal(name: str, row: dict) -> str:
        folder = benchmark(tmp_path / name, [row])
        return fault(["--data", folder, "--model", tiny_checkpoint, "--output", tmp_path / "out"], capsys)

    boxes_only = refusal("boxes", reference(0, 0, no_target=False, box_xyxy=[0.0, 0.0, 5.0, 5.0]))
    assert "reference '0-0' of 'own data' has a box but no mask" in boxes_only
    assert "image 'picture 0' has height and width (9, 8)" in refusal(
        "other", reference(0, 0, masks[0], image=png(Image.new("RGB", (8, 9))))
    )
    assert "reference '0-0' of 'own data': masks must have one size" in refusal("turned", reference(0, 0, masks[0].T))


def test_wrong_options_are_told_in_one_line_before_anything_is_computed(evaluated, data, tmp_path, capsys):
    out = ["--output", tmp_path / "out"]
    assert "there is no folder" in fault(["--data", tmp_path / "none", *out], capsys)
    assert "no split 'testA'" in fault(["--data", data, "--split", "testA", *out], capsys)
    assert "no config.json" in fault(["--data", data, "--model", tmp_path, *out], capsys)
    assert "already holds report.json and predictions.json" in fault(["--data", data, "--output", evaluated], capsys)
    assert "--batch-size must be at least 1, got 0" in fault(["--data", data, "--batch-size", 0, *out], capsys)
    assert "--min-mask-pixels must be at least 0" in fault(["--data", data, "--min-mask-pixels", -1, *out], capsys)
    assert "num_scenes must be at least 1, got 0" in fault(["--scenes", "test", "--num-scenes", 0, *out], capsys)
    assert "--split and --limit belong to --data" in fault(["--scenes", "test", "--limit", 3, *out], capsys)
    predictions = ["--from-predictions", evaluated / "predictions.json"]
    assert "needs no model" in fault(["--data", data, "--model", "x", *predictions, *out], capsys)
    with pytest.raises(SystemExit, match="2"):
        evaluate_ssp_sam.main([])
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
