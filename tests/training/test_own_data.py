# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Pictures of one's own: how they are divided, and the README's worked example."""

import json
import re

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

from scripts import make_texture_scenes
from ssp_sam.training.arguments import DataArguments
from ssp_sam.training.data.prepared import decode_masks
from ssp_sam.training.data_sources import keep_back, open_custom_dataset
from ssp_sam.training.train import run
from tests.helpers.readme_examples import ROOT, TEXT, checkout_for_reading, run_in_shell


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "textures"
    assert make_texture_scenes.main([str(folder), "--pictures", "40"]) == 0
    return folder


def test_masks_of_the_drawn_pictures_are_what_their_sentences_mean(pictures, tmp_path):
    data = DataArguments(train_dir=str(pictures), eval_fraction=0.25)
    train, held_out = open_custom_dataset(data, tmp_path / "prepared", renew=True, seed=0)
    lines = [json.loads(line) for line in (pictures / "metadata.jsonl").read_text().splitlines()]
    assert len(train) + len(held_out) == len(lines)
    assert len(set(held_out["image_id"])) == 10 and not set(held_out["image_id"]) & set(train["image_id"])
    for row in list(held_out)[:8]:
        assert row["no_target"] == (not row["masks"])
        assert (decode_masks(row).sum() > 200) == (not row["no_target"])


def test_what_is_prepared_is_made_anew_unless_a_run_goes_on(pictures, tmp_path):
    data = DataArguments(train_dir=str(pictures))
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="no prepared benchmark"):
        open_custom_dataset(data, tmp_path, renew=False, seed=0)
    assert len(open_custom_dataset(data, tmp_path, renew=True, seed=0)[0]) > 100


def test_a_single_picture_cannot_be_kept_back():
    with pytest.raises(ValueError, match="train_dir has 1 image, too few to keep one back"):
        keep_back(Dataset.from_dict({"image_id": ["a", "a"]}), 0.1, seed=0)


def test_a_folder_without_metadata_is_named(tmp_path, capsys):
    words = ["--config", str(ROOT / "training/configs/own_data.yaml"), "--train_dir", str(tmp_path)]
    words += ["--init_from", str(ROOT / "ssp_sam/checkpoints/ssp-sam-scenes"), "--output_dir", str(tmp_path / "run")]
    assert run(words) == 2
    assert "there is no metadata.jsonl in" in capsys.readouterr().err


def test_the_readmes_example_runs_from_drawn_images_to_a_model_that_segments(tmp_path, monkeypatch):
    example = re.search(r"^```bash\n(python scripts/make_texture_scenes.*?)^```", TEXT, re.M | re.S)[1]
    # Every command and setting as a reader would type it, but few images and steps: what is learned is no matter here.
    short, images = re.subn(r"(make_texture_scenes\.py \S+ --\w+) \d+", r"\1 4", example)
    short, runs = re.subn("--output_dir", "--num_epochs 0.5 --images_per_device 8 --warmup_steps 0 --output_dir", short)
    assert (images, runs) == (2, 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    folder = checkout_for_reading(tmp_path / "reader")
    said = run_in_shell(short, folder).stdout
    assert "1 processes" in said and "the leftmost shape" in said
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
