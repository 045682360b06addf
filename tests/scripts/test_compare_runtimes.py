# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""`scripts/compare_runtimes.py`: what it measures, its table, and the exit code where a promise is broken."""

import json

import numpy as np
import pytest
import torch

from scripts import compare_runtimes
from scripts.compare_runtimes import broken_promises, compare, table
from ssp_sam.training.evaluation.samples import SceneSamples

FULL, EMPTY = np.ones((2, 2), bool), np.zeros((2, 2), bool)
HALF = np.array([[True, True], [False, False]])


def predicting(*masks, score: float = 0.5):
    """A runtime that predicts these masks in turn."""
    rest = iter(masks)

    def predict(image, expressions):
        found = [next(rest) for _ in expressions]
        boxes = [[0.0, 0.0, score, 1.0] if mask.any() else None for mask in found]
        return [
            {"mask": mask, "score": score, "box_xyxy": box, "no_target": box is None} for mask, box in zip(found, boxes)
        ]

    return predict


def test_masks_verdicts_scores_and_boxes_are_compared_with_the_first_runtime():
    runtimes = {
        "float32": predicting(FULL, EMPTY, FULL, EMPTY),
        "int8": predicting(HALF, FULL, FULL, EMPTY, score=0.75),
    }
    figures = compare(runtimes, SceneSamples("test", 2, 2))
    assert {name: value for name, value in figures["float32"].items() if name != "milliseconds"} == {
        "mean_iou": 1.0, "lowest_iou": 1.0, "equal_masks": 1.0, "changed_verdicts": 0.0, "score_difference": 0.0,
        "box_difference": 0.0,
    }  # fmt: skip
    found = figures["int8"]
    assert (found["mean_iou"], found["lowest_iou"]) == ((0.5 + 0 + 1 + 1) / 4, 0)
    assert (found["equal_masks"], found["changed_verdicts"]) == (0.5, 0.25)
    assert found["score_difference"] == found["box_difference"] == 0.25


def test_what_falls_below_a_promise_is_named():
    row = {"mean_iou": 0.97, "lowest_iou": 0.9, "changed_verdicts": 0.01}
    assert broken_promises({"float32": row, "bfloat16": row, "int8": row}) == [
        "bfloat16: mean IoU 0.9700, lowest 0.9000, verdicts changed 1.0%; promised are 0.98, 0.0 and 100.0%"
    ]
    assert len(broken_promises({"onnx float16": row})) == 1 == len(broken_promises({"onnx float32": row}))


def test_times_are_multiples_of_the_first():
    row = dict.fromkeys(("mean_iou", "lowest_iou", "equal_masks", "changed_verdicts", "megabytes"), 1.0)
    row |= {"score_difference": 0.0, "box_difference": 0.0}
    lines = table({"float32": {**row, "milliseconds": 8.0}, "int8": {**row, "milliseconds": 2.0}}).splitlines()
    assert [line.split(" | ")[-1] for line in (lines[0], *lines[2:])] == ["time |", "1.00 |", "0.25 |"]


def test_the_command_prints_a_row_per_runtime_and_fails_below_a_promise(tiny_checkpoint, tmp_path, capsys, monkeypatch):
    pytest.importorskip("torchao", reason="eight bits need the extra ssp-sam[quantization]")
    monkeypatch.setattr(compare_runtimes, "PROMISED", {"bfloat16": (1.1, 0.0, 1.0)})
    # Some processors get this wrong.
    monkeypatch.setattr(torch, "_int_mm", lambda rows, columns: rows.int() @ columns.int())
    names, output = ["float32", "bfloat16", "int8"], tmp_path / "figures.json"
    words = [tiny_checkpoint, "--num-scenes", "2", "--runtimes", *names, "--output", str(output)]
    assert compare_runtimes.main(words) == 1
    captured = capsys.readouterr()
    rows = [line.split(" | ")[0] for line in captured.out.splitlines() if line.startswith("| ")][1:]
    assert rows == [f"| {name}" for name in names]
    figures = json.loads(output.read_text("utf-8"))
    assert figures["bfloat16"]["megabytes"] < figures["float32"]["megabytes"]
    assert figures["bfloat16"]["mean_iou"] > 0.5
    assert "promised are 1.1" in captured.err


def test_a_runtime_that_the_processor_gets_wrong_is_left_out(tiny_checkpoint, capsys, monkeypatch):
    pytest.importorskip("torchao", reason="eight bits need the extra ssp-sam[quantization]")
    monkeypatch.setattr(torch, "_int_mm", lambda rows, columns: 0 * (rows.int() @ columns.int()))
    assert compare_runtimes.main([tiny_checkpoint, "--num-scenes", "1", "--runtimes", "float32", "int8"]) == 0
    captured = capsys.readouterr()
    assert "| float32 |" in captured.out and "| int8 |" not in captured.out
    assert "int8 is left out: eight-bit products overflow on this processor" in captured.err
