# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Adapters trained by `ssp-sam train --lora_rank`, and read by every command that loads a model."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import AutoModel

from ssp_sam import SspSamModel, SspSamProcessor
from ssp_sam.cli.main import main
from tests.helpers.benchmark import tiny_benchmark, tiny_model_folder
from tests.helpers.models import run, tiny_inputs

SETTINGS = {
    "lora_rank": 2,
    "max_steps": 2,
    "warmup_steps": 0,
    "images_per_device": 2,
    "checkpoint_steps": 1,
    "learning_rate": 0.5,
}


def train(folder: Path, **settings) -> int:
    given = {"init_from": "model", "dataset": "prepared", "output_dir": "run", **SETTINGS, **settings}
    return main(["train", *(word for name, value in given.items() for word in (f"--{name}", str(value)))])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a tiny model and adapters trained on it; tests must not change it."""
    folder = tmp_path_factory.mktemp("adapters")
    tiny_benchmark(folder / "prepared", num_train=4, num_eval=2)
    tiny_model_folder(folder / "model", single_tower=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("torch.accelerator.is_available", lambda: False)
        assert train(folder, keep_checkpoints=2) == 0
    return folder


@pytest.fixture(autouse=True)
def here(trained, monkeypatch):
    monkeypatch.chdir(trained)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)


def masks_of(model) -> torch.Tensor:
    return run(model.eval(), **tiny_inputs("single tower")).pred_masks


def test_the_result_is_the_adapters_alone_and_the_base_is_as_it_was(trained):
    final = trained / "run" / "final"
    assert not (final / "config.json").exists() and not (final / "model.safetensors").exists()
    adapted, base = SspSamModel.from_pretrained(str(final)), SspSamModel.from_pretrained("model")
    assert (masks_of(adapted) - masks_of(base)).abs().max() > 1e-3
    for name, tensor in base.state_dict().items():
        own = dict(adapted.named_parameters()).get(name)
        assert own is None or torch.equal(own, tensor)


def test_a_resumed_training_ends_where_the_whole_one_did(trained, tmp_path):
    shutil.copytree("run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoint-2")
    assert train(trained, output_dir=tmp_path / "run", resume="auto") == 0
    resumed, whole = (AutoModel.from_pretrained(str(folder)) for folder in (tmp_path / "run/final", "run/final"))
    torch.testing.assert_close(masks_of(resumed), masks_of(whole))


def test_peft_finds_the_model_of_an_adapter_by_itself():
    from peft import AutoPeftModel

    found = AutoPeftModel.from_pretrained("run/final")
    torch.testing.assert_close(masks_of(found), masks_of(SspSamModel.from_pretrained("run/final")))


@pytest.mark.parametrize(
    "words", [["--adapter", "run/final"], ["--model", "run/final"], ["--model", "model", "--adapter", "run/final"]]
)
def test_an_export_merges_an_adapter_into_the_weights(words, tmp_path):
    assert main(["export", str(tmp_path / "exported"), "--merge", "--no-check", *words]) == 0
    merged = SspSamModel.from_pretrained(tmp_path / "exported")
    expected = masks_of(SspSamModel.from_pretrained("run/final"))
    torch.testing.assert_close(masks_of(merged), expected, atol=1e-3, rtol=1e-3)
    assert SspSamProcessor.from_pretrained(tmp_path / "exported")


def test_commands_take_an_adapter(trained, image, tmp_path, capsys):
    image.save(tmp_path / "photo.png")
    assert main(["segment", str(tmp_path / "photo.png"), "a cat", "--adapter", "run/final", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
    assert main(["info", "--adapter", "run/final"]) == 0


@pytest.mark.parametrize(
    "words, message",
    [
        (["--adapter", "run/final"], "an exported repository holds whole weights; add --merge to those of 'run/final'"),
        (["--adapter", "model", "--merge"], "expected the folder of an adapter"),
        (
            ["--adapter", "nothere", "--merge"],
            "expected the folder of an adapter (with adapter_config.json) at 'nothere'",
        ),
    ],
)
def test_what_is_no_adapter_is_said_in_one_line(words, message, tmp_path, capsys):
    assert main(["export", str(tmp_path / "exported"), *words]) == 2
    assert message in capsys.readouterr().err


def test_adapters_need_a_model_that_they_are_for(trained, capsys):
    assert main(["train", "--preset", "default", "--dataset", "prepared", "--lora_rank", "2"]) == 2
    assert "lora_rank (2) needs init_from" in capsys.readouterr().err
    assert train(trained, lora_targets="nothing_like_this", output_dir="other") == 2
    assert "nothing_like_this" in capsys.readouterr().err
