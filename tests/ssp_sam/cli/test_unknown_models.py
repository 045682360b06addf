# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""A model, tower, tokenizer or adapter that is not there: every command says so in a sentence, and soon."""

import socket

import pytest
from huggingface_hub import constants

from ssp_sam.cli.main import main
from ssp_sam.modeling_ssp_sam.conversion import checkpoint_sources
from tests.helpers.benchmark import tiny_benchmark
from tests.helpers.models import make_image
from tests.helpers.original_checkpoints import save_checkpoint

COMMANDS = {
    "segment": "segment {image} dog --model someone/nothing",
    "segment with an adapter": "segment {image} dog --adapter someone/nothing",
    "explain": "explain {image} dog --model someone/nothing",
    "info": "info --model someone/nothing",
    "evaluate": "evaluate --data {data} --split val --model someone/nothing --output {out}",
    "cache": "cache --data {data} --model someone/nothing --output {out}",
    "train": "train --config own_data --dataset {data} --init_from someone/nothing --output_dir {out}",
    "train with a tokenizer": "train --config default_model --dataset {data} --tokenizer no/thing --output_dir {out}",
    "export": "export {out} --model someone/nothing",
    "export-onnx": "export-onnx {out} --model someone/nothing",
    "push": "push --repo-id someone/something",
    "push of another model": "push --repo-id someone/something --model someone/nothing",
    "pull": "pull someone/nothing",
    "convert": "convert --checkpoint {checkpoint} --tokenizer someone/nothing --output {out}",
    "convert with towers": "convert --checkpoint {checkpoint} --clip-model someone/nothing --output {out}",
    "serve": "serve someone/nothing",
    "demo": "demo --model someone/nothing",
}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("inputs")
    save_checkpoint(folder / "best.pth")
    tiny_benchmark(folder / "data", num_train=2, num_eval=2)
    make_image(40, 30).save(folder / "photo.png")
    return {"image": folder / "photo.png", "data": folder / "data", "checkpoint": folder / "best.pth"}


@pytest.fixture
def inputs(files, tmp_path) -> dict:
    return {**files, "out": tmp_path / "out"}


def check(words: str, inputs: dict, capsys):
    """One line is said, and none of another attempt, which huggingface_hub would announce."""
    assert main([word.format(**inputs) for word in words.split()]) in (1, 2)
    said = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(said) == 1 and said[0].startswith("ssp-sam: ") and "the Hub cannot be reached at" in said[0], said


@pytest.mark.parametrize("command", COMMANDS)
def test_without_a_network_every_command_says_so_at_once(command, inputs, hf_home, monkeypatch, capsys):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    check(COMMANDS[command], inputs, capsys)


@pytest.mark.parametrize("command", ["info", "segment with an adapter", "convert", "push"])
def test_a_hub_that_never_answers_is_left_alone_soon(command, inputs, hf_home, monkeypatch, capsys):
    assert checkpoint_sources.HUB_SECONDS < 10
    monkeypatch.setattr(checkpoint_sources, "HUB_SECONDS", 0.3)
    monkeypatch.setattr("ssp_sam.hub.push.HUB_SECONDS", 0.3)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        check(COMMANDS[command], inputs, capsys)


@pytest.mark.parametrize("option", ["--model", "--adapter"])
def test_a_folder_that_is_not_there_is_no_name_of_the_hub(option, inputs, capsys):
    assert main(["segment", str(inputs["image"]), "dog", option, "./nothere"]) == 2
    assert "there is no file or folder at './nothere'" in capsys.readouterr().err
