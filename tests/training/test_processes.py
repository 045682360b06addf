# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Training in processes of its own: killed and resumed, and divided over two."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from ssp_sam.training.checkpointing import find_checkpoint, save_checkpoint, skip_unsharded_weights
from ssp_sam.training.loop import NEW_RUN
from ssp_sam.training.processes import choose_precision
from ssp_sam.training.train import main
from tests.helpers.benchmark import tiny_benchmark, tiny_model_folder
from tests.helpers.processes import PATIENCE, run_in_processes, start_processes


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    return tiny_benchmark(tmp_path_factory.mktemp("benchmark"))


def words(**settings) -> list[str]:
    common = {
        "images_per_device": 2,
        "warmup_steps": 0,
        "learning_rate": 1e-3,
        "iou_loss_weight": 0,
        "log_steps": 1,
        "num_drawings": 0,
        "threads_per_process": 1,  # sums over two threads have other last bits
    }
    return [word for key, value in (common | settings).items() for word in (f"--{key}", str(value))]


def assert_equal(first, second, name: str):
    """Compares nested states bit for bit."""
    assert type(first) is type(second), name
    if isinstance(first, torch.Tensor):
        assert torch.equal(first, second), name
    elif isinstance(first, np.ndarray):
        assert np.array_equal(first, second), name
    elif isinstance(first, dict):
        assert first.keys() == second.keys(), name
        for key, value in first.items():
            assert_equal(value, second[key], f"{name}/{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), name
        for place, (one, other) in enumerate(zip(first, second, strict=True)):
            assert_equal(one, other, f"{name}/{place}")
    else:
        assert first == second, name


def losses(folder: Path) -> list[tuple[int, float]]:
    entries = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [(entry["step"], entry["loss"]) for entry in entries if "loss" in entry]


@pytest.mark.long  # test_train.py resumes a run that was not killed
def test_a_run_that_is_killed_and_resumed_equals_one_that_was_not(benchmark, tmp_path):
    settings = {
        "dataset": benchmark,
        "init_from": tiny_model_folder(tmp_path / "model"),
        "num_epochs": 4,
        "gradient_accumulation_steps": 2,
        "dataloader_workers": 2,
        "ema_decay": 0.9,
        "mask_decoder_frozen_epochs": 2.5,
        "checkpoint_steps": 2,
        "max_eval_references": 1,
    }
    parts = words(**settings, output_dir=tmp_path / "parts")

    victim = start_processes(main, parts, tmp_path / "said")
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "parts" / "checkpoint-4").exists():
        assert victim.members[0].is_alive() and time.monotonic() < deadline, "the run ended before it was killed"
        time.sleep(0.005)
    victim.kill()
    assert find_checkpoint(tmp_path / "parts", "auto") is not None
    run_in_processes(main, [*parts, "--resume", "auto"], tmp_path / "said")

    main(words(**settings, output_dir=tmp_path / "whole"))
    whole, parts = (tmp_path / name / "checkpoint-12" for name in ("whole", "parts"))
    for name in ("model/model.safetensors", "average.safetensors"):
        assert_equal(load_file(whole / name), load_file(parts / name), name)
    for name in ("optimizer.bin", "random_states_0.pkl"):
        assert_equal(*(torch.load(folder / name, weights_only=False) for folder in (whole, parts)), name)
    final = "final/model.safetensors"
    assert_equal(load_file(tmp_path / "whole" / final), load_file(tmp_path / "parts" / final), final)
    whole_losses, parts_losses = (losses(tmp_path / run) for run in ("whole", "parts"))
    assert whole_losses == parts_losses, "no step is missing from the log or stands in it twice"


class Tiny(torch.nn.Module):
    """An objective with next to nothing in it."""

    def __init__(self, folder: Path):
        super().__init__()
        from ssp_sam import SspSamModel

        self.model = SspSamModel.from_pretrained(tiny_model_folder(folder))


@pytest.mark.parametrize(
    "moment", ["checkpointing.save_model", "checkpointing.json.dumps", "atomic_files.move_into_place"]
)
def test_a_checkpoint_that_was_not_finished_is_never_taken(tmp_path, monkeypatch, moment):
    accelerator = Accelerator(cpu=True)
    skip_unsharded_weights(accelerator)
    objective = accelerator.prepare(Tiny(tmp_path / "model"))
    folder = tmp_path / "run"

    def save(step: int):
        state = NEW_RUN | {"step": step}
        save_checkpoint(accelerator, folder, objective=objective, processor=None, state=state)

    def die(*_, **__):
        raise KeyboardInterrupt

    save(1)
    with monkeypatch.context() as patch:
        patch.setattr(f"ssp_sam.training.{moment}", die)
        with pytest.raises(KeyboardInterrupt):
            save(2)
    assert find_checkpoint(folder, "auto") == folder / "checkpoint-1"
    save(3)
    assert [path.name for path in folder.iterdir()] == ["checkpoint-3"], "nothing is left of the second"


@pytest.mark.parametrize("change", [{"images_per_device": 3}, {"seed": 1}])
def test_a_run_is_not_resumed_with_other_batches(benchmark, tmp_path, change):
    settings = {"dataset": benchmark, "init_from": tiny_model_folder(tmp_path / "model"), "num_epochs": 0.1}
    settings["output_dir"] = tmp_path / "run"
    main(words(**settings))
    name, value = next(iter(change.items()))
    before = {"images_per_device": 2, "seed": 0}[name]
    shown = {"images_per_device": "items_per_step"}.get(name, name)
    with pytest.raises(ValueError, match=f"was trained with {shown} {before}, this run has {value}"):
        main(words(**(settings | change), resume="auto"))


def test_two_processes_measure_what_one_does_on_the_same_batches(benchmark, tmp_path):
    settings = {
        "dataset": benchmark,
        "init_from": tiny_model_folder(tmp_path / "model", dropout=False),
        "num_epochs": 1,
        "learning_rate": 1e-5,
        "eval_at_start": "true",
    }
    run = run_in_processes(main, words(**settings, output_dir=tmp_path / "two"), tmp_path / "said", number=2)
    assert "2 processes" in run.said(0) and run.said(1) == "", "one process speaks for all"
    assert "[" in run.said(0) and "step" not in run.said(0, "err"), "no bar without a terminal"

    main(words(**(settings | {"images_per_device": 4}), output_dir=tmp_path / "one"))
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "log.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [entry["event"] for entry in two] == ["eval", "train", "train", "train", "eval"]
    # Nine expressions over two processes leave one of them with a batch too many. Pixels whose logits lie beside the
    # threshold may fall otherwise in other batches, so that a mask in nine may pass one of the metrics' thresholds.
    for entry in (0, 4):
        assert one[entry]["metrics"].keys() == two[entry]["metrics"].keys()
        for kind, row in one[entry]["metrics"].items():
            assert two[entry]["metrics"][kind]["samples"] == row["samples"]
            assert two[entry]["metrics"][kind]["gIoU"] == pytest.approx(row["gIoU"], abs=0.02), (entry, kind)
    for first, second in zip(one[1:4], two[1:4], strict=True):
        assert second["samples"] == first["samples"]
        for name in ("loss", "dice", "l1", "giou", "no_target"):
            assert second[name] == pytest.approx(first[name], rel=5e-3, abs=1e-4), name
        assert second["grad_norm"] == pytest.approx(first["grad_norm"], rel=2e-2)


class ScalingAccelerator(Accelerator):
    """Scales losses as fp16 on a GPU does, from so high a scale that the first steps overflow and are passed over."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**126, growth_interval=3)

    def unscale_gradients(self, optimizer=None):
        self.scaler.unscale_(self._optimizers[0].optimizer)


def test_a_scaled_run_passes_over_steps_that_overflow_and_resumes_bit_for_bit(benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr("ssp_sam.training.train.Accelerator", ScalingAccelerator)
    settings = {
        "dataset": benchmark,
        "init_from": tiny_model_folder(tmp_path / "model"),
        "images_per_device": 4,
        "num_epochs": 4,
        "checkpoint_steps": 6,
        "keep_checkpoints": 9,
    }
    main(words(**settings, output_dir=tmp_path / "whole"))
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    norms = [entry["grad_norm"] for entry in log if entry["event"] == "train"]
    assert norms[0] is None and any(norms), "the first step must overflow, and not every one"
    scales = [
        torch.load(tmp_path / "whole" / f"checkpoint-{step}" / "scaler.pt", weights_only=True)["scale"]
        for step in (6, 12)
    ]
    assert scales[0] != scales[1] and max(scales) < 2.0**126

    (tmp_path / "parts").mkdir()
    shutil.copytree(tmp_path / "whole" / "checkpoint-6", tmp_path / "parts" / "checkpoint-6")
    main(words(**settings, output_dir=tmp_path / "parts", resume="auto"))
    whole, parts = (tmp_path / name / "checkpoint-12" for name in ("whole", "parts"))
    for name in ("scaler.pt", "optimizer.bin"):
        assert_equal(*(torch.load(folder / name, weights_only=True) for folder in (whole, parts)), name)
    name = "model/model.safetensors"
    assert_equal(load_file(whole / name), load_file(parts / name), name)


@pytest.mark.parametrize(
    "asked, launched, features, chosen",
    [
        (None, None, {"amx_bf16": True}, None),
        ("no", None, {"amx_bf16": True}, "no"),
        ("auto", None, {"amx_bf16": True}, "bf16"),
        ("auto", None, {"avx512_bf16": True}, "bf16"),
        ("auto", None, {"amx_bf16": False, "avx2": True}, "no"),
        ("auto", None, {}, "no"),
        ("auto", "no", {"amx_bf16": True}, "bf16"),
        ("auto", "fp16", {"amx_bf16": True}, None),
    ],
)
def test_precision_is_chosen_by_what_the_processor_has_units_for(asked, launched, features, chosen, monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)
    if launched is not None:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    assert choose_precision(asked) == chosen
