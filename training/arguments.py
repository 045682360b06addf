# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Settings of a training run: three dataclasses, filled from a YAML file and then from the command line."""

import json
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import yaml
from transformers import HfArgumentParser


@dataclass
class ModelArguments:
    """Which model is trained. Either `init_from` or `model_config` must be given."""

    init_from: str | None = field(
        default=None, metadata={"help": "Model folder (or Hub id) to continue from, with its processor."}
    )
    model_config: str | None = field(
        default=None,
        metadata={"help": "Fields of SspSamConfig for a new model: a mapping in YAML, JSON on the command line."},
    )
    positional_scale: float = field(
        default=1.0,
        metadata={"help": "Scale of SAM's positional code in a model from scratch; small models need about 1."},
    )
    tokenizer: str | None = field(
        default=None,
        metadata={"help": "Tokenizer folder for a model from scratch; the word-level scene tokenizer when not given."},
    )
    attn_implementation: str | None = field(
        default=None,
        metadata={"help": "'sdpa' or 'eager'; on CPUs with bf16 units 'eager' is much the faster under bf16."},
    )

    def __post_init__(self):
        vars(self)["model_config"] = _read_mapping("model_config", self.model_config)
        if self.init_from is None and self.model_config is None:
            raise ValueError("give init_from (a model folder) or model_config (fields of SspSamConfig), got neither")

    def config_fields(self) -> dict[str, Any]:
        """Returns a copy of `model_config`, two levels deep; empty when not given."""
        given: Any = self.model_config or {}
        return {name: dict(value) if isinstance(value, dict) else value for name, value in given.items()}


@dataclass
class DataArguments:
    """Which scenes are seen and how they are altered."""

    scene_cache: str = field(default="scene_cache", metadata={"help": "Folder that keeps the rendered scenes."})
    num_train_scenes: int = field(default=40000, metadata={"help": "Scenes rendered for training."})
    num_eval_scenes: int = field(default=200, metadata={"help": "Scenes of the validation split used in evaluations."})
    render_workers: int = field(default=2, metadata={"help": "Processes that render missing scenes."})
    images_per_device: int = field(default=8, metadata={"help": "Images in one process's batch."})
    expressions_per_image: int = field(default=6, metadata={"help": "Expressions drawn per image and epoch."})
    prompts_per_image: int = field(default=4, metadata={"help": "Clicks or boxes per image in the towers stage."})
    prompt_probability: float = field(
        default=0.1, metadata={"help": "Share of batches whose expressions come with a click or a box."}
    )
    flip_probability: float = field(default=0.5, metadata={"help": "Probability of mirroring a scene."})
    photometric_strength: float = field(
        default=0.15, metadata={"help": "Half-width of the random gain and offset of brightness, contrast, channels."}
    )
    dataloader_workers: int = field(
        default=0, metadata={"help": "Worker processes that build batches; 0 builds inline."}
    )

    def __post_init__(self):
        for name in ("num_train_scenes", "images_per_device", "expressions_per_image", "prompts_per_image"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("prompt_probability", "flip_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if not 0 <= self.photometric_strength < 1:
            raise ValueError(f"photometric_strength must lie in [0, 1), got {self.photometric_strength}")
        if self.images_per_device > self.num_train_scenes:
            raise ValueError(
                f"images_per_device ({self.images_per_device}) must be at most num_train_scenes "
                f"({self.num_train_scenes})"
            )


@dataclass
class TrainingArguments:
    """How the model is optimised, for how long, and what is kept."""

    output_dir: str = field(default="outputs/run", metadata={"help": "Folder of the log, the checkpoints, the result."})
    objective: Literal["towers", "referring"] = field(
        default="referring",
        metadata={"help": "'towers' trains SAM on clicks, boxes and dense classes; 'referring' the whole model."},
    )
    optimizer: Literal["adamw", "muon"] = field(
        default="adamw",
        metadata={"help": "'muon' moves the matrices of transformer layers by Muon and the rest by AdamW."},
    )
    max_steps: int = field(default=10000, metadata={"help": "Optimiser steps after which the run ends."})
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
    warmup_steps: int = field(default=100, metadata={"help": "Steps of linear warm-up."})
    weight_decay: float = field(
        default=0.05, metadata={"help": "Decay of matrices; norms, biases, embeddings have none."}
    )
    adam_beta1: float = 0.9
    adam_beta2: float = 0.98
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradient clipping norm."})
    dense_loss_weight: float = field(default=0.4, metadata={"help": "Weight of the per-patch class loss at the start."})
    final_dense_loss_weight: float | None = field(
        default=None, metadata={"help": "Its weight at the end (linear in progress); constant when not given."}
    )
    foreground_loss_weight: float = field(
        default=2.0, metadata={"help": "Weight of 'this patch is meant' in every layer of the prompt generator."}
    )
    iou_loss_weight: float = field(
        default=1.0, metadata={"help": "Weight of SAM's estimate of the mask's quality in the referring stage."}
    )
    box_only: bool = field(
        default=False, metadata={"help": "Train boxes without masks, as the paper's first stage does."}
    )
    mask_interval: int = field(
        default=1,
        metadata={"help": "Every so many steps the forward goes on to the masks; the steps between end at the boxes."},
    )
    mixed_precision: Literal["no", "bf16", "fp16"] = field(
        default="no", metadata={"help": "Number format of the matrix products, with weights in float32."}
    )
    ema_decay: float = field(default=0.0, metadata={"help": "Decay of the averaged weights; 0 keeps no average."})
    seed: int = field(default=0, metadata={"help": "Seed of weights, order, expressions and augmentation."})
    log_steps: int = field(default=20, metadata={"help": "Steps between two lines of the log."})
    eval_minutes: float = field(
        default=10.0, metadata={"help": "Minutes between evaluations; 0 evaluates at the end only."}
    )
    checkpoint_minutes: float = field(
        default=10.0, metadata={"help": "Minutes between checkpoints; 0 keeps the last only."}
    )
    resume: str | None = field(
        default=None,
        metadata={"help": "'auto' for the newest checkpoint of output_dir if any, or a checkpoint folder."},
    )
    export_dtype: Literal["float32", "float16", "bfloat16"] = field(
        default="float32", metadata={"help": "Number format of the weights in output_dir/final."}
    )
    find_unused_parameters: bool = field(
        default=False, metadata={"help": "Let distributed training tolerate parameters without gradient in a step."}
    )
    threads_per_process: int = field(
        default=0, metadata={"help": "CPU threads of one process; 0 leaves torch's choice."}
    )

    def __post_init__(self):
        vars(self)["learning_rate_ratios"] = _read_mapping("learning_rate_ratios", self.learning_rate_ratios)
        if self.box_only and self.objective != "referring":
            raise ValueError(f"box_only ({self.box_only}) needs the objective 'referring', got {self.objective!r}")
        if self.mask_interval < 1:
            raise ValueError(f"mask_interval must be at least 1, got {self.mask_interval}")
        if self.max_steps < 1:
            raise ValueError(f"max_steps must be at least 1, got {self.max_steps}")
        if self.max_minutes is not None and self.max_minutes <= 0:
            raise ValueError(f"max_minutes must be positive, got {self.max_minutes}")
        if self.warmup_steps >= self.max_steps:
            raise ValueError(f"warmup_steps ({self.warmup_steps}) must be below max_steps ({self.max_steps})")
        if self.final_learning_rate > self.learning_rate:
            raise ValueError(
                f"final_learning_rate ({self.final_learning_rate}) must be at most learning_rate ({self.learning_rate})"
            )
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must lie in [0, 1), got {self.ema_decay}")


def parse_arguments(argv: list[str] | None = None) -> tuple[ModelArguments, DataArguments, TrainingArguments]:
    """
    Reads the settings of a run: `--config file.yaml` first, then every other option on the command line.

    Args:
        argv: Command-line words without the program's name; those of the process when not given.

    Returns:
        The three argument objects, validated.

    Raises:
        ValueError: The YAML file has a key that is no setting, or a value is out of range.
    """
    types = (ModelArguments, DataArguments, TrainingArguments)
    parser = HfArgumentParser(list(types), description="Trains SSP-SAM.")
    parser.add_argument("--config", help="YAML file of settings; options on the command line win over it.")
    config_path = parser.parse_known_args(argv)[0].config
    if config_path is not None:
        parser.set_defaults(**read_config(config_path, types))
    namespace = vars(parser.parse_args(argv))

    def build(kind) -> Any:
        return kind(**{item.name: namespace[item.name] for item in fields(kind)})

    return build(ModelArguments), build(DataArguments), build(TrainingArguments)


def read_config(path: str | Path, types: tuple[type, ...]) -> dict:
    """
    Reads a YAML file of settings and converts its numbers to the declared types.

    Raises:
        ValueError: The file is no mapping, names an unknown setting, or holds a value of the wrong type.
    """
    values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold a mapping of settings, got {type(values).__name__}")
    known = {item.name: item for kind in types for item in fields(kind)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{path} names unknown settings {unknown}; known are {sorted(known)}")
    return {name: _convert(path, known[name], value) for name, value in values.items()}


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


def _convert(path, item, value: Any) -> Any:
    """Turns YAML's `6e-4`, which is a string to it, into a number and refuses words where numbers are due."""
    wanted: Any = item.type if isinstance(item.type, type) else None
    if wanted is None and item.default is not MISSING and isinstance(item.default, float | int):
        wanted = type(item.default)
    if item.name in ("max_minutes", "final_dense_loss_weight") and value is not None:
        wanted = float
    choices = getattr(item.type, "__args__", ()) if getattr(item.type, "__origin__", None) is Literal else ()
    if choices and value not in choices:
        raise ValueError(f"{path}: {item.name} must be one of {list(choices)}, got {value!r}")
    if wanted is bool and not isinstance(value, bool) or wanted is int and isinstance(value, bool | float):
        raise ValueError(f"{path}: {item.name} must be of type {wanted.__name__}, got {value!r}")
    if wanted in (int, float):
        number: Any = value
        try:
            return wanted(number)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {item.name} must be a number, got {value!r}") from error
    return value
