# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Training on a custom dataset by the configuration for it, and the README's worked example."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from ssp_sam.training.arguments import ModelArguments
from ssp_sam.training.model_sources import build_model
from ssp_sam.training.train import run
from tests.helpers.readme_examples import ROOT, TEXT, checkout_for_reading, run_here, run_in_shell

SHORT = "--num_epochs 0.5 --min_steps 0 --images_per_device 8 --num_train_scenes 4 --num_eval_scenes 4"


def test_a_folder_without_metadata_is_named(tmp_path, capsys):
    words = ["--config", str(ROOT / "training/configs/own_data.yaml"), "--train_dir", str(tmp_path)]
    words += ["--init_from", str(ROOT / "ssp_sam/checkpoints/ssp-sam-scenes"), "--output_dir", str(tmp_path / "run")]
    assert run(words) == 2
    assert "there are no annotations in" in capsys.readouterr().err


def test_the_threshold_of_no_target_is_that_of_the_run():
    given = build_model(ModelArguments(init_from="embedded", no_target_threshold=0.37))[1].no_target_threshold
    kept = build_model(ModelArguments(init_from="embedded"))[1].no_target_threshold
    assert kept != 0.37 == given


@pytest.mark.parametrize("in_shell", [False, pytest.param(True, marks=pytest.mark.long)])
def test_the_readmes_example_runs_from_drawn_images_to_a_model_that_segments(in_shell, tmp_path, monkeypatch):
    example = re.search(r"^```bash\n(python scripts/make_custom_dataset.*?)^```", TEXT, re.M | re.S)[1]
    # Every command and setting as a reader would type it, but few images and steps: what is learned is no matter here.
    short, images = re.subn(r"(make_custom_dataset\.py textures \S+ --images) \d+", r"\1 4", example)
    short, runs = re.subn("--output_dir", f"{SHORT} --output_dir", short)
    assert (images, runs) == (2, 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = checkout_for_reading(tmp_path / "reader")
    if in_shell:
        run_in_shell(short, folder)
    else:
        run_here(short, folder, monkeypatch)
    results = folder / "outputs/textures"
    assert {"checkpoint-2", "final", "log.jsonl", "settings.json", "summary.json"} <= {
        path.name for path in results.iterdir()
    }
    log = [json.loads(line) for line in (results / "log.jsonl").read_text().splitlines()]
    evaluations = [entry for entry in log if entry["event"] == "eval"]
    assert [entry["step"] for entry in evaluations] == [0, 2]
    assert {"gIoU", "Pr@0.5", "N-acc"} <= evaluations[-1]["metrics"]["all"].keys()
    with Image.open(folder / "leftmost.png") as drawn:
        assert np.asarray(drawn).std() > 10
