# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What a finished training leaves for a person: a report, curves, and predictions before and after."""

import pytest
from PIL import Image

from ssp_sam.processing.visualization.comparison import TILE_HEIGHT, TILE_WIDTH
from ssp_sam.training.run_report import curves_of
from ssp_sam.training.train import main
from tests.helpers.benchmark import tiny_benchmark, tiny_model_folder


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("data")
    values = {
        "dataset": tiny_benchmark(folder / "benchmark", num_train=4, num_eval=2),
        "init_from": tiny_model_folder(folder / "model", single_tower=True),
        "images_per_device": 2,
        "num_epochs": 1,
        "warmup_steps": 0,
        "iou_loss_weight": 0,
        "log_steps": 1,
        "num_drawings": 3,
    }
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def test_a_finished_run_reports_every_evaluation_and_shows_the_same_images_before_and_after(words, tmp_path, capsys):
    main([*words, "--output_dir", str(tmp_path / "run"), "--eval_at_start", "true"])
    assert f"report: {tmp_path / 'run' / 'report.md'}" in capsys.readouterr().out
    text = (tmp_path / "run" / "report.md").read_text()
    assert text.startswith("# Training of run\n\n2 steps, 4 expressions, ")
    header, _, before, after = [line for line in text.splitlines() if line.startswith("|")]
    assert header.startswith("| step | gIoU | cIoU |") and before.startswith("| 0 (before) |")
    assert after.startswith("| 2 |") and len({line.count("|") for line in (header, before, after)}) == 1
    assert "](curves.png)" in text and "](before_and_after.png)" in text
    with Image.open(tmp_path / "run" / "before_and_after.png") as sheet:
        assert sheet.width > 2 * TILE_WIDTH and sheet.height > 3 * TILE_HEIGHT
    with Image.open(tmp_path / "run" / "curves.png") as curves:
        curves.load()


def test_without_an_evaluation_at_the_start_there_is_no_before(words, tmp_path):
    main([*words, "--output_dir", str(tmp_path)])
    assert not (tmp_path / "before_and_after.png").exists()
    assert "before_and_after" not in (tmp_path / "report.md").read_text()


def test_curves_are_loss_parts_rate_and_metrics():
    train = {"event": "train", "minutes": 0.1, "samples": 4, "rate": 9.0, "minutes_left": 0.2, "grad_norm": None}
    entries = [
        {"event": "eval", "step": 0, "metrics": {"all": {"gIoU": 0.1, "N-acc": None}, "one": {"gIoU": 0.9}}},
        {**train, "step": 1, "loss": 2.0, "dice": 0.5, "lr": 0.1},
        {**train, "step": 2, "loss": 1.0, "lr": 0.2},
        {"event": "eval", "step": 2, "metrics": {"all": {"gIoU": 0.3, "N-acc": 0.5}}},
    ]
    assert curves_of(entries) == {
        "loss": {"loss": [(1, 2.0), (2, 1.0)]},
        "parts of the loss": {"dice": [(1, 0.5)]},
        "learning rate": {"lr": [(1, 0.1), (2, 0.2)]},
        "validation": {"gIoU": [(0, 0.1), (2, 0.3)], "N-acc": [(2, 0.5)]},
    }
    towers = curves_of([{**train, "step": 1, "loss": 2.0}, {"event": "eval", "step": 1, "metrics": {"box_iou": 0.7}}])
    assert towers["validation"] == {"box_iou": [(1, 0.7)]}
