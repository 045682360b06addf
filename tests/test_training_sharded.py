"""Training with weights divided over two processes by FSDP 2 equals training with whole weights."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_benchmark import tiny_benchmark, tiny_model_folder

from ssp_sam.training.train import main

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 560  # seconds; a busy machine takes long to import torch


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def common(tmp_path_factory) -> dict:
    """Settings of a run of six steps on a CLIP-and-BERT model, whose semantic tower has its surgery."""
    folder = tmp_path_factory.mktemp("given")
    return {
        "dataset": tiny_benchmark(folder / "benchmark"),
        "init_from": tiny_model_folder(folder / "model", dropout=False),
        "num_epochs": 2,
        "warmup_steps": 0,
        "mask_decoder_frozen_epochs": 0.5,
        "foreground_loss_weight": 0,
        "iou_loss_weight": 0,
        "checkpoint_steps": 3,
        "keep_checkpoints": 9,
        "log_steps": 1,
        "num_pictures": 0,
    }


def words(settings: dict) -> list[str]:
    return [word for name, value in settings.items() for word in (f"--{name}", str(value))]


def train_sharded(settings: dict, cache: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--config_file", str(ROOT / "training/accelerate_configs/two_cpu_processes.yaml")]
    command += [str(ROOT / "tests/fsdp_on_cpus.py"), *words(settings)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_DATASETS_CACHE": str(cache)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_sharded_training_equals_whole_training_and_resumes_bit_for_bit(common, tmp_path):
    # 1. Two processes, each with half of the weights.
    sharded = common | {"images_per_device": 2, "output_dir": tmp_path / "sharded"}
    run = train_sharded(sharded, tmp_path / "cache")
    assert run.returncode == 0, run.stderr[-3000:]
    checkpoint = tmp_path / "sharded" / "checkpoint-3"
    assert (checkpoint / "pytorch_model_fsdp_0").is_dir(), "the weights were not divided"

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
    run = train_sharded(sharded | {"output_dir": tmp_path / "resumed", "resume": "auto"}, tmp_path / "cache")
    assert run.returncode == 0, run.stderr[-3000:]
    again = load_file(tmp_path / "resumed" / "final" / "model.safetensors")
    assert all(torch.equal(two[name], again[name]) for name in two)
