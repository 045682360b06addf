# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""`ssp-sam annotate` as a user runs it, in one process and in several, and what other commands make of its result."""

import json
from pathlib import Path

import pytest
import torch
from pyarrow import parquet

from ssp_sam.cli.main import main
from tests.helpers.benchmark import tiny_benchmark
from tests.helpers.collections import EXPRESSIONS, image_folder
from tests.helpers.processes import run_in_processes
from tests.helpers.writers import content, run_command


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    image_folder(folder / "images", 7, with_damaged=True)
    (folder / "expressions.txt").write_text("\n".join(EXPRESSIONS))
    return folder


@pytest.fixture(scope="module")
def words(inputs, tiny_checkpoint) -> list[str]:
    asked = ["--expressions", str(inputs / "expressions.txt"), "--model", tiny_checkpoint, "--shard-size", "2"]
    return ["annotate", str(inputs / "images"), *asked, "--batch-size", "2"]


def rows_in(folder: Path) -> list[dict]:
    return [row for path in sorted((folder / "data").iterdir()) for row in parquet.read_table(path).to_pylist()]


def test_it_says_what_it_has_counted_and_repeated_it_has_nothing_to_do(words, tmp_path, capsys):
    assert main([*words, "--output", str(tmp_path / "out"), "--format", "coco", "--cutouts"]) == 0
    printed = capsys.readouterr().out
    assert ": 7 images, 14 expressions, " in printed and ", 4 failed" in printed
    assert "failed: 1 x " in printed and "this run: 11 images, " in printed and "% waiting" in printed
    before = content(tmp_path / "out")
    assert {"instances.json", "samples.png", "README.md", "report.json"} <= before.keys()
    assert main([*words, "--output", str(tmp_path / "out"), "--format", "coco", "--cutouts"]) == 0
    assert "this run" not in capsys.readouterr().out and content(tmp_path / "out") == before


def test_any_number_of_processes_may_go_on_with_what_another_number_began(words, tmp_path):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert main([*words, "--output", str(tmp_path / "one"), "--quiet"]) == 0
    torch.set_num_threads(threads)
    run_in_processes(run_command, [*words, "--output", tmp_path / "two"], tmp_path / "said", number=2)
    assert content(tmp_path / "two") == content(tmp_path / "one")
    for path in sorted((tmp_path / "two" / "data").iterdir())[1:4]:
        path.unlink()
    run_in_processes(run_command, [*words, "--output", tmp_path / "two"], tmp_path / "said", number=3)
    assert content(tmp_path / "two") == content(tmp_path / "one")


def test_a_fault_in_one_of_two_processes_ends_both_in_one_line(words, tmp_path):
    words = [*words, "--output", str(tmp_path / "two"), "--max-failures", "0"]
    processes = run_in_processes(told_code, words, tmp_path / "said", number=2)
    assert [processes.said(rank).split()[-1] for rank in (0, 1)] == ["2", "2"]
    lines = [line for line in processes.said(0, "err").splitlines() if line.startswith("ssp-sam: ")]
    assert len(lines) == 1 and "more than max_failures 0" in lines[0] and "ssp-sam: " not in processes.said(1, "err")


def told_code(words: list[str]):
    print(run_command(words))


def test_its_result_is_drawn_trained_on_and_measured(tiny_checkpoint, tmp_path, capsys):
    truth, out = tiny_benchmark(tmp_path / "truth", num_train=6, num_eval=3), tmp_path / "out"
    words = ["annotate", str(truth), "--split", "train", "--model", tiny_checkpoint, "--output", str(out)]
    assert main(words) == 0
    assert main(["show-data", str(out), "--n", "3", "--output", str(tmp_path / "sheet.png")]) == 0
    measured = ["evaluate", "--data", str(truth), "--split", "train"]
    assert main([*measured, "--from-predictions", str(out), "--output", str(tmp_path / "saved")]) == 0
    assert main([*measured, "--model", tiny_checkpoint, "--output", str(tmp_path / "model")]) == 0
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("saved", "model")]
    metrics = [report["protocols"]["standard"]["all"] for report in reports]
    assert metrics[0]["samples"] == metrics[1]["samples"] and metrics[0]["gIoU"] == pytest.approx(metrics[1]["gIoU"])
    settings = {"dataset": out, "init_from": tiny_checkpoint, "output_dir": tmp_path / "run", "max_steps": 2}
    settings |= {"images_per_device": 2, "eval_fraction": 0.3, "num_drawings": 0, "warmup_steps": 0}
    assert main(["train", *(str(word) for name, value in settings.items() for word in (f"--{name}", value))]) == 0
    assert (tmp_path / "run" / "final").is_dir()
