# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""The command that compares the main model with each adapter removed."""

import json
from pathlib import Path

import pytest

from scripts import run_ablation
from ssp_sam.training.arguments import ModelArguments
from ssp_sam.training.config_files import parse_settings
from ssp_sam.training.model_sources import build_model
from tests.helpers.scenes import MODEL_CONFIG, NUM_SCENES, tiny_scene_cache

DOCS = Path(__file__).resolve().parents[2] / "docs"
LETTERS = ("gIoU", "cIoU", "Pr@0.5", "N-acc", "T-acc", "box Acc@0.5")


def test_the_command_trains_what_is_missing_and_writes_the_table(tmp_path, monkeypatch):
    for part in build_model(ModelArguments(model_config=MODEL_CONFIG)):
        part.save_pretrained(tmp_path / "towers")
    output, towers, scene_cache = tmp_path / "ablation", tmp_path / "towers", tiny_scene_cache(tmp_path / "scenes")
    words = [str(output), "--towers", str(towers), "--seeds", "0", "1"]
    words += ["--scene_cache", str(scene_cache), "--num_train_scenes", str(NUM_SCENES), "--num_eval_scenes", "2"]
    words += ["--images_per_device", "2", "--expressions_per_image", "2", "--max_steps", "2", "--warmup_steps", "0"]
    first = run_ablation.main([*words, "--rows", "main", "only_VAD"])
    settings = json.loads((output / "only_VAD" / "seed-1" / "settings.json").read_text())
    assert settings["model_config"]["linguistic_adapter"] == "sentence" and settings["seed"] == 1
    table = (output / "ablation.md").read_text().splitlines()
    assert table[0].startswith("2 steps of 4 expressions; GRES metrics on the canvas over 2 validation scenes")
    assert [line.split(" | ")[0] for line in table[-2:]] == ["| main", "| only_VAD"]
    assert table[-2].endswith("| – |") and table[-1].split(" | ")[2] == "2"

    monkeypatch.setattr(run_ablation, "train", lambda words: pytest.fail("nothing was missing"))
    assert run_ablation.main([*words, "--rows", "main", "only_VAD"]) == first
    with pytest.raises(ValueError, match="was run with max_steps 2, now 3; choose another output"):
        run_ablation.main([*words, "--rows", "main", "--max_steps", "3"])


def test_every_row_makes_a_model_of_the_small_sizes(tmp_path):
    options, _ = run_ablation.parse([str(tmp_path), "--towers", "towers"])
    assert set(run_ablation.ROWS) == set(run_ablation.MEANINGS) and "layer_ablation" not in run_ablation.ROWS
    for row, fields in run_ablation.ROWS.items():
        words = run_ablation.run_words(options, row, 3, [])
        model = parse_settings(words).model
        assert fields.items() <= model.model_config.items()
        build_model(ModelArguments(model_config=MODEL_CONFIG | fields))


def test_mean_and_spread_stand_beside_the_difference_to_the_main_model():
    def run(value):
        return dict.fromkeys(LETTERS, value)

    text = run_ablation.table({"main": [run(0.5), run(0.7)], "single_task": [run(0.4) | {"box Acc@0.5": None}]}, "x")
    main, other = text.splitlines()[-2:]
    assert "| 2 | 0.600 (0.141) |" in main
    assert other == "| single_task | no box head | 1 | 0.400 | 0.400 | 0.400 | 0.400 | 0.400 | – | -0.200 |"


def test_the_table_that_is_shown_is_that_of_the_logs():
    results = {}
    for row in ("main", "only_LAD_Q_token", "only_VAD_Q_token", "only_Q_token"):
        logs = [(DOCS / "ablation" / f"{row}-{seed}.jsonl").read_text().splitlines() for seed in range(3)]
        results[row] = [json.loads(lines[-1])["metrics"]["all"] for lines in logs]
    assert run_ablation.table(results, "").strip() in (DOCS / "ablation.md").read_text()
