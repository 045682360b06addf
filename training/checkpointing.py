# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Checkpoints that are complete or absent, which of them are kept, and the folder that a finished run leaves behind.

A checkpoint is `checkpoint-<step>/` with `model/` (what `from_pretrained` opens), the states that Accelerate saves
(optimizer, scaler, random numbers of every process; sharded weights under FSDP and DeepSpeed), the averaged weights,
and `loop.json`.
"""

import contextlib
import copy
import json
import re
from pathlib import Path
from typing import Any

import torch
from accelerate import DistributedType
from accelerate.utils import broadcast_object_list
from safetensors.torch import load_file, save_file

from .atomic_files import remove_whole, write_aside

CHECKPOINT_NAME = re.compile(r"^checkpoint-(\d+)$")
LOOP_FILE = "loop.json"
AVERAGE_FILE = "average.safetensors"
TRAINING_HEADS_FILE = "dense_heads.safetensors"
SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)


def find_checkpoint(output_dir: str | Path, resume: str | None) -> Path | None:
    """
    Returns the checkpoint to continue from: the newest complete one of `output_dir` for "auto", that of a folder, or
    None; raises `ValueError` for a folder that is no checkpoint.
    """
    if resume is None:
        return None
    if resume != "auto":
        if not (Path(resume) / LOOP_FILE).is_file():
            raise ValueError(f"resume must be 'auto' or a checkpoint folder with a {LOOP_FILE}, got {resume!r}")
        return Path(resume)
    steps = list_checkpoints(output_dir)
    return steps[max(steps)] if steps else None


def list_checkpoints(output_dir: str | Path) -> dict[int, Path]:
    """Returns the complete checkpoints of a run by their steps."""
    found = {}
    for path in Path(output_dir).glob("checkpoint-*"):
        match = CHECKPOINT_NAME.match(path.name)
        if match and (path / LOOP_FILE).is_file():
            found[int(match[1])] = path
    return found


def read_loop_state(folder: Path) -> dict:
    """Returns the plain numbers that a checkpoint's loop stood at."""
    return json.loads((folder / LOOP_FILE).read_text(encoding="utf-8"))


def skip_unsharded_weights(accelerator):
    """Lets Accelerate leave whole models out of its states, since `model/` of each checkpoint holds them already."""
    if accelerator.distributed_type not in SHARDED:
        accelerator.register_save_state_pre_hook(lambda models, weights, folder: weights.clear())
        accelerator.register_load_state_pre_hook(lambda models, folder: models.clear())


def save_checkpoint(
    accelerator,
    output_dir,
    *,
    objective,
    processor,
    state: dict,
    average=None,
    keep: int = 1,
    metric: str | None = None,
):
    """
    Writes a checkpoint, whole or not at all, then removes those no longer kept. Every process calls this.

    Args:
        state: Plain values of the loop, `step` among them, and `metrics` where this step was evaluated.
        average: Averaged weights by name, or `None`.
        keep: How many of the newest checkpoints stay, beside the one that is best by `metric`.
    """
    final = Path(output_dir) / f"checkpoint-{state['step']}"
    with contextlib.ExitStack() as stack:
        aside = [stack.enter_context(write_aside(final)) if accelerator.is_main_process else None]
        aside = Path(broadcast_object_list(aside)[0])
        weights, head_state = split_state(accelerator.get_state_dict(objective))
        accelerator.save_state(str(aside))
        if accelerator.is_main_process:
            model = accelerator.unwrap_model(objective).model
            save_model(aside / "model", model=model, weights=weights, processor=processor, head_state=head_state)
            if average is not None:
                save_file(average, aside / AVERAGE_FILE)
            (aside / LOOP_FILE).write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
        accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        for old in _superfluous(final.parent, keep, metric):
            remove_whole(old)
    accelerator.wait_for_everyone()


def best_checkpoint(output_dir: str | Path, metric: str) -> Path | None:
    """Returns the evaluated checkpoint whose metric is highest, the latest of equals; `None` if none has it."""
    scores = {}
    for step, path in list_checkpoints(output_dir).items():
        score = read_loop_state(path).get("metrics", {}).get(metric)
        if score is not None:
            scores[step] = (score, step, path)
    return max(scores.values())[2] if scores else None


def _superfluous(output_dir: Path, keep: int, metric: str | None) -> list[Path]:
    steps = list_checkpoints(output_dir)
    kept = {steps[step] for step in sorted(steps)[-keep:]}
    if metric is not None:
        kept.add(best_checkpoint(output_dir, metric))
    return [path for path in steps.values() if path not in kept]


def load_state(accelerator, folder: Path):
    """
    Restores what Accelerate saved: optimizer, scaler, random numbers, sharded weights. Called last before training;
    raises `ValueError` where the random numbers of this process are missing.
    """
    random_file = folder / f"random_states_{accelerator.process_index}.pkl"
    if not random_file.is_file():
        raise ValueError(
            f"{folder} has no {random_file.name}: it was written by fewer processes than the "
            f"{accelerator.num_processes} of this run; use as many, or start anew from its model with init_from"
        )
    accelerator.load_state(str(folder))


def load_average(folder: Path) -> dict[str, torch.Tensor] | None:
    """Returns the averaged weights of a checkpoint, if it has any."""
    path = folder / AVERAGE_FILE
    return load_file(path) if path.is_file() else None


def split_state(state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Divides the weights of an objective into those of its model and those of the heads that only training needs."""
    weights, heads = {}, {}
    for name, tensor in state.items():
        part, _, rest = name.partition(".")
        if part == "model":
            weights[rest] = tensor
        else:
            heads[rest if part == "dense_heads" else name] = tensor
    return weights, heads


def save_model(
    folder: Path,
    *,
    model: Any,
    weights: dict[str, torch.Tensor] | None = None,
    processor=None,
    head_state: dict | None = None,
    dtype: torch.dtype | None = None,
):
    """
    Writes a model folder in Hub format, whole or not at all, with the training-only heads as a file of their own, if
    there are any.

    Args:
        weights: Weights by name in place of the model's own.
        dtype: Precision of the weights; that of the model when not given. The model itself is left alone.
    """
    weights = dict(model.state_dict() if weights is None else weights)
    # Tied weights are saved once; gathered from shards they are copies, which do not show that they are tied.
    weights = {name: t.detach() for name, t in weights.items() if name not in model.all_tied_weights_keys}
    if dtype is not None and dtype != model.dtype:
        model = copy.deepcopy(model).to(dtype)
        weights = {k: v.to(dtype) if v.is_floating_point() else v for k, v in weights.items()}
    with write_aside(folder) as aside:
        model.save_pretrained(aside, state_dict=weights)
        if processor is not None:
            processor.save_pretrained(aside)
        if head_state:
            save_file(head_state, aside / TRAINING_HEADS_FILE)


def load_head_state(folder: str | Path) -> dict[str, torch.Tensor] | None:
    """Returns the weights of the training-only heads that lie in a model folder, if there are any."""
    path = Path(folder) / TRAINING_HEADS_FILE
    return load_file(path) if path.is_file() else None
