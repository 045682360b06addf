# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""`ssp-sam train`: what it hands on, what it prints, and how it publishes."""

import argparse
import json
import re
import shlex

import pytest

from ssp_sam.cli import push
from ssp_sam.cli.main import main
from ssp_sam.cli.train import publish_with_push
from ssp_sam.training.config_files import parse_settings
from tests.helpers.benchmark import tiny_benchmark, tiny_model_folder


def test_it_trains_as_the_line_that_it_prints_would(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["--config", "own_data", "--dataset", str(tiny_benchmark(tmp_path / "data", num_train=4, num_eval=2))]
    words += ["--init_from", str(tiny_model_folder(tmp_path / "a model", single_tower=True)), "--best_metric", "N-acc"]
    words += ["--num_epochs", "0.1", "--min_steps", "1", "--output_dir", "run", "--group_by_image", "false"]
    assert main(["train", *words]) == 0, capsys.readouterr().err
    line = re.search(r"accelerate launch -m ssp_sam\.training\.train (.*)", capsys.readouterr().out)[1]
    used = json.loads((tmp_path / "run" / "settings.json").read_text())
    assert used == json.loads(json.dumps(parse_settings(shlex.split(line)).as_dict()))
    assert used["init_from"].endswith("a model") and used["optimizer"] == "adamw" and used["group_by_image"] is False
    assert (tmp_path / "run" / "final" / "model.safetensors").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--config", "own_dat"], "there is no configuration 'own_dat'; did you mean own_data?"),
        (["--confg", "own_data"], "unrecognized argument --confg; did you mean --config?"),
        (["--learning_rat", "3"], "unrecognized argument --learning_rat; did you mean --learning_rate or"),
        (["--config", "own_data", "--train_dir", "nowhere"], "there is no folder train_dir 'nowhere' in "),
        (["--config", "own_data", "--max_steps", "x"], "argument --max_steps/--max-steps: invalid int value: 'x'"),
        ([], "give init_from (a model folder)"),
    ],
)
def test_what_cannot_be_used_is_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("ssp-sam") and error.count("\n") == 1 and message in error


def test_a_finished_model_is_published_as_the_subcommand_does_it(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(push, "run", lambda options: asked.append(options) or len(asked) - 1)
    report = argparse.Namespace(hub_model_id="someone/something", hub_private=True)
    publish_with_push("outputs/run/final", report)
    assert (asked[0].repo_id, asked[0].model, asked[0].private) == ("someone/something", "outputs/run/final", True)
    with pytest.raises(ValueError, match=r"was not published; to try again: ssp-sam push --repo-id someone/something"):
        publish_with_push("outputs/run/final", report)
