# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Settings of a training run as dataclasses; `config_files.py` fills them from files and from the command line."""

import json
import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

from ..configuration.presets import PRESETS
from .options import check_limits, option

TOWERS = ("sam", "vision", "text")


@dataclass
class ModelArguments:
    """Which model is trained: an existing one, one around existing towers, or a new one."""

    _argument_group_name = "the model"
    init_from: str | None = option(None, "Model to start from: folder, Hub id, or embedded for the package's own.")
    init_from_towers: str | None = option(
        None, "Folders or Hub ids of sam, vision (or null) and text: mapping in YAML, JSON here."
    )
    preset: str | None = option(None, f"Named configuration of the model: {', '.join(PRESETS)}.")
    model_config: str | None = option(
        None, "Fields of SspSamConfig, over those of the preset: mapping in YAML, JSON here."
    )
    positional_scale: float = option(
        1.0, "Scale of SAM's positional code in a model from scratch; small models need about 1."
    )
    tokenizer: str | None = option(
        None, "Tokenizer folder or Hub id; that of the text tower, or the word-level scene tokenizer."
    )
    new_words: Literal["add", "spell"] = option(
        "spell", "Give words that the text tower can only spell embeddings, or spell them."
    )
    no_target_threshold: float | None = option(
        None, "Probability above which nothing is meant; the start's when not given."
    )
    attn_implementation: str | None = option(None, "'sdpa', or 'eager', which gives attention weights and is slower.")

    def __post_init__(self):
        for name in ("model_config", "init_from_towers"):
            vars(self)[name] = _read_mapping(name, getattr(self, name))
        if self.no_target_threshold is not None and not 0 < self.no_target_threshold < 1:
            raise ValueError(f"no_target_threshold must lie in (0, 1), got {self.no_target_threshold}")
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"preset must be one of {list(PRESETS)}, got {self.preset!r}")
        towers: Any = self.init_from_towers
        if towers is not None and (set(towers) != set(TOWERS) or not (towers["sam"] and towers["text"])):
            raise ValueError(f"init_from_towers must name sam, vision (or null) and text, got {towers}")
        if self.init_from is None and not any((self.init_from_towers, self.preset, self.model_config)):
            raise ValueError(
                "give init_from (a model folder), init_from_towers, preset or model_config (fields of SspSamConfig), "
                "got none of them"
            )

    def config_fields(self) -> dict[str, Any]:
        """Returns a copy of `model_config`, two levels deep; empty when not given."""
        given: Any = self.model_config or {}
        return {name: dict(value) if isinstance(value, dict) else value for name, value in given.items()}


@dataclass
class DataArguments:
    """What is seen: generated scenes, unless a prepared benchmark or a custom dataset is named."""

    _argument_group_name = "the data"
    # Prepared benchmarks and custom datasets.
    dataset: str | None = option(None, "Prepared benchmark, as ssp-sam prepare writes it.")
    train_split: str | None = option(None, "Split to train on; train or training by default.")
    eval_dataset: str | None = option(None, "Prepared benchmark to validate on; the training one when not given.")
    eval_split: str | None = option(None, "Split to validate on; val, validation, valid or dev when not given.")
    train_dir: str | None = option(None, "Custom dataset to train on, in any format that ssp-sam prepare custom reads.")
    eval_dir: str | None = option(None, "The same to validate on.")
    preparation: str | None = option(
        None, "How both are read (format, made_expressions, …): mapping in YAML, JSON here."
    )
    eval_fraction: float = option(0.1, "Fraction of the training images kept back where no split is for validation.")
    max_train_references: int | None = option(None, "Train on the first so many only.")
    max_eval_references: int | None = option(None, "Validate on the first so many only.")
    group_by_image: bool = option(
        False,
        "References of an image follow each other; those of one batch share its encoding, unless "
        "random_semantic_offset moves them.",
    )
    absent_fraction: float = option(
        0.0, "Fraction of training items that ask for what the data calls absent elsewhere."
    )
    random_semantic_offset: bool = option(
        True, "Lay the image at a random position on the semantic canvas in training."
    )
    feature_cache: str | None = option(
        None, "Folder that scripts/cache_image_features.py wrote; frozen image encoders do not run then."
    )
    # Generated scenes.
    scene_cache: str = option("scene_cache", "Folder that keeps the rendered scenes.")
    num_train_scenes: int = option(40000, "Scenes rendered for training.", least=1)
    num_eval_scenes: int = option(200, "Scenes of the validation split used in evaluations.")
    render_workers: int = option(2, "Processes that render missing scenes.")
    expressions_per_image: int = option(6, "Expressions drawn per scene and epoch.", least=1)
    prompts_per_image: int = option(4, "Clicks or boxes per image in the towers stage.", least=1)
    prompt_probability: float = option(0.1, "Fraction of batches whose expressions come with a click or a box.")
    flip_probability: float = option(0.5, "Probability of mirroring a scene.")
    photometric_strength: float = option(
        0.15, "Half-width of the random gain and offset of brightness, contrast, channels."
    )
    rehearsal: str = option(
        "auto",
        "Former data in every batch: 'scenes', 'none', or a benchmark's or custom dataset's folder; 'auto' is scenes "
        "where a custom dataset meets the embedded checkpoint, else none.",
    )
    rehearsal_images: int = option(2, "Images of it in one process's batch.", least=1)
    # All of them.
    images_per_device: int = option(
        8, "Images in one process's batch; a reference of a benchmark counts as an image.", least=1
    )
    dataloader_workers: int = option(0, "Worker processes that build batches; 0: inline.")

    def __post_init__(self):
        vars(self)["preparation"] = _read_mapping("preparation", self.preparation)
        check_limits(self)
        for name in ("prompt_probability", "flip_probability", "absent_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if not 0 <= self.photometric_strength < 1:
            raise ValueError(f"photometric_strength must lie in [0, 1), got {self.photometric_strength}")
        if not 0 < self.eval_fraction < 1:
            raise ValueError(f"eval_fraction must lie in (0, 1), got {self.eval_fraction}")
        if self.dataset is not None and self.train_dir is not None:
            raise ValueError(f"give dataset or train_dir, got both: {self.dataset!r} and {self.train_dir!r}")
        for name, other in (("eval_dir", "train_dir"), ("eval_dataset", "dataset")):
            if getattr(self, name) is not None and getattr(self, other) is None:
                raise ValueError(f"{name} ({getattr(self, name)!r}) needs {other}, got None")
        if self.feature_cache is not None and self.uses_scenes:
            raise ValueError(
                f"feature_cache ({self.feature_cache!r}) needs dataset or train_dir; scenes are mirrored and "
                f"coloured anew whenever they are seen"
            )
        if self.uses_scenes and self.images_per_device > self.num_train_scenes:
            raise ValueError(
                f"images_per_device ({self.images_per_device}) must be at most num_train_scenes "
                f"({self.num_train_scenes})"
            )

    @property
    def uses_scenes(self) -> bool:
        """Whether the run sees generated scenes."""
        return self.dataset is None and self.train_dir is None


@dataclass
class OptimizationArguments:
    """How the model is optimised, for how long, and which checkpoints are kept."""

    _argument_group_name = "the training"
    output_dir: str = option("outputs/run", "Folder of the log, the checkpoints, the result.")
    objective: Literal["towers", "referring"] = option(
        "referring", "'towers' trains SAM on clicks, boxes and dense classes; 'referring' the whole model."
    )
    box_only: bool = option(False, "Train boxes without masks, as the paper's first stage.")
    # Length and learning rate.
    max_steps: int = option(10000, "Optimiser steps after which the run ends.", least=1)
    num_epochs: float | None = option(None, "Passes over the data, in place of max_steps.", above=0)
    min_steps: int = option(0, "Steps to which num_epochs is extended where data is small.")
    max_minutes: float | None = option(None, "Wall-clock budget; the schedule ends at whichever comes first.", above=0)
    learning_rate: float = option(6e-4, "Peak learning rate.")
    learning_rate_ratios: str | None = option(
        None,
        "Part of a parameter's name to its learning rate over the schedule's, the first that fits counts: a mapping in "
        "YAML, JSON on the command line.",
    )
    final_learning_rate: float = option(1e-6, "Learning rate at the end of the cosine.")
    warmup_steps: float = option(100, "Steps of linear warm-up; below 1, a fraction of the run.", least=0)
    warmup_epochs: float | None = option(None, "Epochs of it, in place of warmup_steps.")
    warmup_learning_rate: float = option(0.0, "Learning rate at which the warm-up begins.")
    schedule_unit: Literal["step", "epoch"] = option(
        "step", "Whether the learning rate changes with every step or once per epoch."
    )
    # Optimisation.
    optimizer: Literal["adamw", "muon"] = option(
        "adamw", "'muon' moves the matrices of transformer layers by Muon and the rest by AdamW."
    )
    weight_decay: float = option(0.05, "Decay of matrices; norms, biases, embeddings: none.")
    adam_beta1: float = 0.9
    adam_beta2: float = 0.98
    max_grad_norm: float = option(1.0, "Gradient clipping norm.")
    gradient_accumulation_steps: int = option(1, "Batches whose gradients make one step.", least=1)
    mask_decoder_frozen_epochs: float = option(0.0, "Epochs for which SAM's mask decoder stays as it is.")
    mixed_precision: Literal["auto", "no", "bf16", "fp16"] | None = option(
        None,
        "Precision of the matrix products; what accelerate launch says when not given; auto: bf16 where the GPU or "
        "processor has units for it and accelerate launch says nothing.",
    )
    gradient_checkpointing: bool = option(
        False, "Compute activations again in the backward pass instead of keeping them."
    )
    compile_backend: str | None = option(
        None, "Compile the training step with this torch.compile backend, e.g. inductor."
    )
    ema_decay: float = option(0.0, "Decay of the averaged weights, which are evaluated and exported; 0: none.")
    find_unused_parameters: bool = option(
        False, "Let distributed training tolerate parameters without gradient in a step."
    )
    threads_per_process: int = option(0, "CPU threads of one process; 0: torch's choice.")
    seed: int = option(0, "Seed of weights, order, expressions and augmentation.")
    # Losses beyond the model's own.
    dense_loss_weight: float = option(0.4, "Weight of the per-patch class loss at the start.")
    final_dense_loss_weight: float | None = option(
        None, "Its weight at the end (linear in progress); constant when not given."
    )
    foreground_loss_weight: float = option(
        0.0, "Weight of 'this patch is meant', after every layer; single-tower models only."
    )
    contrast_loss_weight: float = option(
        0.0, "Weight of 'which sentence of the batch means this patch'; single-tower models only."
    )
    boundary_loss_weight: float = option(
        0.0, "Weight of the cross-entropy at points where masks are least sure: outlines."
    )
    iou_loss_weight: float = option(1.0, "Weight of SAM's estimate of the mask's quality in the referring stage.")
    mask_interval: int = option(
        1, "Every so many steps the forward goes on to the masks; the steps between end at the boxes.", least=1
    )
    # Evaluations and checkpoints.
    eval_minutes: float = option(10.0, "Minutes between evaluations; 0: not by the clock.")
    eval_epochs: float = option(0.0, "Epochs between evaluations; 0: not by epochs.")
    eval_at_start: bool = option(False, "Also evaluate before the first step.")
    checkpoint_minutes: float = option(10.0, "Minutes between checkpoints; 0: not by the clock.")
    checkpoint_epochs: float = option(0.0, "Epochs between checkpoints; 0: not by epochs.")
    checkpoint_steps: int = option(0, "Steps between checkpoints; 0: not by steps.")
    keep_checkpoints: int = option(1, "Newest checkpoints to keep.", least=1)
    best_metric: str | None = option(None, "Metric by which the best evaluated checkpoint is kept too, e.g. gIoU.")
    export_best: bool = option(False, "Export the best checkpoint instead of the last.")
    export_dtype: Literal["float32", "float16", "bfloat16"] = option(
        "float32", "Precision of the weights in output_dir/final."
    )
    resume: str | None = option(None, "'auto' for the newest checkpoint of output_dir if any, or a checkpoint folder.")
    overwrite_output_dir: bool = option(False, "Remove the checkpoints of an earlier run in output_dir and start anew.")

    def __post_init__(self):
        vars(self)["learning_rate_ratios"] = _read_mapping("learning_rate_ratios", self.learning_rate_ratios)
        if self.box_only and self.objective != "referring":
            raise ValueError(f"box_only ({self.box_only}) needs the objective 'referring', got {self.objective!r}")
        needs_masks = {name: getattr(self, name) for name in ("foreground_loss_weight", "contrast_loss_weight")}
        if self.box_only and any(needs_masks.values()):
            raise ValueError(f"box_only has no masks, which some losses need; set them to 0, got {needs_masks}")
        check_limits(self)
        if self.num_epochs is None and self.warmup_steps >= self.max_steps:
            raise ValueError(f"warmup_steps ({self.warmup_steps:g}) must be below max_steps ({self.max_steps})")
        if None not in (self.num_epochs, self.warmup_epochs) and self.warmup_epochs >= self.num_epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) must be below num_epochs ({self.num_epochs})")
        for name in ("final_learning_rate", "warmup_learning_rate"):
            if getattr(self, name) > self.learning_rate:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at most learning_rate ({self.learning_rate})")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in [0, 1), got {self.ema_decay}")
        if self.export_best and self.best_metric is None:
            raise ValueError("export_best needs best_metric (e.g. gIoU), got None")


@dataclass
class ReportArguments:
    """What is told while the run goes on, and where its result goes."""

    _argument_group_name = "what is told"
    log_steps: int = option(20, "Steps between two lines of the log.", least=1)
    trackers: list[str] = option([], "Accelerate's trackers by name: tensorboard, wandb, …, or all.")
    project_name: str = option("ssp-sam", "Name under which trackers file the run.")
    num_drawings: int = option(4, "Predictions drawn at each evaluation, as images; 0: none.")
    push_to_hub: bool = option(False, "Publish output_dir/final at the end.")
    hub_model_id: str | None = option(None, "Where to: owner/name.")
    hub_private: bool = option(False, "Make the repository private if it is new.")

    def __post_init__(self):
        check_limits(self)
        if self.push_to_hub and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.hub_model_id or ""):
            raise ValueError(f"push_to_hub needs hub_model_id (owner/name), got {self.hub_model_id!r}")


@dataclass
class AdapterArguments:
    """Whether adapters are trained in place of the weights; needs the extra ssp-sam[lora]."""

    _argument_group_name = "adapters"
    lora_rank: int = option(
        0, "Train low-rank adapters of this rank alone and save them alone; 0: the weights.", least=0
    )
    lora_targets: str | None = option(
        None,
        "Regular expression of the adapted layers' whole names; every linear layer outside the image encoders when not "
        "given.",
    )
    frozen_dtype: Literal["float32", "bfloat16", "float16"] = option(
        "float32", "Precision of the frozen towers' weights while adapters are trained."
    )

    def __post_init__(self):
        check_limits(self)
        if self.lora_rank == 0 and (self.lora_targets is not None or self.frozen_dtype != "float32"):
            raise ValueError(
                f"lora_targets ({self.lora_targets!r}) and frozen_dtype ({self.frozen_dtype!r}) need lora_rank, got 0"
            )
        if self.lora_rank and find_spec("peft") is None:
            raise ValueError(f"lora_rank ({self.lora_rank}) needs peft: pip install 'ssp-sam[lora]'")


def _read_mapping(name: str, value: Any) -> dict | None:
    """Returns a mapping that YAML gave as such or the command line as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"{name} must be a mapping or JSON, got {value!r}") from error
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{name} must be a mapping or JSON, got {value!r}")
    return value
