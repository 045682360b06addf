# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Checkpoints that are complete or absent, and the folder that a finished run leaves behind."""

import copy
import os
import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

CHECKPOINT_NAME = re.compile(r"^checkpoint-(\d+)$")
TRAINING_HEADS_FILE = "dense_heads.safetensors"


def find_checkpoint(output_dir: str | Path, resume: str | None) -> Path | None:
    """
    Finds the checkpoint to continue from.

    Args:
        output_dir: Folder of the run.
        resume: `None`, `"auto"` for the newest complete checkpoint of `output_dir` if any, or a checkpoint folder.

    Raises:
        ValueError: `resume` names a folder that is no checkpoint.
    """
    if resume is None:
        return None
    if resume != "auto":
        if not (Path(resume) / "training_state.pt").is_file():
            raise ValueError(f"resume must be 'auto' or a checkpoint folder with a training_state.pt, got {resume!r}")
        return Path(resume)
    steps = {}
    for path in Path(output_dir).glob("checkpoint-*"):
        if match := CHECKPOINT_NAME.match(path.name):
            steps[int(match[1])] = path
    return steps[max(steps)] if steps else None


def save_checkpoint(accelerator, output_dir, *, model, processor, head_state, optimizer, state: dict, average=None):
    """
    Writes a checkpoint aside and renames it into place, then removes the one before it. Every process calls this.

    Args:
        accelerator: The run's `Accelerator`.
        output_dir: Folder of the run.
        model, processor, head_state: Unwrapped model, its processor or `None`, weights of the training-only heads.
        optimizer: Optimizer whose state is kept.
        state: Plain numbers of the loop, `step` among them.
        average: Averaged weights by name, or `None`.
    """
    output_dir = Path(output_dir)
    final = output_dir / f"checkpoint-{state['step']}"
    aside = output_dir / f".{final.name}.partial"
    if accelerator.is_main_process:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    accelerator.wait_for_everyone()
    torch.save(torch.get_rng_state(), aside / f"rng_{accelerator.process_index}.pt")
    if accelerator.is_main_process:
        save_model(aside / "model", model=model, processor=processor, head_state=head_state)
        torch.save({"optimizer": optimizer.state_dict(), "loop": state}, aside / "training_state.pt")
        if average is not None:
            save_file(average, aside / "average.safetensors")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        if final.exists():
            shutil.rmtree(final)
        os.replace(aside, final)
        for old in output_dir.glob("checkpoint-*"):
            if CHECKPOINT_NAME.match(old.name) and old != final:
                shutil.rmtree(old)
    accelerator.wait_for_everyone()


def load_checkpoint(folder: Path, *, optimizer) -> dict:
    """
    Restores the optimizer; the model is loaded from `folder / "model"` when it is built.

    Returns:
        The plain numbers that were saved as `state`.
    """
    saved = torch.load(folder / "training_state.pt", map_location="cpu", weights_only=True)
    optimizer.load_state_dict(saved["optimizer"])
    return saved["loop"]


def restore_random_state(folder: Path, rank: int):
    """Restores this process's random numbers; to be called last before training, since set-up draws from them."""
    path = folder / f"rng_{rank}.pt"
    if path.is_file():
        torch.set_rng_state(torch.load(path, map_location="cpu", weights_only=True))


def load_average(folder: Path) -> dict[str, torch.Tensor] | None:
    """Returns the averaged weights of a checkpoint, if it has any."""
    path = folder / "average.safetensors"
    return load_file(path) if path.is_file() else None


def save_model(folder: Path, *, model, processor=None, head_state=None, dtype: torch.dtype | None = None, average=None):
    """
    Writes a model folder in Hub format, with the training-only heads as a file of their own.

    Args:
        folder: Where to write.
        model: Model with `save_pretrained`.
        processor: Saved beside it when given.
        head_state: Weights of the training-only heads, when given.
        dtype: Number format of the weights; that of the model when not given. The model itself is left alone.
        average: Averaged weights by name that replace the model's own.
    """
    weights = {name: tensor.detach() for name, tensor in model.state_dict().items()} | (average or {})
    if dtype is not None and dtype != model.dtype:
        model = copy.deepcopy(model).to(dtype)
        weights = {k: v.to(dtype) if v.is_floating_point() else v for k, v in weights.items()}
    model.save_pretrained(folder, state_dict=weights)
    if processor is not None:
        processor.save_pretrained(folder)
    if head_state is not None:
        save_file(head_state, Path(folder) / TRAINING_HEADS_FILE)


def load_head_state(folder: str | Path) -> dict[str, torch.Tensor] | None:
    """Returns the weights of the training-only heads that lie in a model folder, if there are any."""
    path = Path(folder) / TRAINING_HEADS_FILE
    return load_file(path) if path.is_file() else None
