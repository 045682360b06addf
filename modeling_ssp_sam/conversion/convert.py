# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""Converts a checkpoint of the original SSP-SAM to a folder that `AutoModel.from_pretrained` and `pipeline` use as is.

Sizes are read off the tensors. Parts that a checkpoint leaves out come from the files its training started with.
Weights are mapped from disk and written shard by shard, so that memory holds one shard at a time.
"""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors.torch import save_file
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from ...configuration.configuration_ssp_sam import SspSamConfig
from ...configuration.presets import preset_fields
from ...processing.processing_ssp_sam import SspSamProcessor
from ..modeling_ssp_sam import SspSamModel
from .checkpoint_files import read_weights
from .sizes import Shapes, infer_fields
from .towers import NamedWeights, add_clip, add_sam
from .weight_map import ORIGINAL_RULES, shortened

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
MAIN_VARIANT = "paper"


def convert(
    checkpoint: str | Path,
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
    max_shard_size: str | int = "1GB",
) -> SspSamConfig:
    """
    Converts a checkpoint of the original SSP-SAM.

    Args:
        checkpoint (`str` or `Path`): The original's checkpoint.
        output (`str` or `Path`): Folder to write; it must not hold anything yet.
        clip, clip_model (*optional*): Where the CLIP towers come from when the checkpoint has none: OpenAI's file, or
            the folder or hub id of a `CLIPModel`.
        sam, sam_model (*optional*): Where SAM's image and prompt encoders come from when the checkpoint has none:
            Meta's file, or the folder or hub id of a `SamModel`.
        allow_other_sam (`bool`, defaults to `False`): Take a SAM other than the paper's ViT-H.
        tokenizer (`str`, *optional*): Folder or hub id of CLIP's tokenizer; that of `clip_model` when not given.
        variant (`str`, defaults to `"paper"`): The row of the ablation that was trained; shapes do not tell.
        num_heads (`int`, *optional*): Heads of adapters, prompt generator and mask decoder; shapes do not tell.
        dtype (`str`, defaults to `"float32"`): Precision of the written weights.
        max_shard_size (`str` or `int`, defaults to `"1GB"`): Largest file of weights.

    Returns:
        [`SspSamConfig`]: The configuration that was written.

    Raises:
        ValueError: If a file cannot be read, or its tensors do not make up a model.
    """
    output = Path(output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"{output} exists already; give a folder that is new or empty")

    # 1. The checkpoint's own weights, and the towers it leaves out.
    raw = read_weights(checkpoint)
    weights = NamedWeights.of(raw, ORIGINAL_RULES, str(checkpoint))
    clip_fields = add_clip(weights, clip, clip_model)
    add_sam(weights, sam, sam_model, allow_other_sam)

    # 2. Sizes, and what they make of the model.
    config = make_config(weights.shapes(), variant, num_heads, clip_fields)
    if config.num_surgery_layers == 0 and any(".attn.qkv." in name for name in raw if "visual." in name):
        raise ValueError(
            f"{checkpoint} was trained on CLIP with surgery (its names hold attn.qkv), but variant {variant!r} reads "
            f"ordinary CLIP; give the variant that was trained"
        )
    unused = check_complete(weights, config, variant)

    # 3. Everything a folder needs.
    processor = make_processor(config, tokenizer or clip_model)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}-") as scratch:
        folder = Path(scratch) / "model"
        folder.mkdir()
        config.architectures, config.dtype = ["SspSamModel"], DTYPES[dtype]
        config.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
        files = write_shards(weights.tensors, folder, DTYPES[dtype], max_shard_size)
        folder.replace(output)
    report(weights, unused, files, output, processor is not None)
    return config


# ---- the model -----------------------------------------------------------------------------------------------------


def make_config(shapes: Shapes, variant: str, num_heads: int | None, clip_fields: dict[str, Any]) -> SspSamConfig:
    """Returns the configuration of a variant at the sizes of its weights."""
    fields = infer_fields(shapes, num_heads)
    if variant == "w_decoder" and fields["fusion_layer_type"] != "decoder":
        raise ValueError(f"variant 'w_decoder' needs names like vl_transformer.layers.0, which {shapes.source} lacks")
    for part, values in clip_fields.items():
        fields[part].update(values)
    try:
        return SspSamConfig(**preset_fields("paper_b16" if variant == MAIN_VARIANT else variant, **fields))
    except Exception as error:  # the strict dataclass wraps what is wrong in its own error
        raise ValueError(f"{shapes.source}: {error.__cause__ or error}") from error


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
        raise ValueError(f"{weights.source} lacks {len(missing)} weights: {shortened(missing)}")
    left_over = [name for name in weights.tensors if name not in expected]
    if left_over:
        # Checkpoints of the ablation hold the parts of the main model that their forward leaves out.
        main = expected_shapes(SspSamConfig(**{**config.to_dict(), **_MAIN_FIELDS}))
        unknown = [weights.described(name) for name in left_over if name not in main]
        if unknown or (variant == MAIN_VARIANT and config.fusion_layer_type == "encoder"):
            names = unknown or [weights.described(name) for name in left_over]
            raise ValueError(f"{weights.source}: {len(names)} weights have no place in the model: {shortened(names)}")
    wrong = [
        f"{weights.described(name)}, expected {shape}"
        for name, shape in expected.items()
        if tuple(weights.tensors[name].shape) != shape
    ]
    if wrong:
        raise ValueError(f"{len(wrong)} weights have the wrong shape: {shortened(wrong)}")
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
    """Returns the processor with CLIP's tokenizer, or `None` where no tokenizer was given."""
    if tokenizer is None:
        return None
    try:
        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot load a tokenizer from {tokenizer}: {str(error).strip().splitlines()[0]}") from error
    text_config: Any = config.text_config
    vocabulary, largest = text_config.vocab_size, max(loaded.get_vocab().values())
    if largest >= vocabulary or loaded.eos_token_id != largest:
        raise ValueError(
            f"the tokenizer of {tokenizer} does not fit the text tower: the end of text is read at the largest id, "
            f"below {vocabulary}; its end of text is {loaded.eos_token_id}, its largest id {largest}"
        )
    return SspSamProcessor.from_model_config(config, loaded)


# ---- files ---------------------------------------------------------------------------------------------------------


def write_shards(tensors: Mapping[str, torch.Tensor], folder: Path, dtype: torch.dtype, max_shard_size) -> list[str]:
    """Writes weights as safetensors, one shard in memory at a time, and returns the names of the files."""
    plan = split_state_dict_into_shards_factory(
        dict(tensors),
        get_storage_size=lambda tensor: tensor.numel() * dtype.itemsize,
        get_storage_id=lambda tensor: None,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=max_shard_size,
    )
    for file, names in plan.filename_to_tensors.items():
        shard = {name: torch.empty(tensors[name].shape, dtype=dtype).copy_(tensors[name]) for name in names}
        save_file(shard, folder / file, metadata={"format": "pt"})
    if plan.is_sharded:
        index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    return list(plan.filename_to_tensors)


def report(weights: NamedWeights, unused: list[str], files: list[str], output: Path, has_processor: bool):
    """Prints what was read, dropped and written."""
    count = sum(tensor.numel() for tensor in weights.tensors.values())
    parts = sorted({name.removeprefix("encoder.").split(".")[0] for name in weights.dropped})
    print(f"dropped by the weight map: {len(weights.dropped)} tensors ({', '.join(parts) or 'none'})")
    if unused:
        print(f"not used by this variant: {len(unused)} tensors ({shortened(unused, 4)})")
    print(f"wrote {count / 1e6:.1f} M parameters in {len(files)} file(s) to {output}")
    if not has_processor:
        print(f"{output} has no tokenizer, so pipelines cannot use it: convert with --tokenizer or --clip-model")
