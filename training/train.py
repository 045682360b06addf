# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Trains SSP-SAM on a prepared benchmark, on a custom dataset, or on generated scenes.

    accelerate launch training/train.py --config refcoco paper_b16 --dataset prepared/refcoco_unc \
        --init_from outputs/box_pretraining/final --output_dir outputs/refcoco
    accelerate launch -m ssp_sam.training.train --config own_data --train_dir my_images

The second form needs no checkout. Every setting of the configurations can be given again on the command line, where it
wins. `docs/training.md` explains them.
"""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    if not __package__:
        # A script's own folder is first on the path; the folder that holds ssp_sam must be there instead.
        sys.path[0] = next(str(folder) for folder in Path(__file__).resolve().parents if (folder / "ssp_sam").is_dir())
    # Otherwise MKL's products depend on where operands lie in memory, and a resumed run does not repeat a whole one.
    os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, DistributedType
from accelerate.utils import set_seed

from ssp_sam.modeling_ssp_sam.modeling_ssp_sam import SspSamModel
from ssp_sam.training.arguments import OptimizationArguments, ReportArguments
from ssp_sam.training.atomic_files import claim_folder, remove_whole, write_text
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
from ssp_sam.training.data_checks import what_is_missing
from ssp_sam.training.data_sources import RunData, open_data
from ssp_sam.training.loop import NEW_RUN, TrainingLoop, check_distribution
from ssp_sam.training.model_sources import build_model
from ssp_sam.training.new_words import learn_words
from ssp_sam.training.objectives import Objective, ReferringObjective, TowersObjective
from ssp_sam.training.optimizers import build_optimizer
from ssp_sam.training.processes import choose_precision
from ssp_sam.training.rehearsal import describe_forgetting
from ssp_sam.training.run_log import RunLog
from ssp_sam.training.run_report import write_run_report
from ssp_sam.training.scenes.collator import NUM_COLOUR_CLASSES, NUM_NOUN_CLASSES
from ssp_sam.training.schedule import Schedule
from ssp_sam.training.splits import check_folders


def build_accelerator(settings: Settings) -> Accelerator:
    """Makes the run's `Accelerator` and seeds this process."""
    optimization, report = settings.optimization, settings.report
    if optimization.threads_per_process:
        torch.set_num_threads(optimization.threads_per_process)
    accelerator = Accelerator(
        # Without this, launched processes on a machine with no accelerator would not know of each other.
        cpu=not torch.accelerator.is_available(),
        mixed_precision=choose_precision(optimization.mixed_precision),
        gradient_accumulation_steps=optimization.gradient_accumulation_steps,
        log_with=report.trackers or None,
        project_dir=optimization.output_dir,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=optimization.find_unused_parameters)],
    )
    if accelerator.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise ValueError("mixed_precision 'fp16' needs a GPU, got a CPU, which would compute in float32; use bf16")
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        # DeepSpeed wants to know what it would otherwise read off a loader and a clipping of its own.
        plugin = accelerator.state.deepspeed_plugin
        plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = settings.data.images_per_device
        plugin.deepspeed_config["gradient_clipping"] = optimization.max_grad_norm
    check_distribution(accelerator, optimization)
    skip_unsharded_weights(accelerator)
    set_seed(optimization.seed)
    return accelerator


def open_folder(settings: Settings, accelerator: Accelerator) -> Path | None:
    """
    Returns the checkpoint to continue from, if any, and removes those that are to be overwritten, and earlier drawings;
    raises `ValueError` for checkpoints that are neither.
    """
    optimization = settings.optimization
    output_dir = Path(optimization.output_dir)
    checkpoint = find_checkpoint(output_dir, optimization.resume)
    earlier = list_checkpoints(output_dir)
    if earlier and optimization.resume is None and not optimization.overwrite_output_dir:
        raise ValueError(
            f"output_dir {optimization.output_dir!r} holds {earlier[max(earlier)].name} of an earlier run; "
            f"continue it with --resume auto, give another folder, or remove it with --overwrite_output_dir true"
        )
    accelerator.wait_for_everyone()
    if accelerator.is_main_process and optimization.resume is None:
        for folder in earlier.values():
            remove_whole(folder)
        for drawing in (output_dir / "drawings").glob("step_*_*.png"):
            drawing.unlink()
    return checkpoint


def build_objective(settings: Settings, model, source: Path | str | None) -> Objective:
    """Wraps the model for its stage; the training-only heads come from `source` where they were saved."""
    optimization = settings.optimization
    heads = None
    if settings.data.uses_scenes:  # nothing else has such labels
        heads = DenseHeads(
            num_channels=model.config.sam_config.vision_config.output_channels,
            num_nouns=NUM_NOUN_CLASSES,
            num_colours=NUM_COLOUR_CLASSES,
        )
    if optimization.objective == "towers":
        objective = TowersObjective(model, heads)
    else:
        objective = ReferringObjective(
            model,
            heads,
            foreground_loss_weight=optimization.foreground_loss_weight,
            contrast_loss_weight=optimization.contrast_loss_weight,
            boundary_loss_weight=optimization.boundary_loss_weight,
            iou_loss_weight=optimization.iou_loss_weight,
            box_only=optimization.box_only,
        )
    head_state = None if source is None else load_head_state(source)
    if head_state is not None:
        objective.load_head_state(head_state)
    if optimization.gradient_checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    if optimization.compile_backend is not None:
        objective.compile(backend=optimization.compile_backend)
    return objective


def introduce(settings: Settings, model, processor, data: RunData, accelerator: Accelerator):
    """
    Says what the references lack and which of their words the text tower does not know, and adds these if wanted;
    raises `ValueError` where there is nothing to learn.
    """
    rows, canvas = data.train_set.rows, model.config.sam_config.vision_config
    sentences = what_is_missing(rows, canvas_size=canvas.image_size, patch_size=canvas.patch_size)
    training, validation = (
        [text for texts in subset.rows["expressions"] for text in texts] for subset in (data.train_set, data.eval_set)
    )
    mode, seed = settings.model.new_words, settings.optimization.seed
    sentences += learn_words(model, processor, training, validation, mode=mode, seed=seed)
    if accelerator.is_main_process:
        print("".join(f"note: {sentence}\n" for sentence in sentences), end="", flush=True)


def settled(settings: Settings) -> dict[str, Any]:
    """Returns the settings that hold for all of a run, however often it is resumed."""
    optimization, adapters = settings.optimization, settings.adapters
    chosen = {"seed": optimization.seed, "optimizer": optimization.optimizer}
    return chosen | {"lora_rank": adapters.lora_rank, "lora_targets": adapters.lora_targets}


def check_same_course(checkpoint: Path, course: dict[str, Any]) -> dict:
    """
    Returns the state of a checkpoint's loop; raises `ValueError` where the run would see other batches, or change other
    weights, than the one it continues.
    """
    state = read_loop_state(checkpoint)
    for name, value in course.items():
        if state.get(name, value) != value:
            raise ValueError(
                f"{checkpoint} was trained with {name} {state[name]}, this run has {value}; "
                f"use the same, or start anew from its model with init_from"
            )
    return state


def build_loop(
    settings: Settings,
    accelerator: Accelerator,
    objective: Objective,
    data: RunData,
    processor,
    checkpoint: Path | None,
) -> TrainingLoop:
    """Puts the parts of a run together; the loop stands where the checkpoint, if any, was written."""
    optimization, report = settings.optimization, settings.report
    # 1. Length of the run, and where it stands.
    processes, accumulated = accelerator.num_processes, accelerator.gradient_accumulation_steps
    items_per_step = settings.data.images_per_device * processes * accumulated
    schedule = Schedule(optimization, len(data.train_set) / items_per_step)
    course = {"items_per_step": items_per_step, "num_items": len(data.train_set), "references": data.fingerprint()}
    course |= settled(settings)
    state = NEW_RUN | course | (check_same_course(checkpoint, course) if checkpoint else {})
    optimizer = build_optimizer(objective, optimization)
    if accelerator.is_main_process:
        trained = sum(p.numel() for p in objective.parameters() if p.requires_grad)
        print(
            f"{sum(p.numel() for p in objective.model.parameters()):,} parameters, {trained:,} trained, "
            f"{processes} processes, {len(data.train_set):,} items, {items_per_step} a step"
        )
    objective, optimizer = accelerator.prepare(objective, optimizer)
    # 2. Who is told.
    if report.trackers:
        plain = {name: value for name, value in settings.as_dict().items() if isinstance(value, int | float | str)}
        accelerator.init_trackers(report.project_name, config=plain)
    log = RunLog(
        accelerator,
        optimization.output_dir,
        total_steps=schedule.total_steps if optimization.max_minutes is None else None,
        state=state,
        progress=schedule.progress(state["step"], state["minutes"]),
    )
    # 3. The loop; random numbers are restored last, so that nothing draws from them before the first step.
    loop = TrainingLoop(
        accelerator=accelerator,
        objective=objective,
        optimizer=optimizer,
        batches=log.timed(data.train_batches(accelerator, state["step"] * accumulated)),
        evaluate=lambda objective: data.evaluate(objective, accelerator, num_drawings=report.num_drawings),
        schedule=schedule,
        arguments=optimization,
        log=log,
        log_steps=report.log_steps,
        processor=processor,
        state=state,
        average=load_average(checkpoint) if checkpoint else None,
    )
    if checkpoint:
        load_state(accelerator, checkpoint)
    return loop


def main(argv: list[str] | None = None, publish: Callable[[Path, ReportArguments], None] | None = None) -> dict:
    """Trains as the words of a command line say; see `train`."""
    return train(parse_settings(argv), publish)


def train(settings: Settings, publish: Callable[[Path, ReportArguments], None] | None = None) -> dict:
    """
    Runs a training.

    Args:
        settings: All settings of the run.
        publish: Called on the main process with the finished model's folder and the report's settings if
            `push_to_hub` is set.

    Returns:
        The last evaluation: metrics by kind, those over all under `"all"`.

    Raises:
        ValueError: A setting, the model or the data cannot be used.
        FolderInUseError, WriteError: Another run is writing into `output_dir`, or there is no room.
        FloatingPointError: A loss is not finite.
    """
    if settings.report.push_to_hub and publish is None:
        raise ValueError("push_to_hub (True) needs a way to publish; push the finished model with ssp-sam push")
    check_folders(settings.data)
    accelerator = build_accelerator(settings)
    with claim_folder(settings.optimization.output_dir, accelerator):
        # 1. Model and data.
        given, checkpoint = settings, open_folder(settings, accelerator)
        if checkpoint is None:  # nothing to resume
            settings = settings._replace(optimization=replace(settings.optimization, resume=None))
        else:
            check_same_course(checkpoint, settled(settings))
        model, processor = build_model(settings.model, checkpoint, settings.adapters)
        data = open_data(settings, model, processor, accelerator)
        if checkpoint is None and not settings.data.uses_scenes:
            introduce(settings, model, processor, data, accelerator)
        objective = build_objective(settings, model, checkpoint / "model" if checkpoint else settings.model.init_from)
        # 2. Training.
        loop = build_loop(settings, accelerator, objective, data, processor, checkpoint)
        if accelerator.is_main_process:
            used = json.dumps(given.as_dict(), indent=2)
            write_text(Path(settings.optimization.output_dir) / "settings.json", f"{used}\n")
        metrics = loop.run()
        # 3. The result.
        final = export(loop, processor, settings.optimization)
        if accelerator.is_main_process:
            told = ("step", "epoch", "samples", "minutes", "rehearsed")
            summary = {name: loop.state[name] for name in told if name in loop.state}
            summary |= {"model": str(final), "metrics": metrics.get("all", metrics)}
            if data.rehearsal is not None and {"before", "after"} <= set(loop.state.get("rehearsed", ())):
                summary["forgotten"] = describe_forgetting(data.rehearsal.name, **loop.state["rehearsed"])
            loop.log.finish(summary)
            report = write_run_report(settings.optimization.output_dir, summary)
            print(f"report: {report}", flush=True)
        accelerator.wait_for_everyone()
    accelerator.end_training()
    if accelerator.is_main_process and settings.report.push_to_hub and publish is not None:
        publish(final, settings.report)
    return metrics


def export(loop: TrainingLoop, processor, optimization: OptimizationArguments) -> Path:
    """Writes `final`, the folder that users open, with the last or the best weights; every process calls this."""
    output_dir = Path(optimization.output_dir)
    weights, head_state = split_state(loop.accelerator.get_state_dict(loop.objective))
    weights = loop.average or weights
    best = best_checkpoint(output_dir, optimization.best_metric) if optimization.export_best else None
    if best is not None:
        weights = load_average(best) or SspSamModel.from_pretrained(best / "model", dtype=torch.float32).state_dict()
    # What the last stage leaves is for users, who have no use for the training-only heads.
    goes_on = optimization.objective == "towers" or optimization.box_only
    if loop.accelerator.is_main_process:
        save_model(
            output_dir / "final",
            model=loop.plain.model,
            weights=weights,
            processor=processor,
            head_state=head_state if goes_on else None,
            dtype=getattr(torch, optimization.export_dtype),
        )
    return output_dir / "final"


def run(argv: list[str] | None = None, publish: Callable[[Path, ReportArguments], None] | None = None) -> int:
    """Trains; what is wrong with the settings or the data is said in one line on standard error. Returns 0 or 2."""
    try:
        main(argv, publish)
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("RANK", "0") == "0":  # told once, not by every process
            print(f"train.py: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    from ssp_sam.cli.train import publish_with_push

    sys.exit(run(publish=publish_with_push))
