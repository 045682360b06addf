# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""transformers' own Trainer: the example of the documentation trains, measures, saves, and goes on."""

import re
from pathlib import Path

import pytest
import torch

from ssp_sam import SspSamModel, SspSamProcessor
from tests.helpers.benchmark import tiny_benchmark, tiny_model_folder

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "training.md").read_text("utf-8")
EXAMPLE = re.search(r"test_transformers_trainer.py runs this example -->\n```python\n(.*?)```", TEXT, re.S)[1]


@pytest.fixture
def example(tmp_path, monkeypatch) -> str:
    tiny_benchmark(tmp_path / "prepared", num_train=4, num_eval=2)
    tiny_model_folder(tmp_path / "model", single_tower=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    return EXAMPLE


def test_the_example_trains_measures_and_leaves_a_model_that_loads(example, tmp_path):
    found = {}
    exec(example, found)  # noqa: S102
    losses = [entry["eval_loss"] for entry in found["trainer"].state.log_history if "eval_loss" in entry]
    assert len(losses) == 2 and all(loss > 0 for loss in losses)
    start, final = (SspSamModel.from_pretrained(tmp_path / name).state_dict() for name in ("model", "final"))
    assert any(not torch.equal(start[name], tensor) for name, tensor in final.items())
    assert SspSamProcessor.from_pretrained(tmp_path / "final").tokenizer.vocab_size > 0


def test_a_resumed_example_ends_where_the_whole_one_did(example, tmp_path):
    exec(example, whole := {})  # noqa: S102
    end = whole["model"].state_dict()
    (tmp_path / "outputs" / "checkpoint-4").rename(tmp_path / "later")
    exec(example.replace("resume_from_checkpoint=False", "resume_from_checkpoint=True"), resumed := {})  # noqa: S102
    assert resumed["trainer"].state.global_step == 4
    for name, tensor in resumed["model"].state_dict().items():
        torch.testing.assert_close(tensor, end[name], rtol=1e-4, atol=1e-6, msg=name)
