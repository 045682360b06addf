# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Trains SSP-SAM on a prepared benchmark, on a folder of own pictures, or on generated scenes.

    accelerate launch training/train.py --config training/configs/refcoco.yaml training/configs/paper_b16.yaml \
        --dataset prepared/refcoco_unc --init_from outputs/boxes/final --output_dir outputs/refcoco
    accelerate launch training/train.py --config training/configs/own_data.yaml --train_dir my_pictures

Every setting of the files can be given again on the command line, where it wins. `docs/training.md` explains them.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # A launched script puts its own folder first on the path; the checkout's root must be there instead.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    # Otherwise MKL's products depend on where operands lie in memory, and a resumed run does not repeat a whole one.
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType
from accelerate.utils import set_seed

from ssp_sam.modeling_ssp_sam.modeling_ssp_sam import SspSamModel
from ssp_sam.training.arguments import TrainingArguments
from ssp_sam.training.auxiliary_heads import DenseHeads
from ssp_sam.training.checkpointing import (
    best_checkpoint,
    find_checkpoint,
    list_checkpoints,
    load_average,
    load_head_state,
    load_state,
    read_loop_state,
    save_model,
    skip_unsharded_weights,
    split_state,
)
from ssp_sam.training.config_files import Settings, parse_settings
from ssp_sam.training.data_sources import open_data
from ssp_sam.training.loop import NEW_RUN, Trainer, check_distribution
from ssp_sam.training.model_sources import build_model
from ssp_sam.training.objectives import Objective, ReferringObjective, TowersObjective
from ssp_sam.training.optimizers import build_optimizer
from ssp_sam.training.publishing import publish
from ssp_sam.training.run_log import RunLog
from ssp_sam.training.scenes.collator import NUM_COLOUR_CLASSES, NUM_NOUN_CLASSES
from ssp_sam.training.schedule import Schedule


def build_accelerator(settings: Settings) -> Accelerator:
    """Makes the run's `Accelerator` and seeds this process."""
    training, report = settings.training, settings.report
    if training.threads_per_process:
        torch.set_num_threads(training.threads_per_process)
    accelerator = Accelerator(
        # Without this, launched processes on a machine with no accelerator would not know of each other.
        cpu=not torch.accelerator.is_available(),
        mixed_precision=training.mixed_precision,
        gradient_accumulation_steps=training.gradient_accumulation_steps,
        log_with=report.trackers or None,
        project_dir=training.output_dir,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=training.find_unused_parameters)],
    )
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise ValueError("mixed_precision 'fp16' needs a GPU, got a CPU, which would compute in float32; use bf16")
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        # DeepSpeed wants to know what it would otherwise read off a loader and a clipping of its own.
        plugin = accelerator.state.deepspeed_plugin
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = settings.data.images_per_device
        plugin.deepspeed_config["gradient_clipping"] = training.max_grad_norm
    check_distribution(accelerator, training)
    skip_unsharded_weights(accelerator)
    set_seed(training.seed)
    return accelerator


def open_folder(settings: Settings) -> Path | None:
    """
    Returns the checkpoint to continue from, if any, after making sure that nothing is overwritten unasked.

    Raises:
        ValueError: The folder holds checkpoints that are neither continued nor to be overwritten.
    """
    training = settings.training
    output_dir = Path(training.output_dir)
    checkpoint = find_checkpoint(output_dir, training.resume)
    earlier = list_checkpoints(output_dir)
    if earlier and training.resume is None and not training.overwrite_output_dir:
        raise ValueError(
            f"output_dir {training.output_dir!r} holds {earlier[max(earlier)].name} of an earlier run; "
            f"continue it with --resume auto, give another folder, or remove it with --overwrite_output_dir true"
        )
    return checkpoint


def prepare_folder(settings: Settings):
    """Makes the run's folder, without the checkpoints of a run that is to be overwritten, and writes its settings."""
    training = settings.training
    output_dir = Path(training.output_dir)
    if training.overwrite_output_dir and training.resume is None:
        for earlier in list_checkpoints(output_dir).values():
            shutil.rmtree(earlier)
    output_dir.mkdir(parents=True, exist_ok=True)
    text = json.dumps(settings.as_dict(), indent=2)
    (output_dir / "settings.json").write_text(text + "\n", encoding="utf-8")


def build_objective(settings: Settings, model, source: Path | str | None) -> Objective:
    """Wraps the model for its stage; the training-only heads come from `source` where they were saved."""
    training = settings.training
    heads = None
    if settings.data.uses_scenes:  # nothing else has such labels
        heads = DenseHeads(
            num_channels=model.config.sam_config.vision_config.output_channels,
            num_nouns=NUM_NOUN_CLASSES,
            num_colours=NUM_COLOUR_CLASSES,
        )
    if training.objective == "towers":
        objective = TowersObjective(model, heads)
    else:
        objective = ReferringObjective(
            model,
            heads,
            foreground_loss_weight=training.foreground_loss_weight,
            iou_loss_weight=training.iou_loss_weight,
            box_only=training.box_only,
        )
    head_state = None if source is None else load_head_state(source)
    if head_state is not None:
        objective.load_head_state(head_state)
    if training.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    if training.compile_backend is not None:
        objective.compile(backend=training.compile_backend)
    return objective


def check_same_course(checkpoint: Path, course: dict[str, Any]) -> dict:
    """
    Returns the state of a checkpoint's loop after comparing what decides the order of its batches.

    Raises:
        ValueError: The run would see other batches than the one it continues.
    """
    state = read_loop_state(checkpoint)
    for name, value in course.items():
        if state.get(name, value) != value:
            raise ValueError(
                f"{checkpoint} was trained with {name} {state[name]}, this run has {value}; "
                f"use the same, or start anew from its model with init_from"
            )
    return state


def main(argv: list[str] | None = None) -> dict:
    """Runs a training from its arguments; returns the last evaluation."""
    # 1. Settings, processes, folder.
    settings = parse_settings(argv)
    model_args, data_args, train_args, report = settings
    checkpoint = open_folder(settings)
    accelerator = build_accelerator(settings)
    if accelerator.is_main_process:
        prepare_folder(settings)

    # 2. Model and data.
    model, processor = build_model(model_args, checkpoint)
    objective = build_objective(settings, model, checkpoint / "model" if checkpoint else model_args.init_from)
    data = open_data(settings, model, processor, accelerator)

    # 3. Length of the run, and where it stands.
    items_per_step = data_args.images_per_device * accelerator.num_processes * accelerator.gradient_accumulation_steps
    schedule = Schedule(train_args, len(data.train_set) / items_per_step)
    course = {"items_per_step": items_per_step, "num_items": len(data.train_set), "seed": train_args.seed}
    state = NEW_RUN | course | (check_same_course(checkpoint, course) if checkpoint else {})
    optimizer = build_optimizer(objective, train_args)
    if accelerator.is_main_process:
        trained = sum(p.numel() for p in objective.parameters() if p.requires_grad)
        print(
            f"{model.num_parameters():,} parameters, {trained:,} trained, {accelerator.num_processes} processes, "
            f"{len(data.train_set):,} items, {items_per_step} a step"
        )
    objective, optimizer = accelerator.prepare(objective, optimizer)

    # 4. Training.
    if report.trackers:
        plain = {name: value for name, value in settings.as_dict().items() if isinstance(value, int | float | str)}
        accelerator.init_trackers(report.project_name, config=plain)
    log = RunLog(
        accelerator,
        train_args.output_dir,
        total_steps=schedule.total_steps if train_args.max_minutes is None else None,
        state=state,
        progress=schedule.progress(state["step"], state["minutes"]),
    )
    trainer = Trainer(
        accelerator=accelerator,
        objective=objective,
        optimizer=optimizer,
        batches=data.train_batches(accelerator, state["step"] * accelerator.gradient_accumulation_steps),
        evaluate=lambda objective: data.evaluate(objective, accelerator, num_pictures=report.num_pictures),
        schedule=schedule,
        arguments=train_args,
        log=log,
        log_steps=report.log_steps,
        processor=processor,
        state=state,
        average=load_average(checkpoint) if checkpoint else None,
    )
    if checkpoint:
        load_state(accelerator, checkpoint)
    result = trainer.run()

    # 5. The result.
    final = export(trainer, processor, train_args)
    if accelerator.is_main_process:
        summary = {
            name: trainer.state[name] for name in ("step", "epoch", "samples", "minutes") if name in trainer.state
        }
        log.finish(summary | {"model": str(final), "metrics": result.get("all", result)})
        if report.push_to_hub:
            print(f"published {publish(final, report.hub_model_id, private=report.hub_private)}", flush=True)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return result


def export(trainer: Trainer, processor, training: TrainingArguments) -> Path:
    """Writes `final`, the folder that users open, with the last or the best weights; every process calls this."""
    output_dir = Path(training.output_dir)
    weights, head_state = split_state(trainer.accelerator.get_state_dict(trainer.objective))
    weights = trainer.average or weights
    best = best_checkpoint(output_dir, training.best_metric) if training.export_best else None
    if best is not None:
        weights = load_average(best) or SspSamModel.from_pretrained(best / "model", dtype=torch.float32).state_dict()
    # What the last stage leaves is for users, who have no use for the training-only heads.
    goes_on = training.objective == "towers" or training.box_only
    if trainer.accelerator.is_main_process:
        save_model(
            output_dir / "final",
            model=trainer.plain.model,
            weights=weights,
            processor=processor,
            head_state=head_state if goes_on else None,
            dtype=getattr(torch, training.export_dtype),
        )
    return output_dir / "final"


def run(argv: list[str] | None = None) -> int:
    """Trains; what is wrong with the settings or the data is said in one line on standard error. Returns 0 or 2."""
    try:
        main(argv)
    except ValueError as error:
        print(f"train.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(run())
