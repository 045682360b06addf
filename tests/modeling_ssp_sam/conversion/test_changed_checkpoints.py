# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""A checkpoint whose tensors are changed at random: `ssp-sam convert` makes a model of it, or says why in one line."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ssp_sam.cli.main import main
from tests.helpers.original_checkpoints import save_checkpoint, save_tokenizer
from tests.helpers.robustness import Outcome, problem_of

MANY_CASES = 420
# What becomes of one tensor.
CHANGES: dict[str, Callable[[torch.Tensor], Any]] = {
    "one column less": lambda tensor: tensor[..., :-1] if tensor.dim() and tensor.shape[-1] > 1 else tensor[None],
    "flat": lambda tensor: tensor.reshape(-1),
    "a dimension more": lambda tensor: tensor[None],
    "of the other kind of numbers": lambda tensor: tensor.long() if tensor.is_floating_point() else tensor.float(),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "not a number": lambda tensor: torch.full(tensor.shape, float("nan")),
    "empty": lambda tensor: torch.empty(0),
    "a list": lambda tensor: [1, 2],
    "nothing": lambda tensor: None,
}
# Names of weights that the forward never uses.
DROPPED = ("img2img_attn.", "norm_text_cond_img.", "encoder.logit_scale", "encoder.visual.attn.")
WEIGHTS = (None, [], {}, 3, "x", {"a": 1}, torch.zeros(2))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    save_checkpoint(folder / "best.pth", after_first_forward=True)
    save_tokenizer(folder / "tokenizer")
    return folder


def changed(checkpoint: dict, generator: random.Random) -> tuple[Any, list]:
    """A checkpoint with something of it changed, and what was."""
    weights, done = dict(checkpoint["model"]), []
    for _ in range(generator.choice([1, 1, 2])):
        name = generator.choice([name for name, value in weights.items() if isinstance(value, torch.Tensor)])
        kind = generator.choice([*CHANGES, "left out", "of another name", "under a number"])
        done.append((name, kind))
        if kind in CHANGES:
            weights[name] = CHANGES[kind](weights[name])
        elif kind == "left out":
            del weights[name]
        else:
            weights[3 if kind == "under a number" else f"{name}x"] = weights.pop(name)
    content: Any = checkpoint | {"model": weights}
    if generator.random() < 0.1:
        content["model"] = generator.choice(WEIGHTS)
        done.append(("the weights", "replaced"))
    if generator.random() < 0.05:
        content = generator.choice([None, [], content["model"], 3, {"state": content["model"]}])
        done.append(("the content", "replaced"))
    return content, done


def convert_changed(case: int, inputs: Path, folder: Path, capsys) -> int:
    """Converts a changed checkpoint; what comes is a model, or no folder and one sentence."""
    checkpoint = torch.load(inputs / "best.pth", weights_only=False)  # this test has written it
    content, done = changed({**checkpoint, "args": None}, random.Random(case))
    torch.save(content, folder / "changed.pth")
    words = ["--checkpoint", folder / "changed.pth", "--tokenizer", inputs / "tokenizer", "--output", folder / "out"]
    code = main(["convert", *map(str, words)])
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ssp-sam")]
    if any(kind == "not a number" and not name.startswith(DROPPED) for name, kind in done):
        assert code == 2, (case, done)
    assert code in (0, 2) and (folder / "out").exists() == (code == 0), (case, done, code, said)
    if code:
        assert len(said) == 1 and not problem_of(Outcome(sentence=said[0].partition(": ")[2])), (case, done, said)
        assert "unexpected" not in said[0], (case, done, said)
    shutil.rmtree(folder / "out", ignore_errors=True)
    return code


@pytest.mark.parametrize("kind", ["of the other kind of numbers", "complex", "not a number"])
def test_weights_that_are_not_of_finite_numbers_are_refused(kind, inputs, tmp_path, capsys):
    checkpoint = torch.load(inputs / "best.pth", weights_only=False)
    name = next(name for name in checkpoint["model"] if name.endswith("mlp.0.weight") or "clip_proj" in name)
    checkpoint["model"][name] = CHANGES[kind](checkpoint["model"][name])
    torch.save(checkpoint, tmp_path / "changed.pth")
    assert main(["convert", "--checkpoint", str(tmp_path / "changed.pth"), "--output", str(tmp_path / "out")]) == 2
    assert "is not of finite numbers in torch.float32" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_changed_checkpoints_are_converted_or_refused_in_one_sentence(inputs, tmp_path, capsys):
    for case in range(6):
        convert_changed(case, inputs, tmp_path, capsys)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_many_changed_checkpoints_are_converted_or_refused_in_one_sentence(inputs, tmp_path, capsys):
    first = int(os.environ.get("SEED", random.SystemRandom().randrange(10**9)))
    with capsys.disabled():
        print(f"\nSEED={first} repeats these {MANY_CASES} cases")
    codes = [convert_changed(case, inputs, tmp_path, capsys) for case in range(first, first + MANY_CASES)]
    assert 0 in codes and 2 in codes
