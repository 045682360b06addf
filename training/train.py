# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Trains SSP-SAM on generated scenes.

    accelerate launch training/train.py --config training/configs/embedded_towers.yaml
    accelerate launch training/train.py --config training/configs/embedded_boxes.yaml
    accelerate launch training/train.py --config training/configs/embedded.yaml

Every setting of the file can be given again on the command line, where it wins.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # A launched script puts its own folder first on the path; the checkout's root must be there instead.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed
from torch.utils.data import DataLoader
from transformers import AutoTokenizer

from ssp_sam.configuration.configuration_ssp_sam import SspSamConfig
from ssp_sam.modeling_ssp_sam.modeling_ssp_sam import SspSamModel
from ssp_sam.processing.processing_ssp_sam import SspSamProcessor
from ssp_sam.training.arguments import DataArguments, ModelArguments, TrainingArguments, parse_arguments
from ssp_sam.training.checkpointing import (
    find_checkpoint,
    load_average,
    load_checkpoint,
    load_head_state,
    restore_random_state,
    save_model,
)
from ssp_sam.training.collator import NUM_COLOUR_CLASSES, NUM_NOUN_CLASSES, ReferringCollator, TowerCollator
from ssp_sam.training.dense_supervision import DenseHeads
from ssp_sam.training.evaluation import evaluation_keys
from ssp_sam.training.loop import Trainer
from ssp_sam.training.objectives import Objective, ReferringObjective, TowersObjective
from ssp_sam.training.optimizers import build_optimizer
from ssp_sam.training.scene_data import SceneDataset, StepBatchSampler, render_scenes
from ssp_sam.training.scenes import VOCABULARY_WORDS
from ssp_sam.training.word_tokenizer import build_word_tokenizer

FUSION_GAIN = 6.0


def build_model(arguments: ModelArguments, checkpoint: Path | None) -> tuple[SspSamModel, SspSamProcessor]:
    """
    Loads the model of a checkpoint or of `init_from`, or makes one from scratch, with its processor.

    Args:
        arguments: Where the model comes from.
        checkpoint: Checkpoint that goes before everything else, if any.
    """
    source = checkpoint / "model" if checkpoint else arguments.init_from
    overrides = arguments.config_fields()
    if source is not None:
        # Loss weights and what is frozen may change between stages; sizes cannot.
        simple = {name: value for name, value in overrides.items() if not isinstance(value, dict)}
        if arguments.attn_implementation is not None:
            simple["attn_implementation"] = arguments.attn_implementation
        model: Any = SspSamModel.from_pretrained(source, dtype=torch.float32, **simple)
        return model, SspSamProcessor.from_pretrained(source)
    if arguments.tokenizer is not None:
        tokenizer = AutoTokenizer.from_pretrained(arguments.tokenizer)
    else:
        tokenizer = build_word_tokenizer(VOCABULARY_WORDS)
        text_config = overrides.setdefault("text_config", {})
        text_config |= {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    config: Any = SspSamConfig(attn_implementation=arguments.attn_implementation, **overrides)
    config.sam_config.vision_config.scale = arguments.positional_scale
    model = SspSamModel(config)
    if model.sam.vision_encoder.pos_embed is not None:
        init_positions(model.sam.vision_encoder.pos_embed)
    with torch.no_grad():
        # Fused patches are products of two small numbers, far below the positions that are added to them.
        model.fusion.projection.weight.mul_(FUSION_GAIN)
    return model, SspSamProcessor.from_model_config(config, tokenizer)


@torch.no_grad()
def init_positions(pos_embed: torch.Tensor):
    """
    Fills SAM's absolute positions (1, g, g, channels), zeros in a new model, with sines and cosines of row and column.

    Source: plain ViT baselines (arXiv 2205.01580), with periods from 2 pi to 200 pi patches.
    """
    side, channels = pos_embed.shape[1], pos_embed.shape[-1] // 4
    frequencies = 100.0 ** -(torch.arange(channels) / channels)
    angles = torch.arange(side)[:, None] * frequencies  # (g, channels / 4)
    code = torch.cat([angles.sin(), angles.cos()], dim=-1)
    rows, columns = code[:, None].expand(-1, side, -1), code[None].expand(side, -1, -1)
    pos_embed.copy_(0.5 * torch.cat([columns, rows], dim=-1)[None])


def build_collator(
    objective: str, model: SspSamModel, processor: SspSamProcessor, data: DataArguments, *, prompts=True
):
    """Builds the collator of a stage; `prompts=False` leaves clicks and boxes out of the referring stage."""
    config: Any = model.config
    images = processor.image_processor
    common = {
        "image_mean": images.image_mean,
        "image_std": images.image_std,
        "patch_size": config.sam_config.vision_config.patch_size,
    }
    if objective == "towers":
        return TowerCollator(**common)
    return ReferringCollator(
        tokenize=lambda expressions: dict(processor(text=expressions)),
        mask_size=config.mask_size,
        prompt_probability=data.prompt_probability if prompts else 0.0,
        **common,
    )


def build_datasets(accelerator, data: DataArguments, training: TrainingArguments, canvas_size: int):
    """Renders what the cache lacks, on the main process, and opens the training and validation scenes."""
    folders = {}
    for split, count in (("train", data.num_train_scenes), ("validation", data.num_eval_scenes)):
        with accelerator.main_process_first():
            folders[split] = render_scenes(
                data.scene_cache,
                split=split,
                num_scenes=count,
                canvas_size=canvas_size,
                num_workers=data.render_workers,
                progress=lambda done, total, split=split: print(f"{split}: {done}/{total} chunks rendered", flush=True),
            )
    referring = training.objective == "referring"
    drawn = {
        "expressions_per_image": data.expressions_per_image if referring else 0,
        "prompts_per_image": 0 if referring else data.prompts_per_image,
    }
    train_set = SceneDataset(
        folders["train"],
        split="train",
        num_scenes=data.num_train_scenes,
        seed=training.seed,
        flip_probability=data.flip_probability,
        photometric_strength=data.photometric_strength,
        **drawn,
    )
    eval_set = SceneDataset(folders["validation"], split="validation", num_scenes=data.num_eval_scenes, **drawn)
    return train_set, eval_set


def build_objective(arguments: TrainingArguments, model: SspSamModel, source: Path | str | None) -> Objective:
    """Wraps the model for its stage; the training-only heads come from `source` where they were saved."""
    config: Any = model.config
    heads = DenseHeads(
        num_channels=config.sam_config.vision_config.output_channels,
        num_nouns=NUM_NOUN_CLASSES,
        num_colours=NUM_COLOUR_CLASSES,
    )
    if arguments.objective == "towers":
        objective = TowersObjective(model, heads)
    else:
        objective = ReferringObjective(
            model,
            heads,
            foreground_loss_weight=arguments.foreground_loss_weight,
            iou_loss_weight=arguments.iou_loss_weight,
            box_only=arguments.box_only,
        )
    head_state = None if source is None else load_head_state(source)
    if head_state is not None:
        objective.load_head_state(head_state)
    return objective


def main(argv: list[str] | None = None) -> dict:
    """Runs a training from its arguments; returns the last evaluation."""
    model_args, data_args, train_args = parse_arguments(argv)

    # 1. Processes, threads, seed, folder.
    if train_args.threads_per_process:
        torch.set_num_threads(train_args.threads_per_process)
    accelerator = Accelerator(
        # Without this, launched processes on a machine with no accelerator would not know of each other.
        cpu=not torch.accelerator.is_available(),
        mixed_precision=train_args.mixed_precision,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=train_args.find_unused_parameters)],
    )
    set_seed(train_args.seed)
    output_dir = Path(train_args.output_dir)
    checkpoint = find_checkpoint(output_dir, train_args.resume)
    if accelerator.is_main_process:
        output_dir.mkdir(parents=True, exist_ok=True)
        settings = asdict(model_args) | asdict(data_args) | asdict(train_args)
        (output_dir / "settings.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    # 2. Model and objective.
    model, processor = build_model(model_args, checkpoint)
    source = checkpoint / "model" if checkpoint else model_args.init_from
    objective = build_objective(train_args, model, source)
    optimizer = build_optimizer(objective, train_args)
    state = load_checkpoint(checkpoint, optimizer=optimizer) if checkpoint else {}

    # 3. Scenes.
    canvas_size = processor.image_processor.size.longest_edge
    train_set, eval_set = build_datasets(accelerator, data_args, train_args, canvas_size)
    sampler = StepBatchSampler(
        num_items=len(train_set),
        batch_size=data_args.images_per_device,
        seed=train_args.seed,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
        first_step=state.get("step", 0),
    )
    loader = DataLoader(
        train_set,
        batch_sampler=sampler,
        num_workers=data_args.dataloader_workers,
        collate_fn=build_collator(train_args.objective, model, processor, data_args),
        worker_init_fn=lambda _: torch.set_num_threads(1),
    )
    eval_collate = build_collator(train_args.objective, model, processor, data_args, prompts=False)
    eval_keys = evaluation_keys(
        len(eval_set), 2 * data_args.images_per_device, accelerator.process_index, accelerator.num_processes
    )

    # 4. Training.
    if accelerator.is_main_process:
        trained = sum(p.numel() for p in objective.parameters() if p.requires_grad)
        print(f"{model.num_parameters():,} parameters, {trained:,} trained, {accelerator.num_processes} processes")
    objective, optimizer = accelerator.prepare(objective, optimizer)
    trainer = Trainer(
        accelerator=accelerator,
        objective=objective,
        optimizer=optimizer,
        batches=iter(loader),
        eval_batches=lambda: (eval_collate([eval_set[key] for key in keys]) for keys in eval_keys),
        arguments=train_args,
        processor=processor,
        state=state,
        average=load_average(checkpoint) if checkpoint else None,
    )
    if checkpoint:
        restore_random_state(checkpoint, accelerator.process_index)
    result = trainer.run()

    # 5. The result. What the last stage leaves is for users, who have no use for the training-only heads.
    if accelerator.is_main_process:
        goes_on = train_args.objective == "towers" or train_args.box_only
        save_model(
            output_dir / "final",
            model=trainer.plain.model,
            processor=processor,
            head_state=trainer.plain.head_state() if goes_on else None,
            dtype=getattr(torch, train_args.export_dtype),
            average=trainer.average,
        )
        print(f"wrote {output_dir / 'final'}", flush=True)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return result


if __name__ == "__main__":
    main()
