# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Training divided over two processes by FSDP 2 or DeepSpeed ZeRO 2 equals training in one."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ssp_sam.training.train import main
from tests.helpers import sharded_on_cpus
from tests.helpers.benchmark import tiny_benchmark, tiny_model_folder
from tests.helpers.processes import run_in_processes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def common(tmp_path_factory) -> dict:
    """Settings of a run of six steps on a CLIP-and-BERT model, whose semantic tower has its surgery."""
    folder = tmp_path_factory.mktemp("given")
    return {
        "dataset": tiny_benchmark(folder / "benchmark"),
        "init_from": tiny_model_folder(folder / "model", dropout=False),
        "num_epochs": 2,
        "warmup_steps": 0,
        "iou_loss_weight": 0,
        "checkpoint_steps": 3,
        "keep_checkpoints": 9,
        "log_steps": 1,
        "num_drawings": 0,
    }


def words(settings: dict) -> list[str]:
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def train_sharded(way: str, settings: dict, said: Path):
    configuration = ROOT / f"training/accelerate_configs/{way}.yaml"
    run_in_processes(sharded_on_cpus.train, [configuration, *words(settings)], said, number=2)


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.long
@pytest.mark.parametrize(
    ("way", "divided", "frozen_epochs"),
    [
        ("fsdp", "pytorch_model_fsdp_0", 0.5),
        pytest.param(
            *("deepspeed_zero2", "pytorch_model", 0),
            marks=pytest.mark.skipif(
                importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed here"
            ),
        ),
    ],
)
def test_divided_training_equals_whole_training_and_resumes_bit_for_bit(common, tmp_path, way, divided, frozen_epochs):
    # 1. Two processes, each with a part of the weights or of the optimizer's states.
    common = common | {"mask_decoder_frozen_epochs": frozen_epochs}
    sharded = common | {"images_per_device": 2, "output_dir": tmp_path / "sharded"}
    train_sharded(way, sharded, tmp_path / "said")
    assert (tmp_path / "sharded" / "checkpoint-3" / divided).is_dir(), "nothing was divided"

    # 2. One process on the same batches.
    main(words(common | {"images_per_device": 4, "output_dir": tmp_path / "whole"}))
    whole, parts = (log_of(tmp_path / name) for name in ("whole", "sharded"))
    assert [entry["event"] for entry in parts] == [entry["event"] for entry in whole] == ["train"] * 6 + ["eval"]
    for one, two in zip(whole[:6], parts[:6], strict=True):
        for name in ("loss", "dice", "l1", "giou", "no_target", "grad_norm"):
            assert two[name] == pytest.approx(one[name], rel=2e-3, abs=2e-5), (one["step"], name)
    start = load_file(common["init_from"] / "model.safetensors")
    one, two = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("whole", "sharded"))
    assert start.keys() == one.keys() == two.keys()
    apart = sum((two[name] - one[name]).square().sum() for name in one).sqrt()
    moved = sum((one[name] - start[name]).square().sum() for name in one).sqrt()
    assert 0 < apart < 0.02 * moved, (apart, moved)  # Adam turns the last bits of small gradients into steps

    # 3. The same from the checkpoint in the middle.
    shutil.copytree(tmp_path / "sharded", tmp_path / "resumed")
    for late in ("checkpoint-6", "final"):
        shutil.rmtree(tmp_path / "resumed" / late)
    train_sharded(way, sharded | {"output_dir": tmp_path / "resumed", "resume": "auto"}, tmp_path / "said")
    again = load_file(tmp_path / "resumed" / "final" / "model.safetensors")
    assert all(torch.equal(two[name], again[name]) for name in two)
