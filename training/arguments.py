# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Settings of a training run as four dataclasses; `config_files.py` fills them from files and from the command line."""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from ..configuration.presets import PRESETS

TOWERS = ("sam", "vision", "text")


@dataclass
class ModelArguments:
    """Which model is trained: an existing one, one around existing towers, or a new one."""

    _argument_group_name = "the model"
    init_from: str | None = field(
        default=None,
        metadata={"help": "Model to start from: folder, Hub id, or embedded for the package's own."},
    )
    init_from_towers: str | None = field(
        default=None,
        metadata={"help": "Folders or Hub ids of sam, vision (or null) and text: mapping in YAML, JSON here."},
    )
    preset: str | None = field(
        default=None, metadata={"help": f"Named configuration of the model: {', '.join(PRESETS)}."}
    )
    model_config: str | None = field(
        default=None,
        metadata={"help": "Fields of SspSamConfig, over those of the preset: mapping in YAML, JSON here."},
    )
    positional_scale: float = field(
        default=1.0,
        metadata={"help": "Scale of SAM's positional code in a model from scratch; small models need about 1."},
    )
    tokenizer: str | None = field(
        default=None,
        metadata={"help": "Tokenizer folder or Hub id; that of the text tower, or the word-level scene tokenizer."},
    )
    new_words: Literal["add", "spell"] = field(
        default="spell", metadata={"help": "Give words that the text tower can only spell embeddings, or spell them."}
    )
    no_target_threshold: float | None = field(
        default=None, metadata={"help": "Probability above which nothing is meant; the start's when not given."}
    )
    attn_implementation: str | None = field(
        default=None,
        metadata={"help": "'sdpa' or 'eager'; on CPUs with bf16 units 'eager' is much the faster under bf16."},
    )

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
    dataset: str | None = field(default=None, metadata={"help": "Prepared benchmark, as ssp-sam prepare writes it."})
    train_split: str | None = field(default=None, metadata={"help": "Split to train on; train or training by default."})
    eval_dataset: str | None = field(
        default=None, metadata={"help": "Prepared benchmark to validate on; the training one when not given."}
    )
    eval_split: str | None = field(
        default=None, metadata={"help": "Split to validate on; val, validation, valid or dev when not given."}
    )
    train_dir: str | None = field(
        default=None, metadata={"help": "Custom dataset to train on, in any format that ssp-sam prepare custom reads."}
    )
    eval_dir: str | None = field(default=None, metadata={"help": "The same to validate on."})
    preparation: str | None = field(
        default=None, metadata={"help": "How both are read (format, made_expressions, …): mapping in YAML, JSON here."}
    )
    eval_fraction: float = field(
        default=0.1, metadata={"help": "Fraction of the training images kept back where no split is for validation."}
    )
    max_train_references: int | None = field(default=None, metadata={"help": "Train on the first so many only."})
    max_eval_references: int | None = field(default=None, metadata={"help": "Validate on the first so many only."})
    group_by_image: bool = field(
        default=False,
        metadata={
            "help": "References of an image follow each other; those of one batch share its encoding, unless "
            "random_semantic_offset moves them."
        },
    )
    absent_fraction: float = field(
        default=0.0, metadata={"help": "Fraction of training items that ask for what the data calls absent elsewhere."}
    )
    random_semantic_offset: bool = field(
        default=True, metadata={"help": "Lay the image at a random position on the semantic canvas in training."}
    )
    feature_cache: str | None = field(
        default=None,
        metadata={"help": "Folder that scripts/cache_image_features.py wrote; frozen image encoders do not run then."},
    )
    # Generated scenes.
    scene_cache: str = field(default="scene_cache", metadata={"help": "Folder that keeps the rendered scenes."})
    num_train_scenes: int = field(default=40000, metadata={"help": "Scenes rendered for training."})
    num_eval_scenes: int = field(default=200, metadata={"help": "Scenes of the validation split used in evaluations."})
    render_workers: int = field(default=2, metadata={"help": "Processes that render missing scenes."})
    expressions_per_image: int = field(default=6, metadata={"help": "Expressions drawn per scene and epoch."})
    prompts_per_image: int = field(default=4, metadata={"help": "Clicks or boxes per image in the towers stage."})
    prompt_probability: float = field(
        default=0.1, metadata={"help": "Fraction of batches whose expressions come with a click or a box."}
    )
    flip_probability: float = field(default=0.5, metadata={"help": "Probability of mirroring a scene."})
    photometric_strength: float = field(
        default=0.15, metadata={"help": "Half-width of the random gain and offset of brightness, contrast, channels."}
    )
    rehearsal: str = field(
        default="auto",
        metadata={
            "help": "Former data in every batch: 'scenes', 'none', or a benchmark's or custom dataset's folder; 'auto' "
            "is scenes where a custom dataset meets the embedded checkpoint, else none."
        },
    )
    rehearsal_images: int = field(default=2, metadata={"help": "Images of it in one process's batch."})
    # All of them.
    images_per_device: int = field(
        default=8, metadata={"help": "Images in one process's batch; a reference of a benchmark counts as an image."}
    )
    dataloader_workers: int = field(default=0, metadata={"help": "Worker processes that build batches; 0: inline."})

    def __post_init__(self):
        vars(self)["preparation"] = _read_mapping("preparation", self.preparation)
        counts = ("num_train_scenes", "images_per_device", "expressions_per_image", "prompts_per_image")
        for name in (*counts, "rehearsal_images"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
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
    output_dir: str = field(default="outputs/run", metadata={"help": "Folder of the log, the checkpoints, the result."})
    objective: Literal["towers", "referring"] = field(
        default="referring",
        metadata={"help": "'towers' trains SAM on clicks, boxes and dense classes; 'referring' the whole model."},
    )
    box_only: bool = field(default=False, metadata={"help": "Train boxes without masks, as the paper's first stage."})
    # Length and learning rate.
    max_steps: int = field(default=10000, metadata={"help": "Optimiser steps after which the run ends."})
    num_epochs: float | None = field(default=None, metadata={"help": "Passes over the data, in place of max_steps."})
    min_steps: int = field(default=0, metadata={"help": "Steps to which num_epochs is extended where data is small."})
    max_minutes: float | None = field(
        default=None, metadata={"help": "Wall-clock budget; the schedule ends at whichever comes first."}
    )
    learning_rate: float = field(default=6e-4, metadata={"help": "Peak learning rate."})
    learning_rate_ratios: str | None = field(
        default=None,
        metadata={
            "help": "Part of a parameter's name to its learning rate over the schedule's, the first that fits counts: "
            "a mapping in YAML, JSON on the command line."
        },
    )
    final_learning_rate: float = field(default=1e-6, metadata={"help": "Learning rate at the end of the cosine."})
    warmup_steps: float = field(
        default=100, metadata={"help": "Steps of linear warm-up; below 1, a fraction of the run."}
    )
    warmup_epochs: float | None = field(default=None, metadata={"help": "Epochs of it, in place of warmup_steps."})
    warmup_learning_rate: float = field(default=0.0, metadata={"help": "Learning rate at which the warm-up begins."})
    schedule_unit: Literal["step", "epoch"] = field(
        default="step", metadata={"help": "Whether the learning rate changes with every step or once per epoch."}
    )
    # Optimisation.
    optimizer: Literal["adamw", "muon"] = field(
        default="adamw",
        metadata={"help": "'muon' moves the matrices of transformer layers by Muon and the rest by AdamW."},
    )
    weight_decay: float = field(default=0.05, metadata={"help": "Decay of matrices; norms, biases, embeddings: none."})
    adam_beta1: float = 0.9
    adam_beta2: float = 0.98
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradient clipping norm."})
    gradient_accumulation_steps: int = field(default=1, metadata={"help": "Batches whose gradients make one step."})
    mask_decoder_frozen_epochs: float = field(
        default=0.0, metadata={"help": "Epochs for which SAM's mask decoder stays as it is."}
    )
    mixed_precision: Literal["no", "bf16", "fp16"] | None = field(
        default=None,
        metadata={"help": "Precision of the matrix products; what accelerate launch says when not given."},
    )
    gradient_checkpointing: bool = field(
        default=False, metadata={"help": "Compute activations again in the backward pass instead of keeping them."}
    )
    compile_backend: str | None = field(
        default=None, metadata={"help": "Compile the training step with this torch.compile backend, e.g. inductor."}
    )
    ema_decay: float = field(
        default=0.0, metadata={"help": "Decay of the averaged weights, which are evaluated and exported; 0: none."}
    )
    find_unused_parameters: bool = field(
        default=False, metadata={"help": "Let distributed training tolerate parameters without gradient in a step."}
    )
    threads_per_process: int = field(default=0, metadata={"help": "CPU threads of one process; 0: torch's choice."})
    seed: int = field(default=0, metadata={"help": "Seed of weights, order, expressions and augmentation."})
    # Losses beyond the model's own.
    dense_loss_weight: float = field(default=0.4, metadata={"help": "Weight of the per-patch class loss at the start."})
    final_dense_loss_weight: float | None = field(
        default=None, metadata={"help": "Its weight at the end (linear in progress); constant when not given."}
    )
    foreground_loss_weight: float = field(
        default=0.0, metadata={"help": "Weight of 'this patch is meant', after every layer; single-tower models only."}
    )
    contrast_loss_weight: float = field(
        default=0.0,
        metadata={"help": "Weight of 'which sentence of the batch means this patch'; single-tower models only."},
    )
    boundary_loss_weight: float = field(
        default=0.0, metadata={"help": "Weight of the cross-entropy at points where masks are least sure: outlines."}
    )
    iou_loss_weight: float = field(
        default=1.0, metadata={"help": "Weight of SAM's estimate of the mask's quality in the referring stage."}
    )
    mask_interval: int = field(
        default=1,
        metadata={"help": "Every so many steps the forward goes on to the masks; the steps between end at the boxes."},
    )
    # Evaluations and checkpoints.
    eval_minutes: float = field(default=10.0, metadata={"help": "Minutes between evaluations; 0: not by the clock."})
    eval_epochs: float = field(default=0.0, metadata={"help": "Epochs between evaluations; 0: not by epochs."})
    eval_at_start: bool = field(default=False, metadata={"help": "Also evaluate before the first step."})
    checkpoint_minutes: float = field(
        default=10.0, metadata={"help": "Minutes between checkpoints; 0: not by the clock."}
    )
    checkpoint_epochs: float = field(default=0.0, metadata={"help": "Epochs between checkpoints; 0: not by epochs."})
    checkpoint_steps: int = field(default=0, metadata={"help": "Steps between checkpoints; 0: not by steps."})
    keep_checkpoints: int = field(default=1, metadata={"help": "Newest checkpoints to keep."})
    best_metric: str | None = field(
        default=None, metadata={"help": "Metric by which the best evaluated checkpoint is kept too, e.g. gIoU."}
    )
    export_best: bool = field(default=False, metadata={"help": "Export the best checkpoint instead of the last."})
    export_dtype: Literal["float32", "float16", "bfloat16"] = field(
        default="float32", metadata={"help": "Precision of the weights in output_dir/final."}
    )
    resume: str | None = field(
        default=None,
        metadata={"help": "'auto' for the newest checkpoint of output_dir if any, or a checkpoint folder."},
    )
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Remove the checkpoints of an earlier run in output_dir and start anew."}
    )

    def __post_init__(self):
        vars(self)["learning_rate_ratios"] = _read_mapping("learning_rate_ratios", self.learning_rate_ratios)
        if self.box_only and self.objective != "referring":
            raise ValueError(f"box_only ({self.box_only}) needs the objective 'referring', got {self.objective!r}")
        for name in ("mask_interval", "max_steps", "gradient_accumulation_steps", "keep_checkpoints"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("max_minutes", "num_epochs"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.warmup_steps < 0:
            raise ValueError(f"warmup_steps must be at least 0, got {self.warmup_steps:g}")
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
    log_steps: int = field(default=20, metadata={"help": "Steps between two lines of the log."})
    trackers: list[str] = field(
        default_factory=list, metadata={"help": "Accelerate's trackers by name: tensorboard, wandb, …, or all."}
    )
    project_name: str = field(default="ssp-sam", metadata={"help": "Name under which trackers file the run."})
    num_drawings: int = field(default=4, metadata={"help": "Predictions drawn at each evaluation, as images; 0: none."})
    push_to_hub: bool = field(default=False, metadata={"help": "Publish output_dir/final at the end."})
    hub_model_id: str | None = field(default=None, metadata={"help": "Where to: owner/name."})
    hub_private: bool = field(default=False, metadata={"help": "Make the repository private if it is new."})

    def __post_init__(self):
        if self.log_steps < 1:
            raise ValueError(f"log_steps must be at least 1, got {self.log_steps}")
        if self.push_to_hub and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.hub_model_id or ""):
            raise ValueError(f"push_to_hub needs hub_model_id (owner/name), got {self.hub_model_id!r}")


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
