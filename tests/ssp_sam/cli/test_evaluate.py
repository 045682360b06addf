# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""`ssp-sam evaluate` as a user runs it: what it prints, several processes, fitted thresholds, faults in one line."""

import argparse
import json
import runpy
import sys
from pathlib import Path

import pytest
import torch

from ssp_sam import SspSamProcessor
from ssp_sam.cli.evaluate import add_arguments, command_line
from ssp_sam.cli.main import main
from tests.helpers.evaluation import rectangle, reference, write_split
from tests.helpers.models import make_pipeline
from tests.helpers.processes import run_in_processes

ROOT = Path(__file__).resolve().parents[3]
SAME = ("format", "dataset", "model", "settings", "counts", "protocols")
MASK = rectangle((30, 40), 3, 2, 13, 12)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    """Five images with two expressions that mean a dog and one that means nothing."""
    rows = [row for image in range(5) for row in (reference(image, 0, MASK), reference(image, 1))]
    return write_split(tmp_path_factory.mktemp("benchmark") / "pets", rows)


@pytest.fixture(scope="module")
def evaluated(data, tiny_checkpoint, tmp_path_factory) -> Path:
    """The folder that an evaluation by one thread leaves."""
    output, threads = tmp_path_factory.mktemp("out") / "report", torch.get_num_threads()
    torch.set_num_threads(1)
    words = ["evaluate", "--data", data, "--output", str(output), "--model", tiny_checkpoint, "--batch-size", "2"]
    assert main([*words, "--save-predictions", "--cases", "1"]) == 0
    torch.set_num_threads(threads)
    return output


def report_of(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text("utf-8"))


def fault(words: list, capsys) -> str:
    """Runs the command, which must refuse with exit code 2 and one line, below the progress bar if it got that far."""
    assert main(["evaluate", *map(str, words)]) == 2
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if "expression/s" not in line]
    assert len(lines) == 1 and lines[0].startswith("ssp-sam: "), lines
    return lines[0]


def test_what_is_measured_is_said_before_and_the_tables_after(tiny_checkpoint, tmp_path, capsys):
    words = ["--scenes", "novel", "--num-scenes", "3", "--output", str(tmp_path), "--cases", "0"]
    assert main(["evaluate", "--model", tiny_checkpoint, *words]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "split 'novel' of generated scenes: 3 images, 6 expressions"
    assert any(line.startswith("| standard | 6 | ") for line in lines)
    assert any(line.startswith("| kind, standard protocol | expressions | gIoU |") for line in lines)
    launch = f"accelerate launch -m ssp_sam.cli.main evaluate --model {tiny_checkpoint} --scenes novel --num-scenes 3"
    assert lines[-1] == f"on several processes: {launch} --output {tmp_path} --cases 0"


def test_two_processes_give_exactly_the_numbers_and_predictions_of_one(evaluated, data, tiny_checkpoint, tmp_path):
    words = ["evaluate", "--model", tiny_checkpoint, "--data", data, "--output", tmp_path / "two", "--batch-size", "2"]
    run = run_in_processes(main, [*words, "--save-predictions", "--cases", "1"], tmp_path / "said", number=2)
    one, two = report_of(evaluated), report_of(tmp_path / "two")
    assert (one["run"]["processes"], two["run"]["processes"]) == (1, 2)
    # Three batches: the second process has nothing to do in the last round, and nothing is counted twice.
    assert {name: one[name] for name in SAME} == {name: two[name] for name in SAME}
    assert (evaluated / "predictions.json").read_text("utf-8") == (tmp_path / "two/predictions.json").read_text("utf-8")
    assert run.said(0).count("split 'val' of own") == 1 and run.said(1) == "" and "on several" not in run.said(0)


def test_saved_predictions_are_measured_without_a_model(evaluated, data, tmp_path, monkeypatch):
    monkeypatch.setattr("ssp_sam.cli.evaluate.load_pipeline", None)
    saved = ["--from-predictions", str(evaluated / "predictions.json"), "--output", str(tmp_path)]
    assert main(["evaluate", "--data", data, *saved]) == 0
    assert report_of(tmp_path)["protocols"] == report_of(evaluated)["protocols"]


def test_the_script_is_the_same_command(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["evaluate_ssp_sam.py", "--scenes", "val"])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "scripts" / "evaluate_ssp_sam.py"), run_name="__main__")
    assert stop.value.code == 2 and "got 'val'" in capsys.readouterr().err


def test_published_figures_are_printed_or_said_to_be_unknown(data, tiny_checkpoint, tmp_path, capsys):
    words = ["--data", data, "--model", tiny_checkpoint, "--output", str(tmp_path), "--cases", "0", "--published"]
    assert main(["evaluate", *words]) == 0
    assert "\nNo published figures are known for pets, split 'val'.\n" in capsys.readouterr().out
    assert report_of(tmp_path)["published"] == []


def test_thresholds_are_fitted_and_stored_in_the_folder_of_the_model(tmp_path, capsys):
    folder, words = tmp_path / "model", ["--scenes", "validation", "--num-scenes", "3", "--fit-thresholds"]
    make_pipeline().save_pretrained(folder)
    weights = (folder / "model.safetensors").read_bytes()
    assert main(["evaluate", "--model", str(folder), *words]) == 0
    told = dict(line.split(": ") for line in capsys.readouterr().out.splitlines() if ": " in line)
    stored = SspSamProcessor.from_pretrained(folder)
    assert stored.no_target_threshold == pytest.approx(float(told["no_target_threshold"]), abs=1e-3)
    assert stored.score_temperature == pytest.approx(float(told["score_temperature"]), rel=1e-3)
    assert (folder / "model.safetensors").read_bytes() == weights
    assert "writes into a folder; name it by --model, got None" in fault(words, capsys)


def test_the_report_tells_the_command_as_far_as_numbers_depend_on_it():
    def command(words: str) -> str:
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        return command_line(parser.parse_args(words.split()))

    silent = "--output o --overwrite --cases 0 --workers 2 --save-predictions --published"
    assert command(f"--scenes test {silent}") == "ssp-sam evaluate --scenes test"
    assert command("--data d --min-mask-pixels 0 --model m --limit 3 --dtype float16") == (
        "ssp-sam evaluate --model m --dtype float16 --data d --limit 3 --min-mask-pixels 0"
    )
    assert command("--data d --from-predictions p.json") == "ssp-sam evaluate --data d --from-predictions p.json"


def test_faults_are_told_in_one_line_and_nothing_is_written(evaluated, data, tmp_path, capsys):
    out = ["--output", tmp_path / "out"]
    assert "there is no folder" in fault(["--data", tmp_path / "none", *out], capsys)
    assert "no split 'testA'" in fault(["--data", data, "--split", "testA", *out], capsys)
    assert "no config.json" in fault(["--data", data, "--model", tmp_path, *out], capsys)
    assert "already holds report.json and predictions.json" in fault(["--data", data, "--output", evaluated], capsys)
    assert "batch_size must be at least 1, got 0" in fault(["--data", data, "--batch-size", 0, *out], capsys)
    assert "num_scenes must be at least 1, got 0" in fault(["--scenes", "test", "--num-scenes", 0, *out], capsys)
    assert "one of train, validation, test, novel, got 'val'" in fault(["--scenes", "val", *out], capsys)
    predictions = ["--from-predictions", evaluated / "predictions.json"]
    assert "needs no model" in fault(["--data", data, "--model", "x", *predictions, *out], capsys)
    damaged = write_split(tmp_path / "bad", [reference(0, 0, MASK, image={"bytes": b"no image", "path": None})])
    assert "reference own/val/0-0: could not read an image " in fault(["--data", damaged, *out], capsys)
    assert main(["evaluate"]) == 2 and capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()
