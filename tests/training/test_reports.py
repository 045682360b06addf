# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""What a training run tells: trackers, log, summary, errors, and what it publishes."""

import json
import re
from types import SimpleNamespace

import pytest
from accelerate import DistributedType
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ssp_sam.training.arguments import OptimizationArguments
from ssp_sam.training.atomic_files import claim_folder
from ssp_sam.training.loop import check_distribution
from ssp_sam.training.model_sources import find_model
from ssp_sam.training.run_log import RunLog, curves
from ssp_sam.training.train import main, run
from tests.helpers.benchmark import tiny_benchmark, tiny_model_folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("data")
    values = {
        "dataset": tiny_benchmark(folder / "benchmark", num_train=4, num_eval=2),
        "init_from": tiny_model_folder(folder / "model", single_tower=True),
        "images_per_device": 2,
        "num_epochs": 1,
        "warmup_steps": 0,
        "iou_loss_weight": 0,
        "log_steps": 1,
    }
    return [word for name, value in values.items() for word in (f"--{name}", str(value))]


def test_trackers_get_curves_and_drawings(settings, tmp_path, capsys):
    main([*settings, "--output_dir", str(tmp_path), "--trackers", "tensorboard", "--num_drawings", "1"])
    seen = EventAccumulator(str(tmp_path / "ssp-sam")).Reload()
    assert {"train/loss", "train/dice", "train/lr", "train/rate", "eval/all/gIoU"} <= set(seen.Tags()["scalars"])
    assert [event.step for event in seen.Scalars("train/loss")] == [1, 2]
    assert seen.Tags()["images"] == ["predictions/0"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["step"], summary["samples"], summary["epoch"]) == (2, 4, 1.0)
    printed = capsys.readouterr().out
    assert "4 items, 2 a step" in printed and "min left" in printed and "summary {" in printed


def test_what_is_to_be_published_is_the_finished_model(settings, tmp_path):
    published = []
    hub = ["--push_to_hub", "true", "--hub_model_id", "someone/something", "--hub_private", "true"]
    words = [*settings, *hub, "--output_dir", str(tmp_path), "--num_epochs", "0.1"]
    with pytest.raises(ValueError, match="push_to_hub .* needs a way to publish; push the finished model with ssp-sam"):
        main(words)
    assert not (tmp_path / "log.jsonl").exists(), "it is said before anything is trained"
    main(words, publish=lambda model, report: published.append((model, report.hub_model_id, report.hub_private)))
    assert published == [(tmp_path / "final", "someone/something", True)]
    assert {"config.json", "model.safetensors"} <= {path.name for path in published[0][0].iterdir()}


def test_a_second_run_in_the_same_folder_is_refused_in_one_line(settings, tmp_path, capsys):
    with claim_folder(tmp_path):
        assert run([*settings, "--output_dir", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"train.py: error: another process is writing into .*; wait until .*\n", said)
    assert not (tmp_path / "settings.json").exists()
    assert run([*settings, "--output_dir", str(tmp_path), "--num_epochs", "0.1"]) == 0, "the folder is free again"


def test_other_processes_write_nothing_and_draw_no_bar(tmp_path):
    accelerator = SimpleNamespace(is_main_process=False, trackers=[])
    state = {"step": 0, "minutes": 0.0, "samples": 0}
    log = RunLog(accelerator, tmp_path, total_steps=9, state=state, progress=0.0)
    log.train(state | {"samples": 8}, 0.5, {"loss": 1.0})
    log.evaluation(state, {"all": {"gIoU": 0.5}})
    log.finish({})
    assert log._bar.disable and list(tmp_path.iterdir()) == []


def test_the_rate_and_the_time_left_follow_the_clock(tmp_path, monkeypatch):
    now = iter([100.0, 100.0, 130.0, 190.0])
    monkeypatch.setattr("ssp_sam.training.run_log.time", SimpleNamespace(monotonic=lambda: next(now)))
    state = {"step": 10, "minutes": 0.0, "samples": 40}
    log = RunLog(
        SimpleNamespace(is_main_process=True, trackers=[]), tmp_path, total_steps=None, state=state, progress=0.25
    )
    log.train(state | {"samples": 100}, 0.5, {"lr": 1e-4})
    log.train(state | {"samples": 400}, 0.75, {"lr": 1e-4})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["rate"] for line in lines] == [2.0, 5.0]
    assert [line["minutes_left"] for line in lines] == [1.0, 0.8]


def test_the_fraction_of_waiting_is_that_of_the_window(tmp_path, monkeypatch):
    # The log is opened, two batches come after 4 and 8 seconds, a line; a batch after 3 seconds, a line.
    now = iter([0.0, 0.0, 1.0, 5.0, 10.0, 18.0, 24.0, 30.0, 33.0, 36.0])
    monkeypatch.setattr("ssp_sam.training.run_log.time", SimpleNamespace(monotonic=lambda: next(now)))
    state = {"step": 0, "minutes": 0.0, "samples": 0}
    log = RunLog(
        SimpleNamespace(is_main_process=True, trackers=[]), tmp_path, total_steps=None, state=state, progress=0.0
    )
    batches = log.timed(iter([{"a": 1}, {"a": 2}, {"a": 3}]))
    assert [next(batches), next(batches)] == [{"a": 1}, {"a": 2}]
    log.train(state, 0.5, {"lr": 1e-4})
    assert next(batches) == {"a": 3}
    log.train(state, 0.75, {"lr": 1e-4})
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["waiting"] for line in lines] == [0.5, 0.25]


def test_curves_have_the_names_of_their_groups():
    assert curves({"event": "train", "step": 3, "loss": 0.5, "lr": 0.1}) == {"train/loss": 0.5, "train/lr": 0.1}
    flat = curves({"event": "eval", "metrics": {"all": {"gIoU": 0.5, "N-acc": None}, "dice": 0.25}})
    assert flat == {"eval/all/gIoU": 0.5, "eval/dice": 0.25}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "paper_b17"], "preset must be one of .*, got 'paper_b17'"),
        (["--init_from", "x", "--dataset", "nowhere", "--train_dir", "y"], "give dataset or train_dir, got both"),
        (["--config", "missing.yaml"], "there is no configuration 'missing.yaml'; by name there are ablation, box_pre"),
        (
            ["--config", "training/configs/refcoc.yaml"],
            "there is no configuration .*; did you mean refcoco or grefcoco",
        ),
        (["--learning_rat=3", "--init_from", "x"], "there is no setting --learning_rat; did you mean --learning_rate"),
        (["--flight", "3", "--init_from", "x"], "there is no setting --flight$"),
        (["--max_steps", "many", "--init_from", "x"], "argument --max_steps/--max-steps: invalid int value: 'many'"),
        (["--push_to_hub", "true", "--init_from", "x"], r"push_to_hub needs hub_model_id \(owner/name\), got None"),
        (["--init_from", "no/such/folder"], "there is no folder init_from 'no/such/folder' in '.*', and 'no/such/f"),
        (["--init_from", "outputs/final"], "there is no folder init_from 'outputs/final' in '.*', and HF_HUB_OFFLINE"),
        (["--init_from", "x", "--export_best", "true"], "export_best needs best_metric"),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_two(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(words) == 2
    error = capsys.readouterr().err
    assert error.startswith("train.py: error: ") and error.count("\n") == 1
    assert re.search(message, error)


def test_a_folder_above_a_model_is_no_model(tmp_path):
    tiny_model_folder(tmp_path / "run" / "final", single_tower=True)
    assert find_model(str(tmp_path / "run" / "final")) == str(tmp_path / "run" / "final")
    with pytest.raises(ValueError, match=r"is a folder without a model \(no config.json\); there is one in final/"):
        find_model(str(tmp_path / "run"))


def test_a_dataset_that_is_not_there_is_named(settings, tmp_path, capsys):
    words = [*settings, "--dataset", str(tmp_path / "nothing"), "--output_dir", str(tmp_path / "run")]
    assert run(words) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_fp16_without_a_gpu_is_refused(settings, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    assert run([*settings, "--mixed_precision", "fp16", "--output_dir", str(tmp_path / "run")]) == 2
    assert "mixed_precision 'fp16' needs a GPU, got a CPU" in capsys.readouterr().err


def test_settings_that_divided_weights_do_not_allow_are_refused():
    sharded, deepspeed = (
        SimpleNamespace(distributed_type=way) for way in (DistributedType.FSDP, DistributedType.DEEPSPEED)
    )
    with pytest.raises(ValueError, match=r"ema_decay \(0.9\) needs whole weights in every process, got FSDP"):
        check_distribution(sharded, OptimizationArguments(ema_decay=0.9))
    with pytest.raises(ValueError, match=r"optimizer \('muon'\) cannot be divided over processes, got FSDP; use adamw"):
        check_distribution(sharded, OptimizationArguments(optimizer="muon"))
    with pytest.raises(ValueError, match=r"mask_decoder_frozen_epochs \(2\) cannot be had under DeepSpeed"):
        check_distribution(deepspeed, OptimizationArguments(mask_decoder_frozen_epochs=2))
    check_distribution(sharded, OptimizationArguments(mask_decoder_frozen_epochs=2))
