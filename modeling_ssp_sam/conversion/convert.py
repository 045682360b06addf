# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Converts a checkpoint of the original SSP-SAM to a folder that `AutoModel.from_pretrained` and `pipeline` use as is.

Sizes are read off the tensors. Parts that a checkpoint leaves out come from the files its training started with.
Weights are mapped from disk and written shard by shard, so that memory holds one shard at a time.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors.torch import save_file
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ...configuration.configuration_ssp_sam import SspSamConfig
from ...configuration.presets import preset_fields
from ...processing.processing_ssp_sam import SspSamProcessor
from ...training.atomic_files import claim_name, write_aside
from ..modeling_ssp_sam import SspSamModel
from .checkpoint_files import CheckpointError, read_weights
from .checkpoint_sources import check_source
from .sizes import Shapes, infer_fields, is_siglip
from .towers import NamedWeights, add_clip, add_sam
from .weight_map import ORIGINAL_RULES, shortened

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
MAIN_VARIANT = "paper"
CONVERTER_VERSION = 1  # raise it where the same checkpoint becomes another folder


def convert(checkpoint: str | Path, output: str | Path, **options) -> SspSamConfig:
    """
    Converts a checkpoint of the original SSP-SAM.

    Args:
        checkpoint (`str` or `Path`): The original's checkpoint.
        output (`str` or `Path`): Folder to write; it must not hold anything yet.
        options: Those of [`convert_weights`].

    Returns:
        [`SspSamConfig`]: The configuration that was written.

    Raises:
        ValueError: If a file cannot be read, or its tensors do not make up a model.
    """
    check_output(Path(output))
    return convert_weights(read_original(checkpoint), output, **options)


def read_original(checkpoint: str | Path, label: str | None = None) -> NamedWeights:
    """
    Reads a checkpoint of the original by the names of this model.

    Args:
        checkpoint (`str` or `Path`): The file.
        label (`str`, *optional*): What to call it in messages; its path when not given.

    Raises:
        CheckpointError: If the file cannot be read or is not of this layout.
    """
    label = str(checkpoint) if label is None else label
    return NamedWeights.of(read_weights(checkpoint, label), ORIGINAL_RULES, label)


def convert_weights(
    weights: NamedWeights,
    output: str | Path,
    *,
    clip: str | Path | None = None,
    clip_model: str | None = None,
    sam: str | Path | None = None,
    sam_model: str | None = None,
    allow_other_sam: bool = False,
    tokenizer: str | None = None,
    variant: str = MAIN_VARIANT,
    num_heads: int | None = None,
    dtype: str = "float32",
    max_shard_size: str | int = "500MB",
    say: Callable[[str], None] = lambda line: None,
) -> SspSamConfig:
    """
    Completes the weights of a checkpoint and writes them as a folder.

    Args:
        weights (`NamedWeights`): What [`read_original`] returned; towers are added to it.
        output (`str` or `Path`): Folder to write; it must not hold anything yet.
        clip, clip_model (*optional*): Where the CLIP towers come from when the checkpoint has none: OpenAI's file, or
            the folder or hub id of a `CLIPModel`; a `SiglipModel` for the variant `"siglip2"`.
        sam, sam_model (*optional*): Where SAM's image and prompt encoders come from when the checkpoint has none:
            Meta's file, or the folder or hub id of a `SamModel`.
        allow_other_sam (`bool`, defaults to `False`): Take a SAM other than the paper's ViT-H.
        tokenizer (`str`, *optional*): Folder or hub id of the towers' tokenizer; that of `clip_model` when not given.
        variant (`str`, defaults to `"paper"`): The row of the ablation that was trained; shapes tell `"siglip2"` alone.
        num_heads (`int`, *optional*): Heads of adapters, prompt generator and mask decoder; shapes do not tell.
        dtype (`str`, defaults to `"float32"`): Precision of the written weights.
        max_shard_size (`str` or `int`, defaults to `"500MB"`): Largest file of weights.
        say (`Callable`, *optional*): Receives lines on what was read, dropped and written.

    Returns:
        [`SspSamConfig`]: The configuration that was written.

    Raises:
        ValueError: If a file cannot be read, or its tensors do not make up a model.
    """
    output = Path(output)
    check_output(output)

    # 1. The towers that the checkpoint leaves out, sizes, and what they make of the model.
    with _told_in_one_sentence(weights.source):
        variant = find_variant(weights.shapes(), variant)
        clip_fields = add_clip(weights, clip, clip_model)
        add_sam(weights, sam, sam_model, allow_other_sam, say)
        config = make_config(weights.shapes(), variant, num_heads, clip_fields)
        if config.num_surgery_layers == 0 and weights.has_surgery:
            raise CheckpointError(
                f"{weights.source} was trained on CLIP with surgery (its names hold attn.qkv), but variant "
                f"{variant!r} reads ordinary CLIP; give the variant that was trained"
            )
        unused = check_complete(weights, config, variant)

    # 2. Everything a folder needs.
    processor = make_processor(config, tokenizer or clip_model)
    with claim_name(output), write_aside(output) as folder:
        folder.mkdir()
        config.architectures, config.dtype = ["SspSamModel"], DTYPES[dtype]
        config.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
        files = write_shards(weights.tensors, folder, DTYPES[dtype], max_shard_size)
    report(weights, unused, files, output, processor is not None, say)
    return config


def check_output(folder: Path):
    """Raises a `ValueError` if a folder holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists already; give a folder that is new or empty")


@contextmanager
def _told_in_one_sentence(source: str):
    # Tensors of unforeseen shapes make the arithmetic of sizes fail in every way there is.
    try:
        yield
    except (CheckpointError, OSError):
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise CheckpointError(f"the shapes in {source} make up no model of SSP-SAM ({reason[:200]})") from error


# ---- the model -----------------------------------------------------------------------------------------------------


def find_variant(shapes: Shapes, variant: str) -> str:
    """
    Returns the variant, `"siglip2"` where the weights say so and the main model is asked for.

    Raises:
        CheckpointError: If the towers are not those of the variant.
    """
    if is_siglip(shapes) and variant == MAIN_VARIANT:
        return "siglip2"
    if is_siglip(shapes) != (variant == "siglip2"):
        has = "has" if is_siglip(shapes) else "lacks"
        raise CheckpointError(
            f"{shapes.source} {has} patch_proj, which checkpoints on SigLIP have; got variant {variant!r}"
        )
    return variant


def make_config(shapes: Shapes, variant: str, num_heads: int | None, clip_fields: dict[str, Any]) -> SspSamConfig:
    """Returns the configuration of a variant at the sizes of its weights."""
    fields = infer_fields(shapes, num_heads)
    if variant == "w_decoder" and fields["fusion_layer_type"] != "decoder":
        raise CheckpointError(
            f"variant 'w_decoder' needs names like vl_transformer.layers.0, which {shapes.source} lacks"
        )
    for part, values in clip_fields.items():
        fields[part].update(values)
    try:
        return SspSamConfig(**preset_fields("paper_b16" if variant == MAIN_VARIANT else variant, **fields))
    except Exception as error:  # the strict dataclass wraps what is wrong in its own error
        raise CheckpointError(f"{shapes.source}: {error.__cause__ or error}") from error


def expected_shapes(config: SspSamConfig) -> dict[str, tuple[int, ...]]:
    """Returns names and shapes of all weights of a model, tied ones once, without making any."""
    with torch.device("meta"):
        model = SspSamModel(config)
    tied = model.all_tied_weights_keys
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name not in tied}


def check_complete(weights: NamedWeights, config: SspSamConfig, variant: str) -> list[str]:
    """
    Checks that every weight of the model is there in its shape and nothing is left over.

    Returns:
        `list[str]`: What the variant does not use, taken out of `weights`.
    """
    expected = expected_shapes(config)
    missing = [name for name in expected if name not in weights.tensors]
    if missing:
        raise CheckpointError(f"{weights.source} lacks {len(missing)} weights: {shortened(missing)}")
    left_over = [name for name in weights.tensors if name not in expected]
    if left_over:
        # Checkpoints of the ablation hold the parts of the main model that their forward leaves out.
        main = expected_shapes(SspSamConfig(**{**config.to_dict(), **_MAIN_FIELDS}))
        unknown = [weights.described(name) for name in left_over if name not in main]
        if unknown or (variant == MAIN_VARIANT and config.fusion_layer_type == "encoder"):
            names = unknown or [weights.described(name) for name in left_over]
            raise CheckpointError(
                f"{weights.source}: {len(names)} weights have no place in the model: {shortened(names)}"
            )
    wrong = [
        f"{weights.described(name)}, expected {shape}"
        for name, shape in expected.items()
        if tuple(weights.tensors[name].shape) != shape
    ]
    if wrong:
        raise CheckpointError(f"{len(wrong)} weights have the wrong shape: {shortened(wrong)}")
    return [weights.origins[name] for name in left_over if weights.tensors.pop(name) is not None]


# The fields in which rows of the ablation differ from the main model.
_MAIN_FIELDS = {
    name: getattr(SspSamConfig, name)
    for name in (
        "num_surgery_layers",
        "use_similarity_map",
        "verification",
        "linguistic_adapter",
        "prompt_source",
        "use_box_head",
        "fusion_layer_type",
    )
}


def make_processor(config: SspSamConfig, tokenizer: str | None) -> SspSamProcessor | None:
    """Returns the processor with the towers' tokenizer, or `None` where no tokenizer was given."""
    if tokenizer is None:
        return None
    try:
        check_source(tokenizer)
        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot load a tokenizer from {tokenizer}: {str(error).strip().splitlines()[0]}") from error
    text_config: Any = config.text_config
    vocabulary, largest = text_config.vocab_size, max(loaded.get_vocab().values())
    if config.uses_siglip_text:
        name, wanted, found, fits = "padding", 0, loaded.pad_token_id, loaded.pad_token_id == 0
    else:
        name, wanted, found, fits = "end of text", "the largest id", loaded.eos_token_id, loaded.eos_token_id == largest
    if largest >= vocabulary or not fits:
        raise ValueError(
            f"the tokenizer of {tokenizer} does not fit the text tower, which knows ids below {vocabulary} and whose "
            f"{name} is {wanted}; its {name} is {found}, its largest id {largest}"
        )
    return SspSamProcessor.from_model_config(config, loaded)


# ---- files ---------------------------------------------------------------------------------------------------------


def write_shards(tensors: Mapping[str, torch.Tensor], folder: Path, dtype: torch.dtype, max_shard_size) -> list[str]:
    """
    Writes weights as safetensors, one shard in memory at a time, and returns the names of the files.

    Raises:
        CheckpointError: A weight is not of real numbers, or has some that are not finite.
    """
    plan = split_state_dict_into_shards_factory(
        dict(tensors),
        get_storage_size=lambda tensor: tensor.numel() * dtype.itemsize,
        get_storage_id=lambda tensor: None,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=max_shard_size,
    )
    for file, names in plan.filename_to_tensors.items():
        shard = {name: _in_precision(name, tensors[name], dtype) for name in names}
        save_file(shard, folder / file, metadata={"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    return list(plan.filename_to_tensors)


def _in_precision(name: str, tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    converted = torch.empty(tensor.shape, dtype=dtype)
    if not tensor.is_floating_point() or not converted.copy_(tensor).isfinite().all():
        raise CheckpointError(
            f"the weight {name}, {tensor.dtype} in the checkpoint, is not of finite numbers in {dtype}; fetch the "
            f"checkpoint again, or write another dtype"
        )
    return converted


def report(weights: NamedWeights, unused: list[str], files: list[str], output: Path, has_processor: bool, say):
    """Says what was read, dropped and written."""
    count = sum(tensor.numel() for tensor in weights.tensors.values())
    parts = sorted({name.removeprefix("encoder.").split(".")[0] for name in weights.dropped})
    say(f"dropped by the weight map: {len(weights.dropped)} tensors ({', '.join(parts) or 'none'})")
    if unused:
        say(f"not used by this variant: {len(unused)} tensors ({shortened(unused, 4)})")
    say(f"wrote {count / 1e6:.1f} M parameters in {len(files)} file(s) to {output}")
    if not has_processor:
        say(f"{output} has no tokenizer, so pipelines cannot use it: convert with --tokenizer or --clip-model")
